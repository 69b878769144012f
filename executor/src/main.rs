//! `hostler-executor`.

use std::process::ExitCode;

use clap::Parser as _;
use hostler_daemon::memory;
use hostler_executor::command::{Arguments, main as run};
use hostler_plan::text::clean_lines;

fn main() -> ExitCode {
    memory::share_one_heap();
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Each of its errors says its cause by itself.
            eprintln!("hostler-executor: {}", clean_lines(&error.to_string()));
            ExitCode::from(error.exit_code())
        }
    }
}
