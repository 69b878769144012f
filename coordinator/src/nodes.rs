//! What nodes report: their newest facts, the history of some, and what they mean.

pub(crate) mod health;
pub(crate) mod history;
pub(crate) mod reports;
pub(crate) mod served;
pub(crate) mod summary;
