//! Where it arrives: an inbox in memory with staging, checkpoints, and the failures that a disk can have.

use std::collections::BTreeMap;

use ferry_proto::*;

use crate::tree::Content;

/// What goes wrong with one name, whatever is sent under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Its offer is refused.
    Refuse,
    /// It fails some time after its verdict, begun or not.
    FailAfterVerdict,
    /// It fails at the first byte behind these.
    FailAt(usize),
    /// It fails when everything has arrived.
    FailAtCommit,
}

/// What finds a staged body again.
type StagingKey = (RelPath, Option<u64>, Option<Digest>);

#[derive(Debug, Clone, Default)]
pub(crate) struct Inbox {
    pub(crate) held: BTreeMap<RelPath, Content>,
    pub(crate) plans: BTreeMap<RelPath, Plan>,
    pub(crate) staging: BTreeMap<StagingKey, Vec<u8>>,
    pub(crate) checkpoint: usize,
    /// Every body that began, with its offset.
    pub(crate) begun: Vec<(RelPath, u64)>,
}

impl Inbox {
    pub(crate) fn plan(&self, path: &RelPath) -> Option<Plan> {
        self.plans.get(path).copied()
    }

    /// The answer to an offer, from what is held and staged.
    pub(crate) fn decide(&self, header: &Header, dry_run: bool) -> Answer {
        if self.plan(&header.path) == Some(Plan::Refuse) {
            return Answer::Refused { code: Code::Exists, detail: "it is planned so".into() };
        }
        match (self.held.get(&header.path), &header.kind) {
            (Some(Content::File(bytes)), Kind::File) => {
                if header.digest.is_none() && header.size == Some(bytes.len() as u64) {
                    return Answer::NeedDigest;
                }
                let digest = Some(Algorithm::Sha256.digest(bytes));
                if digest == header.digest {
                    return Answer::Held { digest, path: None };
                }
            }
            (Some(Content::Folder), Kind::Folder) => return Answer::Held { digest: None, path: None },
            (Some(Content::Link(held)), Kind::Symlink(target)) if held == target => {
                return Answer::Held { digest: None, path: None };
            }
            _ => {}
        }
        if dry_run {
            return Answer::Wanted { is_new: !self.held.contains_key(&header.path) };
        }
        let staged = self.staging.get(&key(header)).map_or(0, |staged| self.checkpointed(staged));
        if staged == 0 {
            return Answer::Send { offset: 0, prefix: None };
        }
        let prefix = Algorithm::Sha256.digest(&self.staging[&key(header)][..staged]);
        Answer::Send { offset: staged as u64, prefix: Some(prefix) }
    }

    pub(crate) fn begin(&mut self, header: &Header, offset: u64) {
        self.begun.push((header.path.clone(), offset));
        let staged = self.staging.entry(key(header)).or_default();
        assert!(offset as usize <= staged.len(), "a body begins behind what is staged");
        staged.truncate(offset as usize);
    }

    pub(crate) fn write(&mut self, header: &Header, offset: u64, bytes: &[u8]) -> Result<(), Code> {
        let plan = self.plan(&header.path);
        let staged = self.staging.get_mut(&key(header)).expect("begun before written");
        assert_eq!(offset, staged.len() as u64, "a chunk with a gap before it");
        let length = staged.len() + bytes.len();
        if header.size.is_some_and(|size| length as u64 > size) {
            return Err(Code::SizeMismatch);
        }
        if matches!(plan, Some(Plan::FailAt(most)) if length > most) {
            return Err(Code::StorageFull);
        }
        staged.extend_from_slice(bytes);
        Ok(())
    }

    /// Publishes what is staged, if it is what was announced.
    pub(crate) fn commit(&mut self, header: &Header, sent: Digest) -> Result<Digest, Code> {
        let staged = self.staging.remove(&key(header)).expect("begun before committed");
        if header.size.is_some_and(|size| staged.len() as u64 != size) {
            return Err(Code::SizeMismatch);
        }
        let digest = Algorithm::Sha256.digest(&staged);
        if digest != sent || header.digest.is_some_and(|announced| announced != digest) {
            return Err(Code::DigestMismatch);
        }
        if self.plan(&header.path) == Some(Plan::FailAtCommit) {
            return Err(Code::StorageFailed);
        }
        self.held.insert(header.path.clone(), Content::File(staged));
        Ok(digest)
    }

    /// Makes a folder or a link.
    pub(crate) fn make(&mut self, header: &Header) -> Result<(), Code> {
        if self.plan(&header.path) == Some(Plan::FailAtCommit) {
            return Err(Code::StorageFailed);
        }
        let content = match &header.kind {
            Kind::Folder => Content::Folder,
            Kind::Symlink(target) => Content::Link(target.clone()),
            Kind::File => panic!("a file is not made, it is committed"),
        };
        self.held.insert(header.path.clone(), content);
        Ok(())
    }

    /// The end of the connection: what lies behind the last checkpoint is lost, and so is a stream of unknown size.
    pub(crate) fn cut(&mut self) {
        let checkpoint = self.checkpoint;
        for staged in self.staging.values_mut() {
            staged.truncate(staged.len() / checkpoint * checkpoint);
        }
        self.staging.retain(|(_, size, _), staged| size.is_some() && !staged.is_empty());
    }

    /// Bytes of this file that a next connection need not send again.
    pub(crate) fn staged(&self, header: &Header) -> u64 {
        self.staging.get(&key(header)).map_or(0, |staged| self.checkpointed(staged) as u64)
    }

    fn checkpointed(&self, staged: &[u8]) -> usize {
        staged.len() / self.checkpoint * self.checkpoint
    }
}

fn key(header: &Header) -> StagingKey {
    (header.path.clone(), header.size, header.digest)
}
