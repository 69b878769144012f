//! `kernel.arguments`: what the next boot gives the kernel. `kernel.boot`: the kernel that runs was given it.

mod grub;
mod line;
mod place;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use hostler_plan::{
    document::{DIFFERS, PlanKind},
    form::KernelArgument,
    step::machine::{BootKernel, KernelArguments},
};

use crate::{
    host::{Host, HostFile, text},
    steps::action::{Action, Check, StepContext, StepError},
};
use place::{Loader, unfit};

const CMDLINE: &str = "/proc/cmdline";
/// The controllers that the kernel offers, in the one hierarchy of today and in those of before.
const CONTROLLERS: &str = "/sys/fs/cgroup/cgroup.controllers";
const CGROUPS: &str = "/proc/cgroups";

/// What brings the memory control group where it is compiled in and switched off, as in the kernels of Raspberry Pi OS
/// and Debian.
const MEMORY: [&str; 2] = ["cgroup_memory=1", "cgroup_enable=memory"];

/// Ends the name of the copy that is kept beside a command line, of what it was before.
const COPY: &str = ".before-hostler";

/// How often a machine is asked to reboot, as for `host.reboot`.
const MAX_TRIES: usize = 3;

impl Action for KernelArguments {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let host = context.host();
        let (running, wanted) = (running(host)?, wanted(&self.arguments, self.memory_control_group, host)?);
        if wanted.is_empty() {
            return Ok(Check::Done("the kernel has the memory control group by itself".into()));
        }
        if self.memory_control_group && !has_memory(host)? && line::lacking(&running, &memory()).is_empty() {
            let found = "it was started with what brings it, and has none; another kernel has to be installed";
            return Ok(Check::Mismatch { expected: "a memory control group".into(), found: found.into() });
        }
        let changes = match changes(host, &wanted, &running)? {
            Ok(changes) => changes,
            Err(unfit) => return Ok(unfit),
        };
        let said = changes.said();
        if !said.is_empty() {
            said.into_iter().for_each(|said| context.observe("change", said));
            return Ok(Check::Ready);
        }
        let missing = line::lacking(&running, &wanted);
        if missing.is_empty() {
            return Ok(Check::Done(format!("the kernel was started with {}", wanted.join(" "))));
        }
        let waits = format!("{} at the next boot: the kernel that runs was started without", missing.join(" "));
        if context.plan.document().kind == PlanKind::Inspect {
            let op = context.op();
            context.observe(DIFFERS, format!("{op}: {waits}; `hostler reboot {}`", context.task.subject));
        }
        Ok(Check::Done(waits))
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        let host = context.host();
        let (running, wanted) = (running(host)?, wanted(&self.arguments, self.memory_control_group, host)?);
        match changes(host, &wanted, &running)? {
            Ok(Changes::Firmware(lines)) => lines.iter().try_for_each(|line| line.write(context.host())),
            Ok(Changes::Grub(_)) => grub::apply(&wanted, context),
            Err(unfit) => Err(StepError::Failed(format!("{}: {}", context.op(), sentence(&unfit)))),
        }
    }

    fn verify(&self, context: &mut StepContext<'_>) -> Result<String, StepError> {
        match self.check(context)? {
            Check::Done(detail) => Ok(detail),
            Check::Ready => {
                let what =
                    "written, and the boot loader's own file still lacks it; see what /etc/default/grub adds last";
                Err(StepError::Failed(format!("{}: {what}", context.op())))
            }
            unfit @ Check::Mismatch { .. } => Err(StepError::Failed(format!("{}: {}", context.op(), sentence(&unfit)))),
        }
    }
}

impl Action for BootKernel {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let host = context.host();
        let (running, wanted) = (running(host)?, wanted(&self.arguments, self.memory_control_group, host)?);
        let missing = line::lacking(&running, &wanted).join(" ");
        let lacks_memory = self.memory_control_group && !has_memory(host)?;
        if missing.is_empty() && !lacks_memory {
            return Ok(Check::Done("the kernel was started with its arguments".into()));
        }
        let expected = if missing.is_empty() { "a memory control group".to_owned() } else { missing };
        let (now, tries) = (host.boot_id()?, context.running.tries);
        let found = match context.first_attempt() {
            Some((before, _)) if *before != now => {
                "a reboot without it; see what its boot loader gave it, /proc/cmdline"
            }
            Some(_) if tries >= MAX_TRIES => "the same boot id after 3 reboots; see /proc/sys/kernel/random/boot_id",
            Some(_) | None => return Ok(Check::Ready),
        };
        Ok(Check::Mismatch { expected, found: found.into() })
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        context.await_act()?;
        context.host().reboot()?;
        Err(StepError::Rebooting)
    }
}

fn sentence(unfit: &Check) -> String {
    match unfit {
        Check::Mismatch { expected, found } => format!("expected {expected}, found {found}"),
        Check::Done(_) | Check::Ready => String::new(),
    }
}

/// What the kernel that runs was started with.
fn running(host: &dyn Host) -> Result<String, StepError> {
    let found = text(host, CMDLINE)?;
    found.ok_or_else(|| StepError::Failed(format!("this machine has no {CMDLINE}")))
}

fn memory() -> Vec<String> {
    MEMORY.map(str::to_owned).to_vec()
}

/// All arguments that are to count. A kernel that has the memory control group without any gets none for it.
fn wanted(arguments: &[KernelArgument], memory_cgroup: bool, host: &dyn Host) -> Result<Vec<String>, StepError> {
    let mut wanted: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    if !memory_cgroup {
        return Ok(wanted);
    }
    let running = running(host)?;
    let was_asked = line::words(&running).iter().any(|word| MEMORY.contains(word));
    if was_asked || !has_memory(host)? {
        let more: Vec<String> = memory().into_iter().filter(|argument| !wanted.contains(argument)).collect();
        wanted.extend(more);
    }
    Ok(wanted)
}

/// Whether the kernel that runs has the memory control group: it is asked, and not its command line, because the
/// firmware of a Pi puts `cgroup_disable=memory` in front of what the file says.
fn has_memory(host: &dyn Host) -> Result<bool, StepError> {
    let controllers = text(host, CONTROLLERS)?.unwrap_or_default();
    if controllers.split_whitespace().any(|controller| controller == "memory") {
        return Ok(true);
    }
    let cgroups = text(host, CGROUPS)?.unwrap_or_default();
    let is_on = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.first() == Some(&"memory") && fields.get(3) == Some(&"1")
    };
    Ok(cgroups.lines().any(is_on))
}

/// What is to change, by boot loader.
enum Changes {
    Firmware(Vec<Line>),
    Grub(Vec<String>),
}

impl Changes {
    fn said(&self) -> Vec<String> {
        match self {
            Changes::Firmware(lines) => lines.iter().map(Line::said).collect(),
            Changes::Grub(said) => said.clone(),
        }
    }
}

/// A command line of the firmware's that is to change.
struct Line {
    path: PathBuf,
    before: HostFile,
    after: line::Changed,
}

impl Line {
    fn said(&self) -> String {
        format!(
            "{}: {}; the line of before is kept in {}",
            self.path.display(),
            self.after.said.join(", "),
            self.name()
        )
    }

    fn name(&self) -> String {
        format!("{}{COPY}", self.path.file_name().unwrap_or_default().to_string_lossy())
    }

    /// First the copy: on a FAT file system a loss of power between two names may leave neither, and the copy is what
    /// somebody with a card reader then finds.
    fn write(&self, host: &dyn Host) -> Result<(), StepError> {
        let content = format!("{}\n", self.after.line).into_bytes();
        let written = host
            .write_file(&self.path.with_file_name(self.name()), &self.before)
            .and_then(|()| host.write_file(&self.path, &HostFile { content, ..self.before.clone() }));
        written.map_err(|error| {
            StepError::from(error)
                .with("; the line is as it was. Make room on the boot partition, or see why it takes none")
        })
    }
}

/// What is to change so that the next boot gives the kernel all arguments, or what hinders it.
fn changes(host: &dyn Host, wanted: &[String], running: &str) -> Result<Result<Changes, Check>, StepError> {
    let (mount, files) = match place::loader(host)? {
        Ok(Loader::Firmware { mount, files }) => (mount, files),
        Ok(Loader::Grub) => return Ok(grub::changes(host, wanted)?.map(Changes::Grub)),
        Err(unfit) => return Ok(Err(unfit)),
    };
    let mut lines = Vec::new();
    for path in files {
        match changed(host, path, wanted, running)? {
            Ok(line) => lines.extend(line),
            Err(unfit) => return Ok(Err(unfit)),
        }
    }
    let options = place::mounted(host, &mount)?.unwrap_or_default();
    if !lines.is_empty() && options.split(',').any(|option| option == "ro") {
        let found = format!(
            "it is mounted read-only: `mount -o remount,rw {mount}`, or see `dmesg`, where a card that fails says so"
        );
        return Ok(unfit(format!("to write to {mount}"), found));
    }
    Ok(Ok(Changes::Firmware(lines)))
}

/// A command line with all arguments; none where they stand in it already.
fn changed(
    host: &dyn Host,
    path: PathBuf,
    wanted: &[String],
    running: &str,
) -> Result<Result<Option<Line>, Check>, StepError> {
    let shown = path.display().to_string();
    let expected = format!("a command line from which it boots in {shown}");
    let Some(before) = host.read_file(&path)? else {
        return Ok(unfit(expected, format!("no such file; {shown}{COPY} is the one of before, where there is one")));
    };
    let found = match line::only_line(&before.content) {
        Ok(line) => line.to_owned(),
        Err(found) => return Ok(unfit(expected, format!("{found}; mend it, {shown}{COPY} may be one of before"))),
    };
    if let Some(opposing) = line::opposing(&found, wanted) {
        return Ok(unfit(
            wanted.join(" "),
            format!("{opposing} in {shown}; take it out, or memory_cgroup of the fleet file"),
        ));
    }
    let Some(after) = line::with(&found, wanted) else { return Ok(Ok(None)) };
    // The firmware puts arguments of its own in front.
    let own = running.trim_end().len().saturating_sub(found.len());
    let length = own + after.line.len();
    if length > line::LONGEST {
        let found = format!("{length} with the firmware's {own}; shorten {shown}");
        return Ok(unfit(format!("a command line of at most {} bytes", line::LONGEST), found));
    }
    Ok(Ok(Some(Line { path, before, after })))
}
