//! How far the numbers of plans, and of decisions about a node, may jump.

use crate::{
    document::Roster,
    id::{Epoch, Seq},
    refusal::{Refusal, Refused},
};

/// A number is at most this much above the highest that is known: a fleet that made a plan each hour for a year stays
/// below it, and one key cannot use up the numbers of an epoch, or those of the decisions about a node.
pub const MAX_JUMP: u64 = 10_000;

/// Whether a number may follow `held`, the highest that is known in `epoch`, or the one that the newest roster names,
/// whichever is higher: a node that was away for long learns from the roster how far the numbers came.
pub fn check_jump(epoch: Epoch, held: Seq, roster: Option<&Roster>, seq: Seq) -> Result<(), Refused> {
    let base = base(epoch, held, roster);
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

/// Whether the next number is taken above `ahead`, which only a node signed that it holds: half as far as numbers may
/// jump, so that a node that lies leads nobody to a number that others refuse.
pub fn may_be_ahead(epoch: Epoch, held: Seq, roster: Option<&Roster>, ahead: Seq) -> bool {
    ahead > held && ahead.0 <= base(epoch, held, roster).0.saturating_add(MAX_JUMP / 2)
}

fn base(epoch: Epoch, held: Seq, roster: Option<&Roster>) -> Seq {
    held.max(roster.filter(|r| r.epoch == epoch).map_or(Seq(0), |r| r.plan_seq))
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

    #[test]
    fn what_a_node_holds_raises_the_next_number_within_what_other_nodes_take() {
        let ahead = |held, ahead| may_be_ahead(Epoch(1), Seq(held), None, Seq(ahead));
        assert!(ahead(40, 42) && ahead(40, 40 + MAX_JUMP / 2));
        assert!(!ahead(42, 42) && !ahead(42, 40), "it is no news");
        assert!(!ahead(40, 41 + MAX_JUMP / 2) && !ahead(40, u64::MAX), "a node that lies uses up no numbers");
    }
}
