//! `hostler-coordinator`.

use std::process::ExitCode;

use clap::Parser as _;
use hostler_coordinator::command::{Arguments, main as run};

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hostler-coordinator: {:#}", anyhow::Error::from(error));
            ExitCode::FAILURE
        }
    }
}
