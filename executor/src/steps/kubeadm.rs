//! Steps of a kubeadm cluster's life: bootstrap, admit, join, revoke, upgrade, the kubelet's restart, renew, expel and
//! reset.

mod admit;
mod backups;
mod bootstrap;
mod complete;
mod expel;
mod join;
mod kubelet;
mod material;
mod renew;
mod reset;
mod restart;
mod revoke;
mod run;
mod snapshot;
#[cfg(test)]
mod tests;
mod upgrade;
