//! Going only to some entries of a tree, and to the folders around them.

use std::{
    collections::VecDeque,
    io::ErrorKind,
    path::{Path, PathBuf},
    vec,
};

use ferry_proto::Kind;

use super::{
    Item, Pick, SourceError,
    by_path::ByPath,
    walk::{Sight, Visit},
};

/// See the module.
pub(super) struct Picked {
    tree: ByPath,
    /// In their order, so that each folder is entered once.
    picks: vec::IntoIter<Pick>,
    /// The way to the next one, from the last folder that was entered.
    steps: VecDeque<Pick>,
    /// The folders that were entered, from the root on.
    entered: Vec<PathBuf>,
    /// What the tree is being walked through whole.
    whole: Option<PathBuf>,
    is_in_whole: bool,
}

impl Picked {
    pub(super) fn new(tree: ByPath, mut picks: Vec<Pick>) -> Self {
        picks.sort();
        let picks = picks.into_iter();
        Picked { tree, picks, steps: VecDeque::new(), entered: Vec::new(), whole: None, is_in_whole: false }
    }

    /// Finds the way to the next one; false if there is none.
    fn set_out(&mut self) -> bool {
        let Some(Pick { below, is_whole }) = self.picks.next() else { return false };
        if self.whole.as_ref().is_some_and(|whole| below.starts_with(whole)) {
            return true;
        }
        while self.entered.pop_if(|folder| !below.starts_with(folder)).is_some() {}
        let mut levels: Vec<_> = below.ancestors().collect();
        levels.reverse();
        let last = levels.len() - 1;
        let step = |(level, path): (usize, &Path)| Pick {
            below: path.to_owned(),
            is_whole: is_whole && level == last,
        };
        self.steps = levels.into_iter().enumerate().skip(self.entered.len()).map(step).collect();
        true
    }

    fn step(&mut self, Pick { below, is_whole }: Pick) -> Option<Visit> {
        self.tree.go_to(&below, is_whole);
        let visit = self.tree.next()?;
        let is_on_the_way = !self.steps.is_empty();
        match &visit.sight {
            Sight::Root | Sight::Item(Item { kind: Kind::Folder, .. }) => {
                self.is_in_whole = is_whole;
                if is_whole {
                    self.whole = Some(below.clone());
                }
                self.entered.push(below);
                return Some(visit);
            }
            // Where something else is now in a folder's place, nothing is in it; and that folder is nobody's pick.
            Sight::Item(_) | Sight::Skipped(_) | Sight::LeftOut(_) if is_on_the_way => {}
            Sight::Problem(SourceError::Io(error)) | Sight::Closed(SourceError::Io(error))
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            _ => {
                self.steps.clear();
                return Some(visit);
            }
        }
        self.steps.clear();
        None
    }
}

impl Iterator for Picked {
    type Item = Visit;

    fn next(&mut self) -> Option<Visit> {
        loop {
            if self.is_in_whole {
                match self.tree.next() {
                    Some(visit) => return Some(visit),
                    None => self.is_in_whole = false,
                }
            } else if let Some(step) = self.steps.pop_front() {
                if let Some(visit) = self.step(step) {
                    return Some(visit);
                }
            } else if !self.set_out() {
                return None;
            }
        }
    }
}
