//! Arguments, environment and file become one plain configuration before anything starts.

use std::{
    ffi::OsString,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, bail};
use clap::Parser;
use ferry_proto::{Invite, RelPath, escape, limits};
use serde::Deserialize;
use tracing_subscriber::filter::LevelFilter;

use crate::{
    catalogue::{Grant, is_client_name},
    cli::{Can, Cli, InviteArgs, LogFormat, PlaceArgs, ServeArgs, Sub},
};

/// The port of ferryd.
pub const PORT: u16 = 7117;

/// Where browsers find it, if nobody says otherwise.
pub(crate) const WEB: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 7118);

/// What to do, with everything decided.
#[derive(Debug)]
pub enum Command {
    /// Receive files.
    Serve(Config),
    /// Print a link.
    Invite(Config, InviteTerms),
    /// List the clients, in JSON or for people.
    Clients(Config, bool),
    /// Shut the client of this name out, or close this link.
    Revoke(Config, String),
    /// Print the fingerprint, as a QR code too or not.
    Identity(Config, bool),
    /// Tell what arrived when.
    Log(Config, LogTerms),
    /// Compare files with what was received.
    Scrub(Config, ScrubTerms),
}

/// How ferryd runs.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder that files are saved into.
    pub root: PathBuf,
    /// Where identity and catalogue live.
    pub state: PathBuf,
    /// The file that some of this comes from.
    pub file: Option<PathBuf>,
    /// Whether the process stays free to touch other files than its own.
    pub no_confine: bool,
    /// Whether the local network is told nothing.
    pub no_announce: bool,
    /// Where to listen.
    pub listen: Vec<SocketAddr>,
    /// Whether the addresses are this program's own choice, so that IPv4 alone will do where there is no IPv6.
    pub listen_is_default: bool,
    /// Where to listen for browsers, if at all.
    pub web: Option<SocketAddr>,
    /// What browsers see of this server, if that is not to be a certificate of its own.
    pub web_files: Option<WebFiles>,
    /// Where to tell how the server is, if anywhere.
    pub metrics: Option<SocketAddr>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which log lines are written.
    pub log_level: LevelFilter,
    /// The rest.
    pub settings: Settings,
}

/// A certificate for a real name, and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebFiles {
    /// The certificate, and those that vouch for it, in PEM.
    pub certificate: PathBuf,
    /// The key, in PEM.
    pub key: PathBuf,
}

/// What may change while ferryd runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long unfinished uploads are kept.
    pub retain_staging: Duration,
    /// Sessions at a time, and as many peers that wait to be let in.
    pub max_connections: usize,
    /// The largest file, in bytes.
    pub max_file: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            // Whoever goes on with an upload comes back within a week.
            retain_staging: Duration::from_secs(7 * 24 * 60 * 60),
            // One needs about 128 KiB at work, so a thousand fit a small machine.
            max_connections: 1024,
            max_file: limits::FILE,
        }
    }
}

/// What an invite grants.
#[derive(Debug, Clone)]
pub struct InviteTerms {
    /// What the client will be called.
    pub name: Option<String>,
    /// What it may do.
    pub grant: Grant,
    /// How long the link works.
    pub expires: Duration,
    /// How many clients it lets in.
    pub uses: u32,
    /// How clients reach this server; empty for this machine's addresses.
    pub hosts: Vec<String>,
    /// For a browser.
    pub web: bool,
    /// Show a QR code.
    pub qr: bool,
}

/// Which arrivals are told, and how.
#[derive(Debug, Clone)]
pub struct LogTerms {
    /// As objects, not for people.
    pub json: bool,
    /// Only from then on.
    pub since: Option<SystemTime>,
    /// Only this name and what is below it.
    pub below: Option<RelPath>,
}

/// What a scrub is about.
#[derive(Debug, Clone)]
pub struct ScrubTerms {
    /// Tell of it in objects, not for people.
    pub json: bool,
    /// Bytes a second that are read at the most.
    pub limit_rate: Option<u64>,
    /// Take in what was done by hand.
    pub adopt: bool,
    /// Only this name and what is below it.
    pub below: Option<RelPath>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    root: Option<PathBuf>,
    state: Option<PathBuf>,
    #[serde(default)]
    listen: Vec<String>,
    web: Option<Web>,
    web_certificate: Option<PathBuf>,
    web_key: Option<PathBuf>,
    metrics: Option<String>,
    retain_staging: Option<String>,
    max_connections: Option<usize>,
    max_file: Option<String>,
    no_confine: Option<bool>,
    no_announce: Option<bool>,
    log_format: Option<LogFormat>,
}

/// `web = true`, or an address.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "`web` is true, false, or an address such as \"[::]:7118\"")]
enum Web {
    Wanted(bool),
    At(String),
}

impl Cli {
    /// Decides everything.
    pub fn resolve(self) -> anyhow::Result<Command> {
        match self.command {
            None => Ok(Command::Serve(config(self.place, Some(self.serve))?)),
            Some(Sub::Serve { place, serve }) => Ok(Command::Serve(config(place, Some(serve))?)),
            Some(Sub::Clients { place, json }) => Ok(Command::Clients(config(place, None)?, json)),
            Some(Sub::Revoke { place, what }) => Ok(Command::Revoke(config(place, None)?, what)),
            Some(Sub::Identity { place, qr }) => Ok(Command::Identity(config(place, None)?, qr)),
            Some(Sub::Log { place, json, since, path }) => {
                let since = since.map(|text| time_before_now(&text, "since")).transpose()?;
                let below = path.map(|path| folder(path, "PATH")).transpose()?;
                Ok(Command::Log(config(place, None)?, LogTerms { json, since, below }))
            }
            Some(Sub::Scrub { place, json, limit_rate, adopt, path }) => {
                let limit_rate = limit_rate.map(|text| size(&text, "limit-rate")).transpose()?;
                if limit_rate == Some(0) {
                    bail!("--limit-rate takes at least 1");
                }
                let below = path.map(|path| folder(path, "PATH")).transpose()?;
                Ok(Command::Scrub(config(place, None)?, ScrubTerms { json, limit_rate, adopt, below }))
            }
            Some(Sub::Invite { place, invite }) => Ok(Command::Invite(config(place, None)?, terms(invite)?)),
        }
    }
}

/// The configuration as it is now: arguments and environment stay what they were, the file may have changed.
pub(crate) fn again() -> anyhow::Result<Config> {
    match Cli::try_parse()?.resolve()? {
        Command::Serve(config) => Ok(config),
        _ => bail!("the arguments are not those of a server"),
    }
}

fn config(place: PlaceArgs, serve: Option<ServeArgs>) -> anyhow::Result<Config> {
    let file = place.config.as_deref().map(read).transpose()?.unwrap_or_default();
    let root = place.root.or(file.root).unwrap_or_else(|| PathBuf::from("inbox"));
    let state = place.state.or(file.state).unwrap_or_else(|| root.join(".ferry"));
    let serves = serve.is_some();
    let serve = serve.unwrap_or_default();
    let listen = if serve.listen.is_empty() { file.listen } else { serve.listen };
    let listen = listen.iter().map(|text| address(text, "listen", Ipv6Addr::UNSPECIFIED.into()));
    let mut listen = listen.collect::<Result<Vec<_>, _>>()?;
    let listen_is_default = listen.is_empty();
    if listen_is_default {
        listen.push(SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT)));
    }
    let web = match serve.web.map(Web::At).or(file.web) {
        None | Some(Web::Wanted(false)) => None,
        Some(Web::Wanted(true)) => Some(WEB),
        Some(Web::At(text)) => Some(address(&text, "web", Ipv6Addr::UNSPECIFIED.into())?),
    };
    let certificate = serve.web_certificate.or(file.web_certificate);
    let web_files = match (certificate, serve.web_key.or(file.web_key)) {
        (Some(certificate), Some(key)) => Some(WebFiles { certificate, key }),
        (None, None) => None,
        _ => bail!("--web-certificate and --web-key belong together"),
    };
    if serves && web.is_none() && web_files.is_some() {
        bail!("--web-certificate without --web: nothing would be served to browsers");
    }
    let metrics = serve.metrics.or(file.metrics);
    let metrics = metrics.map(|text| address(&text, "metrics", Ipv4Addr::LOCALHOST.into())).transpose()?;
    let mut settings = Settings::default();
    if let Some(text) = serve.retain_staging.or(file.retain_staging) {
        settings.retain_staging = duration(&text, "retain-staging")?;
    }
    if let Some(most) = serve.max_connections.or(file.max_connections) {
        settings.max_connections = most;
    }
    if settings.max_connections == 0 {
        bail!("--max-connections takes at least 1");
    }
    if let Some(text) = serve.max_file.or(file.max_file) {
        settings.max_file = size(&text, "max-file")?;
    }
    Ok(Config {
        root,
        state,
        file: place.config,
        no_confine: serve.no_confine.or(file.no_confine).unwrap_or_default(),
        no_announce: serve.no_announce.or(file.no_announce).unwrap_or_default(),
        listen,
        listen_is_default,
        web,
        web_files,
        metrics,
        log_format: serve.log_format.or(file.log_format).unwrap_or_default(),
        log_level: log_level()?,
        settings,
    })
}

fn terms(args: InviteArgs) -> anyhow::Result<InviteTerms> {
    if let Some(name) = &args.name
        && !is_client_name(name)
    {
        bail!(
            "--name {}: 1 to 64 letters, digits, `.`, `_` and `-`, with a letter, digit or `_` at both ends",
            escape::text(name)
        );
    }
    if args.host.len() > limits::ADDRESSES {
        bail!("--host: a link has {} addresses at the most", limits::ADDRESSES);
    }
    for host in &args.host {
        if !Invite::is_address(&with_port(host, PORT)) {
            bail!("--host {}: neither HOST nor HOST:PORT", escape::text(host));
        }
    }
    let InviteArgs { name, path, can, no_overwrite, quota, grant_expires, expires, uses, host, web, qr } =
        args;
    if uses == 0 {
        bail!("--uses takes at least 1");
    }
    let may = |verb| can.contains(&verb);
    let grant = Grant {
        folder: path.map(|path| folder(path, "--path")).transpose()?,
        put: may(Can::Put),
        get: may(Can::Get),
        list: may(Can::List),
        overwrite: !no_overwrite,
        quota: quota.map(|text| size(&text, "quota")).transpose()?,
        expires: grant_expires.map(|text| point_in_time(&text, "grant-expires")).transpose()?,
    };
    let expires = duration(&expires, "expires")?;
    let is_over = grant.expires.is_some_and(|end| end <= SystemTime::now());
    if expires.is_zero() || is_over {
        bail!("a link that nobody can use is not made: --expires and --grant-expires end in the future");
    }
    Ok(InviteTerms { name, grant, expires, uses, hosts: host, web, qr })
}

fn read(path: &Path) -> anyhow::Result<File> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is not a configuration of ferryd", path.display()))
}

fn log_level() -> anyhow::Result<LevelFilter> {
    match std::env::var("FERRYD_LOG") {
        Ok(level) if !level.is_empty() => level.parse().ok().with_context(|| {
            format!("FERRYD_LOG={}: off, error, warn, info, debug or trace", escape::text(&level))
        }),
        _ => Ok(LevelFilter::INFO),
    }
}

/// An address with a port: its own, or this one.
pub(crate) fn with_port(host: &str, port: u16) -> String {
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(name, _)| !name.contains(':') || (name.starts_with('[') && name.ends_with(']')));
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]:{port}"),
        _ if has_port => host.to_owned(),
        _ => format!("{host}:{port}"),
    }
}

/// An address with its port; a port alone is one of `host`.
fn address(text: &str, flag: &str, host: IpAddr) -> anyhow::Result<SocketAddr> {
    let port = text.parse().map(|port: u16| SocketAddr::from((host, port)));
    port.or_else(|_| text.parse()).ok().with_context(|| {
        format!(
            "--{flag} {}: neither a port nor an address with one, such as 192.168.1.7:7117",
            escape::text(text)
        )
    })
}

fn duration(text: &str, flag: &str) -> anyhow::Result<Duration> {
    ferry_proto::units::duration(text).with_context(|| format!("--{flag} {text}"))
}

/// A folder below the root, however it is written.
fn folder(text: OsString, what: &str) -> anyhow::Result<RelPath> {
    let bytes = text.as_bytes();
    let trimmed = bytes.strip_suffix(b"/").unwrap_or(bytes);
    RelPath::new(trimmed).with_context(|| format!("{what} {}", escape::bytes(bytes)))
}

/// A point in time, or how long before now that was.
fn time_before_now(text: &str, flag: &str) -> anyhow::Result<SystemTime> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time.into());
    }
    let age = ferry_proto::units::duration(text);
    let age = age.with_context(|| {
        format!("--{flag} {}: neither RFC 3339 nor a time before now", escape::text(text))
    })?;
    // Whatever is further back than time itself leaves nothing out.
    Ok(SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH))
}

/// A point in time, or how long from now that is.
fn point_in_time(text: &str, flag: &str) -> anyhow::Result<SystemTime> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time.into());
    }
    let from_now = ferry_proto::units::duration(text);
    let from_now =
        from_now.with_context(|| format!("--{flag} {text}: neither RFC 3339 nor a time from now"))?;
    SystemTime::now().checked_add(from_now).with_context(|| format!("--{flag} {text} is too far away"))
}

fn size(text: &str, flag: &str) -> anyhow::Result<u64> {
    ferry_proto::units::size(text).with_context(|| format!("--{flag} {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_an_address() {
        let told =
            |text| address(text, "web", Ipv6Addr::UNSPECIFIED.into()).map(|address| address.to_string());
        for (text, expected) in
            [("7119", "[::]:7119"), ("0", "[::]:0"), ("127.0.0.1:1", "127.0.0.1:1"), ("[::1]:1", "[::1]:1")]
        {
            assert_eq!(told(text).unwrap(), expected);
        }
        for text in ["", "nowhere", "70000", "127.0.0.1", "localhost:1", "::1"] {
            assert!(told(text).unwrap_err().to_string().contains("--web"), "{text}");
        }
    }
}
