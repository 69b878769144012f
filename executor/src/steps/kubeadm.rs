//! Steps of a kubeadm cluster's life: bootstrap, admit, join, revoke, upgrade, the kubelet's restart, expel and reset.

mod admit;
mod backups;
mod bootstrap;
mod complete;
mod expel;
mod join;
mod kubelet;
mod material;
mod reset;
mod revoke;
mod run;
mod snapshot;
#[cfg(test)]
mod tests;
mod upgrade;
