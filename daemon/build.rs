//! Notes when this program was built: no true clock shows less. A build of the same source notes the same: it is the
//! date of the source, by `SOURCE_DATE_EPOCH` (of `packaging/build`: the commit's), else of the newest entry of the
//! package's changelog.

use std::path::Path;

fn main() {
    // Asked now: the folder may have moved since this script was compiled.
    let folder = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says it");
    let changelog = Path::new(&folder).join("../packaging/debian/changelog");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo:rerun-if-changed={}", changelog.display());
    let told = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.trim().parse::<u64>().ok());
    let dated = || date_of(&std::fs::read_to_string(&changelog).ok()?);
    println!("cargo:rustc-env=HOSTLER_BUILD_SECONDS={}", told.or_else(dated).unwrap_or(0));
}

/// ` -- Name <address>  Sat, 21 Nov 2026 08:00:00 +0000`, which deb-changelog(5) asks for; of the day alone.
fn date_of(changelog: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, date) = changelog.lines().find(|line| line.starts_with(" -- "))?.rsplit_once(", ")?;
    let mut words = date.split(' ');
    let day: u64 = words.next()?.parse().ok()?;
    let name = words.next()?;
    let month = MONTHS.iter().position(|month| *month == name)? as u64 + 1;
    let year: u64 = words.next()?.parse().ok()?;
    // Days since 1970, with a year that begins in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    days.checked_sub(719_468).map(|days| days * 86_400)
}
