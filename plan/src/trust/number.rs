//! How far the numbers of plans may jump.

use crate::{
    document::Roster,
    id::{Epoch, Seq},
    refusal::{Refusal, Refused},
};

/// A plan's number is at most this much above the highest that is known: a fleet that made a plan each hour for a year
/// stays below it, and one key cannot use up the numbers of an epoch.
pub const MAX_JUMP: u64 = 10_000;

/// Whether a number may follow `held`, the highest that is known in `epoch`, or the one that the newest roster names,
/// whichever is higher: a node that was away for long learns from the roster how far the numbers came.
pub fn check_jump(epoch: Epoch, held: Seq, roster: Option<&Roster>, seq: Seq) -> Result<(), Refused> {
    let named = roster.filter(|r| r.epoch == epoch).map_or(Seq(0), |r| r.plan_seq);
    let base = held.max(named);
    let most = Seq(base.0.saturating_add(MAX_JUMP));
    if seq <= most {
        return Ok(());
    }
    Err(Refused::new(
        Refusal::Replay,
        format!(
            "expected a plan number of at most {most}, {MAX_JUMP} above {base}, found {seq}; offer the newest roster \
                first, or make the plan again"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_jumps_only_so_far_from_what_is_known() {
        let check = |held, seq| check_jump(Epoch(1), Seq(held), None, Seq(seq));
        assert_eq!(check(42, 43), Ok(()));
        assert_eq!(check(42, 42 + MAX_JUMP), Ok(()));
        assert_eq!(check(42, 43 + MAX_JUMP).map_err(|r| r.refusal), Err(Refusal::Replay));
        assert_eq!(check(0, u64::MAX).map_err(|r| r.refusal), Err(Refusal::Replay));
        assert_eq!(check(u64::MAX, u64::MAX), Ok(()), "the sum does not wrap");
    }
}
