//! What becomes of an offer: held already, wanted, or refused.

use std::{iter, sync::Arc};

use ferry_proto::{Code, Conflict, Digest, Header, Kind, Leaving, RelPath};

use super::{
    Begin, Lease, Outcome, Reply, Shared, Terms, Ticket, Uploads,
    commit::{Found, Job, Work, holds_damaged},
    fault::{Fault, Step},
    lessons::damage,
    owners::{Claimed, Question},
    target::Target,
};
use crate::{
    BodyKey, Change, Digests, Entry, EntryKind, Hashers, Meta, Part, Revision, Row, RowKind, StageId, Store,
    source::Identity,
};

/// An offer that can be decided a little later: another connection has its body under way, or too many others are
/// being read at length.
pub struct Busy {
    header: Header,
    asked: Option<Question>,
}

#[cfg(any(test, feature = "conformance"))]
impl Busy {
    /// As if the body's owner had been asked for a sign of life this much earlier, so that no test has to wait.
    pub fn backdate(&mut self, by: std::time::Duration) {
        self.asked.iter_mut().for_each(|asked| asked.backdate(by));
    }
}

impl<S: Store> Uploads<S> {
    /// Decides about an offer. The reply is called once, now or later, unless it comes back in the answer.
    pub fn begin(&self, terms: &Arc<Terms>, lease: &Arc<Lease>, header: Header, reply: Reply) -> Begin {
        self.shared.begin(terms, lease, header, None, reply)
    }

    /// Asks again for what was [`Begin::Busy`].
    pub fn begin_again(
        &self,
        terms: &Arc<Terms>,
        lease: &Arc<Lease>,
        busy: Box<Busy>,
        reply: Reply,
    ) -> Begin {
        self.shared.begin(terms, lease, busy.header, busy.asked, reply)
    }
}

/// A decision before it is told.
pub(super) enum Decision<S: Store> {
    Answer(Outcome),
    Commit(Box<Work<S>>),
    /// Whether its name is free.
    Want(bool),
    Later,
}

impl<S: Store> Shared<S> {
    fn begin(
        self: &Arc<Self>,
        terms: &Arc<Terms>,
        lease: &Arc<Lease>,
        header: Header,
        asked: Option<Question>,
        reply: Reply,
    ) -> Begin {
        let decided = Target::of(terms, lease, &header).and_then(|target| {
            let decision = self.decide(&target, &header)?;
            Ok((target, decision))
        });
        match decided {
            Err(fault) => reply.give(fault.into()),
            Ok((_, Decision::Answer(outcome))) => reply.give(outcome),
            Ok((_, Decision::Later)) => return Begin::Busy(Box::new(Busy { header, asked }), reply),
            Ok((target, decision)) if terms.dry_run => {
                let is_free = match decision {
                    Decision::Want(is_free) => is_free,
                    _ => matches!(self.store.stat(&target.path), Ok(None)),
                };
                return Begin::Send(Box::new(Ticket::fresh(target, &header, is_free, None)), reply);
            }
            Ok((target, Decision::Commit(work))) => {
                self.committer.hand_in(Job { target, work: *work, reply });
            }
            Ok((target, Decision::Want(is_free))) => {
                let claimed = self
                    .can_be_gone_on_with(&target, &header)
                    .map(|key| self.owners.claim(&key, lease, asked));
                let ticket = match claimed {
                    Some(Claimed::Asked(asked)) => {
                        return Begin::Busy(Box::new(Busy { header, asked: Some(asked) }), reply);
                    }
                    Some(Claimed::Ours(ownership)) => Ticket::to_go_on(self, target, &header, ownership),
                    Some(Claimed::Taken) | None => Ok(Some(Ticket::fresh(target, &header, is_free, None))),
                };
                match ticket {
                    Ok(Some(ticket)) => return Begin::Send(Box::new(ticket), reply),
                    Ok(None) => return Begin::Busy(Box::new(Busy { header, asked: None }), reply),
                    Err(fault) => reply.give(fault.into()),
                }
            }
        }
        Begin::Answered
    }

    /// The key of a body that is long enough for a checkpoint.
    fn can_be_gone_on_with(&self, target: &Target, header: &Header) -> Option<BodyKey> {
        target.body_key(header).filter(|key| key.size > self.store.checkpoint_distance())
    }

    fn decide(&self, target: &Target, header: &Header) -> Result<Decision<S>, Fault> {
        let entry = self.store.stat(&target.path).step("look at a name", &target.path)?;
        if entry.is_none() {
            self.forget_what_is_gone(target)?;
        }
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
        header.size.map_or(Ok(()), |size| target.refuse_size(size))?;
        if header.same_as.is_some()
            && let Some(decision) = self.decide_same(target, header, entry.as_ref())?
        {
            return Ok(decision);
        }
        let Some(entry) = entry else {
            self.take_a_name(target)?;
            return self.want(target, header, true);
        };
        match entry.kind {
            EntryKind::Folder | EntryKind::Other => {
                return Err(Fault::new(Code::KindConflict, "something that is no file has this name"));
            }
            EntryKind::File(size) if header.size == Some(size) => {
                if let Some(offered) = header.digest {
                    if let Some(decision) = self.held(target, header, offered, &target.path, &entry)? {
                        return Ok(decision);
                    }
                    let offered = RowKind::File { size, digests: offered.into() };
                    if !target.may_replace() && holds_damaged(&*self.ledger, &target.path, &entry, &offered)?
                    {
                        return self.want(target, header, false);
                    }
                } else if target.terms.asks_ahead {
                    return Ok(Decision::Answer(Outcome::NeedDigest));
                }
            }
            EntryKind::Symlink(_) | EntryKind::File(_) => {}
        }
        target.refuse_conflict()?;
        if target.terms.conflict == Conflict::KeepBoth {
            if let Some(decision) = self.held_by_sibling(target, header)? {
                return Ok(decision);
            }
            self.take_a_name(target)?;
        }
        self.want(target, header, false)
    }

    fn take_a_name(&self, target: &Target) -> Result<(), Fault> {
        self.quotas.check_names(&*self.ledger, &target.terms)
    }

    /// What its owner has moved or removed no longer counts for the quota of who sent it.
    fn forget_what_is_gone(&self, target: &Target) -> Result<(), Fault> {
        if target.terms.quota.is_some()
            && !target.terms.dry_run
            && let Some(row) = self.ledger.find(&target.path)?
        {
            self.ledger.close(&target.path, &row.stamp)?;
        }
        Ok(())
    }

    fn want(&self, target: &Target, header: &Header, is_free: bool) -> Result<Decision<S>, Fault> {
        self.quotas.check(&*self.ledger, &target.terms, &target.path, header.size.unwrap_or(0))?;
        Ok(Decision::Want(is_free))
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
        refuse_itself(header, entry)?;
        let size = header.size.unwrap_or_default();
        let last = self.ledger.find(path)?;
        let row = last.as_ref().filter(|row| row.stamp == entry.stamp);
        if row.is_some_and(|row| row.is_damaged) {
            // Whatever its row says is not there. Nor is it read, which a failing disk may not be able to.
            return Ok(None);
        }
        let known = row.and_then(|row| match row.kind {
            RowKind::File { digests, .. } => Some(digests),
            _ => None,
        });
        // Of what goes at its source because it is here, it is not enough that it once was.
        let is_enough = |digests: &Digests| {
            digests.by(offered.algorithm()).is_some() && (header.leaving.is_none() || target.terms.dry_run)
        };
        let by_row = known.filter(is_enough);
        let actual = match by_row {
            Some(digests) => digests,
            None => {
                let Some(_reading) = self.reads.begin(&target.terms.client, size) else {
                    return Ok(Some(Decision::Later));
                };
                let actual = self.read_digests(target, path, known)?;
                if let Some(damage) = known.and_then(|known| damage(&known, &actual)) {
                    self.note(path, entry, damage)?;
                }
                actual
            }
        };
        if actual.by(offered.algorithm()) != Some(offered) {
            return Ok(None);
        }
        let kind = RowKind::File { size, digests: actual };
        let is_known = last.as_ref().is_some_and(|row| row.kind.is_same_as(&kind));
        let meta = match target.terms.overwrite {
            true => Meta::of(header),
            // Its time and mode stay what they are.
            false => row.map_or(entry.meta(), Row::meta),
        };
        let fits = by_row.is_some() && row.is_some_and(|row| row.says(&meta));
        let outcome = Outcome::Held(Some(offered), target.shown(path));
        if fits || target.terms.dry_run {
            return Ok(Some(Decision::Answer(outcome)));
        }
        // A file that nobody sent counts for who takes it over; others stay their sender's.
        let reserved = match is_known {
            true => None,
            false => self.quotas.reserve(&*self.ledger, &target.terms, StageId::random(), size)?,
        };
        Ok(Some(Decision::Commit(Box::new(Work::Refresh {
            path: path.clone(),
            seen: entry.stamp.clone(),
            reserved,
            meta,
            kind,
            outcome,
        }))))
    }

    /// Reads a file for the digest that its offer speaks of, and for those that are known, so that all of them are kept.
    fn read_digests(
        &self,
        target: &Target,
        path: &RelPath,
        known: Option<Digests>,
    ) -> Result<Digests, Fault> {
        let known_by = known.iter().flat_map(Digests::iter).map(|digest| digest.algorithm());
        let mut hashers = Hashers::by(target.terms.digest, known_by);
        let read = target.terms.meter.time_reading(|meter| {
            self.store.read(path, 0, &mut |bytes| {
                meter.time(Part::Hash, || hashers.update(bytes));
                !target.lease.is_over()
            })
        });
        read.step("read a file again", path)?;
        target.refuse_when_over()?;
        Ok(hashers.finish())
    }

    /// Writes down that a file is not what its row says, so that nothing is made of that row any more. If somebody has
    /// touched it meanwhile, that is why.
    fn note(&self, path: &RelPath, seen: &Entry, damage: Change) -> Result<(), Fault> {
        let now = self.store.stat(path).step("look at a name", path)?;
        if now.is_some_and(|now| now.stamp == seen.stamp) {
            tracing::error!(%path, "a file is not what was received, though nobody has touched it: it is damaged");
            let seen = Some(seen.stamp.clone());
            self.ledger.revise(&[Revision { path: path.clone(), seen, change: damage }])?;
        }
        Ok(())
    }

    /// Looks among `name (2)`, `name (3)`, … for the offered content, so that a lost receipt makes no second copy.
    fn held_by_sibling(&self, target: &Target, header: &Header) -> Result<Option<Decision<S>>, Fault> {
        for path in target.siblings() {
            let Some(entry) = self.store.stat(&path).step("look at a name", &path)? else { break };
            if !matches!(entry.kind, EntryKind::File(size) if Some(size) == header.size) {
                continue;
            }
            if let Some(offered) = header.digest {
                if let Some(decision) = self.held(target, header, offered, &path, &entry)? {
                    return Ok(Some(decision));
                }
            } else if target.terms.asks_ahead {
                return Ok(Some(Decision::Answer(Outcome::NeedDigest)));
            }
        }
        Ok(None)
    }

    /// Finds the file without a row that has the name, or one beside it, and holds what has just come: the server was stopped
    /// before the row was written, or somebody has put it there by hand. The offer had no digest, so nobody could compare the
    /// two any earlier. No more is read for that than has come; what cannot be read, or not now, is taken for another file.
    pub(super) fn recognise(
        &self,
        target: &Target,
        header: &Header,
        size: u64,
        digest: Digest,
    ) -> Option<Found> {
        if header.digest.is_some() || target.terms.conflict != Conflict::KeepBoth {
            return None;
        }
        for path in iter::once(target.path.clone()).chain(target.siblings()) {
            let entry = self.store.stat(&path).ok()??;
            let row = self.ledger.find(&path).ok()?;
            // What a row speaks of is found by that.
            if entry.kind != EntryKind::File(size) || row.is_some_and(|row| row.stamp == entry.stamp) {
                continue;
            }
            let _reading = self.reads.begin(&target.terms.client, size)?;
            let digests = self.read_digests(target, &path, None).ok()?;
            return (digests.by(digest.algorithm()) == Some(digest)).then_some(Found { path, entry });
        }
        None
    }

    fn decide_folder(
        &self,
        target: &Target,
        header: &Header,
        entry: Option<Entry>,
    ) -> Result<Decision<S>, Fault> {
        let work = Box::new(Work::Folder { meta: Meta::of(header) });
        let Some(entry) = entry else {
            self.take_a_name(target)?;
            return Ok(Decision::Commit(work));
        };
        if entry.kind != EntryKind::Folder {
            return Err(Fault::new(Code::KindConflict, "something that is no folder has this name"));
        }
        let row = self.ledger.find(&target.path)?;
        let row = row.filter(|row| row.stamp == entry.stamp && row.kind == RowKind::Folder);
        let fits = header.modified.is_none_or(|modified| modified == entry.modified)
            && row
                .as_ref()
                .is_some_and(|row| row.mode == header.mode && header.attributes.are_in(&row.attributes));
        let may_set = target.terms.overwrite || self.made.is(&target.path, &target.terms.client, &entry);
        if fits || !may_set {
            return Ok(there(target, entry, row));
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
            None => self.take_a_name(target)?,
            Some(Entry { kind: EntryKind::Folder | EntryKind::Other, .. }) => {
                return Err(Fault::new(Code::KindConflict, "something that is no link has this name"));
            }
            Some(entry) => {
                if matches!(&entry.kind, EntryKind::Symlink(held) if held == link) {
                    refuse_itself(header, &entry)?;
                    let row = self.ledger.find(&target.path)?.filter(|row| row.stamp == entry.stamp);
                    let known = row.as_ref().map(|row| row.attributes.clone()).unwrap_or_default();
                    let fits = header.modified.is_none_or(|offered| offered == entry.modified)
                        && header.attributes.are_in(&known);
                    if fits || !target.may_replace() {
                        return Ok(there(target, entry, row));
                    }
                }
                target.refuse_conflict()?;
                if target.terms.conflict == Conflict::KeepBoth {
                    self.take_a_name(target)?;
                }
            }
        }
        Ok(Decision::Commit(Box::new(Work::Link { link: link.to_vec(), meta: Meta::of(header) })))
    }
}

/// A source that would be removed because it is here must not be what is here, seen by another way: through a mount, say.
fn refuse_itself(header: &Header, entry: &Entry) -> Result<(), Fault> {
    let ours = Identity::of_stamp(&entry.stamp).map(|ours| (ours.inode, ours.changed));
    match header.leaving.as_deref() {
        Some(&Leaving { inode, changed }) if ours == Some((inode, changed)) => {
            Err(Fault::new(Code::Exists, "it is the very file that the server has, and would be gone"))
        }
        _ => Ok(()),
    }
}

/// What is said of a folder or link that is there as it should be: at once if its row says that it is durable, else when
/// it is, for whoever made it may not have been told so yet.
fn there<S: Store>(target: &Target, entry: Entry, row: Option<Row>) -> Decision<S> {
    let outcome = Outcome::Held(None, None);
    if row.is_some() || target.terms.dry_run {
        return Decision::Answer(outcome);
    }
    Decision::Commit(Box::new(Work::Settle { seen: entry.stamp, outcome }))
}
