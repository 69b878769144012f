//! Steps for what a machine is besides its files: how its kernel is started.

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

fn said(arguments: &[KernelArgument], memory_control_group: bool) -> String {
    let mut said: Vec<&str> = arguments.iter().map(KernelArgument::as_str).collect();
    if memory_control_group {
        said.push("what brings the memory control group");
    }
    said.join(" ")
}
