//! Completion scripts and man pages, from the definition of the command line.

use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::aot;

use crate::{
    args::{Cli, Shell},
    error::Error,
    output,
};

/// `hostler completions SHELL`
pub fn completions(shell: Shell) -> Result<(), Error> {
    let mut script = Vec::new();
    let mut command = Cli::command();
    let shell = match shell {
        Shell::Bash => aot::Shell::Bash,
        Shell::Zsh => aot::Shell::Zsh,
        Shell::Fish => aot::Shell::Fish,
    };
    aot::generate(shell, &mut command, "hostler", &mut script);
    output::file(&script)
}

/// `hostler man DIR`: `hostler.1` and one page for each command, such as `hostler-plan-upgrade.1`.
pub fn man(directory: &Path) -> Result<(), Error> {
    let failed = |e| Error::file("write", directory, e);
    std::fs::create_dir_all(directory).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), directory).map_err(failed)
}
