//! One process, and clients that bring in what is planned until everything is there or the power goes.
//!
//! Clients and committer take turns: whenever a client does something, the committer has nothing to do or is held up at
//! some step. So a batch has many files, anything can happen in the middle of one, and chance is all that decides.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use ferry_proto::{Code, Header, RelPath};
use ferry_store::{Begin, Outcome, Reply, Upload, Uploads, doubles::ForgetfulStore, lock};

use super::{
    Story,
    plan::{Content, one_of},
};
use crate::inbox::digest;

/// Bodies that are under way at a time.
const BODIES: usize = 5;

/// Jobs that may wait for the committer.
const WAITING: usize = 12;

/// Where the committer may be held up. Nobody else makes these calls.
const STEPS: [&str; 4] = ["make_durable", "check_room", "publish", "record"];

/// See the module.
pub(super) struct Run<'a, 'b> {
    story: &'a mut Story<'b>,
    uploads: Uploads<ForgetfulStore>,
    /// Tasks that are to be offered.
    queue: VecDeque<usize>,
    bodies: Vec<Body>,
    /// Tasks that were handed in, or answered a moment ago.
    waiting: BTreeSet<usize>,
    told: Arc<Mutex<VecDeque<Told>>>,
    answers: BTreeMap<usize, Outcome>,
    /// The task whose body was ended last, if with another digest than its own.
    wrong_end: Option<usize>,
    cuts_amid: bool,
    /// Whether the last one to be answered was so while others waited.
    is_answered_amid: bool,
    failures: usize,
}

/// A body under way.
struct Body {
    task: usize,
    upload: Upload<ForgetfulStore>,
    reply: Reply,
    sent: usize,
}

/// An answer, and whether the power was off by then.
struct Told {
    task: usize,
    outcome: Outcome,
    was_off: bool,
}

impl<'a, 'b> Run<'a, 'b> {
    /// `cuts_amid` says whether the power may go while the committer is held up.
    pub(super) fn new(story: &'a mut Story<'b>, uploads: Uploads<ForgetfulStore>, cuts_amid: bool) -> Self {
        story.plan.reconnect();
        let mut order: Vec<usize> = (0..story.plan.tasks.len()).collect();
        if story.rng.bool() {
            story.rng.shuffle(&mut order);
        }
        Run {
            story,
            uploads,
            queue: order.into(),
            bodies: Vec::new(),
            waiting: BTreeSet::new(),
            told: Arc::default(),
            answers: BTreeMap::new(),
            wrong_end: None,
            cuts_amid,
            is_answered_amid: false,
            failures: 0,
        }
    }

    /// Goes on until the power goes or everything is answered. Returns the answers.
    pub(super) fn finish(mut self) -> BTreeMap<usize, Outcome> {
        while !self.story.machine.is_off() && self.step() {
            // Somebody was answered while the committer was at something else: nothing may hang on what that is.
            if self.cuts_amid && self.is_answered_amid && self.story.rng.bool() {
                self.story.machine.cut_now();
            }
        }
        for Body { upload, reply, .. } in self.bodies.drain(..) {
            drop(upload);
            reply.withdraw();
        }
        // Waits for the last answers, too.
        self.story.machine.let_go();
        self.uploads.close();
        self.listen();
        assert!(self.waiting.is_empty(), "somebody has no answer");
        self.answers
    }

    /// Lets somebody do something; `false` when nothing is left to be done.
    fn step(&mut self) -> bool {
        let may_offer = !self.queue.is_empty() && self.bodies.len() < BODIES;
        if self.story.rng.u8(..) == 0 {
            // As if bodies had been left alone for too long: those that nobody sends are given up.
            let swept = self.uploads.sweep(Duration::ZERO);
            assert!(swept.is_ok() || self.story.machine.is_off());
        }
        match self.story.rng.u8(..8) {
            _ if self.waiting.len() >= WAITING => self.let_go(),
            0..3 if may_offer => self.offer(),
            0..7 if !self.bodies.is_empty() => self.go_on(),
            _ if !self.waiting.is_empty() => self.let_go(),
            _ if may_offer => self.offer(),
            _ if !self.bodies.is_empty() => self.go_on(),
            _ => return false,
        }
        true
    }

    fn offer(&mut self) {
        // What the committer is just at is asked for more often than chance would have it.
        let is_related =
            |task: &usize| self.waiting.iter().any(|other| self.story.plan.are_related(*task, *other));
        let chosen = if self.story.rng.bool() { self.queue.iter().position(is_related) } else { None };
        let Some(task) = self.queue.remove(chosen.unwrap_or(0)) else { return };
        self.story.expected.begin(task);
        let reply = self.reply(task);
        let header = self.header(task);
        let begun = self.with_committer(task, |run| {
            let client = run.story.plan.client(task);
            match run.uploads.begin(&client.terms, &client.lease, header, reply) {
                Begin::Answered => None,
                other => Some(other),
            }
        });
        match begun {
            None | Some(Begin::Answered) => {}
            Some(Begin::Busy(_, reply)) => {
                reply.withdraw();
                self.story.expected.withdraw(task);
                self.queue.push_back(task);
            }
            Some(Begin::Send(ticket, reply)) => {
                let offset = ticket.offset() as usize;
                let prefix = (offset > 0).then(|| digest(&self.bytes(task)[..offset]));
                assert_eq!(ticket.prefix(), prefix, "promise 3: a body is to go on after bytes not its own");
                self.story.tally.resumed += usize::from(offset > 0);
                match self.uploads.open_body(*ticket, offset as u64) {
                    Ok(upload) => self.bodies.push(Body { task, upload, reply, sent: offset }),
                    Err(outcome) => self.answer(task, reply, outcome),
                }
            }
        }
    }

    /// Sends a piece of some body, or its end, or loses its connection.
    fn go_on(&mut self) {
        let chosen = self.story.rng.usize(..self.bodies.len());
        let mut body = self.bodies.swap_remove(chosen);
        let task = body.task;
        let bytes = self.bytes(task);
        if self.story.rng.u8(..40) == 0 {
            drop(body.upload);
            body.reply.withdraw();
            self.story.expected.withdraw(task);
            self.queue.push_back(task);
        } else if body.sent < bytes.len() {
            let rest = &bytes[body.sent..];
            let hole = rest.iter().take_while(|&&byte| byte == 0).count();
            let piece = self.story.rng.usize(1..1500).min(if hole > 0 { hole } else { rest.len() });
            let appended = if hole > 0 {
                self.story.tally.holes += 1;
                body.upload.append_hole(piece)
            } else {
                body.upload.append(rest[..piece].to_vec())
            };
            match appended {
                Ok(()) => self.bodies.push(Body { sent: body.sent + piece, ..body }),
                Err(outcome) => self.answer(task, body.reply, outcome),
            }
        } else {
            let is_wrong = self.story.rng.u8(..30) == 0;
            let sent = if is_wrong { digest(b"something else") } else { digest(&bytes) };
            self.wrong_end = is_wrong.then_some(task);
            self.with_committer(task, |_| {
                body.upload.complete(sent, body.reply);
                None
            });
        }
    }

    /// Does something that may hand a task in. A committer that has nothing else to do comes as far as the step at which
    /// it is held up, or through.
    fn with_committer(
        &mut self,
        task: usize,
        deed: impl FnOnce(&mut Self) -> Option<Begin>,
    ) -> Option<Begin> {
        let is_idle = self.waiting.is_empty();
        if is_idle {
            self.hold_up();
        }
        self.waiting.insert(task);
        let begun = deed(self);
        if begun.is_some() {
            // It comes back: nobody has it.
            self.waiting.remove(&task);
        }
        if is_idle {
            self.wait();
        }
        self.listen();
        begun
    }

    fn answer(&mut self, task: usize, reply: Reply, outcome: Outcome) {
        self.waiting.insert(task);
        reply.give(outcome);
        self.listen();
    }

    /// Lets the committer come to the next step, or through.
    fn let_go(&mut self) {
        self.hold_up();
        self.wait();
        self.listen();
    }

    fn hold_up(&mut self) {
        // While it writes rows for a client with a quota, an offer of that client would wait for it.
        let steps = if self.story.plan.has_quota { &STEPS[..3] } else { &STEPS };
        match self.story.rng.u8(..3) {
            0 => self.story.machine.let_go(),
            _ => self.story.machine.hold_up(one_of(&mut self.story.rng, steps), self.story.rng.usize(..3)),
        }
    }

    fn wait(&self) {
        let told = self.told.clone();
        let (expected, machine) = (self.waiting.len(), &self.story.machine);
        machine.wait_until_held_up(|| lock(&told).len() >= expected);
    }

    /// Takes note of the answers that were given.
    fn listen(&mut self) {
        loop {
            let next = lock(&self.told).pop_front();
            let Some(Told { task, outcome, was_off }) = next else { break };
            assert!(self.waiting.remove(&task), "an answer was given twice");
            match outcome {
                Outcome::Stored(told, size, ref at) => {
                    let size_of_it = if told.is_some() { self.bytes(task).len() as u64 } else { 0 };
                    assert_eq!((told, size), (self.digest(task), size_of_it));
                    self.acknowledge(task, at.clone(), true);
                    self.answers.insert(task, outcome);
                    self.story.tally.receipts += 1;
                }
                Outcome::Held(told, ref at) => {
                    assert_eq!(told, self.digest(task));
                    self.acknowledge(task, at.clone(), false);
                    self.answers.insert(task, outcome);
                    self.story.tally.held += 1;
                }
                Outcome::NeedDigest => {
                    self.story.expected.withdraw(task);
                    self.story.plan.tasks[task].is_digested = true;
                    self.queue.push_front(task);
                }
                // Whether it is done nobody knows.
                Outcome::Failed(..) if was_off => {}
                Outcome::Failed(code, ref detail) => {
                    // Whoever gives a file another name at the same time touches it, and then it may have its name.
                    if !(code == Code::StorageFailed && self.header(task).same_as.is_some()) {
                        self.story.expected.withdraw(task);
                    }
                    self.failures += 1;
                    assert!(self.failures < 1000, "it fails again and again: {code:?}, {detail}");
                    match code {
                        Code::DigestMismatch => {
                            assert_eq!(self.wrong_end, Some(task), "the right bytes were taken for others");
                            self.queue.push_back(task);
                        }
                        // Somebody else was quicker to replace what it found.
                        Code::StorageFailed | Code::KindConflict => self.queue.push_back(task),
                        Code::Exists | Code::NotAllowed => drop(self.answers.insert(task, outcome)),
                        _ => panic!("{} failed without a reason: {code:?}, {detail}", self.header(task).path),
                    }
                }
            }
        }
    }

    fn acknowledge(&mut self, task: usize, at: Option<RelPath>, is_new: bool) {
        self.story.expected.acknowledge(&self.story.plan, task, at, is_new);
        self.is_answered_amid = !self.waiting.is_empty();
    }

    fn reply(&self, task: usize) -> Reply {
        let (machine, told) = (self.story.machine.clone(), self.told.clone());
        Reply::new(move |outcome| {
            let was_off = machine.is_off();
            lock(&told).push_back(Told { task, outcome, was_off });
            machine.nudge();
        })
    }

    fn header(&self, task: usize) -> Header {
        let task = &self.story.plan.tasks[task];
        let digest = task.header.digest.filter(|_| task.is_digested);
        Header { digest, ..task.header.clone() }
    }

    fn bytes(&self, task: usize) -> Arc<[u8]> {
        match &self.story.plan.tasks[task].content {
            Content::File(bytes) => bytes.clone(),
            Content::Folder | Content::Link(_) => Arc::default(),
        }
    }

    fn digest(&self, task: usize) -> Option<ferry_proto::Digest> {
        match &self.story.plan.tasks[task].content {
            Content::File(bytes) => Some(digest(bytes)),
            Content::Folder | Content::Link(_) => None,
        }
    }
}
