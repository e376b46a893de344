//! Dialling: a stream to a server that proves its pinned key, and the session on it.

use std::{
    collections::HashSet,
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use ferry_proto::{
    Code, Features, Fingerprint, Hello, Invite, RunId, Secret, Versions, Welcome, announcement::Prefix,
    escape, limits,
};
use ferry_session::{Incoming, Outbox, SessionError, greet, identity::Identity, tls};
use ferry_store::lock;
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    config::Home,
    discovery::{Browse, is_link_local},
    exit::{Exit, Failure},
    place::Server,
    remotes::Remotes,
};

/// How long one address may take, from the first packet to the welcome, if the user does not say: as long as the server
/// gives to a handshake.
const CONNECT: Duration = Duration::from_secs(10);

/// How long announcements are waited for where no known address leads to the server: they come within a tenth of a second,
/// and what was lost is asked for again after a second.
const LOOKING: Duration = Duration::from_secs(3);

/// How long nothing is told of a server that is not reached yet: whoever waits at a terminal begins to wonder then.
const SILENCE: Duration = Duration::from_secs(1);

/// Announced addresses that are tried in one search. An honest server has a few; whoever claims to be it at more is not to
/// hold up those who are.
pub(crate) const CANDIDATES: usize = 32;

/// How much earlier than the next one an address of an announced server is tried: as RFC 8305 advises.
const HEAD_START: Duration = Duration::from_millis(250);

/// Why a server may not have been found though it announces itself.
const FLOODED: &str = "somebody on this network announces too many servers for the right one to be told: pair again by a \
                       link that has its address (`ferryd invite --host`)";

const AGENT: &str = concat!("ferry/", env!("CARGO_PKG_VERSION"));

/// How to reach a server, and as whom.
#[derive(Clone)]
pub(crate) struct Dialer {
    /// Best first; all connections of a run learn where the server is now.
    addresses: Arc<Mutex<Vec<String>>>,
    /// Where the server's address is kept.
    remotes: PathBuf,
    fingerprint: Fingerprint,
    tls: Arc<tls::ClientConfig>,
    run: RunId,
    invite: Option<Secret>,
    patience: Duration,
    listener: Option<Arc<Listener>>,
}

/// Somebody who hears what takes its time.
struct Listener {
    tell: Box<dyn Fn(&str) + Send + Sync>,
    /// What was told: in a run that tries for days, each thing is told once.
    told: Mutex<HashSet<String>>,
}

/// A session that stands.
pub(crate) struct Session {
    pub(crate) incoming: Incoming,
    pub(crate) outbox: Outbox,
    pub(crate) welcome: Welcome,
    /// What is to be told of how it came to stand.
    pub(crate) notes: Vec<String>,
}

/// What became of one address.
pub(crate) enum Missed {
    /// Nobody answers there.
    Away(String),
    /// Somebody does, and it comes to nothing.
    Failed(DialError),
    /// Whoever answers does not prove that it is the server.
    Stranger(Failure),
}

impl Listener {
    fn hear(&self, what: String) {
        if lock(&self.told).insert(what.clone()) {
            (self.tell)(&what);
        }
    }
}

impl Session {
    /// What both sides understand beyond version 1.
    pub(crate) fn shared(&self) -> Features {
        Features::named_by(&self.welcome.features)
    }
}

/// Why there is none.
pub(crate) enum DialError {
    /// It may work a little later.
    Later(String),
    /// It will not work by trying again.
    Final(Failure),
}

impl Dialer {
    /// To a server that is known, or that an invite leads to, which comes back to be remembered. This client's key is made if it
    /// is not there yet.
    pub(crate) fn to(
        server: Server,
        home: &Home,
        patience: Option<Duration>,
    ) -> Result<(Self, Option<Invite>), Failure> {
        let identity =
            Identity::load_or_create(&home.identity).map_err(|error| Failure::local(error.to_string()))?;
        let fingerprint = server.fingerprint();
        let (addresses, invite) = server.into_parts();
        let secret = invite.as_ref().map(|invite| invite.secret.clone());
        Ok((Dialer::new(&identity, home, addresses, fingerprint, secret, patience)?, invite))
    }

    pub(crate) fn new(
        identity: &Identity,
        home: &Home,
        addresses: Vec<String>,
        fingerprint: Fingerprint,
        invite: Option<Secret>,
        patience: Option<Duration>,
    ) -> Result<Self, Failure> {
        let tls =
            tls::client_config(identity, fingerprint).map_err(|error| Failure::local(error.to_string()))?;
        let run = ferry_session::random::bytes().map_err(|error| Failure::local(error.to_string()))?;
        let patience = patience.unwrap_or(CONNECT);
        let (addresses, remotes) = (Arc::new(Mutex::new(addresses)), home.config.clone());
        Ok(Dialer { addresses, remotes, fingerprint, tls, run, invite, patience, listener: None })
    }

    /// With somebody who is told what takes its time.
    pub(crate) fn telling(self, tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let listener = Listener { tell: Box::new(tell), told: Mutex::default() };
        Dialer { listener: Some(Arc::new(listener)), ..self }
    }

    /// The server knows this client now.
    pub(crate) fn forget_invite(&mut self) {
        self.invite = None;
    }

    /// What the server is called here, if it is known.
    pub(crate) fn name(&self) -> Option<String> {
        let remotes = Remotes::load(&self.remotes).ok()?;
        remotes.with_key(self.fingerprint).map(|(name, _)| name.to_owned())
    }

    /// The first address, as a name for the server.
    pub(crate) fn address(&self) -> String {
        lock(&self.addresses).first().map_or("the server".to_owned(), String::clone)
    }

    /// The invite that led to the server, with the addresses that are worth keeping.
    pub(crate) fn as_it_is_now(&self, invite: &Invite) -> Invite {
        let is_worth = |address: &String| {
            let ip = address.parse().map(|address: SocketAddr| address.ip());
            invite.addresses.contains(address) || !ip.is_ok_and(is_link_local)
        };
        let mut addresses = lock(&self.addresses).clone();
        addresses.retain(is_worth);
        addresses.truncate(limits::ADDRESSES);
        Invite { addresses, fingerprint: invite.fingerprint, secret: invite.secret.clone() }
    }

    /// Tries every address until one answers, and where none does, those at which the server is announced. A peer with
    /// another key at a known address is told and passed over, because the address may have become somebody else's. Where
    /// no other known address leads to the server, it ends it, and nobody is looked for.
    pub(crate) async fn dial(&self) -> Result<Session, DialError> {
        let known = lock(&self.addresses).clone();
        let (mut problems, mut is_away) = (Vec::new(), true);
        let (mut passed_over, mut stranger) = (Vec::new(), None);
        let silent_until = Instant::now() + SILENCE;
        for address in &known {
            let waiting = || format!("waiting for an answer at {address}");
            match self.told_from(silent_until, waiting, self.try_at(address)).await {
                Ok(mut session) => {
                    if !passed_over.is_empty() {
                        self.prefer(address);
                    }
                    session.notes = passed_over;
                    return Ok(session);
                }
                Err(Missed::Away(problem)) => problems.push(problem),
                Err(Missed::Failed(DialError::Later(problem))) => {
                    is_away = false;
                    problems.push(problem);
                }
                Err(Missed::Failed(failure)) => return Err(failure),
                Err(Missed::Stranger(failure)) => {
                    passed_over.push(format!(
                        "{address} does not prove that it is the server that was known there: passed over, and \
                         nothing was sent to it. Somebody else has this address now, or is between"
                    ));
                    stranger.get_or_insert(failure);
                }
            }
        }
        if let Some(failure) = stranger {
            return Err(DialError::Final(failure));
        }
        if is_away && may_be_elsewhere(&known) {
            let looking = || {
                let name = self.name().map_or("the server".to_owned(), |name| format!("`{name}`"));
                format!("looking for {name} on this network")
            };
            match self.told_from(silent_until, looking, self.search(&known)).await? {
                Ok(session) => return Ok(session),
                Err(more) => problems.extend(more),
            }
        }
        Err(DialError::Later(format!("cannot reach the server ({})", problems.join("; "))))
    }

    /// Does some work; if it is not done by then, tells what it is.
    async fn told_from<T>(
        &self,
        then: Instant,
        what: impl FnOnce() -> String,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = pin!(work);
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = sleep_until(then) => {}
        }
        if let Some(listener) = &self.listener {
            listener.hear(what());
        }
        work.await
    }

    /// Looks for the server where somebody announces it, and keeps the address at which it proves its key. What does not
    /// prove it is no address that anybody named: it is told, and passed over, without a byte of what is to be sent. Where
    /// the server is not found, returns what was.
    async fn search(&self, known: &[String]) -> Result<Result<Session, Vec<String>>, DialError> {
        let fits = |prefix: &Prefix| prefix.fits(self.fingerprint);
        let Ok(mut browse) = Browse::start(&fits) else { return Ok(Err(Vec::new())) };
        let until = Instant::now() + LOOKING;
        let (mut tries, mut tried, mut is_looking) = (JoinSet::new(), Vec::new(), true);
        let (mut strangers, mut missed, mut are_too_many) = (Vec::new(), Vec::new(), false);
        loop {
            tokio::select! {
                found = browse.next(until), if is_looking => {
                    let Some(found) = found else {
                        is_looking = false;
                        continue;
                    };
                    if !found.prefix.as_ref().is_some_and(fits) {
                        continue;
                    }
                    for (place, address) in (0..).zip(found.addresses) {
                        let text = address.to_string();
                        // Those that can be kept come first.
                        let start = HEAD_START * (place + u32::from(is_link_local(address.ip())));
                        if tried.contains(&address) || known.contains(&text) {
                            continue;
                        }
                        if tried.len() == CANDIDATES {
                            are_too_many = true;
                        } else {
                            tried.push(address);
                            let dialer = self.clone();
                            // Nobody waits for another's end: a liar that does not answer holds nobody up.
                            tries.spawn(async move {
                                sleep(start).await;
                                (address, dialer.try_at(&text).await)
                            });
                        }
                    }
                }
                Some(done) = tries.join_next(), if !tries.is_empty() => match done {
                    Ok((address, Ok(mut session))) => {
                        session.notes = strangers;
                        session.notes.push(self.keep(address));
                        return Ok(Ok(session));
                    }
                    Ok((_, Err(Missed::Failed(DialError::Final(failure))))) => {
                        return Err(DialError::Final(failure));
                    }
                    Ok((address, Err(Missed::Stranger(_)))) => strangers.push(format!(
                        "{address} is announced as this server, and does not prove it: passed over, and nothing was \
                         sent to it"
                    )),
                    Ok((_, Err(Missed::Away(problem) | Missed::Failed(DialError::Later(problem))))) => {
                        missed.push(format!("{problem} (announced)"));
                    }
                    Err(_) => {}
                },
                else => {
                    strangers.extend(missed);
                    if are_too_many || browse.is_flooded() {
                        strangers.push(FLOODED.to_owned());
                    }
                    return Ok(Err(strangers));
                }
            }
        }
    }

    /// Keeps an address at which the server has proved its key. Returns what to tell of it.
    fn keep(&self, address: SocketAddr) -> String {
        let text = address.to_string();
        self.prefer(&text);
        // It means nothing after the next start of this machine.
        if is_link_local(address.ip()) {
            return format!("the server was found again by its key, at {text}");
        }
        let kept =
            Remotes::load(&self.remotes).and_then(|mut remotes| remotes.has_moved(self.fingerprint, &text));
        match kept {
            Ok(Some(name)) => {
                format!("`{name}` was found again by its key, at {text}, which is its address from now on")
            }
            Ok(None) => format!("the server was found by its key, at {text}"),
            Err(failure) => {
                format!("the server was found again by its key, at {text}, which cannot be kept: {failure}")
            }
        }
    }

    /// For the rest of this run an address is the first to be tried.
    fn prefer(&self, address: &str) {
        let mut addresses = lock(&self.addresses);
        addresses.retain(|known| known != address);
        addresses.insert(0, address.to_owned());
    }

    /// One address, without looking any further.
    pub(crate) async fn try_at(&self, address: &str) -> Result<Session, Missed> {
        match timeout(self.patience, self.reach(address)).await {
            Ok(reached) => reached,
            Err(_) => Err(Missed::Away(format!("{address}: no answer"))),
        }
    }

    async fn reach(&self, address: &str) -> Result<Session, Missed> {
        let stream = TcpStream::connect(address).await;
        let stream = stream.map_err(|error| Missed::Away(format!("{address}: {}", plain(&error))))?;
        // What belongs together is packed before it is written.
        let _ = stream.set_nodelay(true);
        let stream = tls::connect(stream, self.tls.clone()).await.map_err(|error| match error {
            tls::TlsError::WrongKey { found, .. } => Missed::Stranger(self.wrong_server(address, found)),
            tls::TlsError::Handshake(error) => Missed::Stranger(unproved(address, &error)),
            tls::TlsError::Setup(error) => {
                Missed::Failed(DialError::Final(Failure::local(error.to_string())))
            }
            error => Missed::Failed(DialError::Later(format!("{address}: {error}"))),
        })?;
        let (mut incoming, outbox) = ferry_session::open(stream);
        let hello = Hello {
            versions: Versions::ours(),
            run: self.run,
            agent: AGENT.to_owned(),
            name: hostname(),
            features: Features::OURS.numbers(),
            invite: self.invite.clone(),
        };
        match greet::introduce(&mut incoming, &outbox, hello).await {
            Ok(welcome) => Ok(Session { incoming, outbox, welcome, notes: Vec::new() }),
            // The server's TLS refused this client's key after the handshake had ended here.
            Err(SessionError::Io(error)) if error.kind() == ErrorKind::InvalidData => {
                Err(Missed::Stranger(unproved(address, &error)))
            }
            Err(error) => Err(Missed::Failed(refused(&error, address))),
        }
    }

    fn wrong_server(&self, address: &str, found: Fingerprint) -> Failure {
        let expected = self.fingerprint;
        let sentence = match self.invite {
            Some(_) => format!(
                "{address} is not the server that the link is for: it shows the key {found}, and not {expected}. \
                 Nothing was sent. Ask the server's owner for its address and a new link; someone may be between you \
                 and it"
            ),
            None => format!(
                "{address} is not the server that was paired with: it shows the key {found}, and not {expected}. \
                 Nothing was sent. If the server was set up anew, forget the old one (`ferry remotes remove`) and pair \
                 with an invite of its owner's; if not, someone may be between you and it"
            ),
        };
        Failure::new(Exit::NotTrusted, sentence)
    }
}

fn unproved(address: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        Exit::NotTrusted,
        format!(
            "{address} does not prove that it is the server that was paired with ({error}). Nothing was sent"
        ),
    )
}

/// Whether a server with these addresses may have moved to others. One that is known by loopback alone is on this machine,
/// and nobody announces that.
fn may_be_elsewhere(known: &[String]) -> bool {
    known.iter().any(|address| {
        let ip: Option<IpAddr> = address.parse().ok().map(|address: SocketAddr| address.ip());
        !ip.is_some_and(|ip| ip.is_loopback())
    })
}

/// What a session's end before or after its welcome means.
pub(crate) fn refused(error: &SessionError, address: &str) -> DialError {
    match error {
        SessionError::Goodbye { code, detail } if !error.is_lost_connection() => {
            let sentence = code.explained(detail);
            let exit = match code {
                Code::Internal | Code::Protocol => Exit::Unreachable,
                _ => Exit::NotTrusted,
            };
            DialError::Final(Failure::new(exit, format!("{address} says: {}", escape::text(sentence))))
        }
        error if error.is_lost_connection() => DialError::Later(format!("{address}: {error}")),
        error => DialError::Final(Failure::new(Exit::Unreachable, format!("{address}: {error}"))),
    }
}

fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused: is ferryd running there?".to_owned(),
        _ => error.to_string(),
    }
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
