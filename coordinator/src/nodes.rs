//! What nodes report: their newest facts, the history of some, and what they mean.

pub mod health;
pub mod history;
pub mod reports;
pub mod served;
pub mod summary;
