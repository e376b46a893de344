use std::{
    io::{ErrorKind, Write},
    pin::Pin,
    sync::{Mutex, mpsc},
    task::{Context, Poll, Waker},
    time::Duration,
};

use ferry_proto::{Answer, Code, Digest, Features, HasherState, Message, Verdict};
use ferry_store::{
    Digests, lock,
    source::{Found, Identity, Item, SourceError, Walk},
};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

use super::{core::AHEAD, *};
use crate::Arrived;

/// A stream that takes a few bytes, then nothing more until it is broken. What comes the other way is not touched.
struct Breaking {
    inner: DuplexStream,
    taken: usize,
    state: Arc<Mutex<Breakage>>,
}

#[derive(Default)]
struct Breakage {
    is_broken: bool,
    waiting: Option<Waker>,
}

impl AsyncWrite for Breaking {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        {
            let mut state = lock(&self.state);
            if state.is_broken {
                return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
            }
            if self.taken > 4096 {
                state.waiting = Some(context.waker().clone());
                return Poll::Pending;
            }
        }
        self.taken += bytes.len();
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Breaking {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

/// One task, and whether it came back.
struct Single(Mutex<Option<Task>>);

impl Manifest for Single {
    fn nudge(&self) {}

    fn next(&self, _: &dyn Fn() -> bool) -> Option<Next> {
        lock(&self.0).take().map(Next::Task)
    }

    fn put_back(&self, task: Task) {
        *lock(&self.0) = Some(task);
    }

    fn settle(&self, _: Task, _: Fate) {}

    fn known_digest(&self, _: &Item, _: Algorithm) -> Option<Digest> {
        None
    }

    fn learned(&self, _: &Item, _: &Digests) -> Result<(), SourceError> {
        Ok(())
    }

    fn known_state(&self, _: &Identity, _: Algorithm, _: u64) -> Option<HasherState> {
        None
    }

    fn learned_state(&self, _: &Identity, _: HasherState) {}

    fn spent(&self, _: Stage, _: Duration) {}

    fn digested(&self, _: u64) {}

    fn disproved(&self, _: &Item, _: &Digests) -> Disproved {
        Disproved::Forgotten
    }

    fn begun(&self, _: &Task, _: u64, _: bool) {}

    fn advanced(&self, _: &Task, _: u64) {}
}

fn file(length: usize) -> (tempfile::NamedTempFile, Task) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&vec![1; length]).unwrap();
    let name = ferry_proto::RelPath::new(b"file").unwrap();
    let Some(Found::Item(item)) = Walk::new(file.path(), Some(name), Links::Keep).next() else {
        panic!("there is a file")
    };
    (file, Task::new(Origin::Tree(item)))
}

/// Asks for the body, breaks the sender's way out when it is full, and says why.
async fn receive_and_break(stream: DuplexStream, sender: Outbox, breakage: Arc<Mutex<Breakage>>) {
    let (mut incoming, outbox) = crate::open(stream);
    let seq = loop {
        if let Arrived::Message(Message::Offer(offer), _) = incoming.next(|| Ok(())).await.unwrap() {
            break offer.seq;
        }
    };
    outbox.say(Verdict { seq, answer: Answer::Send { offset: 0, prefix: None } }).unwrap();
    while sender.queued() < AHEAD {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let waiting = {
        let mut breakage = lock(&breakage);
        breakage.is_broken = true;
        breakage.waiting.take()
    };
    waiting.expect("the stream is full").wake();
    // The sender has its turn first: it must leave one to others.
    tokio::task::yield_now().await;
    outbox.goodbye(Code::Revoked, "not any more").await;
}

#[test]
fn hostile_21_a_way_out_that_breaks_when_it_is_full_ends_the_session_with_the_reason() {
    let (file, task) = file(2 * AHEAD);
    let (ended_in, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (near, far) = duplex(64 * 1024);
            let breakage = Arc::<Mutex<Breakage>>::default();
            let (incoming, outbox) = crate::open(Breaking { inner: near, taken: 0, state: breakage.clone() });
            tokio::spawn(receive_and_break(far, outbox.clone(), breakage));
            let options = Options {
                asked: false,
                dry_run: false,
                shared: Features::default(),
                links: Links::Keep,
                digest: Algorithm::Sha256,
                checksum: false,
                has_company: false,
            };
            let limits = Limits { offers: 1, chunk: 1 << 20, checkpoint: 32 << 20, file: u64::MAX };
            let manifest = Arc::new(Single(Mutex::new(Some(task))));
            let put = put(
                incoming,
                outbox,
                limits,
                Conflict::KeepBoth,
                options,
                manifest.clone(),
                Arc::new(Unlimited),
            );
            let result = put.await;
            let came_back = lock(&manifest.0).is_some();
            ended_in.send((result, came_back)).unwrap();
        });
    });
    let (result, came_back) = ended.recv_timeout(Duration::from_secs(60)).expect("the session ends");
    assert!(matches!(&result, Err(SessionError::Goodbye { code: Code::Revoked, .. })), "{result:?}");
    assert!(came_back);
    drop(file);
}
