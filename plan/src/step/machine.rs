//! Steps for what a machine is besides its files: how its kernel is started, and who else may change it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Operation;
use crate::{form::KernelArgument, id::NodeName};

/// The kernel is started with these arguments from the next boot on, whatever kernel that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelArguments {
    /// Each replaces another value of the same name, but for those that the kernel takes several times.
    pub arguments: Vec<KernelArgument>,
    /// Whether the arguments that bring the memory control group are among them where the kernel has it not without.
    pub memory_control_group: bool,
}

impl Operation for KernelArguments {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { arguments, memory_control_group } = self;
        said(arguments, *memory_control_group)
    }
    fn sentence(&self, _: &NodeName) -> String {
        "writes the kernel's arguments".to_owned()
    }
}

/// The kernel that runs was started with these arguments: the machine is rebooted where it was not. For machines on
/// which no pod runs yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootKernel {
    /// As [`KernelArguments`] has them.
    pub arguments: Vec<KernelArgument>,
    /// The same.
    pub memory_control_group: bool,
}

impl Operation for BootKernel {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { arguments, memory_control_group } = self;
        format!("REBOOTS where the kernel was started without {}", said(arguments, *memory_control_group))
    }
    fn sentence(&self, _: &NodeName) -> String {
        "reboots where the kernel was started with other arguments".to_owned()
    }
}

/// cloud-init gives the machine no other name and writes no other `/etc/hosts` at a boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FenceCloudInit {
    /// How far.
    pub fence: CloudInit,
}

/// What cloud-init may do after the first boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloudInit {
    /// Everything but the host name and `/etc/hosts`.
    Names,
    /// Nothing.
    Off,
}

impl Operation for FenceCloudInit {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { fence } = self;
        match fence {
            CloudInit::Names => "leaves the host name and /etc/hosts alone".to_owned(),
            CloudInit::Off => "runs at NO boot any more".to_owned(),
        }
    }
    fn sentence(&self, _: &NodeName) -> String {
        "keeps cloud-init from changing names".to_owned()
    }
}

/// Targets of iSCSI know the machine by one name. It is looked at and not changed: volumes are lent to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedInitiator {}

impl Operation for NamedInitiator {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self {} = self;
        "has one name, which is not changed".to_owned()
    }
    fn sentence(&self, _: &NodeName) -> String {
        "looks at the name for targets of iSCSI".to_owned()
    }
}

/// Whether the machine has the same addresses and interfaces after a boot. It is looked at and not changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastingNetwork {
    /// That of the fleet file.
    pub address: Option<IpAddr>,
    /// Whether others reach it at its address.
    pub is_server: bool,
}

impl Operation for LastingNetwork {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { address, is_server } = self;
        let address = address.map_or("any address".to_owned(), |address| address.to_string());
        format!("{address} of a {}", if *is_server { "server" } else { "machine" })
    }
    fn sentence(&self, _: &NodeName) -> String {
        "looks at addresses and interfaces".to_owned()
    }
}

/// Who may log in by ssh and how. An admin who could no longer get in is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetSshd {
    /// Whether a password is enough.
    pub password_authentication: bool,
    /// Whether root may.
    pub root_login: RootLogin,
}

/// Whether root may log in by ssh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RootLogin {
    No,
    /// With a key.
    Keys,
}

impl Operation for SetSshd {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { password_authentication, root_login } = self;
        let passwords = if *password_authentication { "passwords and keys" } else { "keys ALONE" };
        let root = match root_login {
            RootLogin::No => "root NOT at all",
            RootLogin::Keys => "root with a key",
        };
        format!("lets in by {passwords}, {root}")
    }
    fn sentence(&self, _: &NodeName) -> String {
        "sets who may log in by ssh".to_owned()
    }
}

fn said(arguments: &[KernelArgument], memory_control_group: bool) -> String {
    let mut said: Vec<&str> = arguments.iter().map(KernelArgument::as_str).collect();
    if memory_control_group {
        said.push("what brings the memory control group");
    }
    said.join(" ")
}
