//! Folders that were made on the way to a file, by clients that may not change what is there. What the sender says of
//! such a folder comes after the files in it, and is the first word on it, not a change.

use std::{collections::HashMap, sync::Mutex};

use ferry_proto::{Mode, RelPath};

use crate::lock::lock;

/// More than are made between the first file in a folder and the folder itself. One that is forgotten keeps the mode
/// and time that it was made with.
const MOST: usize = 65_536;

/// See the module.
#[derive(Default)]
pub(super) struct Made(Mutex<HashMap<RelPath, By>>);

struct By {
    client: String,
    /// With which it was made.
    mode: Mode,
}

impl Made {
    pub(super) fn note(&self, path: RelPath, client: &str, mode: Mode) {
        let mut made = lock(&self.0);
        if made.len() < MOST {
            made.insert(path, By { client: client.to_owned(), mode });
        }
    }

    /// Whether this client made the folder on its way, and nobody has changed its mode since.
    pub(super) fn is(&self, path: &RelPath, client: &str, mode: Mode) -> bool {
        lock(&self.0).get(path).is_some_and(|by| by.client == client && by.mode == mode)
    }

    /// The last word was said.
    pub(super) fn forget(&self, path: &RelPath) {
        lock(&self.0).remove(path);
    }
}
