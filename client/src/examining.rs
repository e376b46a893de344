//! `--check-images`: pictures are decoded before they are sent, beside the sending, and what is wrong with one is told.
//!
//! What a look has shown is kept with the digests, so that an unchanged picture is looked at once. Which ones are flawed is
//! also kept until they are settled: a flawed picture is not removed here.

use std::{
    collections::HashMap,
    io::BufReader,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use ferry_pictures::{Flaw, Limits, check};
use ferry_proto::Kind;
use ferry_session::send::{Origin, Task};
use ferry_store::{
    lock,
    source::{Identity, Item, Links, Source},
};

use crate::{choosing::promised, digests::Digests, output::Narrator};

/// Pictures that are decoded at a time: each may take what [`Limits::CHECK`] allows.
const AT_ONCE: usize = 2;

/// Entries that wait for that.
const WAITING: usize = 64;

/// See the module.
pub(crate) struct Examiner {
    digests: Arc<Digests>,
    narrator: Arc<Narrator>,
    /// How sources that are links are opened.
    links: Links,
    flawed: Mutex<HashMap<PathBuf, (Identity, String)>>,
}

impl Examiner {
    pub(crate) fn new(digests: Arc<Digests>, narrator: Arc<Narrator>, links: Links) -> Self {
        Examiner { digests, narrator, links, flawed: Mutex::default() }
    }

    /// Looks at each entry that `fill` comes up with, some at a time, before it goes to `next`; both are told with false
    /// when the run is over.
    pub(crate) fn look_ahead(
        &self,
        fill: impl FnOnce(&dyn Fn(Origin) -> bool),
        next: impl Fn(Origin) -> bool + Sync,
    ) {
        let (entries, waiting): (SyncSender<Origin>, Receiver<Origin>) = sync_channel(WAITING);
        let waiting = Mutex::new(Some(waiting));
        let take = || lock(&waiting).as_ref().and_then(|waiting| waiting.recv().ok());
        thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    while let Some(origin) = take() {
                        self.look_at(&origin);
                        if !next(origin) {
                            // Whoever still fills is told.
                            drop(lock(&waiting).take());
                        }
                    }
                });
            }
            fill(&|origin| entries.send(origin).is_ok());
            drop(entries);
        });
    }

    /// Looks at an entry, if it is a picture, and tells what is wrong with it.
    pub(crate) fn look_at(&self, origin: &Origin) {
        let Origin::Tree(item) = origin else { return };
        if item.kind != Kind::File {
            return;
        }
        let found = match self.digests.find_look(&item.identity) {
            Some(known) => known,
            None => self.decode(item),
        };
        if let Some(flaw) = found {
            self.narrator.flawed(item, &flaw);
            lock(&self.flawed).insert(item.source.path().to_owned(), (item.identity, flaw));
        }
    }

    /// What is wrong with it. What could not be looked into is no worse for that. That a file is no picture is not remembered:
    /// to find it out takes one look at the beginning, and whether it should be one is told by its name, of which the same file
    /// may have several.
    fn decode(&self, item: &Item) -> Option<String> {
        // What cannot be read is told of when it is sent.
        let source = Source::open(&item.source, self.links).ok()?;
        let identity = source.identity();
        let flaw = match check(BufReader::new(source), promised(&item.source), &Limits::CHECK) {
            Ok(()) => None,
            Err(flaw @ (Flaw::Empty | Flaw::NoPicture(_))) => return Some(flaw.to_string()),
            Err(flaw) if flaw.is_of_the_picture() => Some(flaw.to_string()),
            Err(Flaw::TooLarge) => {
                self.narrator.unexamined(item, &Flaw::TooLarge.to_string());
                return None;
            }
            Err(_) => return None,
        };
        self.digests.keep_look(&identity, flaw.as_deref());
        flaw
    }

    /// What was wrong with an entry, which is settled now.
    pub(crate) fn settle(&self, task: &Task) -> Option<String> {
        let Origin::Tree(item) = &task.origin else { return None };
        let (identity, flaw) = lock(&self.flawed).remove(item.source.path())?;
        (identity == item.identity).then_some(flaw)
    }
}
