//! `hostler-demo`: the first command of the README.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use hostler_plan::id::NodeName;
use hostler_sim::demo::{self, Child, Machine, Options, Output};

/// A fleet of simulated machines lives through its life: enrolment, bootstrap, join, a rolling upgrade that fails on
/// one node and is continued, a drain, an uncordon, and a coordinator in the wrong hands. Needs no root, no network
/// and no set-up.
#[derive(Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  hostler-demo
  hostler-demo --seed 7 --fast --out /tmp/fleet
  hostler-demo --undervoltage pi-6
  hostler-demo --json | jq -c 'select(.event == \"refused\")'"
)]
struct Arguments {
    /// The fleet file [default: examples/pi-rack.toml]
    #[arg(long, value_name = "FILE")]
    fleet: Option<PathBuf>,
    /// Which node fails, and everything else that is random in the simulated world
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// The supply of this Raspberry Pi sags in the middle of the upgrade, which waits until it is good again
    #[arg(long, value_name = "NODE")]
    undervoltage: Option<NodeName>,
    /// The disks, volumes and sensors of this node are those of a recorded machine: a folder as `hostler-agent health
    /// --root` reads it
    #[arg(long, value_name = "NODE=FOLDER")]
    machine: Option<Machine>,
    /// Keep every document with its signatures, and the ledger, in this new folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// No pauses for the eye; the default without a terminal
    #[arg(long)]
    fast: bool,
    /// One JSON object a line instead of bars
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    child: Option<Child>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.map_err(Into::into).and_then(|runtime| {
        runtime.block_on(async {
            match arguments.child {
                Some(child) => demo::run_child(child).await,
                None => {
                    let output = if arguments.json { Output::Json } else { Output::People };
                    let Arguments { fleet, seed, undervoltage, machine, out, fast, .. } = arguments;
                    demo::run(&Options { fleet, seed, undervoltage, machine, out, fast, output }).await
                }
            }
        })
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hostler-demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}
