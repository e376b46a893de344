//! TLS 1.3 between two keys: each side proves that it holds its own, and the client checks which one the
//! server has.
//!
//! A certificate is only the wrapping of a key. Its names, dates and issuer mean nothing here.

mod keys;

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use ferry_proto::{Fingerprint, limits};
pub use rustls::{ClientConfig, ServerConfig};
use rustls::{
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName},
    server::NoServerSessionStorage,
    sign::SingleCertAndKey,
    version::TLS13,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use self::keys::{AnyKey, PinnedKey, WrongKey, key_of};
use crate::identity::Identity;

/// The protocol's name in ALPN.
pub const ALPN: &[u8] = b"ferry/1";

/// Why there is no encrypted stream to a peer.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The server has another key than the pinned one: it is not the machine that the client wants.
    #[error("the server's key is {found}, not {expected}")]
    WrongKey {
        /// The pinned key.
        expected: Fingerprint,
        /// The key that the server showed. Whether it also holds it was not tried.
        found: Fingerprint,
    },
    /// The peer speaks something else than `ferry/1` over TLS 1.3, does not prove that it holds its key, or
    /// has refused what this side sent.
    #[error("the TLS handshake failed: {0}")]
    Handshake(rustls::Error),
    /// The connection was cut during the handshake.
    #[error("the connection broke during the TLS handshake: {0}")]
    Io(io::Error),
    /// The handshake took longer than [`limits::HANDSHAKE`].
    #[error("the peer did not complete the TLS handshake within {} s", limits::HANDSHAKE.as_secs())]
    Timeout,
    /// TLS cannot be set up on this machine.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

/// How a server with this key takes connections: from any client that proves that it holds its key. Who that
/// client is, and what it may do, is decided later.
///
/// # Errors
/// [`TlsError::Setup`] only.
pub fn server_config(identity: &Identity) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = provider();
    let any_key = Arc::new(AnyKey { algorithms: provider.signature_verification_algorithms });
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Setup)?
        .with_client_cert_verifier(any_key)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified_key())));
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed session would skip the proof of the key, and early data can be replayed.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// How a client with this key connects to the one server that holds the key `server`.
///
/// # Errors
/// [`TlsError::Setup`] only.
pub fn client_config(identity: &Identity, server: Fingerprint) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = provider();
    let pinned = Arc::new(PinnedKey { server, algorithms: provider.signature_verification_algorithms });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Setup)?
        .dangerous()
        .with_custom_certificate_verifier(pinned)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified_key())));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    Ok(Arc::new(config))
}

/// The key in the certificate that a peer showed, if it showed one that can be read.
///
/// It says who the peer is only after a handshake, in which the peer has proved that it holds this key.
pub fn peer_fingerprint(certs: Option<&[CertificateDer<'_>]>) -> Option<Fingerprint> {
    key_of(certs?.first()?).ok()
}

/// The server's half of the handshake, with the key that the client has proved to hold.
///
/// # Errors
/// All but [`TlsError::WrongKey`] and [`TlsError::Setup`].
pub async fn accept<S>(
    stream: S,
    config: Arc<ServerConfig>,
) -> Result<(server::TlsStream<S>, Fingerprint), TlsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let stream = in_time(TlsAcceptor::from(config).accept(stream)).await?;
    let (_, connection) = stream.get_ref();
    require_alpn(connection.alpn_protocol())?;
    let client = peer_fingerprint(connection.peer_certificates())
        .ok_or(TlsError::Handshake(rustls::Error::NoCertificatesPresented))?;
    Ok((stream, client))
}

/// The client's half of the handshake, after which the server has proved that it holds the pinned key.
///
/// In TLS 1.3 the client is done before the server has looked at the client's certificate: a server that
/// refuses it says so where the client first reads.
///
/// # Errors
/// All but [`TlsError::Setup`].
pub async fn connect<S>(stream: S, config: Arc<ClientConfig>) -> Result<client::TlsStream<S>, TlsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // rustls wants a name, but nothing looks at it, and with SNI off it is not sent.
    let name = ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let stream = in_time(TlsConnector::from(config).connect(name, stream)).await?;
    require_alpn(stream.get_ref().1.alpn_protocol())?;
    Ok(stream)
}

/// Never the process default: what another crate installs there must not change what is promised here.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

async fn in_time<T>(handshake: impl Future<Output = io::Result<T>>) -> Result<T, TlsError> {
    match timeout(limits::HANDSHAKE, handshake).await {
        Ok(done) => done.map_err(failure),
        Err(_) => Err(TlsError::Timeout),
    }
}

/// rustls refuses a peer whose protocols are all unknown, but not one that names none.
fn require_alpn(negotiated: Option<&[u8]>) -> Result<(), TlsError> {
    match negotiated {
        Some(ALPN) => Ok(()),
        _ => Err(TlsError::Handshake(rustls::Error::NoApplicationProtocol)),
    }
}

/// Tells what the peer did from what the network did.
fn failure(error: io::Error) -> TlsError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::Other(other)) => match other.0.downcast_ref::<WrongKey>() {
            Some(&WrongKey { expected, found }) => TlsError::WrongKey { expected, found },
            None => TlsError::Handshake(rustls::Error::Other(other.clone())),
        },
        Some(tls) => TlsError::Handshake(tls.clone()),
        // So rustls reports a message that does not fit into its buffer; no socket fails in this way.
        None if error.kind() == io::ErrorKind::InvalidData => {
            TlsError::Handshake(rustls::Error::PeerSentOversizedRecord)
        }
        None => TlsError::Io(error),
    }
}

#[cfg(test)]
mod tests;
