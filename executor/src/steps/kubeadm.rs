//! Steps of a kubeadm cluster's life: bootstrap, admit, join, revoke, upgrade, and the kubelet's restart.

mod admit;
mod backups;
mod bootstrap;
mod complete;
mod join;
mod kubelet;
mod material;
mod revoke;
mod run;
mod snapshot;
#[cfg(test)]
mod tests;
mod upgrade;
