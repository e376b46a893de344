//! Dialling: a stream to a server that proves its pinned key, and the session on it.

use std::{io::ErrorKind, path::Path, sync::Arc, time::Duration};

use ferry_proto::{Code, Features, Fingerprint, Hello, Invite, RunId, Secret, Versions, Welcome, escape};
use ferry_session::{Incoming, Outbox, SessionError, greet, identity::Identity, tls};
use tokio::{net::TcpStream, time::timeout};

use crate::{
    exit::{Exit, Failure},
    place::Server,
};

/// How long one address may take, from the first packet to the welcome, if the user does not say: as long as the server
/// gives to a handshake.
const CONNECT: Duration = Duration::from_secs(10);

const AGENT: &str = concat!("ferry/", env!("CARGO_PKG_VERSION"));

/// How to reach a server, and as whom.
#[derive(Clone)]
pub(crate) struct Dialer {
    addresses: Vec<String>,
    fingerprint: Fingerprint,
    tls: Arc<tls::ClientConfig>,
    run: RunId,
    invite: Option<Secret>,
    patience: Duration,
}

/// A session that stands.
pub(crate) struct Session {
    pub(crate) incoming: Incoming,
    pub(crate) outbox: Outbox,
    pub(crate) welcome: Welcome,
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
    /// To a server that is known, or that an invite leads to, which comes back to be remembered. The key is in this file, and
    /// is made if it is not there yet.
    pub(crate) fn to(
        server: Server,
        key: &Path,
        patience: Option<Duration>,
    ) -> Result<(Self, Option<Invite>), Failure> {
        let identity = Identity::load_or_create(key).map_err(|error| Failure::local(error.to_string()))?;
        let fingerprint = server.fingerprint();
        let (addresses, invite) = server.into_parts();
        let secret = invite.as_ref().map(|invite| invite.secret.clone());
        Ok((Dialer::new(&identity, addresses, fingerprint, secret, patience)?, invite))
    }

    pub(crate) fn new(
        identity: &Identity,
        addresses: Vec<String>,
        fingerprint: Fingerprint,
        invite: Option<Secret>,
        patience: Option<Duration>,
    ) -> Result<Self, Failure> {
        let tls =
            tls::client_config(identity, fingerprint).map_err(|error| Failure::local(error.to_string()))?;
        let run = ferry_session::random::bytes().map_err(|error| Failure::local(error.to_string()))?;
        let patience = patience.unwrap_or(CONNECT);
        Ok(Dialer { addresses, fingerprint, tls, run, invite, patience })
    }

    /// The server knows this client now.
    pub(crate) fn forget_invite(&mut self) {
        self.invite = None;
    }

    /// The first address, as a name for the server.
    pub(crate) fn address(&self) -> &str {
        self.addresses.first().map_or("the server", String::as_str)
    }

    /// Tries every address until one answers. An answer from a peer with another key ends it.
    pub(crate) async fn dial(&self) -> Result<Session, DialError> {
        let mut problems = Vec::new();
        for address in &self.addresses {
            match timeout(self.patience, self.reach(address)).await {
                Ok(Err(DialError::Later(problem))) => problems.push(problem),
                Ok(result) => return result,
                Err(_) => problems.push(format!("{address}: no answer")),
            }
        }
        Err(DialError::Later(format!("cannot reach the server ({})", problems.join("; "))))
    }

    async fn reach(&self, address: &str) -> Result<Session, DialError> {
        let stream = TcpStream::connect(address).await;
        let stream = stream.map_err(|error| DialError::Later(format!("{address}: {}", plain(&error))))?;
        // What belongs together is packed before it is written.
        let _ = stream.set_nodelay(true);
        let stream = tls::connect(stream, self.tls.clone()).await.map_err(|error| match error {
            tls::TlsError::WrongKey { found, .. } => self.wrong_server(address, found),
            tls::TlsError::Handshake(error) => unproved(address, &error),
            tls::TlsError::Setup(error) => DialError::Final(Failure::local(error.to_string())),
            error => DialError::Later(format!("{address}: {error}")),
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
            Ok(welcome) => Ok(Session { incoming, outbox, welcome }),
            // The server's TLS refused this client's key after the handshake had ended here.
            Err(SessionError::Io(error)) if error.kind() == ErrorKind::InvalidData => {
                Err(unproved(address, &error))
            }
            Err(error) => Err(refused(&error, address)),
        }
    }

    fn wrong_server(&self, address: &str, found: Fingerprint) -> DialError {
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
        DialError::Final(Failure::new(Exit::NotTrusted, sentence))
    }
}

fn unproved(address: &str, error: &dyn std::fmt::Display) -> DialError {
    DialError::Final(Failure::new(
        Exit::NotTrusted,
        format!(
            "{address} does not prove that it is the server that was paired with ({error}). Nothing was sent"
        ),
    ))
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
