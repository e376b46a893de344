//! `ferry pair`: gets to know a server by an invite, and lets it get to know this client.

use std::io::{IsTerminal, Write};

use ferry_proto::{Code, Invite};
use ferry_session::{greet, identity::Identity};

use crate::{
    config::{Home, LinkFrom},
    dial::{DialError, Dialer, Session},
    exit::{Exit, Failure},
    output::to_stderr,
    remotes::{Remotes, is_name},
};

pub(super) fn run(home: &Home, link: LinkFrom, name: Option<&str>) -> Result<Exit, Failure> {
    if let Some(name) = name.filter(|name| !is_name(name)) {
        return Err(Failure::usage(format!(
            "--as {name}: a name has letters, digits, `.`, `_` and `-` only, and begins with no dash"
        )));
    }
    let invite: Invite = match link {
        LinkFrom::Argument(link) => link,
        LinkFrom::Stdin => read_line()?,
        LinkFrom::Prompt => {
            if std::io::stdin().is_terminal() {
                let _ = write!(std::io::stderr(), "invite link: ");
            }
            read_line()?
        }
    }
    .parse()
    .map_err(|error| Failure::usage(format!("{error}")))?;
    let identity =
        Identity::load_or_create(&home.identity).map_err(|error| Failure::local(error.to_string()))?;
    let mut remotes = Remotes::load(&home.config)?;
    let dialer = Dialer::new(
        &identity,
        home,
        invite.addresses.clone(),
        invite.fingerprint,
        Some(invite.secret.clone()),
        None,
    )?
    .telling(to_stderr);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::local(format!("cannot start the runtime: {error}")))?;
    let welcome = runtime.block_on(async {
        match dialer.dial().await {
            Ok(Session { incoming, outbox, welcome, notes }) => {
                notes.iter().for_each(|note| to_stderr(note));
                greet::farewell(incoming, outbox, Code::Bye, "").await;
                Ok(welcome)
            }
            Err(DialError::Later(sentence)) => Err(Failure::new(Exit::Unreachable, sentence)),
            Err(DialError::Final(failure)) => Err(failure),
        }
    })?;
    let invite = dialer.as_it_is_now(&invite);
    let before = remotes.with_key(invite.fingerprint).map(|(name, _)| name.to_owned());
    let name = remotes.add(&invite, name, &welcome.name)?;
    if let Some(before) = before.filter(|before| *before != name) {
        to_stderr(&format!("this server was known as `{before}` here; that name is gone"));
    }
    let next = match welcome.grant.put {
        true => format!("; `ferry send PHOTOS {name}:` sends to it"),
        false => String::new(),
    };
    to_stderr(&format!("paired: the server is known as `{name}` here{next}"));
    Ok(Exit::Well)
}

fn read_line() -> Result<String, Failure> {
    let mut line = String::new();
    match std::io::stdin().read_line(&mut line) {
        Ok(0) => Err(Failure::usage("no invite link was given")),
        Ok(_) => Ok(line),
        Err(error) => Err(Failure::local(format!("cannot read standard input: {error}"))),
    }
}
