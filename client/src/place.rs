//! Which words of a command line are sources, which is the place, and what each source is called there; or what is asked
//! for, and what it is called here.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use ferry_proto::{Fingerprint, Invite, RelPath, escape};
use ferry_session::send::Stream;

use crate::{
    config::Sources,
    exit::Failure,
    getting::Wanted,
    remotes::{Remote, Remotes, is_name},
    streams::{FromCommand, Stdin},
};

/// Where to send.
#[derive(Debug, Clone)]
pub(crate) enum Server {
    /// A known server.
    Remote(Remote),
    /// A server that is known by an invite, and will be paired with.
    Invite(Invite),
}

impl Server {
    /// Its key.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        match self {
            Server::Remote(remote) => remote.fingerprint,
            Server::Invite(invite) => invite.fingerprint,
        }
    }

    /// How it is reached, and the invite that is spent there.
    pub(crate) fn into_parts(self) -> (Vec<String>, Option<Invite>) {
        match self {
            Server::Remote(remote) => (remote.addresses, None),
            Server::Invite(invite) => (invite.addresses.clone(), Some(invite)),
        }
    }
}

/// A server, and a folder there.
#[derive(Debug, Clone)]
struct Place {
    server: Server,
    folder: Option<RelPath>,
}

/// Something to send, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SourceArg {
    /// Bytes that can be read once.
    Stream(RelPath, StreamArg),
    /// A tree. With no base what is in it goes to the top level.
    Tree { root: PathBuf, base: Option<RelPath> },
}

/// Where such bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StreamArg {
    /// Standard input.
    Stdin,
    /// What a command writes.
    Command(OsString),
}

impl StreamArg {
    pub(crate) fn open(&self) -> Arc<dyn Stream> {
        match self {
            StreamArg::Stdin => Arc::new(Stdin),
            StreamArg::Command(command) => Arc::new(FromCommand::new(command)),
        }
    }
}

/// What is here and where it goes: the server, and each source with what it is called there.
/// Where the words name no place, `pick` says which of the known servers is meant.
pub(crate) fn send(
    sources: Sources,
    remotes: &Remotes,
    pick: impl FnOnce(&Remotes) -> Result<String, Failure>,
) -> Result<(Server, Vec<SourceArg>), Failure> {
    let (server, _, named) = send_into(sources, remotes, false, pick)?;
    Ok((server, named))
}

/// The same with the folder at the server that everything goes to. Where a layout names files, two sources may have one
/// name.
pub(crate) fn send_into(
    sources: Sources,
    remotes: &Remotes,
    is_laid_out: bool,
    pick: impl FnOnce(&Remotes) -> Result<String, Failure>,
) -> Result<(Server, Option<RelPath>, Vec<SourceArg>), Failure> {
    let Sources { words, command, to, usual_place, dir, name } = sources;
    let least = if command.is_some() { 0 } else { 1 };
    let (words, Place { server, folder }) =
        split(words, least, to.as_deref(), usual_place.as_deref(), dir, remotes, pick)?;
    let named = match command {
        None => name_sources(&words, folder.as_ref(), name.as_ref(), is_laid_out)?,
        Some(command) => vec![name_command(&words, command, folder.as_ref(), name)?],
    };
    Ok((server, folder, named))
}

/// Splits the words into sources, of which there are some number at least, and the place, which is the last word, or `to`,
/// or else `usual`, or else what `pick` says.
fn split(
    mut words: Vec<OsString>,
    least: usize,
    to: Option<&str>,
    usual: Option<&str>,
    dir: Option<RelPath>,
    remotes: &Remotes,
    pick: impl FnOnce(&Remotes) -> Result<String, Failure>,
) -> Result<(Vec<OsString>, Place), Failure> {
    let mut place = None;
    if words.len() > least
        && let Some(last) = words.last().and_then(|word| word.to_str())
        && let Some(found) = parse(last, remotes)?
    {
        let is_file = !last.contains("://") && Path::new(last).symlink_metadata().is_ok();
        let (shown, named) = (escape::text(last), escape::text(last.split(':').next().unwrap_or(last)));
        match (is_file, to) {
            (true, None) => {
                return Err(Failure::usage(format!(
                    "`{shown}` is a file here and a place too: write `./{shown}` for the file, or `--to {shown}` for \
                     the place",
                )));
            }
            // The place is said, so this is the file.
            (true, Some(_)) => {}
            (false, Some(_)) => {
                return Err(Failure::usage(format!("two places: `{named}` as the last word, and --to")));
            }
            (false, None) => place = Some(found),
        }
    }
    if place.is_some() {
        words.pop();
    }
    let place = match (place, to.or(usual)) {
        (Some(place), _) => place,
        (None, Some(to)) => parse(to, remotes)?.ok_or_else(|| unknown(to, remotes))?,
        (None, None) => {
            refuse_what_was_meant_as_place(&words, remotes)?;
            let name = pick(remotes)?;
            parse(&name, remotes)?.ok_or_else(|| unknown(&name, remotes))?
        }
    };
    let folder = match (place.folder, dir) {
        (Some(folder), Some(dir)) => {
            Some(folder.join(&dir).map_err(|error| Failure::usage(format!("--dir {dir}: {error}")))?)
        }
        (folder, dir) => folder.or(dir),
    };
    Ok((words, Place { folder, ..place }))
}

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) server: Server,
    pub(crate) wanted: Vec<Wanted>,
    /// Where it goes.
    pub(crate) to: PathBuf,
}

/// Splits the words into what is asked for, all of it at one server, and where it goes: the last word, if that is no place.
pub(crate) fn ask(
    mut words: Vec<OsString>,
    name: Option<&RelPath>,
    remotes: &Remotes,
) -> Result<Asked, Failure> {
    let is_place = |word: &mut OsString| word.as_bytes().contains(&b':') && asked_at(word, remotes).is_some();
    let to = match words.len() {
        0 | 1 => None,
        _ => words.pop_if(|last| !is_place(last)),
    };
    if let Some(typo) = to.as_ref().and_then(|to| to.to_str()).filter(|to| to.contains(':'))
        && is_name(typo.split(':').next().unwrap_or(typo))
        && Path::new(typo).symlink_metadata().is_err()
    {
        return Err(unknown(typo, remotes));
    }
    let to = PathBuf::from(to.unwrap_or_else(|| ".".into()));
    if name.is_some() && words.len() != 1 {
        return Err(Failure::usage("--name goes with one thing to get"));
    }
    let (mut at, mut wanted): (Option<Server>, Vec<Wanted>) = (None, Vec::new());
    for word in &words {
        let (server, path) =
            asked_at(word, remotes).ok_or_else(|| unknown(&word.to_string_lossy(), remotes))?;
        let server = server?;
        if at.as_ref().is_some_and(|at| at.fingerprint() != server.fingerprint()) {
            return Err(Failure::usage("two servers: get from one after the other"));
        }
        at = Some(server);
        let next = want(word, path, name)?;
        if let Some(other) = wanted.iter().find(|other| other.meets(&next)) {
            let of =
                |wanted: &Wanted| wanted.path.as_ref().map_or("everything".to_owned(), RelPath::to_string);
            return Err(Failure::usage(format!(
                "{} and {} would get into each other's way: get one after the other, into different folders",
                of(other),
                of(&next)
            )));
        }
        wanted.push(next);
    }
    let server = at.ok_or_else(|| Failure::usage("get what?"))?;
    Ok(Asked { server, wanted, to })
}

/// A server, and something there.
pub(crate) fn one(word: &OsStr, remotes: &Remotes) -> Result<(Server, Option<RelPath>), Failure> {
    let (server, path) = asked_at(word, remotes).ok_or_else(|| unknown(&word.to_string_lossy(), remotes))?;
    Ok((server?, want(word, path, None)?.path))
}

/// The server that a word names, and what there, if it names one.
fn asked_at<'a>(word: &'a OsStr, remotes: &Remotes) -> Option<(Result<Server, Failure>, &'a [u8])> {
    let bytes = word.as_bytes();
    if bytes.starts_with(b"ferry://") {
        let invite = word.to_string_lossy().parse::<Invite>();
        let invite = invite.map(Server::Invite).map_err(|error| Failure::usage(format!("{error}")));
        return Some((invite, b""));
    }
    let (name, path) = match bytes.iter().position(|&b| b == b':') {
        Some(colon) => (&bytes[..colon], &bytes[colon + 1..]),
        None => (bytes, &b""[..]),
    };
    let remote = remotes.find(std::str::from_utf8(name).ok()?)?;
    Some((Ok(Server::Remote(remote.clone())), path))
}

/// As with rsync: `a/b` becomes `b` here, and `a/b/` what is in it.
fn want(word: &OsStr, path: &[u8], name: Option<&RelPath>) -> Result<Wanted, Failure> {
    let is_contents = path.ends_with(b"/");
    let path = match path {
        b"" | b"." | b"./" => None,
        path => {
            let bad = |error| Failure::usage(format!("{}: {error}", escape::bytes(word.as_bytes())));
            Some(RelPath::new(path.strip_suffix(b"/").unwrap_or(path)).map_err(bad)?)
        }
    };
    let own = path.as_ref().filter(|_| !is_contents).and_then(|path| RelPath::new(path.name()).ok());
    Ok(Wanted { path, name: name.cloned().or(own), is_contents })
}

/// What a command writes is the one source.
fn name_command(
    words: &[OsString],
    command: OsString,
    folder: Option<&RelPath>,
    name: Option<RelPath>,
) -> Result<SourceArg, Failure> {
    if let Some(word) = words.first() {
        let word = escape::bytes(word.as_bytes());
        return Err(Failure::usage(format!("{word}: what --from-command writes is the one source")));
    }
    let name = name.ok_or_else(|| {
        Failure::usage("--from-command needs --name: what shall be called what the command writes?")
    })?;
    let whole = folder.map_or(Ok(name.clone()), |folder| folder.join(&name));
    let whole = whole.map_err(|error| Failure::usage(format!("{name}: {error}")))?;
    Ok(SourceArg::Stream(whole, StreamArg::Command(command)))
}

/// What each source is called at the place.
fn name_sources(
    words: &[OsString],
    folder: Option<&RelPath>,
    name: Option<&RelPath>,
    is_laid_out: bool,
) -> Result<Vec<SourceArg>, Failure> {
    if name.is_some() && words.len() != 1 {
        return Err(Failure::usage("--name goes with one source"));
    }
    let mut named: Vec<SourceArg> = Vec::new();
    for word in words {
        let source = name_source(word, folder, name)?;
        if let Some(twin) = named.iter().find(|other| !is_laid_out && would_mix(other, &source)) {
            let (SourceArg::Tree { base: Some(base), .. } | SourceArg::Stream(base, _)) = twin else {
                continue;
            };
            return Err(Failure::usage(format!(
                "two sources would both become {base}: send them one after the other, into different folders"
            )));
        }
        named.push(source);
    }
    Ok(named)
}

fn name_source(word: &OsStr, folder: Option<&RelPath>, name: Option<&RelPath>) -> Result<SourceArg, Failure> {
    let below = |name: &[u8]| match folder {
        Some(folder) => folder.join(name),
        None => RelPath::new(name),
    };
    let named = |bytes: &[u8]| {
        below(bytes).map_err(|error| Failure::usage(format!("{}: {error}", escape::bytes(bytes))))
    };
    if word == "-" {
        let name =
            name.ok_or_else(|| Failure::usage("`-` needs --name: what shall standard input be called?"))?;
        return Ok(SourceArg::Stream(named(name.as_bytes())?, StreamArg::Stdin));
    }
    let root = PathBuf::from(word);
    if let Some(name) = name {
        return Ok(SourceArg::Tree { root, base: Some(named(name.as_bytes())?) });
    }
    let base = match own_name(word) {
        None => folder.cloned(),
        Some(name) => Some(named(name)?),
    };
    Ok(SourceArg::Tree { root, base })
}

/// What a source is called by itself. As with rsync, `a/b/`, `.`, `..` and `/` mean what is in them, which has no name.
pub(crate) fn own_name(source: &OsStr) -> Option<&[u8]> {
    let last = source.as_bytes().rsplit(|&b| b == b'/').next()?;
    (!matches!(last, b"" | b"." | b"..")).then_some(last)
}

/// Whether nothing of it lies where a server, or a run that gets files, keeps its own: moved to that server, the one copy
/// that there is would be taken for two.
pub(crate) fn may_be_moved(source: &SourceArg) -> Result<(), Failure> {
    let SourceArg::Tree { root, .. } = source else { return Ok(()) };
    // What is not there is told by the walk.
    let Ok(whole) = std::fs::canonicalize(root) else { return Ok(()) };
    match inbox_around(&whole) {
        None => Ok(()),
        Some(inbox) => Err(Failure::usage(format!(
            "{} lies in {}, which is the inbox of a server: --move takes nothing from there",
            escape::bytes(root.as_os_str().as_bytes()),
            escape::bytes(inbox.as_os_str().as_bytes())
        ))),
    }
}

/// The folder, or one above it, in which a server, or a run that gets files, keeps its own.
pub(crate) fn inbox_around(folder: &Path) -> Option<&Path> {
    folder.ancestors().find(|folder| folder.join(".ferry").is_dir())
}

/// Whether one of the two would take the place of the other. Two folders are merged, as with rsync.
fn would_mix(one: &SourceArg, other: &SourceArg) -> bool {
    let base = |source: &SourceArg| match source {
        SourceArg::Stream(path, _) => Some(path.clone()),
        SourceArg::Tree { base, .. } => base.clone(),
    };
    let is_folder = |source: &SourceArg| match source {
        SourceArg::Stream(..) => false,
        SourceArg::Tree { root, .. } => root.is_dir(),
    };
    base(one).is_some() && base(one) == base(other) && !(is_folder(one) && is_folder(other))
}

/// A place, if the text is one: `NAME[:PATH]` of a known remote, or a link.
fn parse(text: &str, remotes: &Remotes) -> Result<Option<Place>, Failure> {
    if text.starts_with("ferry://") {
        let invite: Invite = text.parse().map_err(|error| Failure::usage(format!("{error}")))?;
        return Ok(Some(Place { server: Server::Invite(invite), folder: None }));
    }
    let (name, path) = match text.split_once(':') {
        Some((name, path)) => (name, path),
        None => (text, ""),
    };
    let Some(remote) = remotes.find(name) else { return Ok(None) };
    let path = path.trim_end_matches('/');
    let folder = match path {
        "" => None,
        path => Some(crate::config::path(OsStr::new(path), &format!("{name}:"))?),
    };
    Ok(Some(Place { server: Server::Remote(remote.clone()), folder }))
}

fn unknown(text: &str, remotes: &Remotes) -> Failure {
    let name = text.split(':').next().unwrap_or(text);
    Failure::usage(format!("no server is known as `{}` here{}", escape::text(name), known(remotes)))
}

/// Words that name no place, of which one looks as if it should: nobody wants a guess then.
fn refuse_what_was_meant_as_place(words: &[OsString], remotes: &Remotes) -> Result<(), Failure> {
    let looks_like_place =
        words.last().filter(|_| words.len() > 1).and_then(|word| word.to_str()).filter(|word| {
            let name = word.split(':').next().unwrap_or(word);
            is_name(name) && Path::new(word).symlink_metadata().is_err()
        });
    let is_alone = words.first().filter(|_| words.len() == 1).and_then(|word| word.to_str());
    match looks_like_place {
        _ if is_alone.is_some_and(|word| matches!(parse(word, remotes), Ok(Some(_)))) => {
            Err(Failure::usage("send what? Name files or folders in front of the place"))
        }
        Some(word) => Err(unknown(word, remotes)),
        None => Ok(()),
    }
}

fn known(remotes: &Remotes) -> String {
    let names: Vec<&str> = remotes.all().map(|(name, _)| name).collect();
    match names.is_empty() {
        true => {
            "; none is known yet: `ferryd invite` on the server prints a link for `ferry pair`".to_owned()
        }
        false => format!("; known: {}", names.join(", ")),
    }
}
