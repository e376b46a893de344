//! What the tests stand on: the programs as processes, trees of files, a proxy between the two, and peers that
//! say what they like.

mod client;
mod fake_server;
mod network;
mod peer;
mod process;
mod proxy;
pub(crate) mod schema;
mod server;
mod tree;
pub(crate) mod web;
mod wire;

use std::time::{Duration, Instant};

pub(crate) use self::{
    client::{Client, Ferry},
    fake_server::FakeServer,
    network::{Avahi, Network},
    peer::{Peer, hello},
    process::{
        Outcome, Running, bare, example, is_root, left_out, may_trace, run, start, without_privileges,
    },
    proxy::{Plan, Proxy},
    server::{Server, Setup},
    tree::{
        NodeKind, Snapshot, assert_given_back, assert_same_contents, assert_same_file, assert_same_tree,
        digest, make_fifo, names, noise, set_mode, set_modified, snapshot, testdata, write,
    },
    web::{Line, Reply, Visitor, base64, digest_header},
    wire::Wire,
};

/// After this long a test gives up. It says nothing about how long anything should take: a machine that is busy
/// with other tests takes its time.
pub(crate) const GIVE_UP: Duration = Duration::from_secs(120);

/// Between two looks at something that will come.
const LOOK: Duration = Duration::from_millis(5);

/// Looks until there is something to see.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(start.elapsed() < GIVE_UP, "gave up waiting for {what}");
        std::thread::sleep(LOOK);
    }
}
