//! Listeners: they know streams, not messages.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use ferry_proto::Fingerprint;
use ferry_session::{Incoming, Outbox, tls};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

use crate::{
    door::{Door, Place},
    health::Counts,
    log,
};

/// After an accept that failed because this process or the system is out of something.
pub(crate) const BREATH: Duration = Duration::from_millis(100);

/// How long whoever is here gets to say goodbye when the server stops.
const STOPPING: Duration = Duration::from_secs(5);

/// Binds every address.
pub(crate) async fn bind(addresses: &[SocketAddr], flag: &str) -> anyhow::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for address in addresses {
        let bound = match TcpListener::bind(address).await {
            // A machine without IPv6.
            Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && error.kind() != ErrorKind::AddrInUse => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
            }
            bound => bound,
        };
        let listener = bound.map_err(|error| match error.kind() {
            ErrorKind::AddrInUse => anyhow::anyhow!(
                "{address} is in use: is another ferryd running? Choose another address with {flag}"
            ),
            _ => anyhow::Error::new(error).context(format!("cannot listen on {address} ({flag})")),
        })?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// The addresses that listeners really have.
pub(crate) fn addresses(listeners: &[TcpListener]) -> anyhow::Result<Vec<SocketAddr>> {
    let addresses = listeners.iter().map(TcpListener::local_addr);
    addresses.collect::<Result<_, _>>().context("cannot tell the address of a listener")
}

/// Where a peer comes from, and its place in the waiting room, which it gives back once it is known.
pub(crate) struct Guest {
    pub(crate) address: SocketAddr,
    pub(crate) place: Place,
}

/// What happens on a stream whose peer has proved its key.
pub(crate) trait Handler: Send + Sync + 'static {
    fn handle(
        &self,
        incoming: Incoming,
        outbox: Outbox,
        key: Fingerprint,
        guest: Guest,
        stop: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + Send;
}

/// Accepts until `stop` says so; then waits for the sessions to end.
pub(crate) async fn run(
    listeners: Vec<TcpListener>,
    tls: Arc<tls::ServerConfig>,
    handler: Arc<impl Handler>,
    door: Arc<Door>,
    counts: Arc<Counts>,
    stop: watch::Receiver<bool>,
) {
    let (all, told) = (counts.clone(), stop.clone());
    let greet = move |stream, guest| {
        handshake(stream, guest, tls.clone(), handler.clone(), all.clone(), told.clone())
    };
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(listener, door.clone(), counts.clone(), stop.clone(), greet.clone()));
    }
    while accepting.join_next().await.is_some() {}
}

/// Greets whoever comes until `stop` says so; then waits for those who are here to end.
pub(crate) async fn accept<F>(
    listener: TcpListener,
    door: Arc<Door>,
    counts: Arc<Counts>,
    mut stop: watch::Receiver<bool>,
    greet: impl Fn(TcpStream, Guest) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let accepting = counts.accepts();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(ended) = connections.join_next() => {
                report(ended);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                counts.accept_has_failed();
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        counts.accepted.one();
        // Small answers leave at once; what belongs together is packed by whoever writes it.
        let _ = stream.set_nodelay(true);
        let (place, is_crowded) = door.enter(address);
        if is_crowded {
            counts.crowded_out.one();
            tracing::debug!(%address, "too many peers are waiting: the oldest makes way");
        }
        connections.spawn(greet(stream, Guest { address, place }));
    }
    drop(listener);
    drop(accepting);
    let ended = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    if tokio::time::timeout(STOPPING, ended).await.is_err() {
        tracing::warn!("connections that did not end in time are cut");
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection ended in a panic");
    }
}

async fn handshake(
    stream: TcpStream,
    guest: Guest,
    tls: Arc<tls::ServerConfig>,
    handler: Arc<impl Handler>,
    counts: Arc<Counts>,
    stop: watch::Receiver<bool>,
) {
    let address = guest.address;
    let accepted = tokio::select! {
        accepted = tls::accept(stream, tls) => accepted,
        // Without a handshake there is nobody to explain it to.
        () = guest.place.must_go() => return,
    };
    match accepted {
        Ok((stream, key)) => {
            let (incoming, outbox) = ferry_session::open(stream);
            handler.handle(incoming, outbox, key, guest, stop).await;
        }
        Err(error) => {
            counts.failed_handshakes.one();
            log::STRANGERS.line(|| tracing::info!(%address, %error, "handshake failed"));
        }
    }
}
