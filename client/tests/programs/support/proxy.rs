//! A TCP proxy: a network that cuts, falls silent or is slow, at a byte that the test chooses.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::sleep,
    time::Duration,
};

use super::eventually;

/// What a proxy does with bytes. Counts are of bytes in the direction that the plan is for, over all connections, since
/// it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Passes everything on.
    Forward,
    /// Passes this many bytes on, then closes that connection on both sides; later ones pass.
    CutAfter(u64),
    /// Passes this many bytes on, then nothing more in either direction, on this and later connections, and closes
    /// nothing.
    SilentAfter(u64),
    /// Passes everything on, this many bytes a second at the most.
    Slow(u64),
    /// Passes everything on for this many connections, counted from the first of all, and closes later ones at once.
    Only(usize),
}

/// See the module. Connections outlive it; they end with their ends.
pub(crate) struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    target: SocketAddr,
    plan: Plan,
    /// Whether the plan is for bytes from client to server, and not for those that come back.
    is_for_upward: bool,
    /// Since the plan was made.
    passed: u64,
    to_server: u64,
    to_client: u64,
    connections: usize,
    /// What came from clients, if that is recorded.
    recording: Option<Vec<u8>>,
}

impl Proxy {
    /// In front of this address.
    pub(crate) fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let state = Arc::new(Mutex::new(State {
            target,
            plan: Plan::Forward,
            is_for_upward: true,
            passed: 0,
            to_server: 0,
            to_client: 0,
            connections: 0,
            recording: None,
        }));
        let shared = state.clone();
        std::thread::spawn(move || accept(&listener, &shared));
        Proxy { address, state }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From here on, for what goes to the server.
    pub(crate) fn set(&self, plan: Plan) {
        let mut state = lock(&self.state);
        (state.plan, state.passed, state.is_for_upward) = (plan, 0, true);
    }

    /// From here on, for what comes back.
    pub(crate) fn set_back(&self, plan: Plan) {
        let mut state = lock(&self.state);
        (state.plan, state.passed, state.is_for_upward) = (plan, 0, false);
    }

    /// Ends the connection that is being held up, with all that is on its way; later ones pass.
    pub(crate) fn cut(&self) {
        self.set(Plan::CutAfter(0));
        eventually("the end of what was held up", || (lock(&self.state).plan == Plan::Forward).then_some(()));
    }

    /// In front of another address from the next connection on.
    pub(crate) fn lead_to(&self, target: SocketAddr) {
        lock(&self.state).target = target;
    }

    /// Keeps what clients say from here on.
    pub(crate) fn record(&self) {
        lock(&self.state).recording = Some(Vec::new());
    }

    /// What clients have said since recording began.
    pub(crate) fn recorded(&self) -> Vec<u8> {
        lock(&self.state).recording.clone().unwrap_or_default()
    }

    /// Bytes passed on from clients to the server.
    pub(crate) fn to_server(&self) -> u64 {
        lock(&self.state).to_server
    }

    /// Bytes passed on from the server to clients.
    pub(crate) fn to_client(&self) -> u64 {
        lock(&self.state).to_client
    }

    pub(crate) fn connections(&self) -> usize {
        lock(&self.state).connections
    }

    /// Waits until a plan to fall silent has come true.
    pub(crate) fn falls_silent(&self) {
        eventually("silence", || is_silent(&self.state).then_some(()));
    }

    /// Waits until this many bytes in all have gone to the server.
    pub(crate) fn wait_for(&self, bytes: u64) {
        eventually("bytes on their way to the server", || (self.to_server() >= bytes).then_some(()));
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, state: &Arc<Mutex<State>>) {
    for client in listener.incoming() {
        let Ok(client) = client else { return };
        let target = {
            let mut state = lock(state);
            state.connections += 1;
            if matches!(state.plan, Plan::Only(connections) if state.connections > connections) {
                continue;
            }
            state.target
        };
        let Ok(server) = TcpStream::connect(target) else { continue };
        for (mut from, mut to, is_upward) in
            [(clone(&client), clone(&server), true), (clone(&server), clone(&client), false)]
        {
            let state = state.clone();
            std::thread::spawn(move || pass(&mut from, &mut to, is_upward, &state));
        }
    }
}

fn clone(stream: &TcpStream) -> TcpStream {
    let _ = stream.set_nodelay(true);
    stream.try_clone().expect("a socket can be cloned")
}

enum Step {
    Pass(usize),
    PassAndCut(usize),
    Hold,
}

/// An end comes behind the last byte, and is held up like one.
fn pass(from: &mut TcpStream, to: &mut TcpStream, is_upward: bool, state: &Mutex<State>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer);
        let mut rest = &buffer[..*read.as_ref().unwrap_or(&0)];
        loop {
            let (passed, cut) = match next(rest.len(), is_upward, state) {
                Step::Pass(passed) => (passed, false),
                Step::PassAndCut(passed) => (passed, true),
                Step::Hold => {
                    sleep(Duration::from_millis(10));
                    continue;
                }
            };
            if to.write_all(&rest[..passed]).is_err() {
                let _ = from.shutdown(Shutdown::Both);
                return;
            }
            count(&rest[..passed], is_upward, state);
            if cut {
                let _ = to.shutdown(Shutdown::Both);
                let _ = from.shutdown(Shutdown::Both);
                return;
            }
            rest = &rest[passed..];
            if rest.is_empty() {
                break;
            }
        }
        let end = match read {
            Ok(0) => Shutdown::Write,
            Ok(_) => continue,
            Err(_) => Shutdown::Both,
        };
        let _ = to.shutdown(end);
        return;
    }
}

/// Bytes are counted before they are passed on, so that the byte after the last one is never passed.
fn next(waiting: usize, is_upward: bool, state: &Mutex<State>) -> Step {
    let mut state = lock(state);
    let (step, passed) = match state.plan {
        Plan::SilentAfter(limit) if is_upward != state.is_for_upward => match state.passed < limit {
            true => (Step::Pass(waiting), 0),
            false => (Step::Hold, 0),
        },
        Plan::Forward | Plan::Only(_) => (Step::Pass(waiting), 0),
        _ if is_upward != state.is_for_upward => (Step::Pass(waiting), 0),
        Plan::CutAfter(limit) => match usize::try_from(limit - state.passed) {
            Ok(left) if left <= waiting => {
                state.plan = Plan::Forward;
                (Step::PassAndCut(left), left)
            }
            _ => (Step::Pass(waiting), waiting),
        },
        Plan::SilentAfter(limit) => match usize::try_from(limit - state.passed) {
            Ok(0) => (Step::Hold, 0),
            Ok(left) => (Step::Pass(left.min(waiting)), left.min(waiting)),
            Err(_) => (Step::Pass(waiting), waiting),
        },
        Plan::Slow(rate) => {
            drop(state);
            // A fiftieth of a second's bytes at a time.
            let piece = waiting.min((rate / 50).max(1) as usize);
            sleep(Duration::from_secs_f64(piece as f64 / rate as f64));
            return Step::Pass(piece);
        }
    };
    state.passed += passed as u64;
    step
}

fn count(bytes: &[u8], is_upward: bool, state: &Mutex<State>) {
    let mut state = lock(state);
    if is_upward {
        state.to_server += bytes.len() as u64;
        if let Some(recording) = &mut state.recording {
            recording.extend_from_slice(bytes);
        }
    } else {
        state.to_client += bytes.len() as u64;
    }
}

fn is_silent(state: &Mutex<State>) -> bool {
    let state = lock(state);
    matches!(state.plan, Plan::SilentAfter(limit) if state.passed >= limit)
}
