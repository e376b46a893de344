//! A walk: entries one after the other, folders after what is in them.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::Arc,
};

use ferry_proto::{Kind, RelPath};

use super::{
    Choose, Everything, Found, Item, Links, Pick, Shelf, SourceError, beneath::Beneath, by_path::ByPath,
    picked::Picked,
};

/// Items of a store that are told of together.
const TOGETHER: usize = 64;

/// Walks one source, folders after what is in them.
pub struct Walk {
    visits: Box<dyn Iterator<Item = Visit> + Send>,
    open: Vec<Option<Arc<Pending>>>,
    ready: VecDeque<Found>,
}

/// The visits of a store, where somebody adds what else is known of each item as soon as it is found.
struct Told<F> {
    visits: Beneath,
    tell: F,
    ahead: VecDeque<Visit>,
}

/// A folder that waits until nothing under it is outstanding, because whatever happens in it changes its time.
#[derive(Debug)]
pub(super) struct Pending {
    item: Item,
}

/// Where a walk has come to; each folder comes before what is in it.
pub(super) struct Visit {
    /// Levels below the root.
    pub(super) depth: usize,
    pub(super) path: PathBuf,
    pub(super) sight: Sight,
}

/// What is there.
pub(super) enum Sight {
    /// Something to be sent.
    Item(Item),
    /// A root that is entered, and not sent itself.
    Root,
    /// Something that is not sent.
    Skipped(&'static str),
    /// Something that is not chosen. If it is a folder, nothing in it comes.
    LeftOut(String),
    /// An entry that cannot be named or looked at. If it is a folder, nothing in it comes.
    Problem(SourceError),
    /// The folder at this path, which came before, cannot be looked into.
    Closed(SourceError),
}

impl Walk {
    /// Of the tree at `root`, which goes to `base`; with no base the contents of `root` go to the top level and
    /// `root` itself is not sent.
    pub fn new(root: &Path, base: Option<RelPath>, links: Links) -> Self {
        Walk::choosing(root, base, links, Box::new(Everything))
    }

    /// The same, of what is chosen.
    pub fn choosing(root: &Path, base: Option<RelPath>, links: Links, choose: Box<dyn Choose>) -> Self {
        Walk::of(ByPath::new(root, base, links, choose))
    }

    /// The same, going only to some entries, each of them named once, and to the folders around them. What is not
    /// there does not come.
    pub fn picking(
        root: &Path,
        base: Option<RelPath>,
        links: Links,
        choose: Box<dyn Choose>,
        picks: Vec<Pick>,
    ) -> Self {
        Walk::of(Picked::new(ByPath::new(root, base, links, choose), picks))
    }

    /// Of what is at `path` in `folder` of a store, where no path is the folder itself, which then is not sent. What is
    /// further below than directly in it comes only if that is asked for. Before items go anywhere, `tell` may add what
    /// else is known of them.
    pub fn of_shelf(
        shelf: &Shelf,
        folder: Option<&RelPath>,
        path: Option<&RelPath>,
        recursive: bool,
        tell: impl FnMut(&mut [&mut Item]) + Send + 'static,
    ) -> Self {
        let visits = Beneath::new(shelf.clone(), folder.cloned(), path.cloned(), recursive);
        Walk::of(Told { visits, tell, ahead: VecDeque::new() })
    }

    fn of(visits: impl Iterator<Item = Visit> + Send + 'static) -> Self {
        Walk { visits: Box::new(visits), open: Vec::new(), ready: VecDeque::new() }
    }

    fn step(&mut self, Visit { depth, path, sight }: Visit) {
        let is_closed = matches!(sight, Sight::Closed(_));
        // It is the one that came last, or its end cannot be read, when something in it came last.
        if is_closed {
            self.give_up(&path);
        }
        self.leave(depth);
        if is_closed {
            self.give_up(&path);
        }
        match sight {
            Sight::Root => self.open.push(None),
            Sight::Item(mut item) => {
                item.folder = self.open.last().cloned().flatten();
                if item.kind == Kind::Folder {
                    self.open.push(Some(Arc::new(Pending { item })));
                } else {
                    self.ready.push_back(Found::Item(item));
                }
            }
            Sight::Skipped(what) => self.ready.push_back(Found::Skipped(path, what)),
            Sight::LeftOut(why) => self.ready.push_back(Found::LeftOut(path, why)),
            Sight::Problem(error) | Sight::Closed(error) => self.ready.push_back(Found::Problem(path, error)),
        }
    }

    /// A folder that cannot be looked into has failed, and is not offered as if all of it were there.
    fn give_up(&mut self, path: &Path) {
        let is_this = |folder: &mut Option<Arc<Pending>>| {
            folder.as_ref().is_some_and(|folder| folder.item.source.path() == path)
        };
        if let Some(folder) = self.open.pop_if(is_this).flatten().and_then(release) {
            drop(folder.settle());
        }
    }

    /// Leaves the folders at this depth and below.
    fn leave(&mut self, depth: usize) {
        while self.open.len() > depth {
            if let Some(folder) = self.open.pop().flatten()
                && let Some(item) = release(folder)
            {
                self.ready.push_back(Found::Item(item));
            }
        }
    }
}

impl Iterator for Walk {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            if let Some(found) = self.ready.pop_front() {
                return Some(found);
            }
            match self.visits.next() {
                Some(visit) => self.step(visit),
                None if self.open.is_empty() => return None,
                None => self.leave(0),
            }
        }
    }
}

impl<F: FnMut(&mut [&mut Item])> Iterator for Told<F> {
    type Item = Visit;

    fn next(&mut self) -> Option<Visit> {
        if self.ahead.is_empty() {
            self.ahead.extend(self.visits.by_ref().take(TOGETHER));
            let items = self.ahead.iter_mut().filter_map(|visit| match &mut visit.sight {
                Sight::Item(item) => Some(item),
                _ => None,
            });
            (self.tell)(&mut items.collect::<Vec<_>>());
        }
        self.ahead.pop_front()
    }
}

impl Item {
    /// Call this when nothing more will be done about it. Returns the folder around it if this was the last thing
    /// outstanding there: the folder's turn has come.
    pub fn settle(self) -> Option<Item> {
        self.folder.and_then(release)
    }

    /// Does the same to it, and to each folder whose turn comes with that: nothing else will be done about them.
    pub fn pass(self, mut each: impl FnMut(&Item)) {
        let mut next = Some(self);
        while let Some(item) = next {
            each(&item);
            next = item.settle();
        }
    }
}

/// Ends one hold on a folder. The last one gets it.
fn release(folder: Arc<Pending>) -> Option<Item> {
    Arc::into_inner(folder).map(|pending| pending.item)
}
