//! `hostler artifact …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hostler_plan::id::Arch;

use crate::artifact::Told;

/// `hostler artifact …`
#[derive(Debug, Subcommand)]
pub enum ArtifactCommand {
    /// Look into files, folders and URLs, and write what they are into the lock beside the fleet file
    #[command(after_help = "Examples:
  hostler artifact lock https://dl.k8s.io/release/v1.36.3/bin/linux/{arm64,amd64}/{kubeadm,kubelet,kubectl}
  hostler artifact lock https://github.com/opencontainers/runc/releases/download/v1.4.0/runc.{arm64,amd64}
  hostler artifact lock \\
    https://github.com/containerd/containerd/releases/download/v2.2.1/containerd-2.2.1-linux-arm64.tar.gz
  hostler artifact lock images/ debs/ cni.yaml
  hostler artifact lock --name registry-ca --kind file ca.sealed

Name, version, architecture and kind are read from the file and from where it lies; flags say what neither says. A URL
is downloaded and compared with the checksum that upstream publishes beside it. The lock is written only if all is in
order; what a person wrote in it stays.")]
    Lock(Box<LockArgs>),
    /// List what the fleet file and its lock name, and whether the files are here
    #[command(after_help = "Examples:
  hostler artifact list
  hostler artifact list --output json | jq '.artifacts[] | select(.here == false)'")]
    List,
    /// Read every file again and compare it with the fleet file and its lock
    #[command(after_help = "Examples:
  hostler artifact verify")]
    Verify,
}

/// What to lock, and what is said of it.
#[derive(Debug, Args)]
pub struct LockArgs {
    /// Files, folders and https URLs
    #[arg(value_name = "SOURCE", required = true)]
    pub sources: Vec<String>,
    /// What it is called; for one file
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// program, image, package, manifest or file
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
    /// Its version, as its makers write it
    #[arg(long, value_name = "VERSION")]
    pub version: Option<String>,
    /// The Kubernetes version that it belongs to: plans for another one pass it over
    #[arg(long, value_name = "VERSION")]
    pub kubernetes: Option<String>,
    /// aarch64 or x86_64; anything else inside is refused
    #[arg(long, value_name = "ARCH", value_parser = arch)]
    pub arch: Option<Arch>,
    /// Only nodes of that role need it: server or worker
    #[arg(long, value_name = "ROLE")]
    pub role: Option<String>,
    /// Where a program goes
    #[arg(long, value_name = "PATH")]
    pub to: Option<String>,
    /// A file inside an archive; every program of a known name unless one is named
    #[arg(long = "member", value_name = "PATH")]
    pub members: Vec<String>,
    /// A file or URL with checksums, instead of those that lie beside the download
    #[arg(long, value_name = "LIST")]
    pub checksums: Option<String>,
    /// Certificates (PEM) to believe for downloads, instead of the public authorities'
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Take another digest for a version that is locked already
    #[arg(long)]
    pub replace: bool,
}

impl LockArgs {
    /// The sources, and what is said of them.
    pub fn told(self) -> (Vec<String>, Told) {
        let told = Told {
            name: self.name,
            kind: self.kind,
            version: self.version,
            kubernetes: self.kubernetes,
            arch: self.arch,
            role: self.role,
            to: self.to,
            members: self.members,
            checksums: self.checksums,
            ca: self.ca,
            replace: self.replace,
        };
        (self.sources, told)
    }
}

fn arch(text: &str) -> Result<Arch, String> {
    match text {
        "aarch64" | "arm64" => Ok(Arch::Aarch64),
        "x86_64" | "amd64" => Ok(Arch::X86_64),
        other => Err(format!("expected aarch64 or x86_64, found {other}; see `uname -m` on the machine")),
    }
}
