//! `hostler certificates …`.

use clap::Subcommand;

use super::plan::{Interactive, RenewArgs};

/// `hostler certificates …`
#[derive(Debug, Subcommand)]
pub enum CertificatesCommand {
    /// Renew what kubeadm made on servers before it ends, one server after the other
    #[command(after_help = "Examples:
  hostler certificates renew --all
  hostler certificates renew pi-1 --within 30d

On a server where a certificate ends in that time all of kubeadm's are made anew, kubeconfigs among them, and its
components restart one by one; on every other nothing is touched. The certificate authorities stay. Kubelets renew
their own.")]
    Renew(Interactive<RenewArgs>),
}
