//! The program `ferryd`.

use std::{io::Write, process::ExitCode};

use clap::Parser;
use ferry_server::{cli::Cli, config::Command};

fn main() -> ExitCode {
    let command = match Cli::parse().resolve() {
        Ok(command) => command,
        Err(error) => return fail(&error, 2),
    };
    let result = match command {
        Command::Scrub(config, terms) => {
            return match ferry_server::scrub(&config, &terms) {
                Ok(code) => ExitCode::from(code),
                Err(error) => fail(&error, 1),
            };
        }
        Command::Serve(config) => ferry_server::serve(config),
        Command::Invite(config, terms) => ferry_server::invite(&config, terms),
        Command::Clients(config, json) => ferry_server::clients(&config, json),
        Command::Revoke(config, what) => ferry_server::revoke(&config, &what),
        Command::Identity(config, qr) => ferry_server::identity(&config, qr),
        Command::Log(config, terms) => ferry_server::log_of_arrivals(&config, &terms),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, 1),
    }
}

fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    // Where nobody can be told, the exit code still tells.
    let _ = writeln!(std::io::stderr(), "ferryd: {error:#}");
    ExitCode::from(code)
}
