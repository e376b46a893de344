//! Asking a server what it has, without getting any of it.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
    mpsc,
};

use ferry_proto::{
    Algorithm, Answer, Arrival, Code, Header, List, Message, Missing, Receiver, RelPath, Request, Seq, Verb,
    Violation, Wants,
};
use ferry_session::{Arrived, Incoming, Outbox, SessionError, greet};
use ferry_store::lock;

use crate::{commands::Work, dial::Session};

/// Who looks at what there is.
pub(crate) trait Look: Send + Sync + 'static {
    /// An entry. The answer is whether its digest is wanted, which it does not have; then it comes again.
    fn entry(&self, header: &Header) -> Wish;

    /// What was asked for and cannot be told of.
    fn missing(&self, path: Option<&RelPath>, code: Code, detail: &str);
}

/// What is wanted of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Nothing more.
    Nothing,
    /// Its digest, which was not told.
    Digest,
}

/// What to ask.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    /// Nothing is everything.
    pub(crate) paths: Vec<RelPath>,
    pub(crate) digest: Algorithm,
    pub(crate) recursive: bool,
    pub(crate) reread: bool,
}

/// A run that asks.
pub(crate) struct Listing<L> {
    question: Question,
    look: Arc<L>,
    /// Entries that have come.
    come: AtomicU64,
    is_finished: AtomicBool,
}

impl<L: Look> Listing<L> {
    pub(crate) fn new(question: Question, look: Arc<L>) -> Arc<Self> {
        Arc::new(Listing { question, look, come: AtomicU64::new(0), is_finished: AtomicBool::new(false) })
    }

    async fn ask(&self, incoming: &mut Incoming, outbox: &Outbox) -> Result<(), SessionError> {
        let Question { paths, digest, recursive, reread } = self.question.clone();
        let wants = Wants::default();
        outbox.say(Request { id: 1, verb: Verb::List(List { paths, digest, recursive, reread, wants }) })?;
        let receiver = Arc::new(Mutex::new(Receiver::asking(true, digest)));
        // Looking takes a thread of its own. What waits for it is bounded by the window of offers.
        let (entries, to_look_at) = mpsc::channel::<(Seq, Header)>();
        let looking = {
            let (look, receiver, outbox) = (self.look.clone(), receiver.clone(), outbox.clone());
            std::thread::spawn(move || look_at(&*look, &to_look_at, &receiver, &outbox))
        };
        let result = self.hear(incoming, outbox, &receiver, &entries).await;
        drop(entries);
        let looked = tokio::task::spawn_blocking(move || looking.join()).await;
        match looked {
            Ok(Ok(())) => result,
            _ => Err(SessionError::Internal("looking at an entry has failed")),
        }
    }

    async fn hear(
        &self,
        incoming: &mut Incoming,
        outbox: &Outbox,
        receiver: &Mutex<Receiver>,
        entries: &mpsc::Sender<(Seq, Header)>,
    ) -> Result<(), SessionError> {
        loop {
            let (message, cost) = match incoming.next(|| Ok(())).await? {
                Arrived::Message(message, cost) => (message, cost),
                Arrived::Chunk(_) => return Err(Violation("bytes that were not asked for").into()),
            };
            if let Message::Rejected(rejected) = message {
                return Err(SessionError::Goodbye { code: rejected.code, detail: rejected.detail });
            }
            let arrival = lock(receiver).handle(message, cost)?;
            match arrival {
                Arrival::Offer(seq, header) => {
                    self.come.fetch_add(1, Ordering::Relaxed);
                    let failed = SessionError::Internal("looking at an entry has failed");
                    entries.send((seq, header)).map_err(|_| failed)?;
                }
                Arrival::Missing(Missing { path, code, detail }) => {
                    self.look.missing(path.as_ref(), code, &detail);
                }
                Arrival::Done(done) => {
                    outbox.say(done)?;
                    self.is_finished.store(true, Ordering::Relaxed);
                    return Ok(());
                }
                _ => {}
            }
        }
    }
}

fn look_at(
    look: &impl Look,
    entries: &mpsc::Receiver<(Seq, Header)>,
    receiver: &Mutex<Receiver>,
    outbox: &Outbox,
) {
    while let Ok((seq, header)) = entries.recv() {
        let has_none = header.has_body() && header.digest.is_none() && header.size.is_some();
        let answer = match look.entry(&header) {
            Wish::Digest if has_none => Answer::NeedDigest,
            _ => Answer::Wanted { is_new: true },
        };
        let verdict = lock(receiver).verdict(seq, answer);
        if verdict.is_some_and(|verdict| outbox.say(verdict).is_err()) {
            return;
        }
    }
}

impl<L: Look> Work for Listing<L> {
    async fn on(&self, session: Session) -> Result<(), SessionError> {
        let Session { mut incoming, outbox, .. } = session;
        let result = self.ask(&mut incoming, &outbox).await;
        greet::close(incoming, outbox, &result).await;
        result
    }

    fn is_finished(&self) -> bool {
        self.is_finished.load(Ordering::Relaxed)
    }

    fn progress(&self) -> u64 {
        0
    }

    fn motion(&self) -> [u64; 2] {
        [self.come.load(Ordering::Relaxed), 0]
    }

    fn stop(&self) {}
}
