//! `kernel.runs`, and which kernel the next boot takes.

use std::path::Path;

use hostler_plan::{form::KernelRelease, step::update::RunsKernel};

use super::{StepContext, StepError};
use crate::steps::action::{Action, Check};

/// Where distributions keep the modules of their kernels; the second where /usr is not merged.
const MODULES: [&str; 2] = ["/usr/lib/modules", "/lib/modules"];

impl Action for RunsKernel {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let found = running(context)?;
        if found == self.release {
            return Ok(Check::Done(format!("kernel {found} runs")));
        }
        Ok(Check::Mismatch {
            expected: format!("kernel {} after the reboot", self.release),
            found: format!("{found}; see what its boot loader starts, and why the new kernel did not come up"),
        })
    }

    fn apply(&self, _: &mut StepContext<'_>) -> Result<(), StepError> {
        Ok(())
    }
}

/// The kernel that runs.
pub(super) fn running(context: &StepContext<'_>) -> Result<KernelRelease, StepError> {
    let found = context.host().read_sysctl("kernel.osrelease")?.unwrap_or_default();
    KernelRelease::new(found.as_str()).map_err(|e| StepError::Failed(format!("the running kernel: {e}")))
}

/// The kernel that the next boot takes once packages of these names are installed.
pub(super) fn next<'a>(
    running: &KernelRelease,
    new: impl Iterator<Item = &'a str>,
    context: &StepContext<'_>,
) -> Result<Option<KernelRelease>, StepError> {
    let mut kernels: Vec<String> = Vec::new();
    for place in MODULES {
        for name in context.host().list_folder(Path::new(place))? {
            let whole = context.host().list_folder(&Path::new(place).join(&name))?.iter().any(|f| f == "modules.dep");
            if whole && !kernels.contains(&name) {
                kernels.push(name);
            }
        }
    }
    kernels.extend(new.filter_map(|package| package.strip_prefix("linux-image-")).map(released));
    let next = hostler_facts::next_kernel(running.as_str(), &kernels);
    Ok(next.and_then(|next| KernelRelease::new(next).ok()))
}

/// The release that a package of a kernel brings: one without a signature says so in its name.
fn released(name: &str) -> String {
    name.trim_start_matches("unsigned-").trim_end_matches("-unsigned").to_owned()
}
