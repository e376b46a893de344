//! Digesting beside writing: a large body is hashed on another thread than the one that writes it, so that it takes the
//! longer of the two times and not both.

use std::{
    collections::VecDeque,
    ops::{Deref, Range},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
};

use ferry_proto::{Code, Hasher, limits};

use super::fault::Fault;
use crate::{Meter, Part, lock::lock};

/// Bodies from here on are hashed aside: less is done before another thread has woken up.
const LARGE: u64 = 1024 * 1024;

/// Threads that hash, for all bodies together. They end with it.
pub(super) struct Hashers(Arc<Pool>);

#[derive(Default)]
pub(super) struct Pool {
    bodies: Mutex<Bodies>,
    has_work: Condvar,
}

/// Those that wait for a thread, in the order of their turns.
#[derive(Default)]
struct Bodies {
    waiting: VecDeque<Arc<Aside>>,
    is_closed: bool,
}

/// The digest of one body.
pub(super) enum Hashing {
    /// In the thread that writes.
    Here(Hasher, Arc<Meter>),
    /// By the pool.
    Aside(Arc<Aside>, Arc<Pool>),
}

pub(super) struct Aside {
    state: Mutex<State>,
    is_done: Condvar,
    meter: Arc<Meter>,
}

struct State {
    pieces: VecDeque<Piece>,
    /// Absent while a thread hashes a piece, and for good when that has gone wrong.
    hasher: Option<Hasher>,
    /// Whether it waits for a thread, or has one.
    is_taken_up: bool,
}

/// Bytes that two threads read, or a part of them. They are let go of when both are done.
#[derive(Clone)]
pub(super) struct Piece {
    bytes: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
    is_hole: bool,
}

/// What a hole is digested as.
static ZEROS: [u8; limits::CHUNK] = [0; limits::CHUNK];

impl Piece {
    pub(super) fn new(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        let range = 0..bytes.as_ref().len();
        Piece { bytes: Arc::new(bytes), range, is_hole: false }
    }

    /// Zeros that need not be written, no more than a chunk has.
    pub(super) fn hole(length: usize) -> Self {
        Piece { is_hole: true, ..Piece::new(&ZEROS[..length.min(limits::CHUNK)]) }
    }

    pub(super) fn is_hole(&self) -> bool {
        self.is_hole
    }

    /// Cuts it in two: at most so many bytes, and the rest.
    pub(super) fn split(self, most: usize) -> (Self, Self) {
        let Range { start, end } = self.range;
        let middle = end.min(start.saturating_add(most));
        (Piece { range: start..middle, ..self.clone() }, Piece { range: middle..end, ..self })
    }
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &(*self.bytes).as_ref()[self.range.clone()]
    }
}

impl Hashers {
    /// That many threads.
    pub(super) fn start(threads: usize) -> Self {
        let pool = Arc::<Pool>::default();
        for _ in 0..threads {
            let pool = pool.clone();
            thread::spawn(move || pool.work());
        }
        Hashers(pool)
    }

    /// For a body of this size, which has been hashed so far.
    pub(super) fn hashing(&self, hasher: Hasher, size: Option<u64>, meter: Arc<Meter>) -> Hashing {
        if size.is_some_and(|size| size < LARGE) {
            return Hashing::Here(hasher, meter);
        }
        let state = State { pieces: VecDeque::new(), hasher: Some(hasher), is_taken_up: false };
        let (state, is_done) = (Mutex::new(state), Condvar::new());
        Hashing::Aside(Arc::new(Aside { state, is_done, meter }), self.0.clone())
    }
}

impl Drop for Hashers {
    fn drop(&mut self) {
        lock(&self.0.bodies).is_closed = true;
        self.0.has_work.notify_all();
    }
}

impl Hashing {
    /// Takes the next bytes.
    pub(super) fn update(&mut self, piece: Piece) {
        match self {
            Hashing::Here(hasher, meter) => meter.time(Part::Hash, || hasher.update(&piece)),
            Hashing::Aside(body, pool) => {
                let mut state = lock(&body.state);
                state.pieces.push_back(piece);
                if !std::mem::replace(&mut state.is_taken_up, true) {
                    drop(state);
                    pool.take_up(body.clone());
                }
            }
        }
    }

    /// The hasher after all bytes taken so far; waits for the last of them.
    pub(super) fn so_far(&self) -> Result<Hasher, Fault> {
        match self {
            Hashing::Here(hasher, _) => Ok(hasher.clone()),
            Hashing::Aside(body, _) => {
                let mut state = lock(&body.state);
                loop {
                    match &state.hasher {
                        Some(hasher) if state.pieces.is_empty() => return Ok(hasher.clone()),
                        None if !state.is_taken_up => {
                            return Err(Fault::new(Code::Internal, "the bytes could not be digested"));
                        }
                        _ => state = body.is_done.wait(state).unwrap_or_else(PoisonError::into_inner),
                    }
                }
            }
        }
    }
}

impl Pool {
    fn take_up(&self, body: Arc<Aside>) {
        lock(&self.bodies).waiting.push_back(body);
        self.has_work.notify_one();
    }

    fn work(&self) {
        loop {
            let bodies = lock(&self.bodies);
            let is_idle = |bodies: &mut Bodies| bodies.waiting.is_empty() && !bodies.is_closed;
            let mut bodies =
                self.has_work.wait_while(bodies, is_idle).unwrap_or_else(PoisonError::into_inner);
            let Some(body) = bodies.waiting.pop_front() else { return };
            drop(bodies);
            if body.hash_a_piece() {
                self.take_up(body);
            }
        }
    }
}

impl Aside {
    /// Whether there is more to do. Bodies take turns, a piece each.
    fn hash_a_piece(&self) -> bool {
        let mut state = lock(&self.state);
        if let Some(piece) = state.pieces.pop_front()
            && let Some(mut hasher) = state.hasher.take()
        {
            drop(state);
            // A fault of ours that is met here is told to whoever waits for the digest.
            let hashed = catch_unwind(AssertUnwindSafe(|| {
                self.meter.time(Part::Hash, || hasher.update(&piece));
                hasher
            }));
            drop(piece);
            state = lock(&self.state);
            state.hasher = hashed.ok();
        }
        state.is_taken_up = !state.pieces.is_empty();
        if !state.is_taken_up {
            self.is_done.notify_all();
        }
        state.is_taken_up
    }
}

#[cfg(test)]
mod tests {
    use ferry_proto::Algorithm;

    use super::*;

    #[test]
    fn bodies_beside_each_other_are_hashed_in_their_order() {
        let hashers = Hashers::start(2);
        let mut bodies: Vec<_> = (0..20)
            .map(|_| {
                (
                    hashers.hashing(Algorithm::Sha256.hasher(), None, Arc::default()),
                    Algorithm::Sha256.hasher(),
                )
            })
            .collect();
        for round in 0..50_u8 {
            for (number, (aside, here)) in bodies.iter_mut().enumerate() {
                let piece = vec![round ^ number as u8; 1000 + number];
                here.update(&piece);
                aside.update(Piece::new(piece));
                if round % 20 == 7 {
                    assert_eq!(aside.so_far().unwrap().finish(), here.so_far());
                }
            }
        }
        for (aside, here) in bodies {
            assert_eq!(aside.so_far().unwrap().finish(), here.finish());
        }
    }

    #[test]
    fn what_is_hashed_is_let_go_of() {
        let hashers = Hashers::start(2);
        let mut hashing = hashers.hashing(Algorithm::Blake3.hasher(), Some(LARGE), Arc::default());
        let (first, second) = Piece::new(vec![1; 100]).split(40);
        assert_eq!((first.len(), second.len()), (40, 60));
        drop(second);
        hashing.update(first.clone());
        hashing.so_far().unwrap();
        assert_eq!(Arc::strong_count(&first.bytes), 1);
    }

    /// Bytes that can be seen once.
    struct Torn(std::sync::atomic::AtomicBool);

    impl AsRef<[u8]> for Torn {
        fn as_ref(&self) -> &[u8] {
            assert!(!self.0.swap(true, std::sync::atomic::Ordering::Relaxed), "torn on purpose");
            b"bytes"
        }
    }

    #[test]
    fn hostile_20_a_panic_while_hashing_fails_that_body_and_no_other() {
        let hashers = Hashers::start(1);
        let start = || hashers.hashing(Algorithm::Sha256.hasher(), None, Arc::default());
        let (mut torn, mut well) = (start(), start());
        torn.update(Piece::new(Torn(false.into())));
        torn.update(Piece::new("more"));
        well.update(Piece::new("bytes"));
        assert_eq!(torn.so_far().unwrap_err().code, Code::Internal);
        assert_eq!(well.so_far().unwrap().finish(), Algorithm::Sha256.digest(b"bytes"));
        torn.update(Piece::new("more"));
        assert!(torn.so_far().is_err());
    }
}
