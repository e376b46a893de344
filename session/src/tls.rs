//! TLS 1.3 between two keys: each side proves that it holds its own, and the client checks which one the
//! server has.
//!
//! A certificate is only the wrapping of a key. Its names, dates and issuer mean nothing here.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use ferry_proto::{Fingerprint, limits};
pub use rustls::{ClientConfig, ServerConfig};
use rustls::{
    DigitallySignedStruct, DistinguishedName, OtherError, PeerIncompatible, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        NoServerSessionStorage, ParsedCertificate,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::SingleCertAndKey,
    version::TLS13,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

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

/// The verifier's finding, on its way through rustls to [`failure`].
#[derive(Debug, thiserror::Error)]
#[error("the server's key is {found}, not {expected}")]
struct WrongKey {
    expected: Fingerprint,
    found: Fingerprint,
}

/// A client's view of a server: the key must be the pinned one.
#[derive(Debug)]
struct PinnedKey {
    server: Fingerprint,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for PinnedKey {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = key_of(end_entity)?;
        if found != self.server {
            let wrong = WrongKey { expected: self.server, found };
            return Err(rustls::Error::Other(OtherError(Arc::new(wrong))));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// A server's view of a client: it must have a key and prove that it holds it.
#[derive(Debug)]
struct AnyKey {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        // A key that cannot be read would leave the client without a fingerprint.
        key_of(end_entity).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Never the process default: what another crate installs there must not change what is promised here.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Of the same bytes, read by the same parser, with which the handshake signature is verified.
fn key_of(certificate: &CertificateDer<'_>) -> Result<Fingerprint, rustls::Error> {
    let certificate = ParsedCertificate::try_from(certificate)?;
    Ok(Fingerprint::of_key(&certificate.subject_public_key_info()))
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
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, date_time_ymd};
    use rustls::{
        AlertDescription, HandshakeKind, InvalidMessage, client::ResolvesClientCert,
        pki_types::PrivatePkcs8KeyDer, server::ServerSessionMemoryCache, sign::CertifiedKey,
    };
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    type Accepted = Result<(server::TlsStream<DuplexStream>, Fingerprint), TlsError>;
    type Connected = Result<client::TlsStream<DuplexStream>, TlsError>;

    #[tokio::test]
    async fn both_sides_know_each_other_and_can_talk() {
        let (us, them) = (Identity::generate(), Identity::generate());
        let (accepted, connected) =
            meet(server_config(&them).unwrap(), client_config(&us, them.fingerprint()).unwrap()).await;
        let ((mut server, client), mut stream) = (accepted.unwrap(), connected.unwrap());
        assert_eq!(client, us.fingerprint());
        assert_eq!(peer_fingerprint(stream.get_ref().1.peer_certificates()), Some(them.fingerprint()));
        assert_eq!(stream.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));

        stream.write_all(b"to").await.unwrap();
        stream.flush().await.unwrap();
        server.write_all(b"fro").await.unwrap();
        server.flush().await.unwrap();
        let (mut to, mut fro) = ([0; 2], [0; 3]);
        server.read_exact(&mut to).await.unwrap();
        stream.read_exact(&mut fro).await.unwrap();
        assert_eq!((&to, &fro), (b"to", b"fro"));
    }

    #[tokio::test]
    async fn another_key_than_the_pinned_one_is_named() {
        let (us, them, other) = (Identity::generate(), Identity::generate(), Identity::generate());
        let (accepted, connected) =
            meet(server_config(&them).unwrap(), client_config(&us, other.fingerprint()).unwrap()).await;
        assert_wrong_key(connected, other.fingerprint(), them.fingerprint());
        assert!(
            matches!(
                accepted,
                Err(TlsError::Handshake(rustls::Error::AlertReceived(AlertDescription::HandshakeFailure)))
            ),
            "{accepted:?}"
        );
    }

    #[tokio::test]
    async fn a_key_of_another_kind_counts_as_any_key() {
        let (us, them) = (Identity::generate(), Identity::generate());
        let (p256, p256_fingerprint) = expired_p256();

        let mut server = ServerConfig::clone(&server_config(&them).unwrap());
        server.cert_resolver = Arc::new(SingleCertAndKey::from(Arc::clone(&p256)));
        let server = Arc::new(server);
        let (_, connected) = meet(Arc::clone(&server), client_config(&us, them.fingerprint()).unwrap()).await;
        assert_wrong_key(connected, them.fingerprint(), p256_fingerprint);
        // The right key is enough, in whatever certificate.
        let (accepted, connected) = meet(server, client_config(&us, p256_fingerprint).unwrap()).await;
        assert_eq!(accepted.unwrap().1, us.fingerprint());
        connected.unwrap();

        let mut client = ClientConfig::clone(&client_config(&us, them.fingerprint()).unwrap());
        client.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(p256));
        let (accepted, connected) = meet(server_config(&them).unwrap(), Arc::new(client)).await;
        assert_eq!(accepted.unwrap().1, p256_fingerprint);
        connected.unwrap();
    }

    #[tokio::test]
    async fn a_server_that_shows_the_pinned_key_but_does_not_hold_it_is_refused() {
        let (us, them, thief) = (Identity::generate(), Identity::generate(), Identity::generate());
        let mut server = ServerConfig::clone(&server_config(&thief).unwrap());
        server.cert_resolver = Arc::new(stolen_certificate(&them, &thief));
        let (_, connected) = meet(Arc::new(server), client_config(&us, them.fingerprint()).unwrap()).await;
        assert_bad_signature(connected);
    }

    #[tokio::test]
    async fn a_client_that_shows_a_key_but_does_not_hold_it_is_refused() {
        let (us, them, thief) = (Identity::generate(), Identity::generate(), Identity::generate());
        let mut client = ClientConfig::clone(&client_config(&thief, them.fingerprint()).unwrap());
        client.client_auth_cert_resolver = Arc::new(stolen_certificate(&us, &thief));
        let (accepted, _) = meet(server_config(&them).unwrap(), Arc::new(client)).await;
        assert_bad_signature(accepted);
    }

    #[tokio::test]
    async fn a_client_without_a_key_is_refused_and_told_so() {
        let (us, them) = (Identity::generate(), Identity::generate());
        let mut client = ClientConfig::clone(&client_config(&us, them.fingerprint()).unwrap());
        client.client_auth_cert_resolver = Arc::new(NoCertificate);
        let (accepted, connected) = meet(server_config(&them).unwrap(), Arc::new(client)).await;
        assert!(
            matches!(accepted, Err(TlsError::Handshake(rustls::Error::NoCertificatesPresented))),
            "{accepted:?}"
        );
        let told = failure(connected.unwrap().read_u8().await.unwrap_err());
        assert!(
            matches!(
                told,
                TlsError::Handshake(rustls::Error::AlertReceived(AlertDescription::CertificateRequired))
            ),
            "{told:?}"
        );
    }

    #[tokio::test]
    async fn a_certificate_that_is_none_is_refused() {
        let (us, them) = (Identity::generate(), Identity::generate());
        let junk = || {
            let key = Arc::clone(&us.certified_key().key);
            Arc::new(SingleCertAndKey::from(CertifiedKey::new(
                vec![CertificateDer::from(vec![0x30, 0])],
                key,
            )))
        };
        let mut server = ServerConfig::clone(&server_config(&them).unwrap());
        server.cert_resolver = junk();
        let (_, connected) = meet(Arc::new(server), client_config(&us, them.fingerprint()).unwrap()).await;
        assert!(
            matches!(connected, Err(TlsError::Handshake(rustls::Error::InvalidCertificate(_)))),
            "{connected:?}"
        );
        let mut client = ClientConfig::clone(&client_config(&us, them.fingerprint()).unwrap());
        client.client_auth_cert_resolver = junk();
        let (accepted, _) = meet(server_config(&them).unwrap(), Arc::new(client)).await;
        assert!(
            matches!(accepted, Err(TlsError::Handshake(rustls::Error::InvalidCertificate(_)))),
            "{accepted:?}"
        );
        assert_eq!(peer_fingerprint(Some(&[CertificateDer::from(vec![0x30, 0])])), None);
        assert_eq!(peer_fingerprint(Some(&[])), None);
        assert_eq!(peer_fingerprint(None), None);
    }

    #[tokio::test]
    async fn a_peer_with_another_protocol_or_none_is_refused() {
        let (us, them) = (Identity::generate(), Identity::generate());
        let right_server = server_config(&them).unwrap();
        let right_client = client_config(&us, them.fingerprint()).unwrap();
        for protocols in [vec![], vec![b"http/1.1".to_vec()]] {
            let mut server = ServerConfig::clone(&right_server);
            server.alpn_protocols = protocols.clone();
            let (_, connected) = meet(Arc::new(server), Arc::clone(&right_client)).await;
            assert!(matches!(connected, Err(TlsError::Handshake(_))), "{connected:?}");

            let mut client = ClientConfig::clone(&right_client);
            client.alpn_protocols = protocols;
            let (accepted, _) = meet(Arc::clone(&right_server), Arc::new(client)).await;
            assert!(
                matches!(accepted, Err(TlsError::Handshake(rustls::Error::NoApplicationProtocol))),
                "{accepted:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_server_gives_no_ticket() {
        let (us, them) = (Identity::generate(), Identity::generate());
        let server = server_config(&them).unwrap();
        // Any one of them would be enough.
        assert_eq!(server.send_tls13_tickets, 0);
        assert!(!server.session_storage.can_cache());
        assert!(!server.ticketer.enabled());
        let client = client_config(&us, them.fingerprint()).unwrap();
        assert_eq!(tickets_and_kind(&server, &client).await, (0, Some(HandshakeKind::Full)));
    }

    #[tokio::test]
    async fn a_client_proves_its_key_even_where_it_could_resume() {
        let (us, them) = (Identity::generate(), Identity::generate());
        let mut server = ServerConfig::clone(&server_config(&them).unwrap());
        server.session_storage = ServerSessionMemoryCache::new(8);
        server.send_tls13_tickets = 1;
        let server = Arc::new(server);
        let mut client = ClientConfig::clone(&client_config(&us, them.fingerprint()).unwrap());
        for _ in 0..2 {
            let client = Arc::new(client.clone());
            assert_eq!(tickets_and_kind(&server, &client).await, (1, Some(HandshakeKind::Full)));
        }
        // So that the lines above do not hold just because this server never resumes.
        client.resumption = Resumption::in_memory_sessions(8);
        let client = Arc::new(client);
        assert_eq!(tickets_and_kind(&server, &client).await.1, Some(HandshakeKind::Full));
        assert_eq!(tickets_and_kind(&server, &client).await.1, Some(HandshakeKind::Resumed));
    }

    #[tokio::test]
    async fn something_else_than_tls_is_a_failed_handshake() {
        let (us, them) = (Identity::generate(), Identity::generate());
        for text in ["HTTP/1.1 400 Bad Request\r\n\r\n", "SSH-2.0-OpenSSH_10.0\r\n", "\0\0\0\0\0\0\0\0"] {
            let (near, mut far) = duplex(64 * 1024);
            far.write_all(text.as_bytes()).await.unwrap();
            let connected = connect(near, client_config(&us, them.fingerprint()).unwrap()).await;
            assert_not_tls(connected);
            let (near, mut far) = duplex(64 * 1024);
            far.write_all(text.as_bytes()).await.unwrap();
            assert_not_tls(accept(near, server_config(&them).unwrap()).await);
        }
    }

    #[tokio::test]
    async fn a_message_without_end_is_a_failed_handshake() {
        let (near, mut far) = duplex(1024 * 1024);
        // Records of a ClientHello that announces 16 MiB.
        let mut record = vec![22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
        record.resize(5 + 0x4000, 0);
        for _ in 0..16 {
            far.write_all(&record).await.unwrap();
            record[5..9].fill(0);
        }
        let accepted = accept(near, server_config(&Identity::generate()).unwrap()).await;
        assert!(matches!(accepted, Err(TlsError::Handshake(_))), "{accepted:?}");
        let full = failure(io::Error::new(io::ErrorKind::InvalidData, "message buffer full"));
        assert!(matches!(full, TlsError::Handshake(_)), "{full:?}");
    }

    #[tokio::test]
    async fn tls_1_2_is_refused() {
        let (near, mut far) = duplex(64 * 1024);
        let mut hello = vec![3, 3];
        hello.extend([7; 32]);
        // No session; ECDHE-ECDSA-AES128-GCM; no compression; the one extension: ECDSA with P-256.
        hello.extend([0, 0, 2, 0xc0, 0x2b, 1, 0, 0, 8, 0, 13, 0, 4, 0, 2, 4, 3]);
        let length = hello.len() as u8;
        far.write_all(&[22, 3, 1, 0, length + 4, 1, 0, 0, length]).await.unwrap();
        far.write_all(&hello).await.unwrap();
        let accepted = accept(near, server_config(&Identity::generate()).unwrap()).await;
        assert!(
            matches!(
                accepted,
                Err(TlsError::Handshake(rustls::Error::PeerIncompatible(
                    PeerIncompatible::SupportedVersionsExtensionRequired
                )))
            ),
            "{accepted:?}"
        );
    }

    #[tokio::test]
    async fn a_cut_connection_is_the_networks_fault() {
        let (us, them) = (Identity::generate(), Identity::generate());
        let client = client_config(&us, them.fingerprint()).unwrap();
        let (near, _) = duplex(64 * 1024);
        let connected = connect(near, Arc::clone(&client)).await;
        assert!(matches!(connected, Err(TlsError::Io(_))), "{connected:?}");

        let (near, mut far) = duplex(64 * 1024);
        far.shutdown().await.unwrap();
        let connected = connect(near, client).await;
        assert!(matches!(connected, Err(TlsError::Io(_))), "{connected:?}");

        let (near, mut far) = duplex(64 * 1024);
        // The head of a record whose body never comes.
        far.write_all(&[22, 3, 1, 1, 0]).await.unwrap();
        drop(far);
        let accepted = accept(near, server_config(&them).unwrap()).await;
        assert!(matches!(accepted, Err(TlsError::Io(_))), "{accepted:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_given_up() {
        let (us, them) = (Identity::generate(), Identity::generate());
        let start = tokio::time::Instant::now();
        let (near, _far) = duplex(64 * 1024);
        let connected = connect(near, client_config(&us, them.fingerprint()).unwrap()).await;
        assert!(matches!(connected, Err(TlsError::Timeout)), "{connected:?}");
        let (near, _far) = duplex(64 * 1024);
        let accepted = accept(near, server_config(&them).unwrap()).await;
        assert!(matches!(accepted, Err(TlsError::Timeout)), "{accepted:?}");
        let took = start.elapsed();
        assert!(took >= 2 * limits::HANDSHAKE && took < 3 * limits::HANDSHAKE, "{took:?}");
    }

    async fn meet(server: Arc<ServerConfig>, client: Arc<ClientConfig>) -> (Accepted, Connected) {
        let (near, far) = duplex(64 * 1024);
        tokio::join!(accept(near, server), connect(far, client))
    }

    /// Of one more connection, as the client sees it.
    async fn tickets_and_kind(
        server: &Arc<ServerConfig>,
        client: &Arc<ClientConfig>,
    ) -> (u32, Option<HandshakeKind>) {
        let (accepted, connected) = meet(Arc::clone(server), Arc::clone(client)).await;
        let (mut accepted, mut connected) = (accepted.unwrap().0, connected.unwrap());
        // A ticket comes before the first byte.
        accepted.write_all(b"x").await.unwrap();
        accepted.flush().await.unwrap();
        connected.read_u8().await.unwrap();
        let connection = connected.get_ref().1;
        (connection.tls13_tickets_received(), connection.handshake_kind())
    }

    /// The certificate of `owner`, with handshakes signed by `thief`.
    fn stolen_certificate(owner: &Identity, thief: &Identity) -> SingleCertAndKey {
        let certificate = owner.certified_key().cert.clone();
        SingleCertAndKey::from(CertifiedKey::new(certificate, Arc::clone(&thief.certified_key().key)))
    }

    fn expired_p256() -> (Arc<CertifiedKey>, Fingerprint) {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::new(["elsewhere.example".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2001, 1, 2);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let signing =
            aws_lc_rs::sign::any_ecdsa_type(&PrivatePkcs8KeyDer::from(key.serialize_der()).into()).unwrap();
        let fingerprint = Fingerprint::of_key(&rcgen::PublicKeyData::subject_public_key_info(&key));
        (Arc::new(CertifiedKey::new(vec![certificate], signing)), fingerprint)
    }

    #[derive(Debug)]
    struct NoCertificate;

    impl ResolvesClientCert for NoCertificate {
        fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            None
        }

        fn has_certs(&self) -> bool {
            false
        }
    }

    #[track_caller]
    fn assert_wrong_key(result: Connected, pinned: Fingerprint, shown: Fingerprint) {
        match result {
            Err(TlsError::WrongKey { expected, found }) => assert_eq!((expected, found), (pinned, shown)),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn assert_bad_signature<T: std::fmt::Debug>(result: Result<T, TlsError>) {
        let bad = rustls::Error::InvalidCertificate(rustls::CertificateError::BadSignature);
        assert!(matches!(&result, Err(TlsError::Handshake(error)) if *error == bad), "{result:?}");
    }

    #[track_caller]
    fn assert_not_tls<T: std::fmt::Debug>(result: Result<T, TlsError>) {
        let not_tls = rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType);
        assert!(matches!(&result, Err(TlsError::Handshake(error)) if *error == not_tls), "{result:?}");
    }
}
