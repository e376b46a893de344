//! Connections of browsers: TLS, then requests one after another; or, without TLS, the way to where there is some.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use ferry_proto::limits;
use ferry_store::lock;
use hyper::{
    Request, Response, StatusCode, body::Incoming, header, server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::{AlertDescription, ServerConfig};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::{
    Web,
    answer::{self, Body},
    patience::Patience,
};
use crate::{
    catalogue::ClientId,
    door::{Door, Place},
    listen::{Guest, accept},
    log,
    shares::Share,
};

/// Between the first byte of a request and the end of its headers, and between two requests.
const HEADERS: Duration = Duration::from_secs(30);

/// What headers take: a path of 4 KiB, encoded, and what browsers and curl say of themselves.
const HEADER_BYTES: usize = 32 * 1024;

/// How many there are: browsers send about 20.
const HEADER_COUNT: usize = 100;

/// Bytes of a connection that wait to be taken, in either direction.
const BUFFER: usize = 256 * 1024;

/// The first byte of a TLS handshake, which no request in the clear begins with.
const TLS: u8 = 0x16;

/// One connection, as far as its requests know it.
pub(super) struct Connection {
    pub(super) address: SocketAddr,
    /// Whose it is, once somebody is known to be behind it.
    seat: Mutex<Option<Share>>,
    known: Notify,
}

impl Connection {
    /// Makes it a client's, unless that has too many. Whoever is known no longer waits at the door.
    pub(super) fn is_of(&self, client: ClientId, web: &Web) -> bool {
        let mut seat = lock(&self.seat);
        if seat.as_ref().is_none_or(|seat| seat.client() != client) {
            *seat = web.seats.take(client, web.house.settings.borrow().max_connections);
        }
        // Without one it stays at the door, where others may need its place.
        if seat.is_some() {
            self.known.notify_one();
        }
        seat.is_some()
    }
}

/// Accepts until `stop` says so; then waits for what is being answered.
pub(crate) async fn run(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    web: Arc<Web>,
    door: Arc<Door>,
    stop: watch::Receiver<bool>,
) {
    let (tls, counts, told) = (TlsAcceptor::from(tls), web.house.counts.clone(), stop.clone());
    let greet = |stream, guest| greet(stream, guest, tls.clone(), web.clone(), told.clone());
    accept(listener, door, counts, stop, greet).await;
}

async fn greet(
    stream: TcpStream,
    Guest { address, place }: Guest,
    tls: TlsAcceptor,
    web: Arc<Web>,
    stop: watch::Receiver<bool>,
) {
    let first = async {
        let mut first = [0];
        match stream.peek(&mut first).await {
            Ok(1) => Some(first[0]),
            _ => None,
        }
    };
    let first = tokio::select! {
        first = timeout(limits::HANDSHAKE, first) => first.ok().flatten(),
        () = place.must_go() => return,
    };
    let connection = Arc::new(Connection { address, seat: Mutex::default(), known: Notify::new() });
    match first {
        Some(TLS) => {
            let accepted = tokio::select! {
                accepted = timeout(limits::HANDSHAKE, tls.accept(stream)) => accepted,
                () = place.must_go() => return,
            };
            match accepted {
                Ok(Ok(stream)) => {
                    let answer = |request| web.clone().answer(request, connection.clone());
                    serve(stream, &connection, place, stop, answer).await;
                }
                Ok(Err(error)) => {
                    web.house.counts.failed_handshakes.one();
                    if is_distrust(&error) {
                        tracing::debug!(%address, "a browser does not trust the certificate");
                    } else {
                        log::STRANGERS.line(|| tracing::info!(%address, %error, "web handshake failed"));
                    }
                }
                Err(_) => log::STRANGERS.line(|| tracing::info!(%address, "web handshake took too long")),
            }
        }
        Some(_) => serve(stream, &connection, place, stop, |request| async move { redirect(&request) }).await,
        None => {}
    }
}

/// Whether a peer went because it does not know the certificate: browsers do so several times over on a first visit to a
/// server with a certificate of its own, before they ask their user.
fn is_distrust(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|error| error.downcast_ref());
    matches!(
        error,
        Some(rustls::Error::AlertReceived(
            AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::BadCertificate
        ))
    )
}

/// Answers requests until the peer has no more, somebody needs its place, or the server stops.
async fn serve<S, F>(
    stream: S,
    connection: &Connection,
    place: Place,
    mut stop: watch::Receiver<bool>,
    answer: impl Fn(Request<Incoming>) -> F,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Response<Body>>,
{
    let service = service_fn(|request| {
        let answered = answer(request);
        async { Ok::<_, Infallible>(answered.await) }
    });
    let mut serving = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .max_header_size(HEADER_BYTES)
            .max_headers(HEADER_COUNT)
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(Patience::new(stream, limits::UNREAD)), service)
    );
    let (mut place, mut is_stopping) = (Some(place), false);
    loop {
        let must_go = async {
            match &place {
                Some(place) => place.must_go().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = serving.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(address = %connection.address, %error, "a web connection ended");
                }
                return;
            }
            () = must_go => return,
            () = connection.known.notified(), if place.is_some() => place = None,
            _ = stop.wait_for(|stop| *stop), if !is_stopping => {
                is_stopping = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Sends a browser that came in the clear to where it is safe. It says nothing else here, and nothing that it said is used.
fn redirect(request: &Request<Incoming>) -> Response<Body> {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let is_host = |host: &&str| {
        let is_part = |b: u8| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b);
        !host.is_empty() && host.len() <= 255 && host.bytes().all(is_part)
    };
    let mut response = answer::nothing(StatusCode::PERMANENT_REDIRECT);
    match host.filter(is_host) {
        Some(host) => answer::put(&mut response, header::LOCATION, &format!("https://{host}/")),
        None => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    answer::set(&mut response, header::CONNECTION, "close");
    let mut response = answer::seal(response);
    // Browsers complain of it where nothing is encrypted.
    response.headers_mut().remove("cross-origin-opener-policy");
    response
}
