//! The commands.

mod connections;
mod get;
mod ls;
mod pair;
mod remotes;
mod send;
mod verify;
mod watch;

pub(crate) use self::connections::Work;
use crate::{
    config::Command,
    exit::{Exit, Failure},
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
        Command::Remotes(home) => remotes::list(&home),
        Command::Forget(home, name) => remotes::forget(&home, &name),
    }
}
