pub mod ca;
pub mod data_dir;
pub mod ledger;
pub mod settings;
