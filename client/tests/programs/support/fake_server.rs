//! A server that says what it likes: real TLS and real frames, and nothing of `ferryd`.

use std::{net::SocketAddr, sync::Arc, thread::JoinHandle};

use ferry_proto::{
    Body, Digest, End, Frame, GrantView, Hello, Invite, Limits, Message, Offer, Secret, VERSION, Welcome,
    limits,
};
use ferry_session::{identity::Identity, tls};
use tokio::net::TcpListener;

use super::{
    Wire,
    wire::{in_time, runtime},
};

/// What a fake server says on one connection.
pub(crate) type Script = Box<dyn FnOnce(&mut Wire) + Send>;

/// See the module. Its invite is good for everybody and for ever.
pub(crate) struct FakeServer {
    address: SocketAddr,
    identity: Arc<Identity>,
    thread: Option<JoinHandle<()>>,
}

impl FakeServer {
    /// Takes as many connections as there are scripts, one after the other, and follows the script for each.
    pub(crate) fn start(scripts: Vec<Script>) -> Self {
        let identity = Arc::new(Identity::generate());
        let config = tls::server_config(&identity).expect("TLS can be set up");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.set_nonblocking(true).expect("a listener can be asked not to block");
        let address = listener.local_addr().expect("a listener has an address");
        let thread = std::thread::spawn(move || {
            for script in scripts {
                let runtime = runtime();
                let listener = listener.try_clone().expect("a listener can be cloned");
                let (stream, _) = in_time(&runtime, async {
                    let listener = TcpListener::from_std(listener).expect("a listener is one");
                    let (stream, _) = listener.accept().await.expect("a client comes");
                    tls::accept(stream, config.clone()).await.expect("the client speaks TLS")
                });
                script(&mut Wire::new(runtime, stream));
            }
        });
        FakeServer { address, identity, thread: Some(thread) }
    }

    /// A link to it.
    pub(crate) fn invite(&self) -> String {
        let invite = Invite {
            addresses: vec![self.address.to_string()],
            fingerprint: self.identity.fingerprint(),
            secret: Secret::from_bytes([9; 16]),
        };
        invite.to_link()
    }

    /// Waits until every script has been followed; panics if one has.
    pub(crate) fn finish(mut self) {
        if let Some(thread) = self.thread.take()
            && let Err(panic) = thread.join()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Wire {
    /// As a server: takes the hello, and answers with an honest welcome.
    pub(crate) fn let_in(&mut self) -> Hello {
        self.let_in_as("fake")
    }

    /// As a server with this name.
    pub(crate) fn let_in_as(&mut self, name: &str) -> Hello {
        let Message::Hello(hello) = self.message() else { panic!("the client does not say hello first") };
        self.say(Welcome {
            version: VERSION,
            agent: "fake".to_owned(),
            name: name.to_owned(),
            features: Vec::new(),
            limits: Limits {
                offers: limits::OFFERS as u32,
                chunk: limits::CHUNK as u32,
                checkpoint: limits::CHECKPOINT,
                file: limits::FILE,
            },
            grant: GrantView { client: "c".to_owned(), put: true, get: true, list: true, overwrite: true },
        });
        hello
    }

    /// As a server: waits for the next offer, whatever comes before it.
    pub(crate) fn offered(&mut self) -> Offer {
        loop {
            if let Message::Offer(offer) = self.message() {
                return offer;
            }
        }
    }

    /// As a server: takes a whole body; its bytes, and the digest that the client says they have.
    pub(crate) fn take_body(&mut self) -> (Body, Vec<u8>, Digest) {
        let body = loop {
            match self.message() {
                Message::Body(body) => break body,
                // What is next is offered meanwhile.
                Message::Offer(_) => {}
                other => panic!("no body, but {other:?}"),
            }
        };
        let mut bytes = Vec::new();
        loop {
            match self.hear() {
                Some(Frame::Chunk(chunk)) => bytes.extend_from_slice(&chunk),
                Some(Frame::Control(Message::End(End { digest }))) => return (body, bytes, digest),
                Some(Frame::Control(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("something else in a body: {other:?}"),
            }
        }
    }
}
