//! A body on its way from the first byte to the committer.

use std::{sync::Arc, time::SystemTime};

use ferry_proto::{Algorithm, Code, Digest, Hasher, HasherState, Header};

use super::{
    Outcome, Reply, SPACE_KEPT_FREE, Shared, Uploads,
    commit::{Job, Work},
    fault::{Fault, Step},
    figures::OpenBody,
    hashing::{Hashing, Piece},
    owners::{Ownership, hold},
    quotas::Reserved,
    target::Target,
};
use crate::{Checkpoint, Ledger, Meta, Part, StageId, Staged, Store};

/// A body that is wanted and has not begun.
pub struct Ticket {
    target: Target,
    header: Header,
    /// Nothing had the name when the body was asked for.
    is_free: bool,
    /// Present where the body can be gone on with.
    ownership: Option<Ownership>,
    begun: Option<Begun>,
}

/// What an earlier run left of it.
struct Begun {
    id: StageId,
    offset: u64,
    hasher: Hasher,
}

impl Ticket {
    /// Nothing of it is here.
    pub(super) fn fresh(
        target: Target,
        header: &Header,
        is_free: bool,
        ownership: Option<Ownership>,
    ) -> Self {
        Ticket { target, header: header.clone(), is_free, ownership, begun: None }
    }

    /// Whether nothing had its name when that was looked at.
    pub fn is_new(&self) -> bool {
        self.is_free
    }

    /// Goes on with what an earlier run has left, if that can still be read; `None` if that has to wait.
    pub(super) fn to_go_on<S: Store>(
        shared: &Shared<S>,
        target: Target,
        header: &Header,
        ownership: Ownership,
    ) -> Result<Option<Self>, Fault> {
        let Some(checkpoint) = shared.find_staged(&ownership)? else {
            return Ok(Some(Ticket::fresh(target, header, false, Some(ownership))));
        };
        let Checkpoint { id, offset, .. } = checkpoint;
        let hasher = match shared.reopen(&target, &ownership, id, offset) {
            Ok(mut staged) => match kept_hasher(&staged, &checkpoint, target.terms.digest) {
                Some(hasher) => Ok(hasher),
                None => {
                    let client = &target.terms.client;
                    let Some(_reading) = shared.reads.begin(client, offset) else { return Ok(None) };
                    replay(&mut staged, &target)
                }
            },
            Err(fault) => Err(fault),
        };
        target.refuse_when_over()?;
        let begun = match hasher {
            Ok(hasher) => Some(Begun { id, offset, hasher }),
            Err(fault) => {
                tracing::warn!(path = %target.path, error = fault.detail, "a staged body cannot be gone on with");
                shared.discard(Some(&ownership), id);
                None
            }
        };
        Ok(Some(Ticket { target, header: header.clone(), is_free: false, ownership: Some(ownership), begun }))
    }

    /// Its body can be rolled back, even where nobody else could go on with it.
    pub fn with_marks(self) -> Self {
        // What is fleeting has no name that it could be opened by again.
        Ticket { is_free: false, ..self }
    }

    /// The header that it was offered with.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Where the body should begin, in bytes.
    pub fn offset(&self) -> u64 {
        self.begun.as_ref().map_or(0, |begun| begun.offset)
    }

    /// The digest of the bytes before the offset, if it is not 0.
    pub fn prefix(&self) -> Option<Digest> {
        self.begun.as_ref().map(|begun| begun.hasher.so_far())
    }
}

/// How far a body had come, and its digest.
pub struct Mark {
    length: u64,
    hasher: Hasher,
}

/// A body that arrives. Dropping it leaves what can be gone on with and removes what cannot.
pub struct Upload<S: Store> {
    shared: Arc<Shared<S>>,
    target: Target,
    header: Header,
    hashing: Hashing,
    length: u64,
    /// Where it is written, until it is complete.
    staged: Option<S::Staged>,
    /// Counts it; present as long as that is.
    open: Option<OpenBody>,
    /// Present where the body can be gone on with.
    ownership: Option<Ownership>,
    /// Present where the client has a quota.
    reserved: Option<Reserved>,
    /// Its last checkpoint: how far, and the hasher's state there.
    saved: Option<(u64, Option<HasherState>)>,
}

impl<S: Store> Uploads<S> {
    /// Opens a body at the ticket's offset, or at 0. The reply stays with the caller until the body is complete.
    pub fn open_body(&self, ticket: Ticket, offset: u64) -> Result<Upload<S>, Outcome> {
        Upload::open(self.shared.clone(), ticket, offset).map_err(Outcome::from)
    }
}

impl<S: Store> Upload<S> {
    /// The header that it was offered with.
    pub fn header(&self) -> &Header {
        &self.header
    }

    fn open(shared: Arc<Shared<S>>, ticket: Ticket, offset: u64) -> Result<Self, Fault> {
        let Ticket { target, header, is_free, ownership, begun } = ticket;
        let mut saved = None;
        let (staged, hasher) = match (begun, &ownership) {
            (Some(begun), Some(ownership)) if begun.offset == offset => {
                saved = Some((offset, begun.hasher.state(offset)));
                (shared.reopen(&target, ownership, begun.id, offset)?, begun.hasher)
            }
            (begun, _) => {
                if let Some(begun) = begun {
                    // The sender's bytes are others than the staged ones.
                    shared.discard(ownership.as_ref(), begun.id);
                }
                (shared.stage(&target, is_free && ownership.is_none())?, target.terms.digest.hasher())
            }
        };
        let hashing = shared.hashers.hashing(hasher, header.size, target.terms.meter.clone());
        let open = Some(OpenBody::of(&shared.tally, offset));
        let mut upload = Upload {
            shared,
            target,
            header,
            hashing,
            length: offset,
            staged: Some(staged),
            open,
            ownership,
            reserved: None,
            saved,
        };
        upload.reserve()?;
        Ok(upload)
    }

    /// Of a stream only what has come counts.
    fn reserve(&mut self) -> Result<(), Fault> {
        let Some(staged) = &self.staged else { return Ok(()) };
        let bytes = self.header.size.unwrap_or(self.length);
        let Shared { quotas, ledger, .. } = &*self.shared;
        self.reserved = quotas.reserve(&**ledger, &self.target.terms, staged.id(), bytes)?;
        Ok(())
    }

    /// Takes the next bytes, and checkpoints where one is due. They are let go of when they are written and digested.
    pub fn append(&mut self, bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Result<(), Outcome> {
        self.take(Piece::new(bytes))
    }

    /// The same for a hole: so many zeros, no more than a chunk has, which are digested and not written.
    pub fn append_hole(&mut self, length: usize) -> Result<(), Outcome> {
        self.take(Piece::hole(length))
    }

    fn take(&mut self, mut rest: Piece) -> Result<(), Outcome> {
        let result = loop {
            let distance = self.shared.store.checkpoint_distance();
            let to_checkpoint = usize::try_from(distance - self.length % distance).unwrap_or(usize::MAX);
            let (now, later) = rest.split(to_checkpoint);
            rest = later;
            let is_due = now.len() == to_checkpoint;
            match self.append_within(now) {
                Ok(()) if is_due => {
                    if let Err(fault) = self.checkpoint() {
                        break Err(fault);
                    }
                }
                result => break result,
            }
        };
        result.map_err(|fault| {
            self.abandon();
            fault.into()
        })
    }

    fn append_within(&mut self, bytes: Piece) -> Result<(), Fault> {
        let length = self.length + bytes.len() as u64;
        if self.header.size.is_some_and(|announced| length > announced) {
            return Err(Fault::new(Code::SizeMismatch, "the body is longer than announced"));
        }
        self.target.refuse_size(length)?;
        if let (Some(reserved), None) = (&mut self.reserved, self.header.size) {
            reserved.grow(&*self.shared.ledger, length)?;
        }
        let free = self.shared.store.free_space();
        let needed = if bytes.is_hole() { 0 } else { bytes.len() as u64 };
        if free.is_some_and(|free| free < SPACE_KEPT_FREE.saturating_add(needed)) {
            return Err(Fault::new(Code::StorageFull, "no space is left where it is saved"));
        }
        let staged =
            self.staged.as_mut().ok_or_else(|| Fault::new(Code::Cancelled, "the body was given up"))?;
        let path = &self.target.path;
        // Beside the writing. If that fails, nothing becomes of either.
        self.hashing.update(bytes.clone());
        let meter = &self.target.terms.meter;
        hold(self.ownership.as_ref(), || {
            let append = || match bytes.is_hole() {
                true => staged.append_hole(bytes.len() as u64),
                false => staged.append(&bytes),
            };
            meter.time(Part::Disk, append).step("append to a body", path)
        })?;
        if let Some(open) = &mut self.open {
            open.grow(bytes.len() as u64);
        }
        self.length = length;
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), Fault> {
        let (Some(ownership), Some(staged)) = (&self.ownership, &mut self.staged) else { return Ok(()) };
        let offset = self.length;
        let state = hold(Some(ownership), || {
            let meter = &self.target.terms.meter;
            meter.time(Part::Sync, || staged.sync()).step("sync a body", &self.target.path)?;
            let state = self.hashing.so_far()?.state(offset);
            save(&*self.shared.ledger, ownership, staged, offset, state.clone())?;
            Ok(state)
        })?;
        self.saved = Some((offset, state));
        Ok(())
    }

    /// Leaves what can be gone on with as it was at its last checkpoint, so that the hasher's state is good for it.
    fn cut_back(&mut self) -> Result<(), Fault> {
        let Some((offset, state)) = self.saved.take() else { return Ok(()) };
        let (Some(ownership), Some(staged)) = (&self.ownership, self.staged.take()) else { return Ok(()) };
        let id = staged.id();
        drop(staged);
        if self.length == offset {
            return Ok(());
        }
        let Shared { store, ledger, .. } = &*self.shared;
        hold(Some(ownership), || {
            let staged = store.reopen(id, offset).step("open a body again", &self.target.path)?;
            save(&**ledger, ownership, &staged, offset, state)
        })
    }

    /// What can be rolled back to.
    pub fn mark(&self) -> Result<Mark, Outcome> {
        Ok(Mark { length: self.length, hasher: self.hashing.so_far()? })
    }

    /// Takes back what has come since a mark of this body, whose ticket has them.
    pub fn roll_back(&mut self, mark: Mark) -> Result<(), Outcome> {
        let Mark { length, hasher } = mark;
        let Some(staged) = self.staged.take() else {
            return Err(Fault::new(Code::Cancelled, "the body was given up").into());
        };
        let id = staged.id();
        drop(staged);
        let Shared { store, ledger, hashers, .. } = &*self.shared;
        let state = hasher.state(length);
        let staged = hold(self.ownership.as_ref(), || {
            let staged = store.reopen(id, length).step("open a body again", &self.target.path)?;
            // A checkpoint of bytes that are gone is none.
            if let (Some(ownership), Some(saved)) = (&self.ownership, &mut self.saved)
                && saved.0 > length
            {
                save(&**ledger, ownership, &staged, length, state.clone())?;
                *saved = (length, state);
            }
            Ok(staged)
        });
        match staged {
            Ok(staged) => {
                self.staged = Some(staged);
                self.length = length;
                self.hashing = hashers.hashing(hasher, self.header.size, self.target.terms.meter.clone());
                Ok(())
            }
            Err(fault) => {
                self.shared.discard(self.ownership.as_ref(), id);
                Err(fault.into())
            }
        }
    }

    /// Hands the body to the committer if it has the announced size and the sender's digest; the reply is called
    /// when it is durable, or has failed.
    pub fn complete(mut self, sent: Digest, reply: Reply) {
        match self.check(sent) {
            Err(fault) => {
                self.abandon();
                reply.give(fault.into());
            }
            Ok(staged) => {
                let found = self.shared.recognise(&self.target, &self.header, self.length, sent);
                let work = Work::Body {
                    staged,
                    ownership: self.ownership.take(),
                    reserved: self.reserved.take(),
                    meta: Meta::of(&self.header),
                    size: self.length,
                    digest: sent,
                    twin: None,
                    found,
                    open: self.open.take(),
                };
                self.shared.committer.hand_in(Job { target: self.target.clone(), work, reply });
            }
        }
    }

    /// The digest of what has come so far; waits until all of that is digested.
    pub fn digest(&self) -> Result<Digest, Outcome> {
        Ok(self.hashing.so_far()?.finish())
    }

    /// Bytes that have come so far, those of earlier tries included.
    pub fn length(&self) -> u64 {
        self.length
    }

    fn check(&mut self, sent: Digest) -> Result<S::Staged, Fault> {
        if self.header.size.is_some_and(|announced| announced != self.length) {
            return Err(Fault::new(Code::SizeMismatch, "the body is shorter than announced"));
        }
        let actual = self.hashing.so_far()?.finish();
        if actual != sent || self.header.digest.is_some_and(|announced| announced != sent) {
            return Err(Fault::new(
                Code::DigestMismatch,
                "the bytes that arrived have another digest than announced",
            ));
        }
        self.staged.take().ok_or_else(|| Fault::new(Code::Cancelled, "the body was given up"))
    }

    /// Removes what has arrived, unless another connection goes on with it.
    pub fn abandon(&mut self) {
        if let Some(staged) = self.staged.take() {
            self.shared.discard(self.ownership.as_ref(), staged.id());
        }
        self.open = None;
    }
}

impl<S: Store> Drop for Upload<S> {
    fn drop(&mut self) {
        if self.saved.is_none() {
            self.abandon();
        } else if let Err(fault) = self.cut_back() {
            // It is read again when it is gone on with.
            tracing::debug!(path = %self.target.path, error = fault.detail, "a body stays as it is");
        }
    }
}

/// Writes down how far a body has come, with a state that is good for it as it is now.
fn save(
    ledger: &dyn Ledger,
    ownership: &Ownership,
    staged: &impl Staged,
    offset: u64,
    state: Option<HasherState>,
) -> Result<(), Fault> {
    let kept = state.zip(staged.stamp().ok());
    let (id, key, at) = (staged.id(), ownership.key().clone(), SystemTime::now());
    Ok(ledger.save_checkpoint(&Checkpoint { id, key, offset, kept, at })?)
}

/// The hasher as it was kept at a checkpoint, if nobody has touched the body since.
fn kept_hasher(staged: &impl Staged, checkpoint: &Checkpoint, algorithm: Algorithm) -> Option<Hasher> {
    let (state, stamp) = checkpoint.kept.as_ref()?;
    let is_good = state.length() == checkpoint.offset && staged.stamp().is_ok_and(|actual| actual == *stamp);
    if is_good { state.hasher(algorithm) } else { None }
}

/// The hasher after reading what is staged.
fn replay(staged: &mut impl Staged, target: &Target) -> Result<Hasher, Fault> {
    let mut hasher = target.terms.digest.hasher();
    let read = target.terms.meter.time_reading(|meter| {
        staged.replay(&mut |bytes: &[u8]| {
            meter.time(Part::Hash, || hasher.update(bytes));
            !target.lease.is_over()
        })
    });
    read.step("read a body again", &target.path)?;
    Ok(hasher)
}
