//! The program `ferry`.

use std::{io::Write, process::ExitCode};

use clap::Parser;
use ferry_client::cli::Cli;

fn main() -> ExitCode {
    let done = Cli::parse().resolve().and_then(ferry_client::run);
    match done {
        Ok(code) => code.into(),
        Err(failure) => {
            // Where nobody can be told, the exit code still tells.
            let _ = writeln!(std::io::stderr(), "ferry: {failure}");
            failure.code.into()
        }
    }
}
