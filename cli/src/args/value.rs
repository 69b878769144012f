//! Values as people write them: spans of time, signers.

use std::{path::PathBuf, str::FromStr, time::Duration};

use hostler_plan::{
    document::{PlanKind, RecoveryKey, SignerRole},
    timestamp::Timestamp,
};

/// Reads `90s`, `15m`, `1h`, `7d` or `1h30m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("expected a time such as 90s, 15m, 1h30m or 7d, found {text:?}");
    let (mut rest, mut seconds, mut parts) = (text, 0u64, 0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit = match rest.as_bytes()[digits] {
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            b'd' => 86_400,
            _ => return Err(wrong()),
        };
        seconds = number.checked_mul(unit).and_then(|n| seconds.checked_add(n)).ok_or_else(wrong)?;
        rest = &rest[digits + 1..];
        parts += 1;
    }
    if parts == 0 || seconds == 0 { Err(wrong()) } else { Ok(Duration::from_secs(seconds)) }
}

/// Writes a time span with at most two units: `1h30m`, `7d`, `45s`.
pub fn duration_text(span: Duration) -> String {
    let seconds = span.as_secs();
    let parts = [(seconds / 86_400, 'd'), (seconds / 3600 % 24, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
    let Some(first) = parts.iter().position(|(n, _)| *n > 0) else { return "0s".to_owned() };
    parts[first..].iter().take(2).filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect()
}

/// When something ends: a time from now, or a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    In(Duration),
    At(Timestamp),
}

impl End {
    /// That moment.
    pub fn from(self, now: Timestamp) -> Timestamp {
        match self {
            End::In(span) => now.whole_seconds().plus(span),
            End::At(at) => at,
        }
    }
}

/// Reads `30d`, `2027-03-01` (the beginning of that day, UTC) or `2027-03-01T08:00:00Z`.
pub(super) fn end(text: &str) -> Result<End, String> {
    let day = || format!("{text}T00:00:00Z").parse().ok();
    let at: Option<Timestamp> = text.parse().ok().or_else(day);
    at.map(End::At)
        .or_else(|| duration(text).ok().map(End::In))
        .ok_or_else(|| format!("expected a time such as 30d, or a day such as 2027-03-01, found {text:?}"))
}

/// `NAME=PUBKEYFILE:ROLE`, perhaps with `/KIND,…` behind it: a further signer of a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignerArgument {
    pub name: String,
    pub key_file: PathBuf,
    pub role: SignerRole,
    /// The only kinds of plans that count; empty means all that the role allows.
    pub plan_kinds: Vec<PlanKind>,
}

impl FromStr for SignerArgument {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (name, rest) = text.split_once('=')?;
            let (file, rights) = rest.rsplit_once(':')?;
            let (role, kinds) = rights.split_once('/').unwrap_or((rights, ""));
            let kind = |text| PlanKind::ALL.into_iter().find(|k| k.to_string() == text);
            let plan_kinds = match rights.contains('/') {
                true => kinds.split(',').map(kind).collect::<Option<Vec<_>>>()?,
                false => Vec::new(),
            };
            let role = match role {
                "viewer" => SignerRole::Viewer,
                "operator" => SignerRole::Operator,
                "admin" => SignerRole::Admin,
                _ => return None,
            };
            (!name.is_empty() && !file.is_empty()).then(|| Self {
                name: name.into(),
                key_file: file.into(),
                role,
                plan_kinds,
            })
        };
        parse().ok_or_else(|| {
            format!(
                "expected NAME=PUBKEYFILE:ROLE with role viewer, operator or admin, perhaps followed by / and \
                     kinds of plans, found {text:?}"
            )
        })
    }
}

/// `KIND=N`: how many different keys must sign a plan of that kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindThreshold {
    pub kind: PlanKind,
    pub keys: u32,
}

impl FromStr for KindThreshold {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (kind, keys) = text.split_once('=')?;
            let kind = PlanKind::ALL.into_iter().find(|k| k.to_string() == kind)?;
            // A stop needs one key, always.
            let keys = keys.parse().ok().filter(|n| *n > 0 && kind != PlanKind::Stop)?;
            Some(Self { kind, keys })
        };
        parse().ok_or_else(|| {
            format!(
                "expected KIND=N with a kind of plan other than stop, which one key signs always, and at least one \
                     key, found {text:?}"
            )
        })
    }
}

/// `NAME=age1…`: a recovery key and who keeps its private half.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryKeyArgument(pub RecoveryKey);

impl FromStr for RecoveryKeyArgument {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let Some((name, key)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(format!("expected NAME=age1…, who keeps the key and its public half, found {text:?}"));
        };
        if key.to_ascii_lowercase().starts_with("age-secret-key-") {
            // It stands in the shell's history now.
            return Err("expected a public key that begins with age1, found a PRIVATE key; it was shown to this \
                        machine's other users: make another with `hostler recovery key new`"
                .to_owned());
        }
        let key = key.parse().map_err(|e: hostler_plan::id::InvalidId| e.to_string())?;
        Ok(Self(RecoveryKey { name: name.to_owned(), key }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_people_write_them() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("1h30m", 5400), ("7d", 604_800)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
            assert_eq!(duration(&duration_text(Duration::from_secs(seconds))), Ok(Duration::from_secs(seconds)));
        }
        for bad in ["", "0s", "15", "m", "1w", "-1h", "1.5h", "99999999999999999999d", "1hm"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ends_are_a_time_from_now_or_a_day() {
        let now: Timestamp = "2026-11-21T08:00:00Z".parse().expect("valid");
        let read = |text| end(text).map(|end| end.from(now).to_string());
        assert_eq!(read("1d"), Ok("2026-11-22T08:00:00Z".to_owned()));
        assert_eq!(read("2027-03-01"), Ok("2027-03-01T00:00:00Z".to_owned()));
        assert_eq!(read("2027-03-01T08:00:00Z"), Ok("2027-03-01T08:00:00Z".to_owned()));
        for bad in ["", "soon", "2027-13-01", "2027-03", "0d"] {
            assert!(end(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_recovery_key_is_a_name_and_a_public_key() {
        let key = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
        let read: RecoveryKeyArgument = format!("safe={key}").parse().expect("valid");
        assert_eq!((read.0.name.as_str(), read.0.key.to_string().as_str()), ("safe", key));
        for bad in [key, &format!("={key}"), "safe=", "safe=age1x"] {
            assert!(bad.parse::<RecoveryKeyArgument>().is_err(), "{bad}");
        }
        let private: Result<RecoveryKeyArgument, String> = "safe=AGE-SECRET-KEY-1QQ".parse();
        assert!(!private.clone().unwrap_err().contains("1QQ") && private.unwrap_err().contains("PRIVATE"));
    }

    #[test]
    fn thresholds_of_kinds_read_as_people_write_them() {
        let read: KindThreshold = "drain=2".parse().expect("valid");
        assert_eq!(read, KindThreshold { kind: PlanKind::Drain, keys: 2 });
        for bad in ["drain", "drain=0", "drain=-1", "stop=2", "sweep=1", "=1", "drain="] {
            assert!(bad.parse::<KindThreshold>().is_err(), "{bad}");
        }
    }

    #[test]
    fn signers_read_as_people_write_them() {
        let signer: SignerArgument = "anna=/home/anna/.ssh/id:1.pub:operator".parse().expect("valid");
        assert_eq!(signer.key_file, PathBuf::from("/home/anna/.ssh/id:1.pub"));
        assert_eq!(signer.plan_kinds, []);
        let signer: SignerArgument = "otto=otto.pub:operator/drain,uncordon".parse().expect("valid");
        assert_eq!(signer.plan_kinds, [PlanKind::Drain, PlanKind::Uncordon]);
        let bad = [
            "anna",
            "anna=key.pub",
            "anna=key.pub:root",
            "=key.pub:admin",
            "anna=:admin",
            "anna=k:admin/",
            "a=k:admin/x",
        ];
        for bad in bad {
            assert!(bad.parse::<SignerArgument>().is_err(), "{bad}");
        }
    }
}
