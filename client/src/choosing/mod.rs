//! Which entries are taken: one set of rules, that means the same wherever it is given.
//!
//! Names are looked at as the run names them: `send photos nas:` has `photos/a.jpg`, `send photos/ nas:` has `a.jpg`. What
//! is left out by its name is not looked at any further, and a folder takes everything in it with it. Sizes, times and
//! contents are asked of files alone: folders and links have none that would be theirs.

mod gitignore;
mod images;
mod listed;
mod patterns;

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use ferry_proto::{Header, Kind, RelPath, Timestamp, units};
use ferry_store::source::{Choose, Item, Links, Location, Pick, Walk};

use self::{gitignore::Gitignores, listed::Listed, patterns::Patterns};
pub(crate) use self::{images::promised, patterns::Pattern};
use crate::{config::Choice, exit::Failure, place};

/// See the module.
pub(crate) struct Rules {
    choice: Choice,
    patterns: Patterns,
    listed: Option<Listed>,
}

/// The rules at one of the things that a run is about.
pub(crate) struct Chooser {
    rules: Arc<Rules>,
    /// What the run calls it; without a name it is only about what is in it.
    name: Option<PathBuf>,
    gitignores: Option<Gitignores>,
    /// The file system of its root, if that is not left.
    device: Option<u64>,
}

impl Rules {
    /// Reads the list, if there is one.
    pub(crate) fn new(choice: Choice) -> Result<Arc<Self>, Failure> {
        let patterns = Patterns::new(&choice.patterns)?;
        let listed = choice.from_file.as_ref().map(|from| Listed::read(from, choice.null)).transpose()?;
        Ok(Arc::new(Rules { choice, patterns, listed }))
    }

    /// Whether they go with so many things that a run is about.
    pub(crate) fn check(&self, things: usize) -> Result<(), Failure> {
        match &self.listed {
            Some(_) if things != 1 => {
                Err(Failure::usage("--from-file goes with one folder, which the names in the list are below"))
            }
            _ => Ok(()),
        }
    }

    /// Goes through a tree here, which goes to `base`, as [`Walk::new`] does.
    pub(crate) fn walk(self: &Arc<Self>, root: &Path, base: Option<RelPath>, links: Links) -> Walk {
        let chooser = self.at(root);
        Walk::choosing(root, base, links, Box::new(chooser))
    }

    /// Goes only to some entries of a tree here, as [`Walk::picking`] does; `seen` is told of each folder that is taken before
    /// it is looked into, by its path below the root.
    pub(crate) fn pick(
        self: &Arc<Self>,
        root: &Path,
        base: Option<RelPath>,
        links: Links,
        picks: Vec<Pick>,
        seen: Box<dyn FnMut(&Path) + Send>,
    ) -> Walk {
        let chooser = Seeing { chooser: self.at(root), root: root.to_owned(), seen };
        Walk::picking(root, base, links, Box::new(chooser), picks)
    }

    /// Whether `.gitignore` files count.
    pub(crate) fn reads_gitignores(&self) -> bool {
        self.choice.gitignore
    }

    /// At a tree here.
    pub(crate) fn at(self: &Arc<Self>, root: &Path) -> Chooser {
        let gitignores = self.choice.gitignore.then(|| Gitignores::of(root));
        let device = std::fs::metadata(root).ok().filter(|_| self.choice.one_file_system);
        let device = device.map(|metadata| std::os::unix::fs::MetadataExt::dev(&metadata));
        let name = place::own_name(root.as_os_str()).map(|name| OsStr::from_bytes(name).into());
        Chooser { rules: self.clone(), name, gitignores, device }
    }

    /// At something that is elsewhere.
    pub(crate) fn elsewhere(self: &Arc<Self>, name: Option<&OsStr>) -> Chooser {
        Chooser { rules: self.clone(), name: name.map(PathBuf::from), gitignores: None, device: None }
    }

    /// What the list names and nobody has met.
    pub(crate) fn unmet(&self) -> Vec<Vec<u8>> {
        self.listed.as_ref().map_or(Vec::new(), Listed::unmet)
    }

    fn by_size_and_time(&self, size: u64, modified: Option<Timestamp>) -> Option<String> {
        let Choice { min_size, max_size, newer_than, .. } = &self.choice;
        if let Some(min) = min_size.filter(|min| size < *min) {
            return Some(format!("smaller than {}", units::told(min)));
        }
        if let Some(max) = max_size.filter(|max| size > *max) {
            return Some(format!("larger than {}", units::told(max)));
        }
        let (limit, said) = newer_than.as_ref()?;
        modified.filter(|modified| modified <= limit).map(|_| format!("not newer than {said}"))
    }
}

impl Chooser {
    /// An entry that did not come by a walk: the folders around it count, too.
    pub(crate) fn by_whole_name(&mut self, below: &[u8], is_folder: bool) -> Option<String> {
        let below = Path::new(OsStr::from_bytes(below));
        let mut around: Vec<_> = below.ancestors().skip(1).collect();
        if below.as_os_str().is_empty() {
            around.clear();
        }
        let outer = around.into_iter().rev().find_map(|folder| self.by_name(folder, true));
        outer.or_else(|| self.by_name(below, is_folder))
    }

    /// What another machine says of it. Its content is not here, so no rule about contents takes it.
    pub(crate) fn by_header(&self, header: &Header) -> Option<String> {
        if header.kind != Kind::File {
            return None;
        }
        let by_numbers = self.rules.by_size_and_time(header.size.unwrap_or(0), header.modified);
        by_numbers.or_else(|| self.rules.choice.images.map(|_| "no image here".to_owned()))
    }

    /// What there is of a file here.
    pub(crate) fn by_file(&self, source: &Location, size: u64, modified: Timestamp) -> Option<String> {
        let by_numbers = self.rules.by_size_and_time(size, Some(modified));
        by_numbers.or_else(|| {
            // What cannot be read is told of when it is sent.
            let wanted = self.rules.choice.images?;
            let is_out = images::is_image(source, wanted) == Some(false);
            is_out.then(|| "no image".to_owned())
        })
    }

    /// Whether it lies on another file system, and that counts.
    pub(crate) fn is_beyond(&self, device: u64) -> bool {
        self.device.is_some_and(|ours| ours != device)
    }
}

impl Choose for Chooser {
    fn by_name(&mut self, below: &Path, is_folder: bool) -> Option<String> {
        let is_root = below.as_os_str().is_empty();
        let whole = match &self.name {
            None if is_root => return None,
            None => below.to_owned(),
            Some(name) if is_root => name.clone(),
            Some(name) => name.join(below),
        };
        if let Some(listed) = &self.rules.listed
            && !listed.holds(below.as_os_str().as_bytes())
        {
            return Some(format!("not in {}", listed.shown()));
        }
        if let Some(out) = self.rules.patterns.leave_out(&whole, is_folder) {
            return out;
        }
        self.gitignores.as_mut()?.leave_out(below, is_folder)
    }

    fn by_facts(&mut self, item: &Item) -> Option<String> {
        match item.kind {
            Kind::File => self.by_file(&item.source, item.identity.size, item.modified),
            Kind::Folder | Kind::Symlink(_) => None,
        }
    }

    fn stays_on_one_file_system(&self) -> bool {
        self.rules.choice.one_file_system
    }
}

/// A chooser that tells of folders on the way.
struct Seeing {
    chooser: Chooser,
    root: PathBuf,
    seen: Box<dyn FnMut(&Path) + Send>,
}

impl Seeing {
    /// Whether it is a folder that is not left closed.
    fn is_open(&self, below: &Path) -> bool {
        let device =
            || std::fs::metadata(self.root.join(below)).map(|it| std::os::unix::fs::MetadataExt::dev(&it));
        !self.chooser.stays_on_one_file_system()
            || device().is_ok_and(|device| !self.chooser.is_beyond(device))
    }
}

impl Choose for Seeing {
    fn by_name(&mut self, below: &Path, is_folder: bool) -> Option<String> {
        let out = self.chooser.by_name(below, is_folder);
        if is_folder && out.is_none() && self.is_open(below) {
            (self.seen)(below);
        }
        out
    }

    fn by_facts(&mut self, item: &Item) -> Option<String> {
        self.chooser.by_facts(item)
    }

    fn stays_on_one_file_system(&self) -> bool {
        self.chooser.stays_on_one_file_system()
    }
}
