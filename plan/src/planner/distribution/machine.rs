//! What makes a machine ready, the same for every distribution: kernel, swap, names, files, time.

use crate::{
    fleet::{Machine, MachineFile, Swap},
    step::{EnsureFile, EnsureHost, EnsureModule, EnsureSysctl, EnsureUnit, Step, SwapOff, UnitState},
};

/// Steps for what the fleet file says of the machine. Files of the distribution's own come where no file of that path
/// is written, and whatever needs them comes after.
pub(super) fn prepare(machine: &Machine, own_files: Vec<EnsureFile>) -> Vec<Step> {
    let mut steps = Vec::new();
    let modules = machine.modules.iter().flatten();
    steps.extend(modules.map(|module| Step::EnsureModule(EnsureModule { module: module.clone() })));
    let sysctl = machine.sysctl.iter().flatten();
    steps
        .extend(sysctl.map(|(key, value)| Step::EnsureSysctl(EnsureSysctl { key: key.clone(), value: value.clone() })));
    if machine.swap == Some(Swap::Off) {
        steps.push(Step::SwapOff(SwapOff {}));
    }
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
    steps
}
