//! A tree under watch: what appears in it or changes is sent when it has settled.
//!
//! Three parts share the work:
//! - [`notices`]: the system tells of changes, and they are noted;
//! - [`settling`]: what is noted waits until nothing has happened to it for a while;
//! - [`feeding`] (a thread): goes to what has settled, and queues it for the connection.
//!
//! At the start, and whenever the system had more to tell than it could, the feeder goes through the whole tree; a folder is
//! watched before it is looked into, so that nothing falls between the two. Nothing is remembered of what was sent: that is
//! the digest cache's, and the server's.

mod feeding;
mod notices;
mod outgoing;
mod settling;

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ferry_proto::{RelPath, escape};
use ferry_store::source::Links;
use tokio::sync::Notify;

use self::notices::{Notes, Watches};
pub(crate) use self::outgoing::Outgoing;
use crate::{
    choosing::Rules, digests::Digests, exit::Failure, layout::Filing, output::Narrator, queue::Queue,
};

/// What is watched, and how.
pub(crate) struct Tree {
    /// An absolute path, so that it means the same wherever it is compared.
    pub(crate) root: PathBuf,
    pub(crate) base: Option<RelPath>,
    pub(crate) links: Links,
    pub(crate) rules: Arc<Rules>,
    /// Where files go, if not where they are here.
    pub(crate) filing: Option<Filing>,
    /// How long something must be unchanged.
    pub(crate) rest: Duration,
    /// Where the digest cache is.
    pub(crate) cache: PathBuf,
}

/// See the module.
pub(crate) struct Watching {
    tree: Tree,
    /// Which folder the root is.
    device_and_inode: (u64, u64),
    notes: Arc<Notes>,
    watches: Arc<Watches>,
    queue: Arc<Queue>,
    narrator: Arc<Narrator>,
    digests: Arc<Digests>,
    /// Something was queued.
    has_work: Notify,
    was_busy: AtomicBool,
}

impl Watching {
    pub(crate) fn new(
        tree: Tree,
        queue: Arc<Queue>,
        narrator: Arc<Narrator>,
        digests: Arc<Digests>,
    ) -> Result<Arc<Self>, Failure> {
        let device_and_inode = folder_at(&tree.root).map_err(|problem| gone(&tree.root, &problem))?;
        let notes = Notes::new(&tree);
        let watches = Watches::new(tree.root.clone(), notes.clone());
        let (has_work, was_busy) = (Notify::new(), AtomicBool::new(false));
        Ok(Arc::new(Watching {
            tree,
            device_and_inode,
            notes,
            watches,
            queue,
            narrator,
            digests,
            has_work,
            was_busy,
        }))
    }

    /// What is to be sent, for the connection.
    pub(crate) fn outgoing(self: &Arc<Self>) -> Arc<Outgoing> {
        Arc::new(Outgoing::new(self.clone()))
    }

    /// Waits until there is something to send, or nothing more will be.
    pub(crate) async fn wanted(&self) {
        while self.queue.is_idle() && !self.is_over() {
            self.has_work.notified().await;
        }
    }

    /// Ends the feeder, and a connection when it has done what there is.
    pub(crate) fn wind_up(&self) {
        self.notes.stop();
        self.queue.rest();
        self.has_work.notify_one();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.notes.is_stopped()
    }

    /// Ends the watch.
    pub(crate) fn stop(&self) {
        let is_busy = !self.queue.is_idle() || self.notes.lock().is_busy();
        self.was_busy.store(is_busy, Ordering::Relaxed);
        self.wind_up();
        self.queue.stop();
    }

    /// Whether something was outstanding when the watch ended: it had not settled, or had not arrived.
    pub(crate) fn was_busy(&self) -> bool {
        self.was_busy.load(Ordering::Relaxed)
    }

    /// Whether something has failed, and has not arrived since.
    pub(crate) fn has_failures(&self) -> bool {
        self.notes.lock().has_failures()
    }

    /// A path of the tree below its root.
    fn below<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.tree.root).unwrap_or(Path::new(""))
    }
}

/// Which folder is there.
fn folder_at(root: &Path) -> Result<(u64, u64), String> {
    match fs::metadata(root) {
        Ok(metadata) if metadata.is_dir() => Ok((metadata.dev(), metadata.ino())),
        Ok(_) => Err("it is no folder".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn gone(root: &Path, problem: &str) -> Failure {
    let shown = escape::bytes(root.as_os_str().as_encoded_bytes());
    Failure::local(format!("{shown} cannot be watched: {problem}"))
}
