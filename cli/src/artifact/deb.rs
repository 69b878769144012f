//! Packages of Debian: what `control` says, by deb(5) and deb-control(5).

use std::{
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use hostler_plan::id::Arch;

use super::archive;

/// What every package begins with: an archive of `ar` whose first member says that it is one.
pub(super) const MAGIC: &[u8] = b"!<arch>\ndebian-binary";

/// More than any control archive has; it holds a few scripts and lists.
const CONTROL_BYTES: u64 = 16 << 20;

/// What a package says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Control {
    pub package: String,
    pub version: String,
    /// None for a package for all processors.
    pub arch: Option<Arch>,
}

/// Reads the package's own words, and sees that it is whole.
pub(super) fn read(path: &Path) -> Result<Control, String> {
    let mut file = std::fs::File::open(path).map_err(|e| e.to_string())?;
    let length = file.metadata().map_err(|e| e.to_string())?.len();
    let (mut at, mut control, mut data) = (8u64, None, false);
    while at < length {
        let mut header = [0; 60];
        file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut header)).map_err(|_| cut(length))?;
        let text = |range: std::ops::Range<usize>| String::from_utf8_lossy(&header[range]).trim().to_owned();
        let (name, size) = (text(0..16), text(48..58).parse::<u64>().ok());
        let size = size.filter(|_| header.ends_with(b"`\n")).ok_or("expected a member of ar, found something else")?;
        if at + 60 + size > length {
            return Err(cut(length));
        }
        if name.starts_with("control.tar") && size <= CONTROL_BYTES {
            let mut packed = Vec::new();
            (&mut file).take(size).read_to_end(&mut packed).map_err(|e| e.to_string())?;
            control = Some(control_of(packed).map_err(|e| format!("{name} cannot be read: {e}"))?);
        }
        data |= name.starts_with("data.tar");
        // Members begin at even places.
        at += 60 + size + size % 2;
    }
    match control.flatten() {
        Some(control) if data => parse(&control),
        _ => Err(cut(length)),
    }
}

fn cut(length: u64) -> String {
    format!("the package is cut off after {length} bytes")
}

fn control_of(packed: Vec<u8>) -> io::Result<Option<String>> {
    let mut found = None;
    archive::files(archive::unpack(io::Cursor::new(packed))?, |name, _, content| {
        if name == "control" {
            let mut text = String::new();
            content.take(CONTROL_BYTES).read_to_string(&mut text)?;
            found = Some(text);
        }
        Ok(())
    })?;
    Ok(found)
}

fn parse(control: &str) -> Result<Control, String> {
    let field = |name: &str| {
        let line = control.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(|value| value.trim().to_owned()).ok_or(format!("control has no field {name}"))
    };
    let arch = match field("Architecture")?.as_str() {
        "amd64" => Some(Arch::X86_64),
        "arm64" => Some(Arch::Aarch64),
        "all" => None,
        other => return Err(format!("expected a package for amd64, arm64 or all, found {other}")),
    };
    Ok(Control { package: field("Package")?, version: field("Version")?, arch })
}
