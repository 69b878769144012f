//! What makes a machine ready, the same for every distribution: kernel, swap, names, files, time.

use super::services;
use crate::{
    fleet::{Machine, MachineFile, Swap},
    step::{EnsureFile, EnsureHost, EnsureModule, EnsureSysctl, EnsureUnit, Step, SwapOff, UnitState, machine},
};

/// How the kernel is started, where the fleet file says something of it.
fn kernel(machine: &Machine) -> Option<machine::KernelArguments> {
    let arguments = machine.kernel_arguments.clone().unwrap_or_default();
    let memory_control_group = machine.memory_cgroup == Some(true);
    let is_asked = memory_control_group || !arguments.is_empty();
    is_asked.then_some(machine::KernelArguments { arguments, memory_control_group })
}

/// The reboot of a machine that is no member yet, where its kernel was started with other arguments.
pub(super) fn boot(machine: &Machine) -> Option<Step> {
    let machine::KernelArguments { arguments, memory_control_group } = kernel(machine)?;
    Some(Step::BootKernel(machine::BootKernel { arguments, memory_control_group }))
}

/// Steps for what the fleet file says of the machine. Files of the distribution's own come where no file of that path
/// is written, and whatever needs them comes after.
pub(super) fn prepare(machine: &Machine, own_files: Vec<EnsureFile>) -> Vec<Step> {
    let mut steps = Vec::new();
    steps.extend(kernel(machine).map(Step::KernelArguments));
    let modules = machine.modules.iter().flatten();
    steps.extend(modules.map(|module| Step::EnsureModule(EnsureModule { module: module.clone() })));
    let sysctl = machine.sysctl.iter().flatten();
    steps
        .extend(sysctl.map(|(key, value)| Step::EnsureSysctl(EnsureSysctl { key: key.clone(), value: value.clone() })));
    if machine.swap == Some(Swap::Off) {
        steps.push(Step::SwapOff(SwapOff {}));
    }
    // First who would write the names again at the next boot.
    let fence = machine.settings.cloud_init.map(|fence| Step::FenceCloudInit(machine::FenceCloudInit { fence }));
    steps.extend(fence);
    steps.extend(
        machine
            .hosts
            .iter()
            .map(|(name, address)| Step::EnsureHost(EnsureHost { name: name.clone(), address: *address })),
    );
    let own = own_files.into_iter().filter(|file| !machine.files.contains_key(&file.path));
    let written = machine.files.iter().map(|(path, MachineFile { mode, content })| EnsureFile {
        path: path.clone(),
        mode: mode.clone(),
        content: content.clone(),
    });
    steps.extend(own.chain(written).map(Step::EnsureFile));
    steps.extend(
        machine
            .time_sync
            .iter()
            .map(|unit| Step::EnsureUnit(EnsureUnit { unit: unit.clone(), state: UnitState::Started, enabled: true })),
    );
    steps.extend(services::own(&machine.settings, &machine.files));
    steps
}

/// Steps for what rests on packages of the machine, after those were installed.
pub(super) fn clients(machine: &Machine) -> Vec<Step> {
    services::clients(&machine.settings, &machine.files)
}
