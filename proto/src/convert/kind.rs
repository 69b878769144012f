//! Kinds: an enum of the wire for each enum of the domain.

use std::fmt;

use hostler_plan::{
    document::{PlanKind, SignerRole},
    health::Level,
    id::Arch,
    refusal::Refusal,
    sequencer::{RolloutStatus, Standing, TaskStatus},
    step::ClusterRole,
};

use super::UnreadableMessage;
use crate::v1;

macro_rules! kind {
    ($expected:literal: $domain:ident { $($variant:ident = $wire:ident),* $(,)? }) => {
        impl From<$domain> for v1::$domain {
            fn from(kind: $domain) -> Self {
                match kind { $($domain::$variant => Self::$wire,)* }
            }
        }

        impl TryFrom<v1::$domain> for $domain {
            type Error = UnreadableMessage;
            fn try_from(kind: v1::$domain) -> Result<Self, UnreadableMessage> {
                match kind {
                    v1::$domain::Unspecified => Err(UnreadableMessage::new($expected, "none that is known here")),
                    $(v1::$domain::$wire => Ok($domain::$variant),)*
                }
            }
        }
    };
}

/// The word of the domain for people; nothing where nothing was said.
macro_rules! shown {
    ($($domain:ident),*) => {$(
        impl fmt::Display for v1::$domain {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $domain::try_from(*self).map_or(Ok(()), |kind| kind.fmt(f))
            }
        }
    )*};
}

kind!("an architecture": Arch { Aarch64 = Aarch64, X86_64 = X8664 });
kind!("a role in the cluster": ClusterRole { Server = Server, Worker = Worker, Host = Host });
kind!("the role of a signer": SignerRole { Viewer = Viewer, Operator = Operator, Admin = Admin });
kind!("a kind of plan": PlanKind {
    Check = Check, Bootstrap = Bootstrap, Join = Join, Upgrade = Upgrade, Drain = Drain, Uncordon = Uncordon,
    Reboot = Reboot, Dead = Dead, Baseline = Baseline, Remove = Remove, Replace = Replace, Inspect = Inspect,
    Snapshot = Snapshot, Restore = Restore, Configure = Configure,
    Update = Update, Stop = Stop,
});
kind!("where a rollout stands": RolloutStatus {
    Running = Running, Paused = Paused, Preempted = Preempted, NeedsAttention = NeedsAttention, Finished = Finished,
    Halted = Halted, Superseded = Superseded,
});
kind!("where a task stands": TaskStatus {
    Waiting = Waiting, Granted = Granted, LeaseExpired = LeaseExpired, Succeeded = Succeeded, Failed = Failed,
    Blocked = Blocked, TimedOut = TimedOut, Unreachable = Unreachable, TakenOver = TakenOver, Refused = Refused,
    Never = Never,
});
kind!("a level of health": Level { Ok = Ok, Degraded = Degraded, Critical = Critical, Unknown = Unknown });
kind!("how a node stands": Standing {
    Ready = Ready, NotReady = NotReady, Outside = Outside, Unknown = Unknown,
});
kind!("a kind of refusal": Refusal {
    BadSignature = BadSignature, Replay = Replay, Expired = Expired, WrongFleet = WrongFleet, NotATarget = NotATarget,
    OrderNotMet = OrderNotMet, DigestMismatch = DigestMismatch, Threshold = Threshold, RootChain = RootChain,
    DamagedState = DamagedState, Revoked = Revoked, Malformed = Malformed, NotAllowed = NotAllowed,
    Overtaken = Overtaken, Forked = Forked,
});
shown!(Arch, ClusterRole, SignerRole, PlanKind, RolloutStatus, TaskStatus, Level, Refusal);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_the_wire_and_none_is_taken_for_another() {
        for kind in PlanKind::ALL {
            assert_eq!(v1::PlanKind::from(kind).try_into(), Ok(kind));
            assert_eq!(v1::PlanKind::from(kind).to_string(), kind.to_string());
        }
        for level in Level::ALL {
            assert_eq!(v1::Level::from(level).try_into(), Ok(level));
        }
        for refusal in Refusal::ALL {
            assert_eq!(v1::Refusal::from(refusal).try_into(), Ok(refusal));
        }
        let error = PlanKind::try_from(v1::PlanKind::Unspecified).expect_err("nothing was said");
        assert!(error.to_string().contains("expected a kind of plan"), "{error}");
        assert_eq!(v1::PlanKind::Unspecified.to_string(), "");
        // A kind of a later version.
        assert_eq!(v1::RunningPlan { kind: 99, ..Default::default() }.kind(), v1::PlanKind::Unspecified);
    }
}
