//! The core of sending: the protocol, and who waits for what.

use std::{
    collections::{HashMap, VecDeque},
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use ferry_proto::{
    Code, Digest, FrameHeader, Limits, Message, Missing, Progress, Rejected, Sender, Seq, Spent, Violation,
    limits,
};
use ferry_store::{Digests, source::SourceError};
use tokio::{
    runtime::Handle,
    sync::mpsc::{self, error::TryRecvError},
    task::consume_budget,
    time::{sleep, timeout},
};

use super::{
    Disproved, Fate, Manifest, Options, Origin, Pace, Stage, Task,
    reader::{self, Deed, Event, Hold, Making, What, Whole},
    scout::{self, ATTEMPTS, Prepared, Small},
};
use crate::{Arrived, Buffer, Buffers, Incoming, Outbox, Permit, SessionError, outbox::APART};

/// Frames are packed together up to this many bytes before they go to the stream: several records of TLS, so that a
/// write costs little beside its bytes.
const PACK: usize = 128 * 1024;

/// Bytes on their way to the stream beyond which nothing more is read from the disk: a few milliseconds of work for the
/// writer. What is here when a connection breaks is sent again.
pub(super) const AHEAD: usize = 2 * 1024 * 1024;

/// Prepared tasks between the scout and the core: a quarter of a window. The bodies among them have a bound of their
/// own.
const PREPARED: usize = 1024;

/// Chunks between the reader and the core: enough that neither waits for the other's turn on a processor.
const CHUNKS: usize = 4;

/// A peer that has asked for files and reads nothing for this long gets none, however alive it says it is: its disk cannot be
/// that slow, and others wait for their turn.
const DEAF: Duration = Duration::from_secs(10 * 60);

/// Messages from the receiver that the core has not looked at: more than two for every offer in the window mean
/// that the peer does not keep the protocol.
const REPLIES: usize = 4 * limits::OFFERS;

pub(super) async fn run(
    incoming: &mut Incoming,
    outbox: &Outbox,
    limits: Limits,
    options: Options,
    manifest: Arc<dyn Manifest>,
    pace: Arc<dyn Pace>,
) -> Result<(), SessionError> {
    let (replies_in, mut replies) = mpsc::channel(REPLIES);
    let (prepared_in, prepared) = mpsc::channel(PREPARED);
    let (events_in, events) = mpsc::channel(CHUNKS);
    let (deeds, deeds_out) = std::sync::mpsc::channel();
    let scout_manifest = manifest.clone();
    let runtime = Handle::current();
    std::thread::spawn(move || scout::run(scout_manifest, options, &prepared_in, &runtime));
    let reader_manifest = manifest.clone();
    let chunk = (limits.chunk as usize).min(pace.at_once()).clamp(1, reader::CHUNK);
    let hole = if options.shared.holes { (limits.chunk as usize).clamp(1, limits::CHUNK) } else { 0 };
    let making = Making { chunk, hole, algorithm: options.digest };
    std::thread::spawn(move || reader::run(&deeds_out, &events_in, &*reader_manifest, making));

    let packs = Buffers::default();
    let mut core = Core {
        sender: Sender::new(options.dry_run, limits),
        outbox: outbox.clone(),
        options,
        manifest,
        deeds,
        outstanding: HashMap::new(),
        ready: VecDeque::new(),
        again: VecDeque::new(),
        pack: packs.take_empty(PACK),
        packs,
        pack_size: pace.at_once().min(PACK),
        pace,
        chunk,
        left: None,
        spending: Spending::default(),
    };
    let is_deaf = || options.asked && outbox.queued() > 0 && outbox.quiet_for() >= DEAF;
    let tick = || if is_deaf() { Err(SessionError::Flooded) } else { Ok(()) };
    let mut listening = pin!(listen(incoming, replies_in, tick));
    let mut working = pin!(core.run(&mut replies, prepared, events));
    let mut has_heard_all = false;
    loop {
        tokio::select! {
            () = &mut listening, if !has_heard_all => has_heard_all = true,
            result = &mut working => return result,
        }
    }
}

/// Passes on what the receiver says, so that reading never waits for writing, until it has said all, or there is an error.
async fn listen(
    incoming: &mut Incoming,
    replies: mpsc::Sender<Result<Message, SessionError>>,
    mut tick: impl FnMut() -> Result<(), SessionError>,
) {
    loop {
        let reply = match incoming.next(&mut tick).await {
            Ok(Arrived::Message(message, _)) => Ok(message),
            Ok(Arrived::Chunk(_)) => Err(Violation("a receiver that sends bytes").into()),
            Err(error) => Err(error),
        };
        // What comes after that belongs to no request, or to another one.
        let is_last = matches!(reply, Err(_) | Ok(Message::Done(_) | Message::Rejected(_)));
        // With no room left the core is told by the end of the channel.
        if replies.try_send(reply).is_err() || is_last {
            return;
        }
    }
}

struct Core {
    sender: Sender,
    outbox: Outbox,
    options: Options,
    manifest: Arc<dyn Manifest>,
    pace: Arc<dyn Pace>,
    deeds: std::sync::mpsc::Sender<Deed>,
    outstanding: HashMap<Seq, Outstanding>,
    /// Small bodies that were asked for.
    ready: VecDeque<Seq>,
    /// Tasks to be offered again, now with their digest.
    again: VecDeque<(Task, Digest)>,
    pack: Buffer,
    /// Where packs come from, and go back to when they are written.
    packs: Buffers,
    /// What a pack may grow to: [`PACK`], or less where bytes may leave slowly.
    pack_size: usize,
    /// The longest chunk that this receiver takes, or that this sender makes.
    chunk: usize,
    /// When the last pack left.
    left: Option<Instant>,
    spending: Spending,
}

/// What is known already of what the time went into.
#[derive(Default)]
struct Spending {
    spent: Spent,
    writing: Duration,
}

/// An offer that is not settled.
struct Outstanding {
    task: Task,
    digest: Option<Digest>,
    body: Option<Small>,
    /// Bytes of the whole file, as far as they are known.
    length: u64,
    grew: bool,
    hold: Arc<Hold>,
    _share: Option<Permit>,
}

impl Core {
    async fn run(
        &mut self,
        replies: &mut mpsc::Receiver<Result<Message, SessionError>>,
        prepared: mpsc::Receiver<Prepared>,
        events: mpsc::Receiver<Event>,
    ) -> Result<(), SessionError> {
        match self.work(replies, prepared, events).await {
            Err(SessionError::Cut) => timeout(limits::GOODBYE_DRAIN, self.last_words(replies))
                .await
                .unwrap_or(Err(SessionError::Cut)),
            result => result,
        }
    }

    async fn work(
        &mut self,
        replies: &mut mpsc::Receiver<Result<Message, SessionError>>,
        mut prepared: mpsc::Receiver<Prepared>,
        mut events: mpsc::Receiver<Event>,
    ) -> Result<(), SessionError> {
        let mut scout_is_done = false;
        loop {
            while let Ok(reply) = replies.try_recv() {
                if self.heard(reply?)? {
                    return Ok(());
                }
            }
            let mut moved = false;
            // A body can take hours; what the receiver says about it, or its goodbye, does not wait for its end.
            while self.pack.len() < self.pack_size && self.outbox.queued() < AHEAD && replies.is_empty() {
                if !self.sender.has_open()
                    && let Some(seq) = self.ready.pop_front()
                {
                    self.send_small(seq);
                } else if let Ok(event) = events.try_recv() {
                    self.read(event).await?;
                } else if self.sender.has_room()
                    && let Some((task, digest)) = self.again.pop_front()
                {
                    self.offer(task, Some(digest), None, None);
                } else if self.sender.has_room() {
                    match prepared.try_recv() {
                        Ok(prepared) => self.offer_prepared(prepared),
                        Err(TryRecvError::Empty) => break,
                        Err(TryRecvError::Disconnected) => {
                            scout_is_done = true;
                            break;
                        }
                    }
                } else {
                    break;
                }
                moved = true;
            }
            self.flush().await?;
            if moved {
                // Listening shares this task, and has its turn even where there is always something to send.
                consume_budget().await;
                continue;
            }
            if scout_is_done && self.is_settled() && !self.sender.is_done() {
                let done = self.sender.done();
                self.outbox.say(done)?;
            }
            // Between bodies, what comes one by one is looked at together: each wake-up costs more than the work.
            if !self.sender.has_open()
                && let Some(rest) = self.left.and_then(|left| APART.checked_sub(left.elapsed()))
            {
                self.left = None;
                sleep(rest).await;
                continue;
            }
            let may_send = self.outbox.queued() < AHEAD;
            tokio::select! {
                biased;
                reply = replies.recv() => {
                    let reply = reply.unwrap_or(Err(Violation("more answers than there were offers").into()))?;
                    if self.heard(reply)? {
                        return Ok(());
                    }
                }
                event = events.recv(), if may_send => {
                    let event = event.ok_or(SessionError::Internal("the reader of sources has failed"))?;
                    self.read(event).await?;
                }
                next = prepared.recv(), if may_send && self.sender.has_room() && !scout_is_done => match next {
                    Some(prepared) => self.offer_prepared(prepared),
                    None => scout_is_done = true,
                },
                drained = self.outbox.drained_to(AHEAD / 2), if !may_send => drained?,
            }
        }
    }

    /// A stream that can be written no more may still hold receipts, and the reason.
    async fn last_words(
        &mut self,
        replies: &mut mpsc::Receiver<Result<Message, SessionError>>,
    ) -> Result<(), SessionError> {
        while let Some(reply) = replies.recv().await {
            if self.heard(reply?)? {
                return Ok(());
            }
        }
        Err(SessionError::Cut)
    }

    fn is_settled(&self) -> bool {
        self.outstanding.is_empty() && self.again.is_empty()
    }

    fn offer_prepared(&mut self, prepared: Prepared) {
        match prepared {
            Prepared::Ready { task, digest, body, share } => {
                self.offer(task.into_task(), digest, body, share)
            }
            Prepared::Problem(task, error) => {
                let (code, detail) = scout::source_failure(&error);
                self.give_up(task.into_task(), code, detail);
            }
            Prepared::Missing(missing) => Message::from(missing).encode(&mut self.pack),
        }
    }

    /// It will not be sent, and whoever has asked for it is told.
    fn give_up(&mut self, task: Task, code: Code, detail: String) {
        if self.options.asked {
            let missing = Missing { path: Some(task.path().clone()), code, detail: detail.clone() };
            Message::from(missing).encode(&mut self.pack);
        }
        self.manifest.settle(task, Fate::Failed { code, detail });
    }

    fn offer(&mut self, task: Task, digest: Option<Digest>, body: Option<Small>, share: Option<Permit>) {
        let seq = self.sender.offer(task.header(digest), &mut self.pack);
        let (length, grew) = (task.size().unwrap_or(0), body.as_ref().is_some_and(|body| body.grew));
        let hold = Arc::default();
        self.outstanding.insert(seq, Outstanding { task, digest, body, length, grew, hold, _share: share });
    }

    /// Packs a small body that was read ahead.
    fn send_small(&mut self, seq: Seq) {
        let Some(outstanding) = self.outstanding.get_mut(&seq) else { return };
        let (Some(body), Some(digest)) = (outstanding.body.take(), outstanding.digest) else { return };
        self.pack_body(seq, &body.bytes);
        if let Some(end) = self.sender.end(seq, digest) {
            end.encode(&mut self.pack);
        }
    }

    /// Packs all of a body but its end, unless it has failed meanwhile. A body of no bytes has no chunk.
    fn pack_body(&mut self, seq: Seq, bytes: &[u8]) {
        let Some(begin) = self.sender.body(seq, 0) else { return };
        begin.encode(&mut self.pack);
        if let Some(outstanding) = self.outstanding.get(&seq) {
            self.manifest.advanced(&outstanding.task, bytes.len() as u64);
        }
        for chunk in bytes.chunks(self.chunk) {
            self.sender.chunk(seq, chunk.len());
            self.pack.extend_from_slice(&FrameHeader::chunk(chunk.len()).to_bytes());
            self.pack.extend_from_slice(chunk);
        }
    }

    /// Takes what the receiver says; whether it has finished.
    fn heard(&mut self, message: Message) -> Result<bool, SessionError> {
        let progress = match message {
            Message::Rejected(Rejected { code, detail, .. }) if !self.options.asked => {
                return Err(SessionError::Goodbye { code, detail });
            }
            message => self.sender.handle(message)?,
        };
        match progress {
            Progress::Send { seq, offset, prefix } => self.asked(seq, offset, prefix),
            Progress::Wanted { seq, is_new } => {
                self.settle(seq, |o| Fate::WouldSend { bytes: o.length, is_new });
            }
            Progress::Held { seq, path } => {
                self.settle(seq, |o| Fate::Held { digest: o.digest, bytes: o.length, path })
            }
            Progress::NeedDigest { seq } => self.need_digest(seq),
            Progress::Receipt { seq, digest, path } => {
                self.settle(seq, |o| Fate::Sent { digest, bytes: o.length, path, grew: o.grew });
            }
            Progress::Failed { seq, code, detail, abort } => {
                if let Some(abort) = abort {
                    abort.encode(&mut self.pack);
                }
                self.cancel(seq);
                self.settle(seq, |_| Fate::Failed { code, detail });
            }
            Progress::Nothing => {}
            Progress::Spent(spent) => self.spent(spent),
            Progress::Done => return Ok(true),
        }
        Ok(false)
    }

    /// Passes on what has come to the time since the last time.
    fn spent(&mut self, spent: Spent) {
        let Spending { spent: before, writing } =
            std::mem::replace(&mut self.spending, Spending { spent, writing: self.outbox.writing() });
        let more = |now: u64, before: u64| Duration::from_micros(now.saturating_sub(before));
        let stalled = more(spent.stalled, before.stalled);
        let network = self.spending.writing.saturating_sub(writing).saturating_sub(stalled);
        for (stage, time) in [
            (Stage::Network, network),
            (Stage::ServerHash, more(spent.hash, before.hash)),
            (Stage::ServerDisk, more(spent.disk, before.disk)),
            (Stage::ServerSync, more(spent.sync, before.sync)),
        ] {
            self.manifest.spent(stage, time);
        }
    }

    fn asked(&mut self, seq: Seq, offset: u64, prefix: Option<Digest>) {
        let Some(outstanding) = self.outstanding.get(&seq) else { return };
        if outstanding.body.is_some() && offset == 0 {
            self.ready.push_back(seq);
        } else {
            let what = match &outstanding.task.origin {
                Origin::Stream(_, stream) => What::Stream(stream.clone()),
                Origin::Tree(item) if offset == 0 && item.identity.size <= scout::SMALL => {
                    What::Small { source: item.source.clone(), identity: item.identity }
                }
                Origin::Tree(item) => What::Body {
                    source: item.source.clone(),
                    identity: item.identity,
                    resume: prefix.map(|prefix| (offset, prefix)),
                },
            };
            self.give_deed(seq, what);
        }
    }

    fn need_digest(&mut self, seq: Seq) {
        let Some(Outstanding { task: Task { origin: Origin::Tree(item), .. }, .. }) =
            self.outstanding.get(&seq)
        else {
            return;
        };
        let what = What::Digest { source: item.source.clone(), identity: item.identity };
        self.give_deed(seq, what);
    }

    fn give_deed(&mut self, seq: Seq, what: What) {
        let Some(outstanding) = self.outstanding.get(&seq) else { return };
        let hold = outstanding.hold.clone();
        let also = scout::also(&outstanding.task, self.options.digest);
        // The reader ends only with this session, or in a panic, which the end of its channel tells.
        let _ = self.deeds.send(Deed { seq, what, links: self.options.links, also, hold });
    }

    /// Takes what the reader says.
    async fn read(&mut self, event: Event) -> Result<(), SessionError> {
        match event {
            Event::Begun(seq, offset) => {
                if let Some(begin) = self.sender.body(seq, offset) {
                    begin.encode(&mut self.pack);
                    if let Some(outstanding) = self.outstanding.get_mut(&seq) {
                        let task = &mut outstanding.task;
                        let is_further = offset > task.reached;
                        task.reached = task.reached.max(offset);
                        outstanding.length = offset;
                        self.manifest.begun(&outstanding.task, offset, is_further);
                    }
                }
            }
            Event::Hole(seq, hole) => {
                if let Some(message) = self.sender.hole(seq, hole) {
                    message.encode(&mut self.pack);
                    self.advanced(seq, hole.length());
                }
            }
            Event::Chunk(seq, frame) => {
                let length = frame.len() - FrameHeader::LEN;
                if self.sender.chunk(seq, length) {
                    self.advanced(seq, length);
                    self.flush().await?;
                    self.pace.allow(frame.len()).await;
                    self.outbox.push(frame)?;
                }
            }
            Event::Small(read) => {
                for (seq, whole) in read {
                    match whole {
                        Ok(Whole { bytes, found, grew }) => {
                            self.pack_body(seq, &bytes);
                            self.ended(seq, &found, bytes.len() as u64, grew);
                        }
                        Err(error) => self.unreadable(seq, &error),
                    }
                }
            }
            Event::Ended { seq, found, length, grew } => self.ended(seq, &found, length, grew),
            Event::Digested(seq, found) => {
                let Some(Outstanding { task, .. }) = self.outstanding.get(&seq) else { return Ok(()) };
                if let Origin::Tree(item) = &task.origin
                    && let Err(error) = self.manifest.learned(item, &found)
                {
                    self.unreadable(seq, &error);
                } else if let Some(digest) = found.by(self.options.digest)
                    && let Some(Outstanding { task, .. }) = self.outstanding.remove(&seq)
                {
                    self.again.push_back((task, digest));
                }
            }
            Event::Failed(seq, error) => self.unreadable(seq, &error),
        }
        Ok(())
    }

    /// A piece of a large body, or of a stream, is about to leave.
    fn advanced(&mut self, seq: Seq, length: usize) {
        if let Some(outstanding) = self.outstanding.get_mut(&seq) {
            self.manifest.advanced(&outstanding.task, length as u64);
            outstanding.length += length as u64;
        }
    }

    fn ended(&mut self, seq: Seq, found: &Digests, length: u64, grew: bool) {
        let Some(digest) = found.by(self.options.digest) else { return };
        let Some(outstanding) = self.outstanding.get_mut(&seq) else { return };
        if let Origin::Tree(item) = &outstanding.task.origin {
            if outstanding.digest.is_some_and(|known| known != digest) {
                // What was known of this file was wrong, so its offer was too.
                return match self.manifest.disproved(item, found) {
                    Disproved::Forgotten => self.unreadable(seq, &SourceError::Changed),
                    Disproved::Damaged(detail) => self.abort(seq, Code::DigestMismatch, detail),
                };
            }
            if !grew && let Err(error) = self.manifest.learned(item, found) {
                return self.unreadable(seq, &error);
            }
        }
        (outstanding.digest, outstanding.length, outstanding.grew) = (Some(digest), length, grew);
        if let Some(end) = self.sender.end(seq, digest) {
            end.encode(&mut self.pack);
        }
    }

    /// The source of this body cannot be read, or is not what was offered.
    fn unreadable(&mut self, seq: Seq, error: &SourceError) {
        let (code, detail) = scout::source_failure(error);
        match self.outstanding.get_mut(&seq).map(|outstanding| &mut outstanding.task) {
            Some(task) if matches!(error, SourceError::Changed) && task.attempt + 1 < ATTEMPTS => {
                task.attempt += 1;
                if let Some(task) = self.take_back(seq, code) {
                    self.manifest.put_back(task);
                }
            }
            _ => self.abort(seq, code, detail),
        }
    }

    /// Ends a body for good.
    fn abort(&mut self, seq: Seq, code: Code, detail: String) {
        if let Some(task) = self.take_back(seq, code) {
            self.give_up(task, code, detail);
        }
    }

    /// Ends a body, and returns its task, if nothing else has ended it before.
    fn take_back(&mut self, seq: Seq, code: Code) -> Option<Task> {
        if let Some(abort) = self.sender.abort(seq, code) {
            abort.encode(&mut self.pack);
        }
        Some(self.outstanding.remove(&seq)?.task)
    }

    fn cancel(&mut self, seq: Seq) {
        if let Some(outstanding) = self.outstanding.get(&seq) {
            outstanding.hold.cancel();
        }
    }

    fn settle(&mut self, seq: Seq, fate: impl FnOnce(&Outstanding) -> Fate) {
        if let Some(outstanding) = self.outstanding.remove(&seq) {
            let fate = fate(&outstanding);
            self.manifest.settle(outstanding.task, fate);
        }
    }

    async fn flush(&mut self) -> Result<(), SessionError> {
        if self.pack.is_empty() {
            return Ok(());
        }
        let pack = std::mem::replace(&mut self.pack, self.packs.take_empty(PACK));
        self.pace.allow(pack.len()).await;
        self.left = Some(Instant::now());
        self.outbox.push(pack)
    }
}

/// However the session ends, what is not settled can be tried again, as long as its source can be read again.
impl Drop for Core {
    fn drop(&mut self) {
        for (_, outstanding) in self.outstanding.drain() {
            if outstanding.hold.cancel() {
                let detail = "the connection was lost in the middle of it, and it cannot be read twice";
                let (code, detail) = (Code::SourceVanished, detail.to_owned());
                self.manifest.settle(outstanding.task, Fate::Failed { code, detail });
            } else {
                self.manifest.put_back(outstanding.task);
            }
        }
        for (task, _) in self.again.drain(..) {
            self.manifest.put_back(task);
        }
        self.manifest.nudge();
    }
}
