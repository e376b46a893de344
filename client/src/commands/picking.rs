//! Which server is meant where the command line names none: the only one there is, or the one that somebody at a terminal
//! picks.

use std::{
    collections::BTreeSet,
    io::{self, BufRead, IsTerminal, Write},
    time::Duration,
};

use ferry_proto::announcement::Prefix;
use tokio::time::Instant;

use crate::{discovery::Browse, exit::Failure, output::to_stderr, remotes::Remotes};

/// How long it is looked which of them are on this network, before somebody is asked: what is there answers within a tenth of
/// a second.
const GLANCE: Duration = Duration::from_millis(800);

/// How somebody is asked.
pub(super) struct Picking {
    /// Standard input has something else on it.
    pub(super) reads_stdin: bool,
    /// Say nothing of a server that needs no asking.
    pub(super) quiet: bool,
}

impl Picking {
    /// The name of the server that is meant.
    pub(super) fn pick(&self, remotes: &Remotes) -> Result<String, Failure> {
        let names: Vec<&str> = remotes.all().map(|(name, _)| name).collect();
        match names[..] {
            [] => Err(Failure::usage(
                "no server is paired with yet: `ferryd invite` on the server prints a link for `ferry pair` here; \
                 `ferry discover` lists the servers of this network",
            )),
            [name] => {
                if !self.quiet {
                    to_stderr(&format!("to {name}, the one server that is paired with"));
                }
                Ok(name.to_owned())
            }
            _ if self.reads_stdin || !io::stdin().is_terminal() || !io::stderr().is_terminal() => Err(
                Failure::usage(format!("to which server? Name one last, or with --to: {}", names.join(", "))),
            ),
            _ => ask(&names, remotes),
        }
    }
}

/// Asks until one of them is picked, by its number or its name.
fn ask(names: &[&str], remotes: &Remotes) -> Result<String, Failure> {
    let seen = seen(remotes);
    for (number, name) in names.iter().enumerate() {
        let hint = if seen.contains(*name) { "  (announced on this network)" } else { "" };
        to_stderr(&format!("{:>3}  {name}{hint}", number + 1));
    }
    loop {
        let _ = write!(io::stderr(), "to which server? ");
        let mut line = String::new();
        match io::stdin().lock().read_line(&mut line) {
            Ok(0) => return Err(Failure::usage("no server was picked")),
            Ok(_) => {}
            Err(error) => return Err(Failure::local(format!("cannot read standard input: {error}"))),
        }
        let answer = line.trim();
        let by_number = answer.parse().ok().and_then(|number: usize| names.get(number.checked_sub(1)?));
        if let Some(name) = names.iter().find(|name| **name == answer).or(by_number) {
            return Ok((*name).to_owned());
        }
        to_stderr(&format!("a number from 1 to {}, or a name", names.len()));
    }
}

/// Those that seem to be on this network.
fn seen(remotes: &Remotes) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    // A hint that cannot be had is none.
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else {
        return seen;
    };
    runtime.block_on(async {
        let is_known = |prefix: &Prefix| remotes.that_may_be(Some(prefix)).is_some();
        let Ok(mut browse) = Browse::start(&is_known) else { return };
        let until = Instant::now() + GLANCE;
        while let Some(found) = browse.next(until).await {
            seen.extend(remotes.that_may_be(found.prefix.as_ref()).map(str::to_owned));
            if seen.len() == remotes.all().count() {
                break;
            }
        }
    });
    seen
}
