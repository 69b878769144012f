//! `apt.read`: what waits to be updated on this machine, by apt's own signed lists.

use std::{collections::BTreeSet, io::Write as _, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compression, write::GzEncoder};
use hostler_plan::{
    form::{PackageArch, PackageName, PackageVersion},
    id::Digest,
    json,
    step::update::Read,
    text::count,
    update::goes_with_own_plan,
    update::{Kernel, Left, MAX_PENDING_BYTES, PENDING, Pending, PendingPackage, PendingType, System, WhyLeft},
};

use super::{
    QUICK, StepContext, StepError, UNIT, kernel,
    listed::Listed,
    parse::{self, Inst, Place, Simulated},
    unlocked,
};
use crate::{
    host::{HostError, Reach, text},
    steps::{
        action::{Action, Check},
        started::{self, Long},
    },
};

/// A list in a receipt at most, in base64: beside it stands what else a receipt holds.
const MAX_ENCODED: usize = 56 << 10;

/// Lists over a slow link.
const REFRESH_LIMIT: std::time::Duration = std::time::Duration::from_secs(900);

/// A list that could not be had leaves apt with the one before: that is an error here, never an old answer.
const REFRESH: [&str; 4] =
    ["apt-get", "update", "--option=APT::Update::Error-Mode=any", "--option=DPkg::Lock::Timeout=600"];

const SIMULATE: [&str; 3] = ["apt-get", "--simulate", "--option=Debug::NoLocking=true"];

/// Packages that one program is asked for at a time.
const ASKED_TOGETHER: usize = 100;

impl Action for Read {
    /// The look is all of it.
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        refresh(context)?;
        let pending = pending(self.security_only, context)?;
        let written = json::write(&pending);
        let encoded = encode(&written)?;
        if written.len() > MAX_PENDING_BYTES || encoded.len() > MAX_ENCODED {
            return Err(StepError::Failed(format!(
                "{} wait, more than a receipt has room for; ask for security updates first (--security-only), or \
                 update this machine once by hand",
                count(pending.packages.len(), "package")
            )));
        }
        context.observe(PENDING, encoded);
        Ok(Check::Done(format!("{} to be updated", count(pending.packages.len(), "package"))))
    }

    fn apply(&self, _: &mut StepContext<'_>) -> Result<(), StepError> {
        Ok(())
    }
}

fn encode(written: &[u8]) -> Result<String, StepError> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let written = encoder.write_all(written).and_then(|()| encoder.finish());
    written.map(|bytes| STANDARD.encode(bytes)).map_err(|e| StepError::Failed(format!("writing the list: {e}")))
}

fn refresh(context: &mut StepContext<'_>) -> Result<(), StepError> {
    let long = Long { unit: UNIT, arguments: &REFRESH, limit: REFRESH_LIMIT, reach: Reach::Everybody, at_work: None };
    let end = unlocked(|context| started::run(&long, context), context)?;
    if end.is_success() {
        return Ok(());
    }
    let StepError::Failed(why) = started::failed(&REFRESH, UNIT, &end) else { return Err(not_known("apt failed")) };
    Err(not_known(&why))
}

/// Whatever fails, nothing is said of what waits.
fn not_known(why: &str) -> StepError {
    StepError::Failed(format!("what waits to be updated is not known: {why}"))
}

fn ask(arguments: &[&str], context: &StepContext<'_>) -> Result<String, StepError> {
    context.host().run(arguments, QUICK).map_err(|error| match error {
        HostError::Missing { what } => not_known(&format!("this machine has no {what}")),
        other @ (HostError::File { .. }
        | HostError::Command { .. }
        | HostError::Signalled { .. }
        | HostError::TimedOut { .. }
        | HostError::Unexpected { .. }) => not_known(&other.to_string()),
    })
}

fn simulate(what: &[&str], context: &StepContext<'_>) -> Result<Simulated, StepError> {
    let arguments: Vec<&str> = SIMULATE.iter().chain(what).copied().collect();
    parse::simulated(&ask(&arguments, context)?).map_err(|why| not_known(&why))
}

fn pending(security_only: bool, context: &StepContext<'_>) -> Result<Pending, StepError> {
    let system = system(context)?;
    let whole = simulate(&["--with-new-pkgs", "upgrade"], context)?;
    let removing = simulate(&["dist-upgrade"], context)?;
    let mut left = left(&whole, context)?;
    let (chosen, others): (Vec<&Inst>, Vec<&Inst>) = whole
        .installs
        .iter()
        .partition(|one| !goes_with_own_plan(one.package()) && (!security_only || one.is_security()));
    for one in &others {
        let own = goes_with_own_plan(one.package());
        let why = if own { WhyLeft::OwnPlan } else { WhyLeft::NotSecurity };
        left.insert(Left { package: one.name.clone(), why });
    }
    let installs = if others.is_empty() { whole.installs.clone() } else { alone(&chosen, context)? };
    // What comes along with a chosen one is not left.
    left.retain(|left| !installs.iter().any(|one| one.name == left.package));
    let running = kernel::running(context)?;
    let next = kernel::next(&running, installs.iter().map(Inst::package), context)?;
    Ok(Pending {
        document_type: PendingType::V1,
        fleet_id: context.plan.document().fleet_id.clone(),
        node: context.task.node.clone(),
        read: context.host().now(),
        packages: packages(&installs, context)?,
        system,
        left: left.into_iter().collect(),
        removals: removing.removes,
        unfinished: Listed::read(context)?.unfinished(),
        kernel: Kernel { running, next },
        reboot: reboot(context)?,
    })
}

/// What apt would install for these alone, with what they need.
fn alone(chosen: &[&Inst], context: &StepContext<'_>) -> Result<Vec<Inst>, StepError> {
    let named: Vec<String> = chosen.iter().filter(|one| one.from.is_some()).map(|one| one.exactly()).collect();
    if named.is_empty() {
        return Ok(Vec::new());
    }
    let mut what = vec!["--no-remove", "install"];
    what.extend(named.iter().map(String::as_str));
    simulate(&what, context).map(|found| found.installs)
}

fn system(context: &StepContext<'_>) -> Result<System, StepError> {
    let arch = ask(&["dpkg", "--print-architecture"], context)?;
    let arch = PackageArch::new(arch.trim()).map_err(|e| not_known(&e.to_string()))?;
    let release = match text(context.host(), "/usr/lib/os-release")? {
        Some(text) => Some(text),
        None => text(context.host(), "/etc/os-release")?,
    };
    let text = release.unwrap_or_default();
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    Ok(System { id: value("ID"), version: value("VERSION_ID"), codename: value("VERSION_CODENAME"), arch })
}

/// What apt leaves as it is, and why.
fn left(whole: &Simulated, context: &StepContext<'_>) -> Result<BTreeSet<Left>, StepError> {
    let held = ask(&["apt-mark", "showhold"], context)?;
    let is_held = |name: &str| held.lines().any(|line| line.trim() == name);
    let others: Vec<&str> = whole.kept.iter().map(String::as_str).filter(|name| !is_held(name)).collect();
    let mut phased = whole.phased.clone();
    for part in others.chunks(ASKED_TOGETHER) {
        let arguments: Vec<&str> = ["apt-cache", "policy"].iter().chain(part).copied().collect();
        phased.extend(parse::phased(&ask(&arguments, context)?));
    }
    let of = |name: &String| {
        let why = match () {
            () if is_held(name) => WhyLeft::Held,
            () if phased.contains(name) => WhyLeft::Phased,
            () => WhyLeft::Entangled,
        };
        Left { package: name.clone(), why }
    };
    Ok(whole.kept.iter().chain(&phased).map(of).collect())
}

/// Each package with where its file is and what that has to be, by apt's signed lists.
fn packages(installs: &[Inst], context: &StepContext<'_>) -> Result<Vec<PendingPackage>, StepError> {
    let mut places: Vec<Place> = Vec::new();
    for part in installs.chunks(ASKED_TOGETHER) {
        let named: Vec<String> = part.iter().map(Inst::exactly).collect();
        let mut arguments = vec!["apt-get", "download", "--print-uris", "--option=Acquire::ForceHash=SHA256"];
        arguments.extend(named.iter().map(String::as_str));
        places.extend(parse::places(&ask(&arguments, context)?).map_err(|why| not_known(&why))?);
    }
    let auto = if installs.is_empty() { String::new() } else { ask(&["apt-mark", "showauto"], context)? };
    let auto: BTreeSet<&str> = auto.lines().map(str::trim).collect();
    installs.iter().map(|one| package(one, &places, &auto)).collect()
}

fn package(one: &Inst, places: &[Place], auto: &BTreeSet<&str>) -> Result<PendingPackage, StepError> {
    let file = format!("{}_{}_{}.deb", one.package(), one.to.replace(':', "%3a"), one.arch);
    let place = places.iter().find(|place| place.file == file);
    let place = place.ok_or_else(|| not_known(&format!("apt does not say where {file} can be had")))?;
    let wrong = |what: &dyn std::fmt::Display| not_known(&what.to_string());
    let version = |text: &str| PackageVersion::new(text).map_err(|e| wrong(&e));
    Ok(PendingPackage {
        package: PackageName::new(one.package()).map_err(|e| wrong(&e))?,
        arch: PackageArch::new(one.arch.as_str()).map_err(|e| wrong(&e))?,
        from: one.from.as_deref().map(version).transpose()?,
        to: version(&one.to)?,
        origin: one.origin.clone(),
        security: one.is_security(),
        // What is new comes for others' sake alone.
        auto: one.from.is_none() || auto.contains(one.name.as_str()),
        uri: place.uri.clone(),
        size: place.size,
        sha256: format!("sha256:{}", place.sha256).parse::<Digest>().map_err(|e| wrong(&e))?,
    })
}

/// Why the system itself asks for a reboot already.
fn reboot(context: &StepContext<'_>) -> Result<Vec<String>, StepError> {
    if context.host().read_file(Path::new("/run/reboot-required"))?.is_none() {
        return Ok(Vec::new());
    }
    let packages = text(context.host(), "/run/reboot-required.pkgs")?.unwrap_or_default();
    let names: BTreeSet<&str> = packages.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let names = names.into_iter().collect::<Vec<_>>().join(", ");
    let for_what = if names.is_empty() { String::new() } else { format!(" for {names}") };
    Ok(vec![format!("the system asks for it{for_what} (/run/reboot-required)")])
}
