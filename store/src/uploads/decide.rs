//! What becomes of an offer: held already, wanted, or refused.

use std::{sync::Arc, time::Instant};

use ferry_proto::{Code, Conflict, Digest, Header, Kind, RelPath};

use super::{
    Begin, Fault, Lease, Outcome, Reply, Shared, Terms, Ticket, Uploads,
    body::discard,
    commit::{Job, Work},
    owners::Claimed,
};
use crate::{BodyKey, Entry, EntryKind, Meta, RowKind, StageId, Store};

/// An offer whose body another connection has under way.
pub struct Busy {
    header: Header,
    since: Instant,
}

#[cfg(any(test, feature = "conformance"))]
impl Busy {
    /// As if the body's owner had been asked for a sign of life this much earlier, so that no test has to wait.
    pub fn backdate(&mut self, by: std::time::Duration) {
        self.since = self.since.checked_sub(by).expect("the machine has been up for longer than that");
    }
}

/// Where something goes, and what may be done for it.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Below the store's root.
    pub(super) path: RelPath,
    pub(super) terms: Arc<Terms>,
}

impl Target {
    /// Whether what has the name may make way.
    pub(super) fn may_replace(&self) -> bool {
        self.terms.overwrite && self.terms.conflict == Conflict::Replace
    }

    /// The path as the client knows it, if it is not `self`'s.
    pub(super) fn shown(&self, path: &RelPath) -> Option<RelPath> {
        if *path == self.path {
            return None;
        }
        match &self.terms.folder {
            Some(folder) => path.below(folder),
            None => Some(path.clone()),
        }
    }

    /// Why it may not take the name of a file with other content.
    fn refuse_conflict(&self) -> Result<(), Fault> {
        match self.terms.conflict {
            Conflict::Replace if self.terms.overwrite => Ok(()),
            Conflict::Replace => Err(Fault::new(Code::NotAllowed, "the grant does not allow overwriting")),
            Conflict::KeepBoth => Ok(()),
            Conflict::Skip | Conflict::Fail => {
                Err(Fault::new(Code::Exists, "a file with other content has this name"))
            }
        }
    }
}

impl<S: Store> Uploads<S> {
    /// Decides about an offer. The reply is called once, now or later, unless it comes back in the answer.
    pub fn begin(&self, terms: &Arc<Terms>, lease: &Arc<Lease>, header: Header, reply: Reply) -> Begin {
        self.shared.begin(terms, lease, header, None, reply)
    }

    /// Asks again for what was [`Begin::Busy`].
    pub fn begin_again(&self, terms: &Arc<Terms>, lease: &Arc<Lease>, busy: Busy, reply: Reply) -> Begin {
        self.shared.begin(terms, lease, busy.header, Some(busy.since), reply)
    }
}

/// A decision before it is told.
enum Decision<S: Store> {
    Answer(Outcome),
    Commit(Work<S>),
    Want(Option<(StageId, u64)>),
}

impl<S: Store> Shared<S> {
    fn begin(
        self: &Arc<Self>,
        terms: &Arc<Terms>,
        lease: &Arc<Lease>,
        header: Header,
        asked: Option<Instant>,
        reply: Reply,
    ) -> Begin {
        let path = match &terms.folder {
            None => Ok(header.path.clone()),
            Some(folder) => folder.join(&header.path),
        };
        let target = match path {
            Ok(path) => Target { path, terms: terms.clone() },
            Err(error) => {
                reply.give(Outcome::Failed(Code::BadName, error.to_string()));
                return Begin::Answered;
            }
        };
        match self.decide(&target, &header) {
            Err(fault) => reply.give(fault.into()),
            Ok(Decision::Answer(outcome)) => reply.give(outcome),
            Ok(_) if terms.dry_run => {
                return Begin::Send(Box::new(Ticket::fresh(target, header, lease)), reply);
            }
            Ok(Decision::Commit(work)) => self.committer.hand_in(Job { target, work, reply }),
            Ok(Decision::Want(staged)) => {
                let now = Instant::now();
                let claimed = staged.map(|(id, offset)| (self.owners.claim(id, lease, asked), offset));
                let ticket = match claimed {
                    Some((Claimed::Asked, _)) => {
                        let since = asked.unwrap_or(now);
                        return Begin::Busy(Busy { header, since }, reply);
                    }
                    Some((Claimed::Ours(ownership), offset)) => {
                        Ticket::to_resume(self, target, header, lease, ownership, offset)
                    }
                    None | Some((Claimed::Taken, _)) => Ticket::fresh(target, header, lease),
                };
                return Begin::Send(Box::new(ticket), reply);
            }
        }
        Begin::Answered
    }

    fn decide(&self, target: &Target, header: &Header) -> Result<Decision<S>, Fault> {
        let entry = self.store.stat(&target.path)?;
        match &header.kind {
            Kind::File => self.decide_file(target, header, entry),
            Kind::Folder => self.decide_folder(target, header, entry),
            Kind::Symlink(link) => self.decide_link(target, header, link, entry),
        }
    }

    fn decide_file(
        &self,
        target: &Target,
        header: &Header,
        entry: Option<Entry>,
    ) -> Result<Decision<S>, Fault> {
        if header.size.is_some_and(|size| size > target.terms.max_file) {
            return Err(Fault::new(
                Code::TooLarge,
                format!("the server takes files up to {} bytes", target.terms.max_file),
            ));
        }
        match entry.as_ref().map(|entry| &entry.kind) {
            None => {}
            Some(EntryKind::Folder | EntryKind::Other) => {
                return Err(Fault::new(Code::KindConflict, "something that is no file has this name"));
            }
            Some(EntryKind::Symlink(_)) => target.refuse_conflict()?,
            Some(EntryKind::File(size)) if header.size == Some(*size) => {
                let Some(offered) = header.digest else { return Ok(Decision::Answer(Outcome::NeedDigest)) };
                let entry =
                    entry.as_ref().ok_or_else(|| Fault::new(Code::Internal, "an entry went missing"))?;
                if let Some(decision) = self.held(target, header, offered, &target.path, entry)? {
                    return Ok(decision);
                }
                target.refuse_conflict()?;
            }
            Some(EntryKind::File(_)) => target.refuse_conflict()?,
        }
        if entry.is_some()
            && target.terms.conflict == Conflict::KeepBoth
            && let Some(decision) = self.held_by_sibling(target, header)?
        {
            return Ok(decision);
        }
        Ok(Decision::Want(self.resumable(target, header)?))
    }

    /// Whether the file at `path`, which has the offered size, has the offered digest; by its row, or by reading
    /// it where somebody touched it since.
    fn held(
        &self,
        target: &Target,
        header: &Header,
        offered: Digest,
        path: &RelPath,
        entry: &Entry,
    ) -> Result<Option<Decision<S>>, Fault> {
        let row = self.ledger.find(path)?;
        let by_row = row.as_ref().filter(|row| row.stamp == entry.stamp).and_then(|row| match row.kind {
            RowKind::File { digest, .. } if digest.algorithm() == offered.algorithm() => Some(digest),
            _ => None,
        });
        let actual = match by_row {
            Some(digest) => digest,
            None => self.read_digest(path, offered)?,
        };
        if actual != offered {
            return Ok(None);
        }
        let fits = by_row.is_some()
            && row.is_some_and(|row| row.modified == header.modified && row.mode == header.mode);
        let outcome = Outcome::Held(Some(offered), target.shown(path));
        if fits || target.terms.dry_run || !target.terms.overwrite {
            return Ok(Some(Decision::Answer(outcome)));
        }
        let size = header.size.unwrap_or_default();
        Ok(Some(Decision::Commit(Work::Refresh {
            path: path.clone(),
            seen: entry.stamp.clone(),
            meta: meta_of(header),
            kind: RowKind::File { size, digest: offered },
            outcome,
        })))
    }

    fn read_digest(&self, path: &RelPath, like: Digest) -> Result<Digest, Fault> {
        let mut hasher = like.algorithm().hasher();
        self.store.read(path, 0, &mut |bytes| {
            hasher.update(bytes);
            true
        })?;
        Ok(hasher.finish())
    }

    /// Looks among `name (2)`, `name (3)`, … for the offered content, so that a lost receipt makes no second copy.
    fn held_by_sibling(&self, target: &Target, header: &Header) -> Result<Option<Decision<S>>, Fault> {
        for path in siblings(&target.path) {
            let Some(entry) = self.store.stat(&path)? else { break };
            if !matches!(entry.kind, EntryKind::File(size) if Some(size) == header.size) {
                continue;
            }
            let Some(offered) = header.digest else { return Ok(Some(Decision::Answer(Outcome::NeedDigest))) };
            if let Some(decision) = self.held(target, header, offered, &path, &entry)? {
                return Ok(Some(decision));
            }
        }
        Ok(None)
    }

    /// The staged body that this offer goes on with. Those of older contents of the same source are dropped.
    fn resumable(&self, target: &Target, header: &Header) -> Result<Option<(StageId, u64)>, Fault> {
        let Some(key) = body_key(target, header) else { return Ok(None) };
        if key.size <= self.store.checkpoint_distance() || target.terms.dry_run {
            return Ok(None);
        }
        let mut best: Option<(StageId, u64)> = None;
        for checkpoint in self.ledger.checkpoints_for(&key.client, &key.path)? {
            if checkpoint.key.agrees_with(&key) {
                if best.is_none_or(|(_, offset)| checkpoint.offset > offset) {
                    best = Some((checkpoint.id, checkpoint.offset));
                }
            } else if let Some(_ownership) = self.owners.claim_free(checkpoint.id) {
                discard(&*self.store, &*self.ledger, checkpoint.id);
            }
        }
        Ok(best)
    }

    fn decide_folder(
        &self,
        target: &Target,
        header: &Header,
        entry: Option<Entry>,
    ) -> Result<Decision<S>, Fault> {
        let work = Work::Folder { meta: meta_of(header) };
        let Some(entry) = entry else { return Ok(Decision::Commit(work)) };
        if entry.kind != EntryKind::Folder {
            return Err(Fault::new(Code::KindConflict, "something that is no folder has this name"));
        }
        let row = self.ledger.find(&target.path)?;
        let fits = header.modified.is_none_or(|modified| modified == entry.modified)
            && row.is_some_and(|row| row.kind == RowKind::Folder && row.mode == header.mode);
        if fits || !target.terms.overwrite {
            return Ok(Decision::Answer(Outcome::Held(None, None)));
        }
        Ok(Decision::Commit(work))
    }

    fn decide_link(
        &self,
        target: &Target,
        header: &Header,
        link: &[u8],
        entry: Option<Entry>,
    ) -> Result<Decision<S>, Fault> {
        match entry {
            None => {}
            Some(Entry { kind: EntryKind::Folder | EntryKind::Other, .. }) => {
                return Err(Fault::new(Code::KindConflict, "something that is no link has this name"));
            }
            Some(Entry { kind: EntryKind::Symlink(held), modified, .. })
                if held == link
                    && (header.modified.is_none_or(|offered| offered == modified)
                        || !target.may_replace()) =>
            {
                return Ok(Decision::Answer(Outcome::Held(None, None)));
            }
            Some(_) => target.refuse_conflict()?,
        }
        Ok(Decision::Commit(Work::Link { link: link.to_vec(), meta: meta_of(header) }))
    }
}

/// The names that `keep-both` tries after the offered one: `a.jpg`, `a (2).jpg`, `a (3).jpg`, …
pub(super) fn siblings(path: &RelPath) -> impl Iterator<Item = RelPath> {
    const TRIES: u32 = 10_000;
    let (stem, ending) = split_ending(path.name());
    (2..TRIES).filter_map(move |number| {
        let tail = [format!(" ({number})").as_bytes(), &ending].concat();
        let room = ferry_proto::limits::NAME.saturating_sub(tail.len());
        let name = [&stem[..stem.len().min(room)], &tail].concat();
        path.with_name(&name).ok()
    })
}

/// `a.tar.gz` is `a.tar` and `.gz`; a leading dot begins no ending.
fn split_ending(name: &[u8]) -> (Vec<u8>, Vec<u8>) {
    match name.iter().rposition(|&b| b == b'.') {
        Some(dot) if dot > 0 && name.len() - dot <= 16 => (name[..dot].to_vec(), name[dot..].to_vec()),
        _ => (name.to_vec(), Vec::new()),
    }
}

/// What of a body has to agree for it to be resumed; `None` for a stream, which cannot be.
pub(super) fn body_key(target: &Target, header: &Header) -> Option<BodyKey> {
    Some(BodyKey {
        client: target.terms.client.clone(),
        path: target.path.clone(),
        size: header.size?,
        modified: header.modified,
        digest: header.digest,
    })
}

pub(super) fn meta_of(header: &Header) -> Meta {
    Meta { modified: header.modified, mode: header.mode }
}
