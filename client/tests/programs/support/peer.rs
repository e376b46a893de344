//! A client that says what it likes: real TLS and real frames, and nothing of `ferry`.

use std::ops::{Deref, DerefMut};

use ferry_proto::{
    Algorithm, Answer, Body, Code, Conflict, Digest, End, Frame, Header, Hello, Invite, Kind, Message, Offer,
    Put, RelPath, Request, Secret, Seq, Verb, Verdict, Versions, Welcome,
};
use ferry_session::{identity::Identity, tls};
use tokio::net::TcpStream;

use super::{
    Server, Wire,
    wire::{in_time, runtime},
};

/// See the module.
pub(crate) struct Peer {
    wire: Wire,
}

/// An honest first word.
pub(crate) fn hello(invite: Option<Secret>) -> Hello {
    Hello {
        versions: Versions::ours(),
        run: [7; 16],
        agent: "peer".to_owned(),
        name: "peer".to_owned(),
        features: Vec::new(),
        invite,
    }
}

impl Peer {
    /// Encrypted, and without a word said.
    pub(crate) fn connect(server: &Server, identity: &Identity) -> Self {
        let runtime = runtime();
        let config = tls::client_config(identity, server.fingerprint()).expect("TLS can be set up");
        let stream = in_time(&runtime, async {
            let stream = TcpStream::connect(server.address()).await.expect("the server listens");
            tls::connect(stream, config).await.expect("the server speaks TLS")
        });
        Peer { wire: Wire::new(runtime, stream) }
    }

    /// A client that has just been enrolled, and welcomed.
    pub(crate) fn welcomed(server: &Server) -> Self {
        Peer::enrolled(server).0
    }

    /// A client that has just been enrolled, and welcomed; and its key, to come again with.
    pub(crate) fn enrolled(server: &Server) -> (Self, Identity) {
        let identity = Identity::generate();
        (Peer::enrolled_as(server, &identity, &server.invite()), identity)
    }

    /// A client that has just been enrolled by this link, and welcomed.
    pub(crate) fn enrolled_by(server: &Server, link: &str) -> Self {
        Peer::enrolled_as(server, &Identity::generate(), link)
    }

    fn enrolled_as(server: &Server, identity: &Identity, link: &str) -> Self {
        let invite: Invite = link.parse().expect("the link is whole");
        let mut peer = Peer::connect(server, identity);
        peer.say(hello(Some(invite.secret.clone())));
        peer.welcome();
        peer
    }

    /// A client that is known already, welcomed again.
    pub(crate) fn again(server: &Server, identity: &Identity) -> Self {
        let mut peer = Peer::connect(server, identity);
        peer.say(hello(None));
        peer.welcome();
        peer
    }

    /// A client that has been enrolled and welcomed, and may put files.
    pub(crate) fn sending(server: &Server) -> Self {
        let mut peer = Peer::welcomed(server);
        peer.put(Conflict::Replace);
        peer
    }

    #[track_caller]
    pub(crate) fn welcome(&mut self) -> Welcome {
        match self.message() {
            Message::Welcome(welcome) => welcome,
            other => panic!("no welcome, but {other:?}"),
        }
    }

    /// Asks to put files.
    pub(crate) fn put(&mut self, on_conflict: Conflict) {
        self.say(Request {
            id: 1,
            verb: Verb::Put(Put { on_conflict, dry_run: false, digest: Algorithm::Sha256 }),
        });
    }

    /// Offers a file of this size.
    pub(crate) fn offer(&mut self, seq: u64, name: impl AsRef<[u8]>, size: u64, digest: Option<Digest>) {
        let path = RelPath::new(name).expect("an honest name");
        let header = Header { size: Some(size), digest, ..Header::new(path, Kind::File) };
        self.say(Offer { seq: Seq(seq), header });
    }

    /// Sends a body in full, whatever was offered.
    pub(crate) fn body(&mut self, seq: u64, bytes: &[u8], digest: Digest) {
        self.say(Body { seq: Seq(seq), offset: 0 });
        self.chunks(bytes);
        self.say(End { digest });
    }

    /// Waits until the server asks for a body; the offset it wants.
    #[track_caller]
    pub(crate) fn asked(&mut self, seq: u64) -> u64 {
        match self.message() {
            Message::Verdict(Verdict { seq: Seq(found), answer: Answer::Send { offset, .. } })
                if found == seq =>
            {
                offset
            }
            other => panic!("no verdict on {seq} that asks for the body, but {other:?}"),
        }
    }

    /// Waits for a receipt; the digest in it.
    #[track_caller]
    pub(crate) fn receipt(&mut self, seq: u64) -> Option<Digest> {
        match self.message() {
            Message::Receipt(receipt) if receipt.seq == Seq(seq) => receipt.digest,
            other => panic!("no receipt for {seq}, but {other:?}"),
        }
    }

    /// Waits for a failure, or a refusal; its code.
    #[track_caller]
    pub(crate) fn failure(&mut self, seq: u64) -> Code {
        match self.message() {
            Message::Failed(failed) if failed.seq == Seq(seq) => failed.code,
            Message::Verdict(Verdict { seq: Seq(found), answer: Answer::Refused { code, .. } })
                if found == seq =>
            {
                code
            }
            other => panic!("no failure of {seq}, but {other:?}"),
        }
    }

    /// Sends a whole small file, and waits for its receipt.
    #[track_caller]
    pub(crate) fn send(&mut self, seq: u64, name: &str, bytes: &[u8]) {
        let digest = ferry_proto::Algorithm::Sha256.digest(bytes);
        self.offer(seq, name, bytes.len() as u64, Some(digest));
        assert_eq!(self.asked(seq), 0);
        self.body(seq, bytes, digest);
        assert_eq!(self.receipt(seq), Some(digest));
    }

    /// Waits for the goodbye of a server that throws this peer out; the code in it. Going at once spares the server
    /// the time for which it would listen on.
    #[track_caller]
    pub(crate) fn thrown_out(mut self) -> Code {
        loop {
            match self.hear() {
                Some(Frame::Control(Message::Goodbye(goodbye))) => return goodbye.code,
                Some(_) => {}
                None => panic!("the server does not say why"),
            }
        }
    }
}

impl Deref for Peer {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        &self.wire
    }
}

impl DerefMut for Peer {
    fn deref_mut(&mut self) -> &mut Wire {
        &mut self.wire
    }
}
