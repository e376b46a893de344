//! The two roles joined by two pipes of bytes, and a schedule that says who makes progress.

use std::collections::VecDeque;

use ferry_proto::*;

use crate::{inbox::Inbox, receiving::Receiving, sending::Sending, tree::Item};

#[derive(Debug, Clone)]
pub(crate) struct Setting {
    /// Bytes that a pipe holds.
    pub(crate) capacity: usize,
    /// Offers without a final answer.
    pub(crate) window: u32,
    /// Bytes of a chunk.
    pub(crate) chunk: u32,
    pub(crate) dry_run: bool,
    /// Bytes that pass from sender to receiver, and back, before the connection is cut.
    pub(crate) cut: (Option<usize>, Option<usize>),
    /// A side with bytes to write does not read. No side of this protocol is like that.
    pub(crate) stubborn: bool,
}

impl Default for Setting {
    fn default() -> Self {
        Setting {
            capacity: 1 << 20,
            window: 100,
            chunk: 16,
            dry_run: false,
            cut: (None, None),
            stubborn: false,
        }
    }
}

/// One step of one part. The number says how many bytes, or which file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Source,
    Disk(usize),
    SenderWrites(usize),
    SenderReads(usize),
    ReceiverWrites(usize),
    ReceiverReads(usize),
}

/// Where each part makes one step, as large as it can.
const ROUND: [Step; 6] = [
    Step::Source,
    Step::SenderWrites(usize::MAX),
    Step::ReceiverReads(usize::MAX),
    Step::Disk(0),
    Step::ReceiverWrites(usize::MAX),
    Step::SenderReads(usize::MAX),
];

pub(crate) struct Joined {
    pub(crate) sending: Sending,
    pub(crate) receiving: Receiving,
    /// From sender to receiver.
    pub(crate) there: Pipe,
    /// From receiver to sender.
    pub(crate) back: Pipe,
    stubborn: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Deadlock;

impl Joined {
    pub(crate) fn new(items: &[Item], inbox: Inbox, setting: &Setting) -> Self {
        let limits = Limits {
            offers: setting.window,
            chunk: setting.chunk,
            checkpoint: inbox.checkpoint as u64,
            file: limits::FILE,
        };
        Joined {
            sending: Sending::new(items.to_vec(), limits, setting.dry_run),
            receiving: Receiving::new(inbox, setting.dry_run),
            there: Pipe::new(setting.capacity, setting.cut.0),
            back: Pipe::new(setting.capacity, setting.cut.1),
            stubborn: setting.stubborn,
        }
    }

    /// Follows the schedule, then gives every part its turn, until both sides have finished. At every step at
    /// least one part must be able to go on.
    pub(crate) fn run(&mut self, schedule: &[Step]) -> Result<(), Deadlock> {
        let mut schedule = schedule.iter().chain(ROUND.iter().cycle());
        while !self.is_finished() {
            if !ROUND.iter().any(|&step| self.can(step)) {
                return Err(Deadlock);
            }
            self.step(*schedule.next().expect("it has no end"));
        }
        Ok(())
    }

    /// Goes on until nothing can: because both have finished, or because the connection was cut.
    pub(crate) fn run_to_the_cut(&mut self, schedule: &[Step]) {
        for &step in schedule {
            self.step(step);
        }
        while ROUND.iter().any(|&step| self.can(step)) {
            ROUND.iter().for_each(|&step| self.step(step));
        }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.sending.finished && self.receiving.is_finished()
    }

    fn can(&self, step: Step) -> bool {
        let (sending, receiving) = (&self.sending, &self.receiving);
        match step {
            Step::Source => sending.can_work(),
            Step::Disk(_) => receiving.can_work(),
            Step::SenderWrites(_) => !sending.out.is_empty() && self.there.room() > 0,
            Step::ReceiverWrites(_) => !receiving.out.is_empty() && self.back.room() > 0,
            Step::SenderReads(_) => !self.back.is_empty() && self.may_read(&sending.out),
            Step::ReceiverReads(_) => {
                !self.there.is_empty() && receiving.can_read() && self.may_read(&receiving.out)
            }
        }
    }

    fn may_read(&self, waiting: &VecDeque<u8>) -> bool {
        !self.stubborn || waiting.is_empty()
    }

    fn step(&mut self, step: Step) {
        if !self.can(step) {
            return;
        }
        match step {
            Step::Source => self.sending.work(),
            Step::Disk(pick) => self.receiving.work(pick),
            Step::SenderWrites(most) => self.there.fill(&mut self.sending.out, most),
            Step::ReceiverWrites(most) => self.back.fill(&mut self.receiving.out, most),
            Step::SenderReads(most) => self.sending.read(&self.back.drain(most)),
            Step::ReceiverReads(most) => self.receiving.read(&self.there.drain(most)),
        }
    }
}

pub(crate) struct Pipe {
    bytes: VecDeque<u8>,
    capacity: usize,
    cut: Option<usize>,
    /// Bytes that were ever put in.
    pub(crate) passed: usize,
}

impl Pipe {
    fn new(capacity: usize, cut: Option<usize>) -> Self {
        Pipe { bytes: VecDeque::new(), capacity, cut, passed: 0 }
    }

    fn room(&self) -> usize {
        let before_cut = self.cut.map_or(usize::MAX, |cut| cut - self.passed);
        before_cut.min(self.capacity - self.bytes.len())
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn fill(&mut self, from: &mut VecDeque<u8>, most: usize) {
        let count = most.max(1).min(from.len()).min(self.room());
        self.bytes.extend(from.drain(..count));
        self.passed += count;
    }

    fn drain(&mut self, most: usize) -> Vec<u8> {
        let count = most.max(1).min(self.bytes.len());
        self.bytes.drain(..count).collect()
    }
}
