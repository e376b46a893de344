//! The program `ferry`.

use std::process::ExitCode;

use clap::Parser;
use ferry_client::cli::Cli;

fn main() -> ExitCode {
    let done = Cli::parse().resolve().and_then(ferry_client::run);
    match done {
        Ok(code) => code.into(),
        Err(failure) => {
            eprintln!("ferry: {failure}");
            failure.code.into()
        }
    }
}
