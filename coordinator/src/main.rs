//! `hostler-coordinator`.

use std::process::ExitCode;

use clap::Parser as _;
use hostler_coordinator::command::{Arguments, main as run};
use hostler_plan::text::clean_lines;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Each of its errors says its cause by itself.
            eprintln!("hostler-coordinator: {}", clean_lines(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}
