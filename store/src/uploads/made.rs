//! Folders that were made on the way to a file, by clients that may not change what is there. What the sender says of
//! such a folder comes after the files in it, and is the first word on it, not a change.

use std::{collections::HashMap, sync::Mutex};

use ferry_proto::{Mode, RelPath};

use crate::{Entry, Stamp, lock::lock};

/// Of one client: more than an honest one makes between the first file in a folder and the folder itself. A folder that
/// is forgotten keeps the mode and time that it was made with.
const MOST: usize = 16_384;

/// See the module.
#[derive(Default)]
pub(super) struct Made(Mutex<HashMap<String, HashMap<RelPath, AsMade>>>);

#[derive(PartialEq, Eq)]
struct AsMade {
    stamp: Stamp,
    mode: Mode,
}

impl AsMade {
    fn of(folder: &Entry) -> Self {
        AsMade { stamp: folder.stamp.clone(), mode: folder.mode }
    }
}

impl Made {
    pub(super) fn note(&self, path: RelPath, client: &str, folder: &Entry) {
        let mut made = lock(&self.0);
        let own = made.entry(client.to_owned()).or_default();
        if own.len() >= MOST {
            // They are of runs that have ended long ago.
            own.clear();
        }
        own.insert(path, AsMade::of(folder));
    }

    /// Whether this client made this very folder on its way, and nobody has changed its mode since.
    pub(super) fn is(&self, path: &RelPath, client: &str, folder: &Entry) -> bool {
        let made = lock(&self.0);
        made.get(client).and_then(|own| own.get(path)).is_some_and(|made| *made == AsMade::of(folder))
    }

    /// The last word was said.
    pub(super) fn forget(&self, path: &RelPath, client: &str) {
        let mut made = lock(&self.0);
        if let Some(own) = made.get_mut(client) {
            own.remove(path);
            if own.is_empty() {
                made.remove(client);
            }
        }
    }
}
