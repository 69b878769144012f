//! Who belongs to the fleet: pending enrolments, judged here, and the next roster.

mod next;
mod pending;

pub(crate) use next::hand_in;
pub use next::{
    Next, follow_winner, list, list_automatic, listing, renew, renewal, replacing, retire, retirement, revoking, same,
    submit,
};
pub use pending::{Double, Eligibility, Pending, doubles, judge_enrolments, pending, verify_enrolments};
