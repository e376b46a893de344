//! A name that is to be another one of a file that is here: a hard link. Whatever speaks against it, the body can still be
//! asked for.

use ferry_proto::{Digest, Header, RelPath};

use super::{Outcome, Shared, commit::Work, decide::Decision, fault::Fault, target::Target};
use crate::{Entry, EntryKind, Meta, Row, RowKind, StageId, Stamp, Store};

/// The other name, and what the file was known by before it got one more.
pub(super) struct Twin {
    pub(super) path: RelPath,
    pub(super) stamp: Stamp,
}

impl<S: Store> Shared<S> {
    /// What becomes of an offer that says so; `None` if it is to be treated like any other.
    pub(super) fn decide_same(
        &self,
        target: &Target,
        header: &Header,
        entry: Option<&Entry>,
    ) -> Result<Option<Decision<S>>, Fault> {
        let Some(digest) = header.digest.filter(|_| !target.terms.dry_run) else { return Ok(None) };
        let Some((twin, row)) = self.find_twin(target, header, digest)? else { return Ok(None) };
        let size = header.size.unwrap_or_default();
        let id = StageId::random();
        let reserve = || self.quotas.reserve(&*self.ledger, &target.terms, id, size);
        match entry {
            // It is one already.
            Some(entry) if entry.stamp == twin.stamp => {
                let own = self.ledger.find(&target.path)?;
                if own.as_ref().is_some_and(|own| own.stamp == entry.stamp) {
                    return Ok(None);
                }
                let is_known = own.is_some_and(|own| own.kind.is_same_as(&row.kind));
                let reserved = if is_known { None } else { reserve()? };
                let outcome = Outcome::Held(Some(digest), target.shown(&target.path));
                return Ok(Some(Decision::Commit(Box::new(Work::Twin { twin, row, reserved, outcome }))));
            }
            Some(Entry { kind: EntryKind::File(_) | EntryKind::Symlink(_), .. }) if target.may_replace() => {}
            Some(_) => return Ok(None),
            None => self.quotas.check_names(&*self.ledger, &target.terms)?,
        }
        // Each name counts, as if it had the bytes to itself: which of them stays longest is not known.
        let reserved = reserve()?;
        let staged = match self.store.stage_same(id, &twin.path, &twin.stamp) {
            Ok(staged) => staged,
            Err(error) => {
                tracing::debug!(path = %target.path, %error, "it does not become a hard link");
                return Ok(None);
            }
        };
        // Time and mode are those of all its names.
        let meta = if target.terms.overwrite { Meta::of(header) } else { row.meta() };
        let (ownership, twin) = (None, Some(twin));
        Ok(Some(Decision::Commit(Box::new(Work::Body {
            staged,
            ownership,
            reserved,
            meta,
            size,
            digest,
            twin,
            found: None,
            open: None,
        }))))
    }

    /// The other name, if by its row, which agrees with the disk, it has the offered content.
    fn find_twin(
        &self,
        target: &Target,
        header: &Header,
        digest: Digest,
    ) -> Result<Option<(Twin, Row)>, Fault> {
        let Some(path) = header.same_as.as_ref().and_then(|path| target.beside(path)) else {
            return Ok(None);
        };
        if path == target.path {
            return Ok(None);
        }
        let Ok(Some(entry)) = self.store.stat(&path) else { return Ok(None) };
        let row = self.ledger.find(&path)?;
        let is_it = |row: &Row| {
            let holds = matches!(&row.kind, RowKind::File { size, digests }
                if Some(*size) == header.size && digests.by(digest.algorithm()) == Some(digest));
            holds && row.stamp == entry.stamp && !row.is_damaged
        };
        Ok(row.filter(is_it).map(|row| (Twin { path, stamp: entry.stamp }, row)))
    }
}
