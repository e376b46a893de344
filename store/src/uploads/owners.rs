//! Who is sending a body. One connection owns it at a time; a dead one does not lock its successor out.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ferry_proto::{Code, RelPath};

use super::fault::Fault;
use crate::{BodyKey, lock::lock};

/// An owner that gives no sign of life for this long after it was asked for one loses its bodies.
const TAKE_OVER: Duration = Duration::from_secs(10);

/// What was in the network's buffers when the owner was asked has been read by then; later bytes mean life.
const BUFFERED: Duration = Duration::from_secs(5);

/// A connection that may own bodies, and its signs of life.
pub struct Lease {
    heard: Mutex<Instant>,
    /// The greatest token.
    answered: AtomicU64,
    is_over: AtomicBool,
    ask: Box<dyn Fn() -> u64 + Send + Sync>,
}

/// An owner was asked for a sign of life.
#[derive(Clone)]
pub(super) struct Question {
    owner: Weak<Lease>,
    at: Instant,
    token: u64,
}

impl Lease {
    /// `ask` asks the peer for a sign of life, without waiting for it, and returns the token that its answer will
    /// have: none is less than one before, and none is 0.
    pub fn new(ask: impl Fn() -> u64 + Send + Sync + 'static) -> Arc<Self> {
        let (heard, answered) = (Mutex::new(Instant::now()), AtomicU64::new(0));
        Arc::new(Lease { heard, answered, is_over: AtomicBool::new(false), ask: Box::new(ask) })
    }

    /// Something came from the peer.
    pub fn heard(&self) {
        *lock(&self.heard) = Instant::now();
    }

    /// The peer answered the question with this token.
    pub fn answered(&self, token: u64) {
        self.answered.fetch_max(token, Ordering::Relaxed);
    }

    /// The connection has ended: whatever takes long and is only for it stops.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    fn ask(self: &Arc<Self>) -> Question {
        Question { owner: Arc::downgrade(self), at: Instant::now(), token: (self.ask)() }
    }

    /// Whether it has answered, however long ago.
    fn has_answered(&self, question: &Question) -> bool {
        self.answered.load(Ordering::Relaxed) >= question.token
    }

    /// Whether anything came that cannot have been on its way when the question was asked.
    fn was_heard_after(&self, question: &Question) -> bool {
        *lock(&self.heard) > question.at + BUFFERED
    }
}

#[cfg(any(test, feature = "conformance"))]
impl Question {
    /// As if the question, and whatever came from the owner, had been this much earlier.
    pub(super) fn backdate(&mut self, by: Duration) {
        if let Some(owner) = self.owner.upgrade() {
            *lock(&owner.heard) -= by;
        }
        self.at = self.at.checked_sub(by).expect("the machine has been up for longer than that");
    }
}

/// A client sends one body at a time to a name, over whichever of its connections. Uploads that have a number are told apart
/// by it: phones call each photo `image.jpg`, and send several at once.
type Name = (String, RelPath, Option<u64>);

/// Every name that a body is being sent to, if it can be gone on with, and the connection that sends it.
#[derive(Default)]
pub(super) struct Owners {
    claims: Mutex<HashMap<Name, Claim>>,
}

struct Claim {
    lease: Arc<Lease>,
    valid: Arc<Mutex<bool>>,
}

/// The right to write the staged bodies of a name. It ends when this is dropped, or when another connection takes
/// over.
pub(super) struct Ownership {
    key: BodyKey,
    valid: Arc<Mutex<bool>>,
    owners: Arc<Owners>,
}

/// What came of a claim.
pub(super) enum Claimed {
    /// It is ours.
    Ours(Ownership),
    /// Its owner was asked for a sign of life.
    Asked(Question),
    /// Its owner lives.
    Taken,
}

impl Owners {
    /// Claims the bodies of a name. `asked` is what its owner was asked before.
    pub(super) fn claim(
        self: &Arc<Self>,
        key: &BodyKey,
        lease: &Arc<Lease>,
        asked: Option<Question>,
    ) -> Claimed {
        let name = name_of(key);
        let mut claims = lock(&self.claims);
        if let Some(Claim { lease: owner, valid }) = claims.get(&name) {
            if Arc::ptr_eq(owner, lease) {
                return Claimed::Taken;
            }
            match asked.filter(|question| question.owner.as_ptr() == Arc::as_ptr(owner)) {
                None => return Claimed::Asked(owner.ask()),
                Some(question) if owner.has_answered(&question) => return Claimed::Taken,
                Some(question) if question.at.elapsed() < TAKE_OVER => return Claimed::Asked(question),
                Some(question) if owner.was_heard_after(&question) => return Claimed::Taken,
                Some(_) => {}
            }
            // Waits for a deed in progress, without holding up claims of other bodies; every later deed fails.
            let old = valid.clone();
            drop(claims);
            *lock(&old) = false;
            claims = lock(&self.claims);
            if let Some(quicker) = claims.get(&name).filter(|claim| !Arc::ptr_eq(&claim.valid, &old)) {
                return Claimed::Asked(quicker.lease.ask());
            }
        }
        Claimed::Ours(self.grant(&mut claims, key, lease))
    }

    /// Claims the bodies of a name if nobody sends any.
    pub(super) fn claim_free(self: &Arc<Self>, key: &BodyKey) -> Option<Ownership> {
        let name = name_of(key);
        let mut claims = lock(&self.claims);
        let is_free = !claims.contains_key(&name);
        is_free.then(|| self.grant(&mut claims, key, &Lease::new(|| 1)))
    }

    fn grant(
        self: &Arc<Self>,
        claims: &mut HashMap<Name, Claim>,
        key: &BodyKey,
        lease: &Arc<Lease>,
    ) -> Ownership {
        let valid = Arc::new(Mutex::new(true));
        claims.insert(name_of(key), Claim { lease: lease.clone(), valid: valid.clone() });
        Ownership { key: key.clone(), valid, owners: self.clone() }
    }
}

fn name_of(key: &BodyKey) -> Name {
    (key.client.clone(), key.path.clone(), key.upload)
}

impl Ownership {
    /// What a body of it has to agree with.
    pub(super) fn key(&self) -> &BodyKey {
        &self.key
    }
}

/// Does something to a staged body while nobody can take it over; fails if somebody has. Without an ownership it
/// is a body that nobody else can go on with.
pub(super) fn hold<T>(
    ownership: Option<&Ownership>,
    deed: impl FnOnce() -> Result<T, Fault>,
) -> Result<T, Fault> {
    let _held = holding(ownership)?;
    deed()
}

/// The same for as long as what it returns lives.
pub(super) fn holding(ownership: Option<&Ownership>) -> Result<Option<MutexGuard<'_, bool>>, Fault> {
    let valid = ownership.map(|ownership| lock(&ownership.valid));
    if valid.as_deref() == Some(&false) {
        let detail = "another connection of the same client took this file over";
        return Err(Fault::new(Code::TakenOver, detail));
    }
    Ok(valid)
}

impl Drop for Ownership {
    fn drop(&mut self) {
        let mut claims = lock(&self.owners.claims);
        let name = name_of(&self.key);
        if claims.get(&name).is_some_and(|claim| Arc::ptr_eq(&claim.valid, &self.valid)) {
            claims.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease() -> Arc<Lease> {
        Lease::new(|| 1)
    }

    fn key() -> BodyKey {
        let path = RelPath::new("large").unwrap();
        BodyKey { client: "one".to_owned(), path, size: 1, modified: None, digest: None, upload: None }
    }

    fn claim(owners: &Arc<Owners>, asked: Option<Question>) -> Claimed {
        owners.claim(&key(), &lease(), asked)
    }

    fn ours(claimed: Claimed) -> Ownership {
        let Claimed::Ours(ownership) = claimed else { panic!("it is not ours") };
        ownership
    }

    /// Its owner was asked this long ago.
    fn asked(owners: &Arc<Owners>, ago: Duration) -> Option<Question> {
        let Claimed::Asked(mut question) = claim(owners, None) else { panic!("nobody was asked") };
        question.backdate(ago);
        Some(question)
    }

    #[test]
    fn only_what_cannot_have_been_on_its_way_is_a_sign_of_life() {
        let lease = lease();
        let asked = Instant::now();
        let question = Question { owner: Arc::downgrade(&lease), at: asked, token: 7 };
        let is_alive = |after: Duration| {
            *lock(&lease.heard) = asked + after;
            lease.was_heard_after(&question)
        };
        assert!(!is_alive(BUFFERED), "these bytes may have waited in a buffer");
        assert!(is_alive(BUFFERED + Duration::from_micros(1)));

        lease.answered(6);
        assert!(!lease.has_answered(&question), "an answer to an older question proves nothing");
        lease.answered(7);
        lease.answered(6);
        assert!(lease.has_answered(&question));
    }

    #[test]
    fn a_claim_ends_with_its_ownership_and_not_with_an_older_one() {
        let owners = Arc::new(Owners::default());
        let deed = |ownership: &Ownership| hold(Some(ownership), || Ok(())).map_err(|it| it.code);
        let old = ours(claim(&owners, None));
        assert_eq!(deed(&old), Ok(()));
        let early = claim(&owners, asked(&owners, TAKE_OVER / 2));
        assert!(matches!(early, Claimed::Asked(_)), "its time is not up");

        let question = asked(&owners, TAKE_OVER);
        let new = ours(claim(&owners, question.clone()));
        assert_eq!((deed(&old), deed(&new)), (Err(Code::TakenOver), Ok(())));
        drop(old);
        assert_eq!(deed(&new), Ok(()));
        assert!(
            owners.claim_free(&key()).is_none(),
            "the end of the older one freed what the newer one owns"
        );
        let late = claim(&owners, question);
        assert!(matches!(late, Claimed::Asked(_)), "what one owner was asked is held against another");
        drop(new);
        assert!(owners.claim_free(&key()).is_some());
    }

    #[test]
    fn a_take_over_waits_for_the_deed_in_progress() {
        let owners = Arc::new(Owners::default());
        let old = ours(claim(&owners, None));
        let question = asked(&owners, TAKE_OVER);
        let (taken, is_taken) = std::sync::mpsc::channel();
        let done = hold(Some(&old), || {
            let owners = owners.clone();
            let thread = std::thread::spawn(move || {
                let new = claim(&owners, question);
                taken.send(()).unwrap();
                new
            });
            // However long this waits, the take-over must not have happened.
            let early = is_taken.recv_timeout(Duration::from_millis(100));
            Ok((early, thread))
        });
        let Ok((early, thread)) = done else { panic!("the deed failed") };
        assert!(early.is_err(), "taken over in the middle of a deed");
        ours(thread.join().unwrap());
        assert!(hold(Some(&old), || Ok(())).is_err());
    }
}
