//! Steps of a K3s cluster's life: bootstrap, admit, join, upgrade.

mod admit;
mod bootstrap;
mod join;
mod upgrade;
