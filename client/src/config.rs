//! Arguments and environment become one plain configuration before anything starts.

use std::{
    ffi::OsString,
    io::IsTerminal,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};

use clap_complete::Shell;
use etcetera::base_strategy::{BaseStrategy, Xdg};
use ferry_proto::{Algorithm, Conflict, RelPath, Timestamp, Wants, escape, units};
use ferry_store::source::Links;

use crate::{
    choosing::Pattern,
    cli::{
        ChoiceArgs, Cli, ConflictArg, DigestArg, DiscoverArgs, DoctorArgs, GetArgs, HereArgs, LinksArg,
        LsArgs, PairArgs, PhotoArgs, PlaceArgs, ProgressArg, RemotesSub, RuleArgs, RunArgs, SendArgs, Sub,
        TransferArgs, VerifyArgs, WatchArgs,
    },
    exit::Failure,
    layout::Layout,
};

/// How often a lost connection is tried again where nobody says it.
const RETRY: u32 = 3;

/// How long servers are looked for where nobody says it: they answer within a tenth of a second, and are asked again after
/// one second and after three.
const LOOKING: Duration = Duration::from_secs(3);

/// What to do, with everything decided.
#[derive(Debug)]
pub enum Command {
    /// Get to know a server.
    Pair {
        /// Files of this client.
        home: Home,
        /// Where the link comes from.
        link: LinkFrom,
        /// The server's name here.
        name: Option<String>,
    },
    /// Send.
    Send(Box<Send>),
    /// Send what appears.
    Watch(Box<Watch>),
    /// Get back.
    Get(Box<Get>),
    /// Show what a server has.
    Ls(Ls),
    /// Compare.
    Verify(Box<Verify>),
    /// List servers that announce themselves.
    Discover(Discover),
    /// Tell why a server is not found or not reached.
    Doctor(Doctor),
    /// Show the known servers.
    Remotes(Home),
    /// Forget one.
    Forget(Home, String),
    /// Print completions.
    Completions(Shell),
}

/// Where an invite link comes from.
#[derive(Debug)]
pub enum LinkFrom {
    /// The command line.
    Argument(String),
    /// Standard input.
    Stdin,
    /// A prompt.
    Prompt,
}

/// Where this client keeps its files.
#[derive(Debug, Clone)]
pub struct Home {
    /// The known servers.
    pub config: PathBuf,
    /// The key.
    pub identity: PathBuf,
    /// The digest cache.
    pub state: PathBuf,
}

/// What is here, and where it goes, or went, as the command line says it.
#[derive(Debug)]
pub struct Sources {
    /// Sources, and perhaps the place as the last one.
    pub words: Vec<OsString>,
    /// A command that writes the one source.
    pub command: Option<OsString>,
    /// The place, when it is not the last word.
    pub to: Option<String>,
    /// The place, when nothing else names one.
    pub usual_place: Option<String>,
    /// A folder below the place.
    pub dir: Option<RelPath>,
    /// The name for the one source.
    pub name: Option<RelPath>,
}

/// Which entries are taken, as the command line says it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// By name, in their order.
    pub(crate) patterns: Vec<Pattern>,
    /// A list of names.
    pub from_file: Option<PathBuf>,
    /// They end with NUL bytes.
    pub null: bool,
    /// Bytes of files.
    pub min_size: Option<u64>,
    /// Bytes of files.
    pub max_size: Option<u64>,
    /// When files were last modified, also as it was said.
    pub newer_than: Option<(Timestamp, String)>,
    /// As `.gitignore` files say.
    pub gitignore: bool,
    /// What is on the file system of its source.
    pub one_file_system: bool,
    /// Files that are images.
    pub images: Option<Images>,
}

/// What counts as an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Images {
    /// What is one by its content.
    Real,
    /// And what only its name calls one: flawed ones are looked for.
    FlawedToo,
}

impl Choice {
    /// Whether anything is chosen at all.
    pub fn is_some(&self) -> bool {
        *self != Choice::default()
    }
}

/// What to send and how.
#[derive(Debug)]
pub struct Send {
    /// Files of this client.
    pub home: Home,
    /// What, and where.
    pub sources: Sources,
    /// Which of it.
    pub choice: Choice,
    /// Symbolic links.
    pub links: Links,
    /// What has arrived is removed here.
    pub moves: bool,
    /// Where files go, if not where they are here.
    pub(crate) layout: Option<Layout>,
    /// Pictures are decoded before they are sent.
    pub check_images: bool,
    /// How it is done.
    pub run: Run,
}

/// What to watch, and how what appears is sent.
#[derive(Debug)]
pub struct Watch {
    /// Files of this client.
    pub home: Home,
    /// The folder, and where to.
    pub sources: Sources,
    /// Which of it.
    pub choice: Choice,
    /// Symbolic links.
    pub links: Links,
    /// How long a file must be unchanged.
    pub settle: Duration,
    /// Where files go, if not where they are here.
    pub(crate) layout: Option<Layout>,
    /// Pictures are decoded before they are sent.
    pub check_images: bool,
    /// How it is done.
    pub run: Run,
}

/// What to get and how.
#[derive(Debug)]
pub struct Get {
    /// Files of this client.
    pub home: Home,
    /// What to get, and perhaps where to as the last one.
    pub words: Vec<OsString>,
    /// The name for the one thing.
    pub name: Option<RelPath>,
    /// Which of it.
    pub choice: Choice,
    /// How it is done.
    pub run: Run,
}

/// What to look at, and what of it to show.
#[derive(Debug)]
pub struct Ls {
    /// Files of this client.
    pub home: Home,
    /// Where.
    pub place: OsString,
    /// Modes, sizes and times.
    pub long: bool,
    /// Everything below.
    pub recursive: bool,
    /// Digests.
    pub digests: bool,
    /// How they are made.
    pub digest: Algorithm,
    /// Sizes in bytes.
    pub bytes: bool,
    /// One object a line.
    pub json: bool,
    /// How long without anything.
    pub timeout: Option<Duration>,
}

/// How to look for servers.
#[derive(Debug)]
pub struct Discover {
    /// Files of this client.
    pub home: Home,
    /// How long.
    pub timeout: Duration,
    /// One object a line.
    pub json: bool,
}

/// What to look at, and how.
#[derive(Debug)]
pub struct Doctor {
    /// Files of this client.
    pub home: Home,
    /// The server; all of them without one.
    pub remote: Option<String>,
    /// How long an address may take.
    pub timeout: Option<Duration>,
    /// One object a line.
    pub json: bool,
}

/// What to compare, and how.
#[derive(Debug)]
pub struct Verify {
    /// Files of this client.
    pub home: Home,
    /// What, and where.
    pub sources: Sources,
    /// Which of it.
    pub choice: Choice,
    /// The server reads its files.
    pub reread: bool,
    /// The client does.
    pub checksum: bool,
    /// How digests are made.
    pub digest: Algorithm,
    /// One object a line.
    pub json: bool,
    /// Differences alone.
    pub quiet: bool,
    /// How long without anything.
    pub timeout: Option<Duration>,
}

/// How files are sent or got.
#[derive(Debug)]
pub struct Run {
    /// Connections at a time.
    pub jobs: usize,
    /// How digests are made.
    pub digest: Algorithm,
    /// Digest everything anew.
    pub checksum: bool,
    /// Where another file has the name.
    pub on_conflict: Conflict,
    /// What is kept, or given back, beside content, times and modes.
    pub wants: Wants,
    /// Only ask.
    pub dry_run: bool,
    /// Bytes a second.
    pub limit_rate: Option<u64>,
    /// Tries after a lost connection since the last progress; `None` is for ever.
    pub retry: Option<u32>,
    /// How long without progress.
    pub timeout: Option<Duration>,
    /// Where receipts are written.
    pub receipts: Option<PathBuf>,
    /// What is told.
    pub output: Output,
}

/// What is told, and how.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// In which form.
    pub form: Form,
    /// Nothing but errors.
    pub quiet: bool,
    /// Every file.
    pub verbose: bool,
    /// Every file that was sent.
    pub each_sent: bool,
}

/// The form of what is told while it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Bars on a terminal.
    Bars,
    /// A line now and then.
    Lines,
    /// Nothing until the end.
    Silent,
    /// JSON, one object a line.
    Json,
}

impl Cli {
    /// Decides everything.
    pub fn resolve(self) -> Result<Command, Failure> {
        let home = Home::from_environment()?;
        match self.command {
            Sub::Pair(PairArgs { link, name }) => {
                let link = match link {
                    Some(dash) if dash == "-" => LinkFrom::Stdin,
                    Some(link) => LinkFrom::Argument(link),
                    None => LinkFrom::Prompt,
                };
                Ok(Command::Pair { home, link, name })
            }
            Sub::Send(args) => Ok(Command::Send(Box::new(send(home, *args)?))),
            Sub::Watch(args) => Ok(Command::Watch(Box::new(watch(home, *args)?))),
            Sub::Get(args) => Ok(Command::Get(Box::new(get(home, *args)?))),
            Sub::Ls(args) => Ok(Command::Ls(ls(home, args)?)),
            Sub::Verify(args) => Ok(Command::Verify(Box::new(verify(home, args)?))),
            Sub::Discover(DiscoverArgs { timeout, json }) => {
                let timeout = self::timeout(timeout.as_deref())?.unwrap_or(LOOKING);
                Ok(Command::Discover(Discover { home, timeout, json }))
            }
            Sub::Doctor(DoctorArgs { remote, timeout, json }) => {
                // As everywhere, a colon may follow.
                let remote = remote.map(|name| name.strip_suffix(':').map(str::to_owned).unwrap_or(name));
                Ok(Command::Doctor(Doctor {
                    home,
                    remote,
                    timeout: self::timeout(timeout.as_deref())?,
                    json,
                }))
            }
            Sub::Completions { shell } => Ok(Command::Completions(shell)),
            Sub::Remotes { command: None } => Ok(Command::Remotes(home)),
            Sub::Remotes { command: Some(RemotesSub::Remove { name }) } => Ok(Command::Forget(home, name)),
        }
    }
}

impl Home {
    fn from_environment() -> Result<Self, Failure> {
        if let Some(home) = std::env::var_os("FERRY_HOME").filter(|home| !home.is_empty()) {
            let home = PathBuf::from(home);
            return Ok(Home {
                config: home.join("config.toml"),
                identity: home.join("identity.key"),
                state: home,
            });
        }
        let xdg =
            Xdg::new().map_err(|_| Failure::local("no home folder is known: set HOME, or FERRY_HOME"))?;
        Ok(Home {
            config: xdg.config_dir().join("ferry/config.toml"),
            identity: xdg.data_dir().join("ferry/identity.key"),
            state: xdg.state_dir().unwrap_or_else(|| xdg.data_dir()).join("ferry"),
        })
    }
}

fn send(home: Home, args: SendArgs) -> Result<Send, Failure> {
    if args.moves && (args.from_command.is_some() || args.words.iter().any(|word| word == "-")) {
        return Err(Failure::usage("--move is for files: a stream is nowhere here"));
    }
    if args.moves && args.run.hard_links {
        let sentence = "--move removes names one by one: it does not go with --hard-links";
        return Err(Failure::usage(sentence));
    }
    if args.moves && matches!(args.links, LinksArg::Follow) {
        return Err(Failure::usage("--move takes links as they are: it does not go with --links follow"));
    }
    // What is gone here must not take the place of anything there.
    let on_conflict =
        if args.moves || args.photos.layout.is_some() { Conflict::KeepBoth } else { Conflict::Replace };
    let has_stream = args.from_command.is_some() || args.words.iter().any(|word| word == "-");
    let check_images = args.photos.check_images;
    let layout = layout(args.photos, args.name.is_some(), has_stream)?;
    let sources = sources(args.words, args.place, args.name)?;
    Ok(Send {
        home,
        sources: Sources { command: args.from_command, ..sources },
        choice: choice(args.choice, Some(args.here), check_images)?,
        links: links(args.links),
        moves: args.moves,
        layout,
        check_images,
        run: run(args.run, on_conflict)?,
    })
}

fn watch(home: Home, args: WatchArgs) -> Result<Watch, Failure> {
    let WatchArgs { words, place, name, settle, links, photos, rules, here, mut transfer } = args;
    let settle = units::duration(&settle).map_err(|error| Failure::usage(format!("--settle: {error}")))?;
    // A line for each file is what there is to see.
    if transfer.progress == ProgressArg::Auto {
        transfer.progress = ProgressArg::Never;
    }
    let on_conflict = if photos.layout.is_some() { Conflict::KeepBoth } else { Conflict::Replace };
    let check_images = photos.check_images;
    let layout = layout(photos, name.is_some(), false)?;
    let mut run = transferring(transfer, on_conflict, None)?;
    run.output.each_sent = true;
    Ok(Watch {
        home,
        sources: sources(words, place, name)?,
        choice: choice(ChoiceArgs { rules, from_file: None, null: false }, Some(here), check_images)?,
        links: self::links(links),
        settle,
        layout,
        check_images,
        run,
    })
}

/// The layout, which gives every name there is.
fn layout(photos: PhotoArgs, is_named: bool, has_stream: bool) -> Result<Option<Layout>, Failure> {
    let Some(pattern) = photos.layout else { return Ok(None) };
    if is_named {
        return Err(Failure::usage("--layout gives the names: it does not go with --name"));
    }
    if has_stream {
        return Err(Failure::usage("--layout is for files: a stream has neither a name nor a time here"));
    }
    let layout = Layout::parse(&pattern, jiff::tz::TimeZone::system());
    layout.map(Some).map_err(|error| Failure::usage(format!("--layout {}: {error}", escape::text(&pattern))))
}

fn links(links: LinksArg) -> Links {
    match links {
        LinksArg::Keep => Links::Keep,
        LinksArg::Follow => Links::Follow,
        LinksArg::Skip => Links::Skip,
    }
}

fn get(home: Home, args: GetArgs) -> Result<Get, Failure> {
    let name = args.name.map(|name| path(&name, "--name")).transpose()?;
    Ok(Get {
        home,
        words: args.words,
        name,
        choice: choice(args.choice, None, false)?,
        run: run(args.run, Conflict::Replace)?,
    })
}

fn ls(home: Home, args: LsArgs) -> Result<Ls, Failure> {
    let LsArgs { place, long, recursive, digests, bytes, json, .. } = args;
    let (digest, timeout) = (algorithm(args.digest), timeout(args.timeout.as_deref())?);
    Ok(Ls { home, place, long, recursive, digests, digest, bytes, json, timeout })
}

fn verify(home: Home, args: VerifyArgs) -> Result<Verify, Failure> {
    Ok(Verify {
        home,
        sources: sources(args.words, args.place, args.name)?,
        choice: choice(args.choice, Some(args.here), false)?,
        reread: args.reread,
        checksum: args.checksum,
        digest: algorithm(args.digest),
        json: args.json,
        quiet: args.quiet,
        timeout: timeout(args.timeout.as_deref())?,
    })
}

fn sources(words: Vec<OsString>, place: PlaceArgs, name: Option<OsString>) -> Result<Sources, Failure> {
    let PlaceArgs { to, dir } = place;
    Ok(Sources {
        words,
        command: None,
        to,
        usual_place: std::env::var("FERRY_REMOTE").ok().filter(|place| !place.is_empty()),
        dir: dir.map(|dir| path(&dir, "--dir")).transpose()?,
        name: name.map(|name| path(&name, "--name")).transpose()?,
    })
}

/// With `--check-images`, `--images` takes what only its name calls an image as well.
fn choice(args: ChoiceArgs, here: Option<HereArgs>, check_images: bool) -> Result<Choice, Failure> {
    let ChoiceArgs { rules, from_file, null } = args;
    let RuleArgs { patterns, min_size, max_size, newer_than } = rules;
    let size = |text: Option<String>, flag| {
        let size = text.as_deref().map(units::size).transpose();
        size.map_err(|error| Failure::usage(format!("{flag}: {error}")))
    };
    let newer_than = newer_than.map(|text| past(&text).map(|time| (time, text))).transpose()?;
    let (gitignore, one_file_system, images) = here.map_or((false, false, None), |here| {
        let HereArgs { gitignore, one_file_system, images } = here;
        let wanted = if check_images { Images::FlawedToo } else { Images::Real };
        (gitignore, one_file_system, images.then_some(wanted))
    });
    let (min_size, max_size) = (size(min_size, "--min-size")?, size(max_size, "--max-size")?);
    let patterns = patterns.0;
    Ok(Choice {
        patterns,
        from_file,
        null,
        min_size,
        max_size,
        newer_than,
        gitignore,
        one_file_system,
        images,
    })
}

/// A moment, or how long ago it was.
fn past(text: &str) -> Result<Timestamp, Failure> {
    let bad = |error: &dyn std::fmt::Display| Failure::usage(format!("--newer-than: {error}"));
    let time = match text.parse::<jiff::Timestamp>() {
        Ok(time) => time,
        Err(_) => {
            let neither = "neither RFC 3339 (2026-01-31T00:00:00Z) nor a time before now (24h)";
            let ago = units::duration(text).map_err(|_| bad(&format!("{text}: {neither}")))?;
            jiff::Timestamp::now().checked_sub(ago).map_err(|error| bad(&error))?
        }
    };
    // Before 1970 the nanoseconds of one count backwards, those of the other forward.
    let nanos = time.as_nanosecond();
    let seconds = nanos.div_euclid(1_000_000_000);
    Ok(Timestamp::saturating(seconds as i64, nanos.rem_euclid(1_000_000_000) as u32))
}

fn run(args: RunArgs, on_conflict: Conflict) -> Result<Run, Failure> {
    let RunArgs { jobs, checksum, hard_links, dry_run, receipts, transfer } = args;
    if jobs == 0 || jobs > 64 {
        return Err(Failure::usage("--jobs takes 1 to 64"));
    }
    if dry_run && receipts.is_some() {
        return Err(Failure::usage("a dry run has no receipts"));
    }
    // As everywhere, a dash is standard output.
    let receipts = receipts.map(|file| match file.as_os_str().as_bytes() {
        b"-" => PathBuf::from("/dev/stdout"),
        _ => file,
    });
    if transfer.json && receipts.as_deref() == Some(Path::new("/dev/stdout")) {
        return Err(Failure::usage("receipts and --json cannot share standard output"));
    }
    let mut run = transferring(transfer, on_conflict, Some(RETRY))?;
    run.wants.hard_links = hard_links;
    Ok(Run { jobs, checksum, dry_run, receipts, ..run })
}

/// A run on one connection, with what it does where the command line does not say it.
fn transferring(args: TransferArgs, on_conflict: Conflict, retry: Option<u32>) -> Result<Run, Failure> {
    let retry = match args.retry.as_deref() {
        None => retry,
        Some("forever") => None,
        Some(number) => {
            Some(number.parse().map_err(|_| Failure::usage("--retry takes a number or `forever`"))?)
        }
    };
    let limit_rate = args.limit_rate.as_deref().map(units::size).transpose();
    let limit_rate = limit_rate.map_err(|error| Failure::usage(format!("--limit-rate: {error}")))?;
    if limit_rate == Some(0) {
        return Err(Failure::usage("--limit-rate takes more than 0"));
    }
    Ok(Run {
        jobs: 1,
        digest: algorithm(args.digest),
        checksum: false,
        on_conflict: match args.on_conflict {
            None => on_conflict,
            Some(ConflictArg::Replace) => Conflict::Replace,
            Some(ConflictArg::KeepBoth) => Conflict::KeepBoth,
            Some(ConflictArg::Skip) => Conflict::Skip,
            Some(ConflictArg::Fail) => Conflict::Fail,
        },
        wants: Wants { owner: args.owner, xattrs: args.xattrs, hard_links: false },
        dry_run: false,
        limit_rate,
        retry,
        timeout: timeout(args.timeout.as_deref())?,
        receipts: None,
        output: Output {
            form: form(args.json, args.quiet, args.progress),
            quiet: args.quiet,
            verbose: args.verbose,
            each_sent: false,
        },
    })
}

fn timeout(text: Option<&str>) -> Result<Option<Duration>, Failure> {
    let timeout = text.map(units::duration).transpose();
    let timeout = timeout.map_err(|error| Failure::usage(format!("--timeout: {error}")))?;
    match timeout.is_some_and(|timeout| timeout.is_zero()) {
        true => Err(Failure::usage("--timeout takes more than 0")),
        false => Ok(timeout),
    }
}

fn algorithm(digest: DigestArg) -> Algorithm {
    match digest {
        DigestArg::Sha256 => Algorithm::Sha256,
        DigestArg::Blake3 => Algorithm::Blake3,
    }
}

fn form(json: bool, quiet: bool, progress: ProgressArg) -> Form {
    match progress {
        _ if json => Form::Json,
        ProgressArg::Never => Form::Silent,
        ProgressArg::Always => Form::Bars,
        ProgressArg::Auto if quiet => Form::Silent,
        ProgressArg::Auto if std::io::stderr().is_terminal() => Form::Bars,
        ProgressArg::Auto => Form::Lines,
    }
}

/// A path on the server, as an argument.
pub(crate) fn path(text: &std::ffi::OsStr, what: &str) -> Result<RelPath, Failure> {
    let bytes = text.as_bytes();
    let trimmed = bytes.strip_suffix(b"/").unwrap_or(bytes);
    RelPath::new(trimmed).map_err(|error| Failure::usage(format!("{what} {}: {error}", escape::bytes(bytes))))
}
