//! Fleet files of clusters that are there already: from what a server read of its own, or from the inventory of
//! another tool.

mod answer;
mod cluster;
mod defaults;
mod draft;
pub mod inventory;
mod secret;
mod settings;

pub use answer::{
    Addon, Answer, AnswerNode, AnswerType, COMPONENTS, Etcd, Image, MAX_ANSWER_BYTES, MachineFacts, Made, Program,
    READ_DIGEST, READ_SEALED, Settings, Volume,
};
pub use cluster::{Enrolled, fleet_file};
pub use draft::{Entry, FileDraft, Table};
pub use secret::{mask, may_be_secret};
