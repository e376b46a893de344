//! Handshakes between all kinds of peers, in memory.

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, date_time_ymd};
use rustls::{
    AlertDescription, HandshakeKind, InvalidMessage, PeerIncompatible, SignatureScheme,
    client::ResolvesClientCert, pki_types::PrivatePkcs8KeyDer, server::ServerSessionMemoryCache,
    sign::CertifiedKey,
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
        Arc::new(SingleCertAndKey::from(CertifiedKey::new(vec![CertificateDer::from(vec![0x30, 0])], key)))
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
