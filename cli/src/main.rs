//! The binary `hostler`: parses, runs, prints the error and exits with its code.

use std::process::ExitCode;

use clap::Parser as _;
use hostler_cli::{args::Cli, command, output};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let form = cli.global.output;
    let environment: Vec<(String, String)> =
        std::env::vars_os().filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?))).collect();
    // One thread: the command mostly waits, and it starts faster.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            output::note(&format!("hostler: cannot start: {e}; raise the limit of open files"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(command::run(cli, &environment)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::failure(form, &error);
            ExitCode::from(error.exit_code())
        }
    }
}
