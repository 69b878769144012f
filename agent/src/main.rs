//! `hostler-agent`.

use std::process::ExitCode;

use clap::Parser as _;
use hostler_agent::command::{Arguments, main as run};
use hostler_daemon::memory;
use hostler_plan::text::clean_lines;

fn main() -> ExitCode {
    memory::share_one_heap();
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Each of its errors says its cause by itself.
            eprintln!("hostler-agent: {}", clean_lines(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}
