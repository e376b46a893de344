//! The receiving role: from a stream to [`Uploads`].
//!
//! Two halves, joined by a queue whose bytes are bounded: this task reads frames and keeps the protocol; the
//! `desk` decides, writes and hashes on a pool of threads, and holds none of them while nothing comes.

mod desk;

use std::{
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ferry_proto::{Arrival, Code, Digest, Header, Message, Missing, Piece, Receiver, RelPath, Spent};
use ferry_store::{Lease, Meter, Outcome, Part, Store, Terms, Uploads, lock};

use self::desk::{Desk, Work};
use crate::{Arrived, Buffers, Incoming, Outbox, Room, SessionError, incoming::at_once, send::Pace};

/// Bytes that one session may have between the stream and the disk: what a fast network brings while either half waits
/// for its turn on a busy processor.
const SESSION_ROOM: usize = 8 * 1024 * 1024;

/// Bytes of answers that wait to be read, beyond which nothing more is read either.
const ANSWERS: usize = 256 * 1024;

/// Bytes of a chunk that go to the disk half at a time: what each session may have in its hands while the peer takes
/// its time, so not many, and large enough that handing them over costs nothing.
const PIECE: usize = 128 * 1024;

/// What a receiver tells about each entry: its header with the path that the gate has given it, and the name that it got.
pub trait Witness: Send + Sync + 'static {
    /// An entry has arrived for good.
    fn stored(&self, header: &Header, name: &RelPath, bytes: u64, digest: Option<&Digest>, took: Duration);

    /// An entry was there already.
    fn held(&self, header: &Header, name: &RelPath, digest: Option<&Digest>);

    /// An entry was refused or has failed.
    fn failed(&self, header: &Header, code: Code, detail: &str);

    /// The sender has given a body up that was asked for.
    fn given_up(&self, header: &Header, code: Code);

    /// In a dry run: it would be asked for, in the place of another one unless it is new.
    fn wanted(&self, _header: &Header, _is_new: bool) {}

    /// A body begins, at this offset.
    fn begun(&self, _header: &Header, _offset: u64) {}

    /// Bytes of a body have come.
    fn advanced(&self, _header: &Header, _bytes: u64) {}

    /// The session has ended in the middle of a body.
    fn cut_off(&self, _header: &Header) {}
}

/// Looks at what is offered before anything is done about it, and hears what is not offered.
pub trait Gate: Send + Sync + 'static {
    /// What becomes of it. An error ends the session.
    fn admit(&self, header: Header) -> Result<Admitted, SessionError>;

    /// What was asked for and does not come.
    fn missing(&self, missing: Missing) -> Result<(), SessionError>;
}

/// What becomes of an offer at the gate.
pub enum Admitted {
    /// It goes to the store, under the path that the header has now.
    In(Header),
    /// There is nothing to do about it.
    AsItIs,
    /// It is not wanted.
    Refused(Code, String),
}

/// Everybody is let in as he comes, and nobody is asked for anything.
pub struct OpenGate;

impl Gate for OpenGate {
    fn admit(&self, header: Header) -> Result<Admitted, SessionError> {
        Ok(Admitted::In(header))
    }

    fn missing(&self, _: Missing) -> Result<(), SessionError> {
        Ok(())
    }
}

/// Where a receiver puts things, and on which terms.
pub struct Destination<S: Store> {
    /// The way to the disk.
    pub uploads: Uploads<S>,
    /// What the client may do.
    pub terms: Arc<Terms>,
    /// This connection, as an owner of staged bodies, for this request: it ends with it.
    pub lease: Arc<Lease>,
    /// Room for what has arrived, shared by all sessions.
    pub room: Room,
    /// The memory for it, too.
    pub buffers: Buffers,
    /// How fast bytes may come.
    pub pace: Arc<dyn Pace>,
    /// Who is told.
    pub witness: Arc<dyn Witness>,
}

/// Receives what the sender offers, until it has finished.
pub async fn receive<S: Store>(
    incoming: &mut Incoming,
    outbox: &Outbox,
    receiver: Receiver,
    gate: &dyn Gate,
    destination: Destination<S>,
) -> Result<(), SessionError> {
    let receiver = Arc::new(Mutex::new(receiver));
    let desk = Desk::new(destination, receiver.clone(), outbox.clone());
    // Whoever drops this future in its middle, because the server stops, leaves no work behind either.
    let _stopped = Stopped(&desk);
    let result = take_in(incoming, outbox, &receiver, gate, &desk).await;
    // Whatever the desk still does for this session ends before the session does, so that a successor finds
    // every body free.
    desk.clone().close().await;
    result
}

struct Stopped<'a, S: Store>(&'a Arc<Desk<S>>);

impl<S: Store> Drop for Stopped<'_, S> {
    fn drop(&mut self) {
        self.0.stop();
        drop(self.0.clone().let_go());
    }
}

async fn take_in<S: Store>(
    incoming: &mut Incoming,
    outbox: &Outbox,
    receiver: &Mutex<Receiver>,
    gate: &dyn Gate,
    desk: &Arc<Desk<S>>,
) -> Result<(), SessionError> {
    let Destination { room: shared_room, buffers, pace, .. } = desk.destination();
    let own_room = Room::new(SESSION_ROOM);
    let room = async |length| [own_room.take(length).await, shared_room.take(length).await];
    let protocol = || lock(receiver);
    let spending = Spending { meter: desk.meter(), stalled: AtomicU64::new(0), outbox };
    loop {
        desk.check()?;
        let tick = || {
            desk.retry_parked();
            spending.tell()?;
            desk.check()
        };
        // Before there is room for anything of it: nobody waits for room that a deaf peer holds.
        if outbox.queued() > ANSWERS {
            incoming.meanwhile(tick, outbox.drained_to(ANSWERS)).await??;
        }
        match incoming.next(tick).await? {
            Arrived::Chunk(length) => {
                let piece = protocol().chunk(length)?;
                let Piece::Take { seq, .. } = piece else {
                    incoming.skip(length).await?;
                    continue;
                };
                let mut left = length;
                while left > 0 {
                    let length = left.min(PIECE).min(pace.at_once());
                    incoming.meanwhile(tick, pace.allow(length)).await?;
                    let mut buffer = buffers.take(length);
                    incoming.chunk(length, &mut buffer).await?;
                    // Not before it is here: nobody waits for room that a slow peer holds.
                    let room = spending.stall(incoming.meanwhile(tick, room(length))).await?;
                    desk.push(Work::Chunk(seq, buffer), Some(room));
                    left -= length;
                }
            }
            Arrived::Message(Message::Rejected(rejected), _) if protocol().has_asked() => {
                return Err(SessionError::Goodbye { code: rejected.code, detail: rejected.detail });
            }
            Arrived::Message(message, cost) => {
                let arrival = protocol().handle(message, cost)?;
                let work = match arrival {
                    Arrival::Nothing | Arrival::Hole(Piece::Discard, _) => continue,
                    Arrival::Hole(Piece::Take { seq, .. }, length) => {
                        let mut left = length;
                        while left > 0 {
                            let length = left.min(PIECE);
                            // It takes no memory; but digesting it takes as long as for a chunk, and has its turn like one.
                            let room = spending.stall(incoming.meanwhile(tick, room(length))).await?;
                            desk.push(Work::Hole(seq, length), Some(room));
                            left -= length;
                        }
                        continue;
                    }
                    Arrival::Done(done) => {
                        spending.tell()?;
                        return outbox.say(done);
                    }
                    Arrival::Missing(missing) => {
                        gate.missing(missing)?;
                        continue;
                    }
                    Arrival::Offer(seq, header) => match gate.admit(header)? {
                        Admitted::In(header) => Work::Offer(seq, header, Instant::now()),
                        Admitted::AsItIs => Work::Answer(seq, Outcome::Held(None, None)),
                        Admitted::Refused(code, detail) => Work::Answer(seq, Outcome::Failed(code, detail)),
                    },
                    Arrival::Body { seq, offset } => Work::Body(seq, offset),
                    Arrival::End { seq, digest } => Work::End(seq, digest),
                    Arrival::Abort { seq, code } => Work::Abort(seq, code),
                };
                let room = spending.stall(incoming.meanwhile(tick, room(cost))).await?;
                desk.push(work, Some(room));
            }
        }
    }
}

/// Tells the sender what holds its files up.
struct Spending<'a> {
    meter: &'a Meter,
    /// Microseconds in which nothing was read, because there was no room for it.
    stalled: AtomicU64,
    outbox: &'a Outbox,
}

impl Spending<'_> {
    async fn stall<T>(&self, wait: impl Future<Output = T>) -> T {
        let mut wait = pin!(wait);
        if let Some(done) = at_once(wait.as_mut()).await {
            return done;
        }
        let begin = Instant::now();
        let done = wait.await;
        self.stalled.fetch_add(micros(begin.elapsed()), Ordering::Relaxed);
        done
    }

    fn tell(&self) -> Result<(), SessionError> {
        let spent = |part| micros(self.meter.spent(part));
        self.outbox.say(Spent {
            disk: spent(Part::Disk),
            hash: spent(Part::Hash),
            sync: spent(Part::Sync),
            stalled: self.stalled.load(Ordering::Relaxed),
        })
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
