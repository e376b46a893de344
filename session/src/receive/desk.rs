//! The disk half of receiving: works through a queue on whatever thread of the pool is free, in order.

use std::{
    collections::{HashMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ferry_proto::{Answer, Code, Digest, Header, Message, Receiver, Seq};
use ferry_store::{Begin, Busy, Meter, Outcome, Reply, Store, Ticket, Upload, lock};
use tokio::{sync::Notify, task::JoinHandle, time::sleep};

use super::Destination;
use crate::{Buffer, Outbox, Permit, SessionError};

/// Pieces of work that one session does in a row: enough that changing over costs nothing, few enough that a session
/// that is faster than the disk does not keep a thread for itself.
const TURN: usize = 256;

/// Between two looks whether what was handed in is committed. A batch takes longer.
const BREATH: Duration = Duration::from_millis(1);

/// Something to do, in the order in which it came.
pub(super) enum Work {
    Offer(Seq, Header, Instant),
    /// An offer that was decided before it came here.
    Answer(Seq, Outcome),
    Body(Seq, u64),
    Chunk(Seq, Buffer),
    Hole(Seq, usize),
    End(Seq, Digest),
    Abort(Seq, Code),
    RetryParked,
}

/// The bytes of a piece, and the room that they take.
struct Chunk {
    bytes: Buffer,
    _room: Option<[Permit; 2]>,
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// See the module.
pub(super) struct Desk<S: Store> {
    destination: Destination<S>,
    answers: Arc<Answers>,
    queue: Mutex<Queue>,
    state: Mutex<State<S>>,
    /// Somebody has to be told that the queue is at rest.
    at_rest: Notify,
}

#[derive(Default)]
struct Queue {
    work: VecDeque<(Work, Option<[Permit; 2]>)>,
    is_worked_on: bool,
    is_closed: bool,
}

struct State<S: Store> {
    tickets: HashMap<Seq, (Box<Ticket>, Reply)>,
    open: Option<(Seq, Upload<S>, Reply)>,
    parked: Vec<(Seq, Box<Busy>, Reply)>,
}

impl<S: Store> Desk<S> {
    pub(super) fn new(
        destination: Destination<S>,
        receiver: Arc<Mutex<Receiver>>,
        outbox: Outbox,
    ) -> Arc<Self> {
        let answers = Answers { receiver, outbox, failed: AtomicBool::new(false) };
        Arc::new(Desk {
            destination,
            answers: Arc::new(answers),
            queue: Mutex::default(),
            state: Mutex::new(State { tickets: HashMap::new(), open: None, parked: Vec::new() }),
            at_rest: Notify::new(),
        })
    }

    /// Queues work; the room it takes is free again when it is done.
    pub(super) fn push(self: &Arc<Self>, work: Work, room: Option<[Permit; 2]>) {
        let mut queue = lock(&self.queue);
        if queue.is_closed {
            return;
        }
        queue.work.push_back((work, room));
        if !std::mem::replace(&mut queue.is_worked_on, true) {
            drop(queue);
            let desk = self.clone();
            tokio::task::spawn_blocking(move || desk.take_a_turn());
        }
    }

    /// Where it all goes.
    pub(super) fn destination(&self) -> &Destination<S> {
        &self.destination
    }

    /// What the time of this request goes into.
    pub(super) fn meter(&self) -> &Meter {
        &self.destination.terms.meter
    }

    /// Looks again after offers whose bodies another connection had under way.
    pub(super) fn retry_parked(self: &Arc<Self>) {
        // While the state is in use, work goes on, and the next call comes in a second.
        let any = self.state.try_lock().is_ok_and(|state| !state.parked.is_empty());
        if any {
            self.push(Work::RetryParked, None);
        }
    }

    /// Whether the desk and its answers are well.
    pub(super) fn check(&self) -> Result<(), SessionError> {
        if self.answers.failed.load(Ordering::Relaxed) || self.answers.outbox.is_unread() {
            return Err(SessionError::Flooded);
        }
        if lock(&self.queue).is_closed {
            Err(SessionError::Internal("the disk half has failed"))
        } else {
            Ok(())
        }
    }

    /// Takes no more work and drops what is queued; what is being done for this session alone stops soon.
    pub(super) fn stop(&self) {
        let mut queue = lock(&self.queue);
        queue.is_closed = true;
        queue.work.clear();
        self.destination.lease.end();
    }

    /// Drops what is queued, waits for what is being done, and lets go of every body.
    pub(super) async fn close(self: Arc<Self>) {
        self.stop();
        loop {
            let at_rest = self.at_rest.notified();
            if !lock(&self.queue).is_worked_on {
                break;
            }
            at_rest.await;
        }
        if self.let_go().await.is_err() {
            tracing::error!("the end of a session's disk half ended in a panic");
        }
    }

    /// Lets go of every body. What cannot be gone on with is removed, which is disk work too.
    pub(super) fn let_go(self: Arc<Self>) -> JoinHandle<()> {
        tokio::task::spawn_blocking(move || {
            let mut state = lock(&self.state);
            if let Some((_, upload, _)) = &state.open {
                self.destination.witness.cut_off(upload.header());
            }
            state.let_go();
        })
    }

    /// Works for a while, then lets other sessions have the thread: the pool takes turns in order.
    fn take_a_turn(self: Arc<Self>) {
        for _ in 0..TURN {
            let is_ahead = self.is_ahead();
            let mut queue = lock(&self.queue);
            if queue.work.is_empty() {
                queue.is_worked_on = false;
                self.at_rest.notify_waiters();
                return;
            }
            if is_ahead {
                drop(queue);
                tokio::spawn(self.wait_for_the_committer());
                return;
            }
            let Some((work, room)) = queue.work.pop_front() else { continue };
            drop(queue);
            // A panic is a fault of ours; it ends this session, not the server.
            let done = catch_unwind(AssertUnwindSafe(|| self.do_one(work, room)));
            if done.is_err() {
                tracing::error!("a session's disk half ended in a panic");
                let mut queue = lock(&self.queue);
                queue.is_closed = true;
                queue.work.clear();
            }
        }
        tokio::task::spawn_blocking(move || self.take_a_turn());
    }

    /// Whether the committer has so much of this client's to do that more is left for later.
    fn is_ahead(&self) -> bool {
        let Destination { uploads, terms, .. } = &self.destination;
        uploads.is_behind(&terms.client)
    }

    /// Waits without a thread, and goes on with the turn.
    async fn wait_for_the_committer(self: Arc<Self>) {
        while self.is_ahead() && !lock(&self.queue).is_closed {
            sleep(BREATH).await;
        }
        tokio::task::spawn_blocking(move || self.take_a_turn());
    }

    /// The room is free again when the work is done; that of a chunk, when its bytes are written and hashed.
    fn do_one(&self, work: Work, room: Option<[Permit; 2]>) {
        let mut state = lock(&self.state);
        match work {
            Work::Offer(seq, header, since) => {
                let reply = self.reply(seq, &header, since);
                let Destination { uploads, terms, lease, .. } = &self.destination;
                let begin = uploads.begin(terms, lease, header, reply);
                self.begun(&mut state, seq, begin);
            }
            Work::Answer(seq, outcome) => self.answers.tell(seq, outcome),
            Work::RetryParked => {
                for (seq, busy, reply) in std::mem::take(&mut state.parked) {
                    let Destination { uploads, terms, lease, .. } = &self.destination;
                    let begin = uploads.begin_again(terms, lease, busy, reply);
                    self.begun(&mut state, seq, begin);
                }
            }
            Work::Body(seq, offset) => {
                let Some((ticket, reply)) = state.tickets.remove(&seq) else { return };
                self.destination.witness.begun(ticket.header(), offset);
                match self.destination.uploads.open_body(*ticket, offset) {
                    Ok(upload) => state.open = Some((seq, upload, reply)),
                    Err(outcome) => reply.give(outcome),
                }
            }
            Work::Chunk(seq, bytes) => {
                let Some((open, upload, _)) = &mut state.open else { return };
                self.destination.witness.advanced(upload.header(), bytes.len() as u64);
                if *open == seq
                    && let Err(outcome) = upload.append(Chunk { bytes, _room: room })
                    && let Some((_, _, reply)) = state.open.take()
                {
                    reply.give(outcome);
                }
            }
            Work::Hole(seq, length) => {
                let Some((open, upload, _)) = &mut state.open else { return };
                self.destination.witness.advanced(upload.header(), length as u64);
                if *open == seq
                    && let Err(outcome) = upload.append_hole(length)
                    && let Some((_, _, reply)) = state.open.take()
                {
                    reply.give(outcome);
                }
            }
            Work::End(seq, digest) => {
                if let Some((_, upload, reply)) = state.open.take_if(|(open, ..)| *open == seq) {
                    upload.complete(digest, reply);
                }
            }
            Work::Abort(seq, code) => {
                let witness = &self.destination.witness;
                if let Some((_, mut upload, reply)) = state.open.take_if(|(open, ..)| *open == seq) {
                    upload.abandon();
                    witness.given_up(upload.header(), code);
                    reply.withdraw();
                } else if let Some((ticket, reply)) = state.tickets.remove(&seq) {
                    witness.given_up(ticket.header(), code);
                    reply.withdraw();
                }
            }
        }
    }

    fn begun(&self, state: &mut State<S>, seq: Seq, begin: Begin) {
        match begin {
            Begin::Answered => {}
            Begin::Busy(busy, reply) => state.parked.push((seq, busy, reply)),
            Begin::Send(ticket, reply) => {
                let answer = if self.destination.terms.dry_run {
                    // Nothing follows, so nothing is kept.
                    self.destination.witness.wanted(ticket.header(), ticket.is_new());
                    reply.withdraw();
                    Answer::Wanted { is_new: ticket.is_new() }
                } else {
                    let answer = Answer::Send { offset: ticket.offset(), prefix: ticket.prefix() };
                    state.tickets.insert(seq, (ticket, reply));
                    answer
                };
                self.answers.give(|receiver| receiver.verdict(seq, answer));
            }
        }
    }

    /// What tells the sender and the log about an offer's end.
    fn reply(&self, seq: Seq, header: &Header, since: Instant) -> Reply {
        let answers = self.answers.clone();
        let witness = self.destination.witness.clone();
        let header = header.clone();
        Reply::new(move |outcome| {
            match &outcome {
                Outcome::Held(digest, held_as) => {
                    witness.held(&header, held_as.as_ref().unwrap_or(&header.path), digest.as_ref());
                }
                Outcome::NeedDigest => {}
                Outcome::Stored(digest, bytes, stored_as) => {
                    let name = stored_as.as_ref().unwrap_or(&header.path);
                    witness.stored(&header, name, *bytes, digest.as_ref(), since.elapsed());
                }
                Outcome::Failed(code, detail) => witness.failed(&header, *code, detail),
            }
            answers.tell(seq, outcome);
        })
    }
}

impl<S: Store> State<S> {
    /// Lets go of every body. Nobody waits for the answers any more.
    fn let_go(&mut self) {
        let unanswered = (self.tickets.drain().map(|(_, (_, reply))| reply))
            .chain(self.open.take().map(|(_, _, reply)| reply))
            .chain(self.parked.drain(..).map(|(_, _, reply)| reply));
        unanswered.for_each(Reply::withdraw);
    }
}

/// Nobody waits for the answers of a desk that was not closed either.
impl<S: Store> Drop for State<S> {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// The way back to the sender, for whichever thread has an answer.
struct Answers {
    receiver: Arc<Mutex<Receiver>>,
    outbox: Outbox,
    failed: AtomicBool,
}

impl Answers {
    /// Tells the sender what has become of an offer.
    fn tell(&self, seq: Seq, outcome: Outcome) {
        self.give(|receiver| match outcome {
            Outcome::Held(digest, path) => receiver.verdict(seq, Answer::Held { digest, path }),
            Outcome::NeedDigest => receiver.verdict(seq, Answer::NeedDigest),
            Outcome::Stored(digest, _, path) => receiver.receipt(seq, digest, path),
            Outcome::Failed(code, detail) => receiver.failed(seq, code, detail),
        });
    }

    fn give(&self, make: impl FnOnce(&mut Receiver) -> Option<Message>) {
        // Made and queued under one lock, so that the sender sees answers in the order of the protocol's state.
        let mut receiver = lock(&self.receiver);
        if let Some(message) = make(&mut receiver)
            && matches!(self.outbox.say(message), Err(SessionError::Flooded))
        {
            self.failed.store(true, Ordering::Relaxed);
        }
    }
}
