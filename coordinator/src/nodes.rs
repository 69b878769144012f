//! What nodes report: their newest facts, the history of some, and what they mean.

pub mod history;
pub mod judge;
pub mod live;
pub mod summary;
