//! A body on its way from the first byte to the committer.

use std::{
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant, SystemTime},
};

use ferry_proto::{Algorithm, Code, Digest, Hasher, Header};

use super::{
    Fault, Lease, Outcome, Reply, SPACE_KEPT_FREE, Shared, Uploads,
    commit::{Job, Work},
    decide::{Target, body_key, meta_of},
    owners::{Claimed, Ownership, hold},
};
use crate::{BodyKey, Checkpoint, Ledger, StageId, Staged, Store, StoreError};

/// Too many open files are a matter of moments: the committer closes those that wait for it. After this long it is
/// something else, and the body fails.
const CROWDED: Duration = Duration::from_secs(10);

/// Between two tries to open a body. A commit takes about as long.
const RETRY: Duration = Duration::from_millis(10);

/// A body that is wanted and has not begun.
pub struct Ticket {
    target: Target,
    header: Header,
    lease: Arc<Lease>,
    resume: Option<Resume>,
}

/// What an earlier run left of it.
struct Resume {
    ownership: Ownership,
    offset: u64,
    hasher: Hasher,
}

impl Ticket {
    pub(super) fn fresh(target: Target, header: Header, lease: &Arc<Lease>) -> Self {
        Ticket { target, header, lease: lease.clone(), resume: None }
    }

    /// Goes on with a staged body, if it can still be read; else begins anew.
    pub(super) fn to_resume<S: Store>(
        shared: &Shared<S>,
        target: Target,
        header: Header,
        lease: &Arc<Lease>,
        ownership: Ownership,
        offset: u64,
    ) -> Self {
        let mut hasher = algorithm(&header).hasher();
        let replayed = shared
            .reopen(&ownership, offset)
            .and_then(|mut staged| Ok(staged.replay(&mut |bytes| hasher.update(bytes))?));
        let resume = match replayed {
            Ok(()) => Some(Resume { ownership, offset, hasher }),
            Err(fault) => {
                tracing::warn!(path = %target.path, error = fault.detail, "a staged body cannot be gone on with");
                None
            }
        };
        Ticket { target, header, lease: lease.clone(), resume }
    }

    /// Where the body should begin, in bytes.
    pub fn offset(&self) -> u64 {
        self.resume.as_ref().map_or(0, |resume| resume.offset)
    }

    /// The digest of the bytes before the offset, if it is not 0.
    pub fn prefix(&self) -> Option<Digest> {
        self.resume.as_ref().map(|resume| resume.hasher.so_far())
    }
}

/// A body that arrives. Dropping it leaves what can be gone on with and removes what cannot.
pub struct Upload<S: Store> {
    shared: Arc<Shared<S>>,
    target: Target,
    header: Header,
    hasher: Hasher,
    length: u64,
    /// Where it is written, until it is complete.
    staged: Option<S::Staged>,
    /// Present where the body can be resumed.
    resumable: Option<Resumable>,
}

struct Resumable {
    key: BodyKey,
    ownership: Ownership,
    is_saved: bool,
}

impl<S: Store> Uploads<S> {
    /// Opens a body at the ticket's offset, or at 0. The reply stays with the caller until the body is complete.
    pub fn open_body(&self, ticket: Ticket, offset: u64) -> Result<Upload<S>, Outcome> {
        Upload::open(self.shared.clone(), ticket, offset).map_err(Outcome::from)
    }
}

impl<S: Store> Upload<S> {
    fn open(shared: Arc<Shared<S>>, ticket: Ticket, offset: u64) -> Result<Self, Fault> {
        let Ticket { target, header, lease, resume } = ticket;
        if let Some(Resume { ownership, offset: ours, hasher }) = resume {
            if offset == ours {
                let key = body_key(&target, &header)
                    .ok_or_else(|| Fault::new(Code::Internal, "a stream resumed"))?;
                let staged = shared.reopen(&ownership, offset)?;
                let resumable = Some(Resumable { key, ownership, is_saved: true });
                return Ok(Upload {
                    shared,
                    target,
                    header,
                    hasher,
                    length: offset,
                    staged: Some(staged),
                    resumable,
                });
            }
            // The sender's bytes are others than the staged ones.
            shared.discard(ownership.id(), Some(&ownership));
        }
        let id = StageId(random_id());
        let key = body_key(&target, &header).filter(|key| key.size > shared.store.checkpoint_distance());
        let resumable = match (key, shared.owners.claim(id, &lease, None)) {
            (Some(key), Claimed::Ours(ownership)) => Some(Resumable { key, ownership, is_saved: false }),
            _ => None,
        };
        let staged = Some(when_there_is_room(|| Ok(shared.store.stage(id)))?);
        let hasher = algorithm(&header).hasher();
        Ok(Upload { shared, target, header, hasher, length: 0, staged, resumable })
    }

    /// Takes the next bytes, and checkpoints where one is due.
    pub fn append(&mut self, mut bytes: &[u8]) -> Result<(), Outcome> {
        let result = loop {
            let distance = self.shared.store.checkpoint_distance();
            let to_checkpoint = usize::try_from(distance - self.length % distance).unwrap_or(usize::MAX);
            let (now, rest) = bytes.split_at(bytes.len().min(to_checkpoint));
            bytes = rest;
            match self.append_within(now) {
                Ok(()) if now.len() == to_checkpoint => {
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

    fn append_within(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let length = self.length + bytes.len() as u64;
        if self.header.size.is_some_and(|announced| length > announced) {
            return Err(Fault::new(Code::SizeMismatch, "the body is longer than announced"));
        }
        if length > self.target.terms.max_file {
            let most = self.target.terms.max_file;
            return Err(Fault::new(Code::TooLarge, format!("the server takes files up to {most} bytes")));
        }
        let free = self.shared.store.free_space();
        if free.is_some_and(|free| free < SPACE_KEPT_FREE.saturating_add(bytes.len() as u64)) {
            return Err(Fault::new(Code::StorageFull, "no space is left"));
        }
        let staged =
            self.staged.as_mut().ok_or_else(|| Fault::new(Code::Cancelled, "the body was given up"))?;
        hold(self.resumable.as_ref().map(|resumable| &resumable.ownership), || staged.append(bytes))?;
        self.hasher.update(bytes);
        self.length = length;
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), Fault> {
        let (Some(resumable), Some(staged)) = (&mut self.resumable, &mut self.staged) else { return Ok(()) };
        let Resumable { key, ownership, is_saved } = resumable;
        let checkpoint =
            Checkpoint { id: ownership.id(), key: key.clone(), offset: self.length, at: SystemTime::now() };
        let ledger = &self.shared.ledger;
        hold(Some(ownership), || -> Result<(), Fault> {
            staged.sync()?;
            Ok(ledger.save_checkpoint(&checkpoint)?)
        })?;
        *is_saved = true;
        Ok(())
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
                let ownership = self.resumable.take().map(|resumable| resumable.ownership);
                let work = Work::Body {
                    staged,
                    ownership,
                    meta: meta_of(&self.header),
                    size: self.length,
                    digest: sent,
                };
                self.shared.committer.hand_in(Job { target: self.target.clone(), work, reply });
            }
        }
    }

    fn check(&mut self, sent: Digest) -> Result<S::Staged, Fault> {
        if self.header.size.is_some_and(|announced| announced != self.length) {
            return Err(Fault::new(Code::SizeMismatch, "the body is shorter than announced"));
        }
        let actual = self.hasher.so_far();
        if actual != sent || self.header.digest.is_some_and(|announced| announced != sent) {
            return Err(Fault::new(
                Code::DigestMismatch,
                "the bytes that arrived have another digest than announced",
            ));
        }
        self.staged.take().ok_or_else(|| Fault::new(Code::Cancelled, "the body was given up"))
    }

    /// Removes what has arrived, unless another connection has taken it over.
    pub fn abandon(&mut self) {
        if let Some(staged) = self.staged.take() {
            self.shared.discard(staged.id(), self.resumable.as_ref().map(|resumable| &resumable.ownership));
        }
    }
}

impl<S: Store> Drop for Upload<S> {
    fn drop(&mut self) {
        let can_be_resumed = self.resumable.as_ref().is_some_and(|resumable| resumable.is_saved);
        if !can_be_resumed {
            self.abandon();
        }
    }
}

impl<S: Store> Shared<S> {
    /// Opens a staged body of ours again, cut back to `offset`.
    fn reopen(&self, ownership: &Ownership, offset: u64) -> Result<S::Staged, Fault> {
        // Not held between two tries, so that who takes it over does not wait with us.
        when_there_is_room(|| {
            hold::<_, StoreError>(Some(ownership), || Ok(self.store.reopen(ownership.id(), offset)))
        })
    }

    /// Removes a staged body and its checkpoint, unless they are another connection's by now.
    fn discard(&self, id: StageId, ownership: Option<&Ownership>) {
        // Taken over means that there is nothing of ours to be removed.
        let _ = hold::<_, StoreError>(ownership, || {
            discard(&*self.store, &*self.ledger, id);
            Ok(())
        });
    }
}

/// Removes a staged body and its checkpoint. What cannot be removed now is removed at the next start.
pub(super) fn discard<S: Store>(store: &S, ledger: &dyn Ledger, id: StageId) {
    if let Err(error) = store.discard(id) {
        tracing::warn!(%id, %error, "a staged body cannot be removed");
    }
    if let Err(error) = ledger.drop_checkpoint(id) {
        tracing::warn!(%id, %error, "a checkpoint cannot be removed");
    }
}

/// Waits while too many files are open.
fn when_there_is_room<T>(mut open: impl FnMut() -> Result<Result<T, StoreError>, Fault>) -> Result<T, Fault> {
    let start = Instant::now();
    loop {
        match open()? {
            Err(StoreError::Crowded) if start.elapsed() < CROWDED => sleep(RETRY),
            result => return Ok(result?),
        }
    }
}

fn algorithm(header: &Header) -> Algorithm {
    header.digest.map_or(Algorithm::Sha256, |digest| digest.algorithm())
}

/// Ids only have to differ from each other, in one folder.
fn random_id() -> u128 {
    use std::hash::{BuildHasher, RandomState};
    let half = || u128::from(RandomState::new().hash_one(SystemTime::now()));
    half() << 64 | half()
}
