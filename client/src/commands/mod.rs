//! The commands.

mod pair;
mod remotes;
mod send;

use crate::{
    config::Command,
    exit::{Exit, Failure},
};

/// Does what was asked for.
pub fn run(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Pair { home, link, name } => pair::run(&home, link, name.as_deref()),
        Command::Send(send) => send::run(*send),
        Command::Remotes(home) => remotes::list(&home),
        Command::Forget(home, name) => remotes::forget(&home, &name),
    }
}
