//! `hostler-agent`.

use std::process::ExitCode;

use clap::Parser as _;
use hostler_agent::{
    command::{Arguments, main as run},
    memory,
};

fn main() -> ExitCode {
    memory::share_one_heap();
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Each of its errors says its cause by itself.
            eprintln!("hostler-agent: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
