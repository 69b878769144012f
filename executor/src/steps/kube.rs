//! Steps on the cluster: cordon, drain, uncordon, and the wait until a node is Ready.

mod cordon;
mod drain;
mod ready;
mod subject;
mod uncordon;
