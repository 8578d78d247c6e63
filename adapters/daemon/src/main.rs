//! `s2sd` federates XEP-0114 components over XMPP server-to-server streams.

mod bridge;
mod certificates;
mod config;
mod demo;
mod explain;
mod failure;
mod init;
mod listeners;
mod loaded;
mod log;
#[cfg(test)]
mod manual;
mod metrics;
mod pem;
mod reload;
mod runtime;
mod serve;
mod server;
mod signals;
mod trust;
mod watch;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;
use runtime::Runtime;

/// Federates XEP-0114 components over XMPP server-to-server streams.
#[derive(Debug, Parser)]
#[command(name = "s2sd", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show two complete servers federate in this process. The default.
    Demo {
        /// Print one JSON object in place of the table; what happens goes to stderr.
        #[arg(long)]
        json: bool,
        /// What drives the servers.
        #[arg(long, value_enum, default_value_t)]
        runtime: Runtime,
        /// How many nodes each server has.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
        nodes: u16,
        /// Keep the servers up until a signal comes, and let a program of yours join: what it needs is written to this
        /// directory, which is made if it is not there. Nothing is written over.
        #[arg(long, value_name = "DIRECTORY", conflicts_with = "json")]
        guest: Option<PathBuf>,
    },
    /// Serve the hosts of a configuration.
    Serve {
        /// The configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Tell how streams with a domain are treated, and which options decide that.
    Explain {
        /// The configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
        /// The remote domain.
        domain: String,
    },
    /// Write a configuration for a domain, and tell what remains to be done.
    Init {
        /// The domain.
        domain: String,
    },
}

/// What is run without arguments.
const DEMO: Command = Command::Demo { json: false, runtime: Runtime::Smol, nodes: 1, guest: None };

fn main() -> ExitCode {
    let command = Arguments::parse().command.unwrap_or(DEMO);
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            for line in failure.to_string().lines() {
                eprintln!("s2sd: {line}");
            }
            failure.exit_code()
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Demo { json, runtime, nodes, guest } => demo::run(json, runtime, nodes.into(), guest.as_deref()),
        Command::Serve { config } => serve::serve(&config),
        Command::Explain { config, json, domain } => print(&explain::explain(&config, &domain, json)?),
        Command::Init { domain } => print(&init::init(&domain, Path::new(""))?),
    }
}

fn print(text: &str) -> Result<(), Failure> {
    std::io::stdout().write_all(text.as_bytes()).map_err(Failure::runtime("stdout cannot be written"))
}
