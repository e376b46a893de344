//! Where something goes, and what may be done for it.

use std::sync::Arc;

use ferry_proto::{Code, Conflict, Header, RelPath, limits};

use super::{Lease, Terms, fault::Fault};
use crate::BodyKey;

/// Names that `keep-both` tries. Whoever has more copies of one name than this does not want another one, and looking for
/// a free name keeps others waiting.
const TRIES: u32 = 1000;

/// An ending that is longer than this, with its dot, is part of the name.
const ENDING: usize = 16;

/// A path below the store's root, and the terms under which it was offered.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) path: RelPath,
    pub(super) terms: Arc<Terms>,
    /// The connection that offers it.
    pub(super) lease: Arc<Lease>,
}

impl Target {
    /// Where an offer of this header goes.
    pub(super) fn of(terms: &Arc<Terms>, lease: &Arc<Lease>, header: &Header) -> Result<Self, Fault> {
        let path = match &terms.folder {
            None => header.path.clone(),
            Some(folder) => {
                folder.join(&header.path).map_err(|error| Fault::new(Code::BadName, error.to_string()))?
            }
        };
        Ok(Target { path, terms: terms.clone(), lease: lease.clone() })
    }

    /// Where another path of the client's is, if it can be.
    pub(super) fn beside(&self, path: &RelPath) -> Option<RelPath> {
        match &self.terms.folder {
            None => Some(path.clone()),
            Some(folder) => folder.join(path).ok(),
        }
    }

    /// Whether what has the name may make way.
    pub(super) fn may_replace(&self) -> bool {
        self.terms.overwrite && self.terms.conflict == Conflict::Replace
    }

    /// Why it may not take the name of something with other content, nor a name beside it.
    pub(super) fn refuse_conflict(&self) -> Result<(), Fault> {
        match self.terms.conflict {
            Conflict::Replace if self.terms.overwrite => Ok(()),
            Conflict::Replace => Err(Fault::new(Code::NotAllowed, "the grant does not allow overwriting")),
            Conflict::KeepBoth => Ok(()),
            Conflict::Skip | Conflict::Fail => Err(Fault::new(Code::Exists, "this name is taken")),
        }
    }

    /// Why nothing more is done for a connection that has ended: what was read for it is not whole.
    pub(super) fn refuse_when_over(&self) -> Result<(), Fault> {
        if self.lease.is_over() {
            return Err(Fault::new(Code::Cancelled, "the connection has ended"));
        }
        Ok(())
    }

    /// Why nothing is done any more for a client that was shut out meanwhile.
    pub(super) fn refuse_when_cut(&self) -> Result<(), Fault> {
        if self.terms.cut.is_cut() {
            return Err(Fault::new(Code::Revoked, "the session was cut"));
        }
        Ok(())
    }

    /// Why a file of this size is too large.
    pub(super) fn refuse_size(&self, size: u64) -> Result<(), Fault> {
        let most = self.terms.max_file;
        if size <= most {
            return Ok(());
        }
        Err(Fault::new(Code::TooLarge, format!("the server takes files up to {most} bytes")))
    }

    /// The path as the client knows it, if it is not the one that it offered.
    pub(super) fn shown(&self, path: &RelPath) -> Option<RelPath> {
        if *path == self.path {
            return None;
        }
        match &self.terms.folder {
            Some(folder) => path.below(folder),
            None => Some(path.clone()),
        }
    }

    /// What of a body has to agree for it to be gone on with; `None` for a stream, which cannot be.
    pub(super) fn body_key(&self, header: &Header) -> Option<BodyKey> {
        Some(BodyKey {
            client: self.terms.client.clone(),
            path: self.path.clone(),
            size: header.size?,
            modified: header.modified,
            digest: header.digest,
            upload: self.terms.upload,
        })
    }

    /// The names that `keep-both` tries after the offered one: `a.jpg`, `a (2).jpg`, `a (3).jpg`, …
    pub(super) fn siblings(&self) -> impl Iterator<Item = RelPath> {
        let (stem, ending) = split_ending(self.path.name());
        (2..=TRIES).filter_map(move |number| {
            let tail = [format!(" ({number})").as_bytes(), ending].concat();
            let room = limits::NAME.saturating_sub(tail.len());
            let name = [&stem[..stem.len().min(room)], &tail].concat();
            self.path.with_name(&name).ok()
        })
    }
}

/// `a.tar.gz` is `a.tar` and `.gz`; a leading dot begins no ending.
fn split_ending(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().rposition(|&b| b == b'.') {
        Some(dot) if dot > 0 && name.len() - dot <= ENDING => name.split_at(dot),
        _ => (name, &[]),
    }
}
