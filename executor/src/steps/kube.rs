//! Steps on the cluster: cordon, drain, uncordon, whose a cordon is, giving a dead node up, forgetting one, and the
//! wait until a node is Ready.

mod apply;
mod cordon;
mod describe;
mod drain;
mod out_of_service;
mod owner;
mod ready;
mod remove_node;
mod removed_apis;
mod subject;
mod uncordon;

pub(crate) use subject::check_machine;
