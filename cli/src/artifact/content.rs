//! What a file is, by what stands in it.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use hostler_plan::id::Arch;

use super::{archive, deb, image};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// A program for Linux.
    Program(Arch),
    Package(deb::Control),
    Images(image::Images),
    /// A tar of other files.
    Archive,
    /// YAML, by its name.
    Manifest,
    Other,
}

impl Content {
    /// The processors that it is for; none for what fits all.
    pub(super) fn archs(&self) -> Vec<Arch> {
        match self {
            Content::Program(arch) => vec![*arch],
            Content::Package(control) => control.arch.into_iter().collect(),
            Content::Images(images) => images.archs.iter().copied().collect(),
            Content::Archive | Content::Manifest | Content::Other => Vec::new(),
        }
    }
}

/// Looks into a file. A file that is cut off, empty or for another processor than we tend is refused in words that
/// begin after its name.
pub(super) fn look(path: &Path) -> Result<Content, String> {
    let mut file = File::open(path).map_err(|e| e.to_string())?;
    let length = file.metadata().map_err(|e| e.to_string())?.len();
    if length == 0 {
        return Err("it is empty; fetch it again".to_owned());
    }
    let mut head = Vec::with_capacity(64);
    (&mut file).take(64).read_to_end(&mut head).map_err(|e| e.to_string())?;
    if head.starts_with(b"\x7fELF") {
        return program(&head, length).map(Content::Program).map_err(|e| format!("{e}; fetch the one that fits"));
    }
    if head.starts_with(deb::MAGIC) {
        return deb::read(path).map(Content::Package).map_err(|e| format!("{e}; fetch it again"));
    }
    if archive::is_tar(path).map_err(|e: io::Error| e.to_string())? {
        let images = archive::open(path).map_err(|e| e.to_string()).and_then(image::read);
        return Ok(images.map_err(|e| format!("{e}; fetch it again"))?.map_or(Content::Archive, Content::Images));
    }
    let name = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    Ok(if matches!(name, "yaml" | "yml") { Content::Manifest } else { Content::Other })
}

/// The processor of an ELF file, by its header (elf(5)), and whether the file goes as far as the header says.
fn program(head: &[u8], length: u64) -> Result<Arch, String> {
    let header: &[u8; 64] = head.try_into().map_err(|_| format!("the program is cut off after {length} bytes"))?;
    let short = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| header[at + i]));
    // 64 bits, little-endian.
    if (header[4], header[5]) != (2, 1) {
        return Err("expected a program of 64 bits for aarch64 or x86_64, found another".to_owned());
    }
    let arch = match short(18) {
        62 => Arch::X86_64,
        183 => Arch::Aarch64,
        other => return Err(format!("expected a program for aarch64 or x86_64, found ELF machine {other}")),
    };
    // The table of sections is the last thing that a linker writes.
    let sections = long(40).saturating_add(u64::from(short(58)) * u64::from(short(60)));
    let programs = long(32).saturating_add(u64::from(short(54)) * u64::from(short(56)));
    match sections.max(programs) {
        end if end > length => Err(format!("the program is cut off after {length} of at least {end} bytes")),
        _ => Ok(arch),
    }
}
