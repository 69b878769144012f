//! Steps of a kubeadm cluster's life: bootstrap, admit, join, revoke, upgrade, the kubelet's restart, renew, expel and
//! reset; snapshots of etcd, and the restore from one.

mod admit;
mod backups;
mod bare;
mod bootstrap;
mod certify;
mod complete;
mod component;
mod configure;
mod configure_kubelet;
mod encryption;
mod expel;
mod forget;
mod join;
mod kubelet;
mod material;
mod noted;
mod reach;
mod receive;
mod renew;
mod reset;
mod restart;
mod restore;
mod restored;
mod revoke;
mod run;
mod seed;
mod snapshot;
mod start;
mod stop;
#[cfg(test)]
mod tests;
mod upgrade;
