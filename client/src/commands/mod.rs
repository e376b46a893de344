//! The commands.

mod connections;
mod discover;
mod doctor;
mod get;
mod ls;
mod pair;
mod picking;
mod putting;
mod remotes;
mod send;
mod verify;
mod watch;

use std::io::{self, Write};

use clap::CommandFactory;

pub(crate) use self::connections::Work;
use crate::{
    cli::Cli,
    config::Command,
    exit::{Exit, Failure},
    output::unwritable,
};

/// Does what was asked for.
pub fn run(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Pair { home, link, name } => pair::run(&home, link, name.as_deref()),
        Command::Send(send) => send::run(*send),
        Command::Watch(watch) => watch::run(*watch),
        Command::Get(get) => get::run(*get),
        Command::Ls(ls) => ls::run(ls),
        Command::Verify(verify) => verify::run(*verify),
        Command::Discover(discover) => discover::run(discover),
        Command::Doctor(doctor) => doctor::run(doctor),
        Command::Remotes(home) => remotes::list(&home),
        Command::Forget(home, name) => remotes::forget(&home, &name),
        Command::Completions(shell) => completions(shell),
    }
}

fn completions(shell: clap_complete::Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ferry", &mut script);
    match io::stdout().write_all(&script) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(unwritable(&error)),
        _ => Ok(Exit::Well),
    }
}
