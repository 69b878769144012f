//! `hostler-coordinator`.

use std::process::ExitCode;

use clap::Parser as _;
use hostler_coordinator::command::{Arguments, main as run};

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Each of its errors says its cause by itself.
            eprintln!("hostler-coordinator: {error}");
            ExitCode::FAILURE
        }
    }
}
