//! Looks at the disk, for whoever asks how the server is: one at a time, on a thread of their own, and no more than one a
//! second. So neither many who ask nor a disk that hangs takes anything from the server, and nobody who asks waits for
//! longer than he wants to.

use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use ferry_store::{LocalStore, StoreError, Unready, Uploads};
use tokio::{sync::watch, time::timeout};

use crate::catalogue::Catalogue;

/// How long what was seen is good for.
const FRESH: Duration = Duration::from_secs(1);

/// How long a look may take: beyond this the disk is not well.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is looked at.
pub(super) struct Place {
    pub(super) root: PathBuf,
    pub(super) uploads: Uploads<LocalStore>,
    pub(super) catalogue: Arc<Catalogue>,
}

/// What was seen.
#[derive(Debug, Clone)]
pub(super) struct Look {
    at: Instant,
    /// Free bytes of the root's file system, and all of them.
    pub(super) space: Option<(u64, u64)>,
    /// Bodies that can be gone on with, and their bytes.
    pub(super) resumable: Option<(u64, u64)>,
    /// Why no file can be taken, in words that name no file.
    pub(super) faults: Vec<String>,
}

/// See the module.
pub(super) struct Looks {
    ask: mpsc::SyncSender<()>,
    seen: watch::Receiver<Option<Look>>,
}

impl Looks {
    /// Starts the thread. It ends when nobody can ask any more.
    pub(super) fn start(place: Place) -> std::io::Result<Self> {
        let ((ask, asked), (tell, seen)) = (mpsc::sync_channel(1), watch::channel(None));
        std::thread::Builder::new().name("looks".to_owned()).spawn(move || {
            while let Ok(()) = asked.recv() {
                let look = place.look();
                tell.send_replace(Some(look));
            }
        })?;
        Ok(Looks { ask, seen })
    }

    /// What is to be seen now; `None` if that takes too long.
    pub(super) async fn now(&self) -> Option<Look> {
        let mut seen = self.seen.clone();
        let is_fresh = |look: &Option<Look>| look.as_ref().is_some_and(|look| look.at.elapsed() < FRESH);
        if !is_fresh(&seen.borrow()) {
            // Where one is asked for already, that will do.
            let _ = self.ask.try_send(());
        }
        timeout(PATIENCE, seen.wait_for(is_fresh)).await.ok()?.ok()?.clone()
    }
}

impl Place {
    fn look(&self) -> Look {
        let store = self.uploads.store();
        let (space, resumable) = (store.space(), self.catalogue.resumable());
        let mut faults = Vec::new();
        match store.is_at(&self.root) {
            Ok(true) => {}
            Ok(false) => faults.push("the root is gone: its path leads elsewhere, or nowhere".to_owned()),
            Err(error) => faults.push(format!("the root cannot be looked at: {error}")),
        }
        if let Err(unready) = self.uploads.check_ready() {
            faults.push(match unready {
                Unready::Store(StoreError::Full) => "no space is left for files".to_owned(),
                Unready::Store(error) => format!("no file can be begun: {error}"),
                Unready::Ledger(_) => "no space is left for the catalogue".to_owned(),
            });
        }
        if let Err(error) = &resumable {
            tracing::debug!(%error, "the catalogue cannot be looked at");
            faults.push("the catalogue cannot be read".to_owned());
        }
        Look { at: Instant::now(), space: space.ok(), resumable: resumable.ok(), faults }
    }
}
