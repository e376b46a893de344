//! Browsers, and whoever else speaks HTTP: real TLS, and requests that say what they like.

use std::{
    fmt, fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::Arc,
};

use data_encoding::BASE64;
use ferry_proto::Algorithm;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use serde_json::Value;

use super::{GIVE_UP, Server};

/// What a link's secret comes after.
const FRAGMENT: &str = "#invite=";

/// Bytes in base64.
pub(crate) fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64.encode(bytes.as_ref())
}

/// The digest of these bytes, as RFC 9530 says it.
pub(crate) fn digest_header(bytes: &[u8]) -> String {
    format!("sha-256=:{}:", base64(Algorithm::Sha256.digest(bytes).bytes()))
}

/// Somebody who makes requests, each over a connection of its own. When this is dropped, nothing that is secret about it
/// may stand in the server's log.
pub(crate) struct Visitor {
    address: SocketAddr,
    log: PathBuf,
    /// What each request says of who makes it.
    headers: Vec<(String, String)>,
    secrets: Vec<String>,
}

impl Visitor {
    /// Who has nothing to show.
    pub(crate) fn nobody(server: &Server) -> Self {
        let (address, log) = (server.web(), server.log_file().to_owned());
        Visitor { address, log, headers: Vec::new(), secrets: Vec::new() }
    }

    /// A browser that has just come by a link for the whole root.
    pub(crate) fn signed_in(server: &Server) -> Self {
        Visitor::granted(server, &[])
    }

    /// A browser that has just come by a link with these flags.
    pub(crate) fn granted(server: &Server, flags: &[&str]) -> Self {
        Visitor::by_link(server, &server.invite_with(&[&["--web"], flags].concat()))
    }

    /// A browser that has just come by this link.
    pub(crate) fn by_link(server: &Server, link: &str) -> Self {
        let secret = secret_of(link);
        let mut visitor = Visitor::nobody(server);
        let reply = visitor.presents(&secret, [7; 32]).status(200);
        visitor.takes_cookie(&reply, secret);
        visitor
    }

    /// A program with a token, by an invite with these flags.
    pub(crate) fn with_token(server: &Server, flags: &[&str]) -> Self {
        let secret = secret(server, flags);
        let mut visitor = Visitor::nobody(server);
        visitor.headers.push(("Authorization".to_owned(), format!("Bearer {secret}")));
        visitor.secrets.push(secret);
        visitor
    }

    /// Presents an invite, as the page does.
    pub(crate) fn presents(&self, secret: &str, nonce: [u8; 32]) -> Reply {
        let nonce = data_encoding::HEXLOWER.encode(&nonce);
        let body = serde_json::json!({ "invite": secret, "nonce": nonce, "name": "phone" });
        self.ask("POST", "/session").header("Origin", self.origin()).body(body.to_string()).send()
    }

    /// Asks what an invite calls whoever presents it, as the page does.
    pub(crate) fn asks_name(&self, secret: &str) -> Reply {
        let body = serde_json::json!({ "invite": secret });
        self.ask("POST", "/invite").header("Origin", self.origin()).body(body.to_string()).send()
    }

    /// Is who this answer makes it.
    pub(crate) fn takes_cookie(&mut self, reply: &Reply, secret: String) {
        let cookie = reply.header("set-cookie").expect("the answer sets a cookie");
        let pair = cookie.split(';').next().expect("a split has a first part");
        let value = pair.split_once('=').expect("a cookie has a value").1;
        self.secrets.extend([secret, value.to_owned()]);
        self.headers = vec![("Cookie".to_owned(), pair.to_owned()), ("Origin".to_owned(), self.origin())];
    }

    /// The same visitor by another address: a proxy's.
    pub(crate) fn by(&self, address: SocketAddr) -> Self {
        let Visitor { log, headers, secrets, .. } = self;
        let headers = headers.iter().map(|(name, value)| {
            let value = if name == "Origin" { format!("https://{address}") } else { value.clone() };
            (name.clone(), value)
        });
        Visitor { address, log: log.clone(), headers: headers.collect(), secrets: secrets.clone() }
    }

    /// Where its own page is.
    pub(crate) fn origin(&self) -> String {
        format!("https://{}", self.address)
    }

    /// A header that says who this is.
    pub(crate) fn credential(&self) -> &str {
        self.headers.first().map_or("", |(_, value)| value)
    }

    /// What nobody else may know of it.
    pub(crate) fn secrets(&self) -> &[String] {
        &self.secrets
    }

    /// Begins a request.
    pub(crate) fn ask(&self, method: &str, target: &str) -> Ask<'_> {
        Ask {
            visitor: self,
            method: method.to_owned(),
            target: target.to_owned(),
            headers: self.headers.clone(),
            length: None,
            body: Vec::new(),
        }
    }

    pub(crate) fn get(&self, target: &str) -> Reply {
        self.ask("GET", target).send()
    }

    /// Puts a file of this name, which is encoded here.
    pub(crate) fn put(&self, name: impl AsRef<[u8]>, bytes: impl AsRef<[u8]>) -> Reply {
        self.ask("PUT", &file(name)).body(bytes).send()
    }

    /// A tus request.
    pub(crate) fn tus(&self, method: &str, target: &str) -> Ask<'_> {
        self.ask(method, target).header("Tus-Resumable", "1.0.0")
    }

    /// The creation of an upload.
    pub(crate) fn create(&self, name: impl AsRef<[u8]>, length: u64, more: &str) -> Ask<'_> {
        let metadata = format!("filename {}{more}", base64(name));
        self.tus("POST", "/uploads")
            .header("Upload-Length", length.to_string())
            .header("Upload-Metadata", metadata)
    }

    /// Creates an upload; its URL.
    #[track_caller]
    pub(crate) fn created(&self, name: impl AsRef<[u8]>, length: u64) -> String {
        self.create(name, length, "").send().status(201).header("location").expect("it has a URL").to_owned()
    }

    /// A part of an upload.
    pub(crate) fn part(&self, upload: &str, offset: u64, bytes: impl AsRef<[u8]>) -> Ask<'_> {
        self.tus("PATCH", upload)
            .header("Content-Type", "application/offset+octet-stream")
            .header("Upload-Offset", offset.to_string())
            .body(bytes)
    }

    /// How far an upload is.
    #[track_caller]
    pub(crate) fn offset(&self, upload: &str) -> u64 {
        self.tus("HEAD", upload).send().status(200).number("upload-offset")
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        let Ok(log) = fs::read(&self.log) else { return };
        if std::thread::panicking() {
            return;
        }
        let log = String::from_utf8_lossy(&log);
        for secret in &self.secrets {
            assert!(!log.contains(secret.as_str()), "a secret stands in the log");
        }
    }
}

/// The secret of a new link with these flags.
pub(crate) fn secret(server: &Server, flags: &[&str]) -> String {
    secret_of(&server.invite_with(&[&["--web"], flags].concat()))
}

fn secret_of(link: &str) -> String {
    link.split_once(FRAGMENT).expect("the link has a secret").1.to_owned()
}

/// The path of a file in URLs.
pub(crate) fn file(name: impl AsRef<[u8]>) -> String {
    let encode = |&byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02x}"),
    };
    format!("/files/{}", name.as_ref().iter().map(encode).collect::<String>())
}

/// A request in the making.
pub(crate) struct Ask<'a> {
    visitor: &'a Visitor,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    length: Option<u64>,
    body: Vec<u8>,
}

impl Ask<'_> {
    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn method(mut self, method: &str) -> Self {
        self.method = method.to_owned();
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self
    }

    pub(crate) fn body(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.body = bytes.as_ref().to_vec();
        self
    }

    /// Says that the body is of this length.
    pub(crate) fn length(mut self, length: u64) -> Self {
        self.length = Some(length);
        self
    }

    /// All but the body.
    pub(crate) fn head(&self) -> String {
        let Ask { visitor, method, target, headers, length, body } = self;
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", visitor.address);
        headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        let length = length.unwrap_or(body.len() as u64);
        let is_said = headers.iter().any(|(name, _)| name == "Transfer-Encoding");
        if !is_said && (length > 0 || method != "GET" && method != "HEAD") {
            head += &format!("Content-Length: {length}\r\n");
        }
        head + "\r\n"
    }

    /// Says it, and leaves the rest to whoever has the connection.
    pub(crate) fn begin(self) -> Line {
        let mut line = Line::to(self.visitor.address);
        let _ = line.say(self.head());
        let _ = line.say(&self.body);
        line
    }

    /// The same where the server may be gone.
    pub(crate) fn try_send(self) -> Option<Reply> {
        let (head, is_head) = (self.head(), self.method == "HEAD");
        let mut line = Line::with(self.visitor.address, config(&rustls::version::TLS13)).ok()?;
        let _ = line.say(head);
        let _ = line.say(&self.body);
        line.reply_to(is_head).ok()
    }

    /// Makes the request, and waits for its answer.
    #[track_caller]
    pub(crate) fn send(self) -> Reply {
        let is_head = self.method == "HEAD";
        self.begin().reply_to(is_head).expect("the server answers")
    }
}

/// One connection.
pub(crate) struct Line {
    stream: StreamOwned<ClientConnection, TcpStream>,
    /// What was read, and not yet looked at.
    ahead: Vec<u8>,
}

impl Line {
    pub(crate) fn to(address: SocketAddr) -> Self {
        Line::with(address, config(&rustls::version::TLS13)).expect("the server speaks TLS")
    }

    /// With what this says of TLS.
    pub(crate) fn with(address: SocketAddr, config: ClientConfig) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(GIVE_UP))?;
        stream.set_write_timeout(Some(GIVE_UP))?;
        stream.set_nodelay(true)?;
        let name = ServerName::from(address.ip());
        let mut tls = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        let mut tcp = stream;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        Ok(Line { stream: StreamOwned::new(tls, tcp), ahead: Vec::new() })
    }

    /// The certificate that the server has shown.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        let shown = self.stream.conn.peer_certificates().expect("the server shows one");
        shown[0].to_vec()
    }

    pub(crate) fn say(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())?;
        self.stream.flush()
    }

    /// Says that nothing more will come.
    pub(crate) fn close(&mut self) {
        self.stream.conn.send_close_notify();
        let _ = self.stream.flush();
        let _ = self.stream.sock.shutdown(std::net::Shutdown::Write);
    }

    /// The next answer.
    pub(crate) fn reply(&mut self) -> io::Result<Reply> {
        self.reply_to(false)
    }

    /// The next answer, which has no body if only its head was asked for.
    pub(crate) fn reply_to(&mut self, is_head: bool) -> io::Result<Reply> {
        loop {
            let mut reply = self.head()?;
            if reply.status / 100 == 1 {
                continue;
            }
            let chunked = reply.header("transfer-encoding") == Some("chunked");
            let length =
                reply.header("content-length").map(|length| length.parse().map_err(io::Error::other));
            reply.body = match length.transpose()? {
                _ if is_head || reply.status == 204 || reply.status == 304 => Vec::new(),
                Some(length) => self.take(length)?,
                None if chunked => self.chunks()?,
                None => {
                    let mut rest = std::mem::take(&mut self.ahead);
                    let mut buffer = [0; 16 * 1024];
                    loop {
                        match self.read(&mut buffer)? {
                            0 => break rest,
                            read => rest.extend_from_slice(&buffer[..read]),
                        }
                    }
                }
            };
            return Ok(reply);
        }
    }

    /// The next answer but for its body.
    pub(crate) fn head(&mut self) -> io::Result<Reply> {
        const END: &[u8] = b"\r\n\r\n";
        let end = loop {
            if let Some(end) = self.ahead.windows(END.len()).position(|window| window == END) {
                break end;
            }
            self.more()?;
        };
        let rest = self.ahead.split_off(end + END.len());
        let head = String::from_utf8_lossy(&std::mem::replace(&mut self.ahead, rest)).into_owned();
        let mut lines = head.trim_end().split("\r\n");
        let first = lines.next().unwrap_or_default();
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no answer: {first}")))?;
        let pair =
            |line: &str| line.split_once(':').map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()));
        Ok(Reply { status, headers: lines.filter_map(pair).collect(), body: Vec::new() })
    }

    /// So many bytes.
    pub(crate) fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.ahead.len() < length {
            self.more()?;
        }
        let rest = self.ahead.split_off(length);
        Ok(std::mem::replace(&mut self.ahead, rest))
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let end = loop {
                match self.ahead.iter().position(|&byte| byte == b'\n') {
                    Some(end) => break end,
                    None => self.more()?,
                }
            };
            let line = self.take(end + 1)?;
            let length = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16);
            let length = length.map_err(io::Error::other)?;
            all.extend(self.take(length)?);
            self.take(2)?;
            if length == 0 {
                return Ok(all);
            }
        }
    }

    fn more(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        match self.read(&mut buffer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.ahead.extend_from_slice(&buffer[..read]);
                Ok(())
            }
        }
    }

    /// What the server said before it hung up can be read, even if it takes nothing any more.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let StreamOwned { conn, sock } = &mut self.stream;
        loop {
            match conn.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            if conn.wants_write() {
                let _ = conn.write_tls(sock);
            }
            conn.read_tls(sock)?;
            conn.process_new_packets().map_err(io::Error::other)?;
        }
    }

    /// Waits for the connection's end, and takes no notice of what comes before it.
    pub(crate) fn ends(mut self) {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.read(&mut buffer) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => {
                    let is_patient =
                        matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
                    assert!(!is_patient, "the connection does not end");
                    return;
                }
            }
        }
    }
}

/// An answer.
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// Checks the status; shows everything where it is another one.
    #[track_caller]
    pub(crate) fn status(self, expected: u16) -> Self {
        assert_eq!(self.status, expected, "{self:?}");
        self
    }

    /// Checks that it is a refusal of this kind.
    #[track_caller]
    pub(crate) fn refuses(self, status: u16, code: &str) -> Self {
        let reply = self.status(status);
        assert_eq!(reply.json()["code"], code, "{reply:?}");
        assert_eq!(reply.header("content-type"), Some("application/problem+json"));
        reply
    }

    /// Its only header of this name.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(other, _)| other == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "several headers {name}: {self:?}");
        value
    }

    /// A header that is a number.
    #[track_caller]
    pub(crate) fn number(&self, name: &str) -> u64 {
        let number = self.header(name).and_then(|value| value.parse().ok());
        number.unwrap_or_else(|| panic!("no number {name}: {self:?}"))
    }

    /// Checks that it has this header.
    #[track_caller]
    pub(crate) fn has(self, name: &str, value: &str) -> Self {
        assert_eq!(self.header(name), Some(value), "{name}: {self:?}");
        self
    }

    /// Checks that it is the receipt of these bytes under this name.
    #[track_caller]
    pub(crate) fn has_receipt(self, status: &str, name: impl AsRef<[u8]>, bytes: &[u8]) -> Self {
        let location = self.header("content-location").unwrap_or_default();
        assert!(location.eq_ignore_ascii_case(&file(name)), "{self:?}");
        self.has("ferry-status", status).has("repr-digest", &digest_header(bytes))
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = String::from_utf8_lossy(&self.body[..self.body.len().min(1000)]);
        write!(f, "{} {:?}\n{body}", self.status, self.headers)
    }
}

/// TLS of this version with whoever is at the other end.
pub(crate) fn config(version: &'static rustls::SupportedProtocolVersion) -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[version])
        .expect("the provider has it")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// Takes each certificate. What it is, tests look at that are about it.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("nobody speaks that any more".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
