//! The command line of ferry. Nothing outside this module and `config` sees it.

use std::{ffi::OsString, path::PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::choosing::Pattern;

/// Send files, photos and folders to a host you own, have it proved that they arrived, and get them back.
#[derive(Debug, Parser)]
#[command(name = "ferry", version, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    pub(crate) command: Sub,
}

const EXIT_CODES: &str = "\
Exit codes: 0 everything asked for is there, 1 some files failed, 2 usage, 3 server not reached or lost, \
4 not trusted or not allowed, 5 interrupted (run it again to go on), 6 local error before anything was sent, or the folder under watch has gone";

#[derive(Debug, Subcommand)]
pub(crate) enum Sub {
    /// Get to know a server by an invite link from `ferryd invite`
    Pair(PairArgs),
    /// Send files and folders
    Send(Box<SendArgs>),
    /// Send what appears in a folder, or changes in it, for as long as it runs
    Watch(Box<WatchArgs>),
    /// Get files and folders back
    Get(Box<GetArgs>),
    /// Show what a server has
    Ls(LsArgs),
    /// Compare what is here with what a server has, and move nothing
    Verify(VerifyArgs),
    /// List the servers that announce themselves on this network, as they appear
    Discover(DiscoverArgs),
    /// Tell why a server is not found or not reached, and what to do
    ///
    /// Ends with 0 if a server is paired, and each that was asked for can be used; otherwise as a run would: with 2 where none
    /// is paired, 3 where one is not reached, 4 where one is not trusted, or does not trust or allow this client.
    Doctor(DoctorArgs),
    /// Show the servers that are known here
    Remotes {
        #[command(subcommand)]
        command: Option<RemotesSub>,
    },
    /// Print what a shell needs to complete command lines of ferry
    Completions {
        /// Which shell
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RemotesSub {
    /// Forget a server
    Remove {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct PairArgs {
    /// The link; `-` reads it from standard input, without it ferry asks (arguments are visible to other users)
    pub(crate) link: Option<String>,
    /// The name that the server gets here [default: what it calls itself]
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    /// Files and folders (`-` is standard input), and at the end the place: REMOTE[:PATH] or an invite link
    #[arg(required_unless_present = "from_command", value_name = "PATH")]
    pub(crate) words: Vec<OsString>,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// The name for standard input, for what a command writes, or for the one source there is
    #[arg(long)]
    pub(crate) name: Option<OsString>,
    /// Run a command by the shell and send what it writes; it gets its name only if the command ends with 0
    #[arg(long, value_name = "CMD")]
    pub(crate) from_command: Option<OsString>,
    /// What to do with symbolic links
    #[arg(long, value_name = "HOW", default_value = "keep")]
    pub(crate) links: LinksArg,
    /// Remove each file and link here when the server has it for good
    #[arg(long = "move")]
    pub(crate) moves: bool,
    #[command(flatten)]
    pub(crate) photos: PhotoArgs,
    #[command(flatten)]
    pub(crate) choice: ChoiceArgs,
    #[command(flatten)]
    pub(crate) here: HereArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The folder, and perhaps the place: REMOTE[:PATH] or an invite link
    #[arg(required = true, num_args = 1..=2, value_names = ["DIR", "PLACE"])]
    pub(crate) words: Vec<OsString>,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// The name of the folder there
    #[arg(long)]
    pub(crate) name: Option<OsString>,
    /// How long a file must be unchanged before it is sent
    #[arg(long, value_name = "TIME", default_value = "2s")]
    pub(crate) settle: String,
    /// What to do with symbolic links
    #[arg(long, value_name = "HOW", default_value = "keep")]
    pub(crate) links: LinksArg,
    #[command(flatten)]
    pub(crate) photos: PhotoArgs,
    #[command(flatten)]
    pub(crate) rules: RuleArgs,
    #[command(flatten)]
    pub(crate) here: HereArgs,
    #[command(flatten)]
    pub(crate) transfer: TransferArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// What to get: REMOTE:PATH (`REMOTE:` is everything, `PATH/` what is in it), and at the end the folder that it goes
    /// to [default: .]; `-` writes one file to standard output
    #[arg(required = true, value_name = "REMOTE:PATH")]
    pub(crate) words: Vec<OsString>,
    /// What the one thing there is is called here
    #[arg(long)]
    pub(crate) name: Option<OsString>,
    #[command(flatten)]
    pub(crate) choice: ChoiceArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Where to look: REMOTE[:PATH]
    #[arg(value_name = "REMOTE[:PATH]")]
    pub(crate) place: OsString,
    /// Modes, sizes and times, too
    #[arg(short, long)]
    pub(crate) long: bool,
    /// Everything below it, too
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,
    /// Digests; those that the server does not know yet are made
    #[arg(long)]
    pub(crate) digests: bool,
    /// How digests are made
    #[arg(long, value_name = "ALGORITHM", default_value = "sha256")]
    pub(crate) digest: DigestArg,
    /// Sizes in bytes
    #[arg(long, requires = "long")]
    pub(crate) bytes: bool,
    /// Tell everything as JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Give a connection up on which nothing comes for this long
    #[arg(long, value_name = "TIME")]
    pub(crate) timeout: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Files and folders, and at the end the place that they were sent to
    #[arg(required = true, value_name = "PATH")]
    pub(crate) words: Vec<OsString>,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// The name there of the one source there is
    #[arg(long)]
    pub(crate) name: Option<OsString>,
    #[command(flatten)]
    pub(crate) choice: ChoiceArgs,
    #[command(flatten)]
    pub(crate) here: HereArgs,
    /// Have the server read its files, instead of trusting what it has written down about them
    #[arg(long)]
    pub(crate) reread: bool,
    /// Read every file here, instead of trusting what is known about unchanged ones
    #[arg(long)]
    pub(crate) checksum: bool,
    /// How digests are made
    #[arg(long, value_name = "ALGORITHM", default_value = "sha256")]
    pub(crate) digest: DigestArg,
    /// Tell everything as JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Tell only of differences
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Give a connection up on which nothing comes for this long
    #[arg(long, value_name = "TIME")]
    pub(crate) timeout: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DiscoverArgs {
    /// How long to look [default: 3s]
    #[arg(long, value_name = "TIME")]
    pub(crate) timeout: Option<String>,
    /// Tell everything as JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The server; without one, all that are paired with
    #[arg(value_name = "REMOTE")]
    pub(crate) remote: Option<String>,
    /// How long an address may take to answer [default: 5s]
    #[arg(long, value_name = "TIME")]
    pub(crate) timeout: Option<String>,
    /// Tell everything as JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where to.
#[derive(Debug, Args)]
pub(crate) struct PlaceArgs {
    /// The place, when it is not the last word [default: $FERRY_REMOTE]
    #[arg(long, value_name = "PLACE")]
    pub(crate) to: Option<String>,
    /// A folder below the place
    #[arg(long, value_name = "PATH")]
    pub(crate) dir: Option<OsString>,
}

/// What is made of photos.
#[derive(Debug, Args)]
pub(crate) struct PhotoArgs {
    /// Where files go at the place, for example `{taken:%Y/%m}/{name}`: also {stem}, {ext}, {dir} and {modified:…}. Folders
    /// and links are not sent then
    #[arg(long, value_name = "PATTERN")]
    pub(crate) layout: Option<String>,
    /// Warn of pictures that are cut off or cannot be decoded, and of files that only their names call pictures; they are
    /// sent all the same, and stay here with --move
    #[arg(long)]
    pub(crate) check_images: bool,
}

/// Which entries are taken.
#[derive(Debug, Args)]
pub(crate) struct ChoiceArgs {
    #[command(flatten)]
    pub(crate) rules: RuleArgs,
    /// Take only what FILE names, a line each, below the one folder there is; `NAME/` is a folder with all that is in it,
    /// and `-` reads standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) from_file: Option<PathBuf>,
    /// The names in FILE end with NUL bytes
    #[arg(long, requires = "from_file")]
    pub(crate) null: bool,
}

/// By what is known of each of them.
#[derive(Debug, Args)]
pub(crate) struct RuleArgs {
    #[command(flatten)]
    pub(crate) patterns: PatternArgs,
    /// Leave out files that are smaller
    #[arg(long, value_name = "SIZE")]
    pub(crate) min_size: Option<String>,
    /// Leave out files that are larger
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_size: Option<String>,
    /// Leave out files that were last modified by then: RFC 3339, or a time before now, for example 24h
    #[arg(long, value_name = "T")]
    pub(crate) newer_than: Option<String>,
}

/// The same, by what only a tree here tells.
#[derive(Debug, Args)]
pub(crate) struct HereArgs {
    /// Leave out what `.gitignore` files say
    #[arg(long)]
    pub(crate) gitignore: bool,
    /// Do not go into folders on which another file system is mounted
    #[arg(long)]
    pub(crate) one_file_system: bool,
    /// Leave out files that are no images, by their content; with --check-images, by content or name
    #[arg(long)]
    pub(crate) images: bool,
}

/// `--exclude` and `--include`, whose order counts.
#[derive(Debug, Default)]
pub(crate) struct PatternArgs(pub(crate) Vec<Pattern>);

impl Args for PatternArgs {
    fn augment_args(command: Command) -> Command {
        let glob = |name: &'static str, help: &'static str| {
            Arg::new(name).long(name).value_name("GLOB").action(ArgAction::Append).help(help)
        };
        command
            .arg(glob(
                "exclude",
                "Leave out what has such a name, for example `*.tmp`, `cache/` or `/photos/raw`; of several --exclude and \
                 --include the first that matches counts",
            ))
            .arg(glob("include", "Take what has such a name, whatever a later --exclude says"))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for PatternArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let of = |name: &str, includes| {
            let globs = matches.get_many::<String>(name).into_iter().flatten();
            let pattern = move |glob: &String| Pattern { includes, glob: glob.clone() };
            matches.indices_of(name).into_iter().flatten().zip(globs.map(pattern)).collect::<Vec<_>>()
        };
        let mut patterns = of("exclude", false);
        patterns.extend(of("include", true));
        patterns.sort_by_key(|(index, _)| *index);
        Ok(PatternArgs(patterns.into_iter().map(|(_, pattern)| pattern).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// A run that ends when everything is done.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Connections at a time
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) jobs: usize,
    /// Read and digest every file anew instead of trusting what is known about unchanged ones
    #[arg(long)]
    pub(crate) checksum: bool,
    /// Keep several names of one file as that, or give them back as that
    #[arg(long)]
    pub(crate) hard_links: bool,
    /// Say what would be done, and do nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Write a checksum file of everything that has arrived or was there, for `sha256sum -c` or `b3sum -c`
    #[arg(long, value_name = "FILE")]
    pub(crate) receipts: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) transfer: TransferArgs,
}

/// How files are sent or got.
#[derive(Debug, Args)]
pub(crate) struct TransferArgs {
    /// How digests are made; receipts and the server's records are by it
    #[arg(long, value_name = "ALGORITHM", default_value = "sha256")]
    pub(crate) digest: DigestArg,
    /// What to do where another file has the name [default: replace; for send --move, and with --layout, keep-both]
    #[arg(long, value_name = "POLICY")]
    pub(crate) on_conflict: Option<ConflictArg>,
    /// Keep users and groups, or give them back, with setuid and its like (only root may)
    #[arg(long)]
    pub(crate) owner: bool,
    /// Keep extended attributes and access control lists, or give them back
    #[arg(long)]
    pub(crate) xattrs: bool,
    /// Bytes a second at the most, for example 2MB
    #[arg(long, value_name = "RATE")]
    pub(crate) limit_rate: Option<String>,
    /// How often a lost connection is tried again since the last progress: a number, or `forever` [default: 3; for watch
    /// forever]
    #[arg(long, value_name = "N")]
    pub(crate) retry: Option<String>,
    /// Give a connection up that makes no progress for this long
    #[arg(long, value_name = "TIME")]
    pub(crate) timeout: Option<String>,
    /// Tell everything as JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Tell only what went wrong
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Tell what becomes of every file, and what holds the run up
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// When to show progress; `auto` is where somebody looks on, and never for watch
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub(crate) progress: ProgressArg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ConflictArg {
    /// The new file takes the name
    Replace,
    /// Both stay: the new one is called `name (2)`
    KeepBoth,
    /// The old one stays; a new one with other content counts as failed
    Skip,
    /// As skip, for scripts that mean it
    Fail,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum DigestArg {
    /// SHA-256, which `sha256sum` checks
    Sha256,
    /// BLAKE3, which `b3sum` checks: less work for both machines
    Blake3,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LinksArg {
    /// Send links as links
    Keep,
    /// Send what they point to
    Follow,
    /// Leave them out
    Skip,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressArg {
    /// On a terminal bars, else a line now and then
    Auto,
    /// Bars, even where no terminal is seen
    Always,
    /// None
    Never,
}
