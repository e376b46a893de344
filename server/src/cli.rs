//! The command line of ferryd. Nothing outside this module and `config` sees it.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum, builder::BoolishValueParser};

/// A receiving server for ferry: saves what its clients send into a folder.
#[derive(Debug, Parser)]
#[command(name = "ferryd", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Sub>,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Sub {
    /// Receive files (this is what ferryd does without a command)
    Serve {
        #[command(flatten)]
        place: PlaceArgs,
        #[command(flatten)]
        serve: ServeArgs,
    },
    /// Tell who may do what, and who no longer
    Clients {
        #[command(flatten)]
        place: PlaceArgs,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Shut a client out for good, its running sessions and the links by which it could come again included
    Revoke {
        #[command(flatten)]
        place: PlaceArgs,
        /// What the client is called here, or a link that is to be closed
        #[arg(value_name = "NAME|LINK")]
        what: String,
    },
    /// Tell the fingerprint by which clients know this server
    Identity {
        #[command(flatten)]
        place: PlaceArgs,
        /// Show it as a QR code too
        #[arg(long)]
        qr: bool,
    },
    /// Tell what arrived when, oldest first, and what it was replaced by since
    Log {
        #[command(flatten)]
        place: PlaceArgs,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
        /// Only what arrived from then on: RFC 3339, or a time before now, such as 24h
        #[arg(long, value_name = "T")]
        since: Option<String>,
        /// Only this name in the inbox, and what is below it
        #[arg(value_name = "PATH")]
        path: Option<OsString>,
    },
    /// Read the files again and compare them with what was received; what was interrupted goes on
    Scrub {
        #[command(flatten)]
        place: PlaceArgs,
        /// One JSON object for each difference, and a summary
        #[arg(long)]
        json: bool,
        /// Bytes a second that are read at the most
        #[arg(long, value_name = "RATE")]
        limit_rate: Option<String>,
        /// Take in what was put there, changed or removed by hand
        #[arg(long)]
        adopt: bool,
        /// Only this name in the inbox, and what is below it
        #[arg(value_name = "PATH")]
        path: Option<OsString>,
    },
    /// Print a link that lets one client in
    Invite {
        #[command(flatten)]
        place: PlaceArgs,
        #[command(flatten)]
        invite: InviteArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct PlaceArgs {
    /// The folder that files are saved into; made if its parent exists [default: ./inbox]
    #[arg(long, value_name = "DIR", env = "FERRYD_ROOT")]
    pub(crate) root: Option<PathBuf>,
    /// Where the identity and the catalogue live [default: .ferry in the root]
    #[arg(long, value_name = "DIR", env = "FERRYD_STATE")]
    pub(crate) state: Option<PathBuf>,
    /// Settings in TOML; the environment and flags win over them
    #[arg(long, value_name = "FILE", env = "FERRYD_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct ServeArgs {
    /// Where to listen; may be given several times. A port alone means all addresses [default: [::]:7117]
    #[arg(long, value_name = "ADDR", env = "FERRYD_LISTEN", value_delimiter = ',')]
    pub(crate) listen: Vec<String>,
    /// Serve browsers, too, over HTTPS [default with --web alone: [::]:7118]
    #[arg(long, value_name = "ADDR", env = "FERRYD_WEB", num_args = 0..=1, default_missing_value = "[::]:7118")]
    pub(crate) web: Option<String>,
    /// The certificate that browsers see, in PEM, for a real name; read again on SIGHUP [default: one of its own]
    #[arg(long, value_name = "FILE", env = "FERRYD_WEB_CERTIFICATE")]
    pub(crate) web_certificate: Option<PathBuf>,
    /// The key of that certificate, in PEM
    #[arg(long, value_name = "FILE", env = "FERRYD_WEB_KEY")]
    pub(crate) web_key: Option<PathBuf>,
    /// Tell how the server is, by HTTP on this address: /healthz and /metrics. A port alone is one of this machine only
    #[arg(long, value_name = "ADDR", env = "FERRYD_METRICS")]
    pub(crate) metrics: Option<String>,
    /// How long an unfinished upload that nobody goes on with is kept [default: 7d]
    #[arg(long, value_name = "TIME", env = "FERRYD_RETAIN_STAGING")]
    pub(crate) retain_staging: Option<String>,
    /// Sessions at a time, and as many peers that wait to be let in [default: 1024]
    #[arg(long, value_name = "N", env = "FERRYD_MAX_CONNECTIONS")]
    pub(crate) max_connections: Option<usize>,
    /// The largest file that is taken
    #[arg(long, value_name = "SIZE", env = "FERRYD_MAX_FILE")]
    pub(crate) max_file: Option<String>,
    /// Do not confine the process to its root, its state folder and its configuration file
    #[arg(
        long,
        value_name = "BOOL",
        env = "FERRYD_NO_CONFINE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new()
    )]
    pub(crate) no_confine: Option<bool>,
    /// Do not tell the local network where this server is
    #[arg(
        long,
        value_name = "BOOL",
        env = "FERRYD_NO_ANNOUNCE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new()
    )]
    pub(crate) no_announce: Option<bool>,
    /// How log lines look [default: text]
    #[arg(long, value_name = "FORMAT", env = "FERRYD_LOG_FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// What a client may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Can {
    /// Send files.
    Put,
    /// Read files.
    Get,
    /// List files.
    List,
}

#[derive(Debug, Args)]
pub(crate) struct InviteArgs {
    /// What the client will be called here [default: what its machine calls itself]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The folder that is all the client sees; made if it is missing [default: the whole root]
    #[arg(long, value_name = "SUBDIR")]
    pub(crate) path: Option<OsString>,
    /// What the client may do
    #[arg(long, value_name = "VERBS", value_delimiter = ',', default_value = "put,get,list")]
    pub(crate) can: Vec<Can>,
    /// Let it add, and never replace what is there
    #[arg(long)]
    pub(crate) no_overwrite: bool,
    /// Bytes that the client may hold in all
    #[arg(long, value_name = "SIZE")]
    pub(crate) quota: Option<String>,
    /// When the client's access ends: RFC 3339, or a time from now
    #[arg(long, value_name = "T")]
    pub(crate) grant_expires: Option<String>,
    /// How long the link works
    #[arg(long, value_name = "TIME", default_value = "24h")]
    pub(crate) expires: String,
    /// How many clients it lets in
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) uses: u32,
    /// How clients reach this server, in place of this machine's addresses
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) host: Vec<String>,
    /// For a browser, or for curl: a link that a phone can open, and a line that sends a file
    #[arg(long)]
    pub(crate) web: bool,
    /// Show the link as a QR code too
    #[arg(long)]
    pub(crate) qr: bool,
}
