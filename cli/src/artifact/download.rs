//! Downloads of the command: what they bring counts by digest alone.

use std::{fs, io, path::Path, time::Duration};

use ureq::{
    Agent,
    tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem},
};

use super::MAX_BYTES;
use crate::error::Error;

/// A list of checksums is shorter.
const TEXT_BYTES: u64 = 1 << 20;
/// Without a byte for so long a download is over.
const SILENCE: Duration = Duration::from_secs(60);
/// A release of GitHub is two redirects away.
const REDIRECTS: u32 = 8;

/// A client for https, and for http where what comes counts by a digest that is known before; through the proxy of
/// `HTTPS_PROXY` where there is one.
#[derive(Debug)]
pub(super) struct Downloads {
    agent: Agent,
}

impl Downloads {
    /// Believes the public authorities that browsers believe (webpki-roots), or those in `ca` (PEM) alone: a mirror
    /// with one of its own.
    pub(super) fn new(ca: Option<&Path>) -> Result<Self, Error> {
        let roots = match ca {
            None => RootCerts::WebPki,
            Some(path) => {
                let pem = fs::read(path).map_err(|e| Error::file("read", path, e))?;
                let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
                    .filter_map(|item| match item {
                        Ok(PemItem::Certificate(certificate)) => Some(certificate),
                        _ => None,
                    })
                    .collect();
                if certificates.is_empty() {
                    let found =
                        format!("{}: expected certificates in PEM, found none; name another file", path.display());
                    return Err(Error::Failed(found));
                }
                RootCerts::from(certificates)
            }
        };
        Ok(Self::believing(roots, true))
    }

    /// For archives of packages, many of which are served without TLS.
    pub(super) fn of_packages() -> Self {
        Self::believing(RootCerts::WebPki, false)
    }

    fn believing(roots: RootCerts, https_only: bool) -> Self {
        let agent = Agent::config_builder()
            .https_only(https_only)
            .http_status_as_error(false)
            .max_redirects(REDIRECTS)
            .timeout_connect(Some(SILENCE))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .user_agent(concat!("hostler/", env!("CARGO_PKG_VERSION")))
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build()
            .new_agent();
        Self { agent }
    }

    /// Brings a file whole, or says why not.
    pub(super) fn file(&self, url: &str, into: &Path) -> Result<(), Error> {
        let mut answer = self.get(url)?;
        if answer.status() != 200 {
            return Err(failed(url, &format!("the server answered {}; correct the URL", answer.status())));
        }
        let announced = answer.body().content_length();
        if let Some(large) = announced.filter(|length| *length > MAX_BYTES) {
            return Err(failed(
                url,
                &format!("expected at most {MAX_BYTES} bytes, found {large}; it cannot be an artifact"),
            ));
        }
        let mut file = fs::File::create(into).map_err(|e| Error::file("write", into, e))?;
        let mut body = answer.body_mut().with_config().limit(MAX_BYTES).reader();
        let got = io::copy(&mut body, &mut file);
        let whole = match (got, announced) {
            (Ok(got), Some(announced)) if got != announced => Err(format!("it ended after {got} of {announced} bytes")),
            (Ok(0), _) => Err("it has no bytes".to_owned()),
            (Ok(_), _) => Ok(()),
            (Err(e), _) => Err(format!("it broke off: {e}")),
        };
        whole.map_err(|why| failed(url, &format!("{why}; nothing was kept, run the command again")))
    }

    /// A short text; none where there is nothing under that address.
    pub(super) fn text(&self, url: &str) -> Result<Option<String>, Error> {
        let mut answer = self.get(url)?;
        match answer.status().as_u16() {
            200 => {}
            // Stores that list nothing to strangers say forbidden of what is not there.
            403 | 404 | 410 => return Ok(None),
            other => return Err(failed(url, &format!("the server answered {other}; run the command again"))),
        }
        let text = answer.body_mut().with_config().limit(TEXT_BYTES).lossy_utf8(true).read_to_string();
        text.map(Some).map_err(|e| failed(url, &format!("{e}; run the command again")))
    }

    fn get(&self, url: &str) -> Result<ureq::http::Response<ureq::Body>, Error> {
        self.agent.get(url).call().map_err(|e| failed(url, &format!("{e}; check the address and the network")))
    }
}

fn failed(url: &str, why: &str) -> Error {
    Error::Failed(format!("cannot download {url}: {why}"))
}
