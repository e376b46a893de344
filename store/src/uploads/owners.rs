//! Who is writing a staged body. One connection owns it at a time; a dead one does not lock its successor out.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ferry_proto::Code;

use super::Fault;
use crate::{StageId, lock::lock};

/// An owner that is silent for this long after it was asked for a sign of life loses its bodies.
const TAKE_OVER: Duration = Duration::from_secs(10);

/// What was in the network's buffers when the owner was asked has been read by then; later bytes mean life.
const BUFFERED: Duration = Duration::from_secs(3);

/// A connection that may own staged bodies, and its signs of life.
pub struct Lease {
    start: Instant,
    heard: AtomicU64,
    answered: AtomicU64,
    ask: Box<dyn Fn() + Send + Sync>,
}

impl Lease {
    /// `ask` asks the peer for a sign of life, without waiting for it.
    pub fn new(ask: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        let (heard, answered) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Lease { start: Instant::now(), heard, answered, ask: Box::new(ask) })
    }

    /// Something came from the peer.
    pub fn heard(&self) {
        self.heard.store(self.now(), Ordering::Relaxed);
    }

    /// The peer answered when it was asked.
    pub fn answered(&self) {
        self.answered.store(self.now(), Ordering::Relaxed);
    }

    /// In nanoseconds: on a short path an answer comes within the millisecond of the question.
    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn is_alive_since(&self, asked: Instant) -> bool {
        let asked = asked.saturating_duration_since(self.start).as_nanos() as u64;
        self.answered.load(Ordering::Relaxed) > asked
            || self.heard.load(Ordering::Relaxed) > asked + BUFFERED.as_nanos() as u64
    }
}

/// Every staged body that can be gone on with, and the connection that writes it.
#[derive(Default)]
pub(super) struct Owners {
    claims: Mutex<HashMap<StageId, Claim>>,
}

struct Claim {
    lease: Arc<Lease>,
    valid: Arc<Mutex<bool>>,
}

/// The right to write a staged body. It ends when this is dropped, or when another connection takes over.
pub(super) struct Ownership {
    id: StageId,
    valid: Arc<Mutex<bool>>,
    owners: Arc<Owners>,
}

/// What came of a claim.
pub(super) enum Claimed {
    /// It is ours.
    Ours(Ownership),
    /// Its owner was asked for a sign of life.
    Asked,
    /// Its owner lives.
    Taken,
}

impl Owners {
    /// Claims a body. `asked` is when its owner was first asked for a sign of life.
    pub(super) fn claim(
        self: &Arc<Self>,
        id: StageId,
        lease: &Arc<Lease>,
        asked: Option<Instant>,
    ) -> Claimed {
        let mut claims = lock(&self.claims);
        if let Some(claim) = claims.get(&id) {
            match asked {
                _ if Arc::ptr_eq(&claim.lease, lease) => return Claimed::Taken,
                None => {
                    (claim.lease.ask)();
                    return Claimed::Asked;
                }
                Some(asked) if claim.lease.is_alive_since(asked) => return Claimed::Taken,
                Some(asked) if asked.elapsed() < TAKE_OVER => return Claimed::Asked,
                Some(_) => {}
            }
            // Waits for a deed in progress, without holding up claims of other bodies; every later deed fails.
            let old = claim.valid.clone();
            drop(claims);
            *lock(&old) = false;
            claims = lock(&self.claims);
            if claims.get(&id).is_some_and(|claim| !Arc::ptr_eq(&claim.valid, &old)) {
                // Somebody else was quicker.
                return Claimed::Asked;
            }
        }
        let valid = Arc::new(Mutex::new(true));
        claims.insert(id, Claim { lease: lease.clone(), valid: valid.clone() });
        Claimed::Ours(Ownership { id, valid, owners: self.clone() })
    }

    /// Claims a body that nobody owns, to remove it.
    pub(super) fn claim_free(self: &Arc<Self>, id: StageId) -> Option<Ownership> {
        match self.claim(id, &Lease::new(|| {}), None) {
            Claimed::Ours(ownership) => Some(ownership),
            Claimed::Asked | Claimed::Taken => None,
        }
    }
}

impl Ownership {
    /// Of which body.
    pub(super) fn id(&self) -> StageId {
        self.id
    }
}

/// Does something to a staged body while nobody can take it over; fails if somebody has. Without an ownership it
/// is a body that nobody else can go on with.
pub(super) fn hold<T, E>(
    ownership: Option<&Ownership>,
    deed: impl FnOnce() -> Result<T, E>,
) -> Result<T, Fault>
where
    Fault: From<E>,
{
    // Held until the deed is done.
    let valid = ownership.map(|ownership| lock(&ownership.valid));
    if valid.as_deref() == Some(&false) {
        let detail = "another connection of the same client took this file over";
        return Err(Fault::new(Code::TakenOver, detail));
    }
    Ok(deed()?)
}

impl Drop for Ownership {
    fn drop(&mut self) {
        let mut claims = lock(&self.owners.claims);
        if claims.get(&self.id).is_some_and(|claim| Arc::ptr_eq(&claim.valid, &self.valid)) {
            claims.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease() -> Arc<Lease> {
        Lease::new(|| {})
    }

    fn at(time: Duration) -> u64 {
        time.as_nanos() as u64
    }

    #[test]
    fn only_what_cannot_have_been_on_its_way_is_a_sign_of_life() {
        let lease = lease();
        let asked = Duration::from_secs(100);
        let is_alive = |heard: Duration, answered: Duration| {
            lease.heard.store(at(heard), Ordering::Relaxed);
            lease.answered.store(at(answered), Ordering::Relaxed);
            lease.is_alive_since(lease.start + asked)
        };
        let (never, instant) = (Duration::ZERO, Duration::from_micros(1));
        assert!(!is_alive(never, never));
        assert!(!is_alive(asked - instant, asked - instant), "signs from before the question prove nothing");
        assert!(!is_alive(asked + BUFFERED, never), "these bytes may have waited in a buffer");
        assert!(is_alive(asked + BUFFERED + instant, never));
        assert!(is_alive(never, asked + instant), "an answer counts however quick it is");
    }

    #[test]
    fn a_claim_ends_with_its_ownership_and_not_with_an_older_one() {
        let owners = Arc::new(Owners::default());
        let id = StageId(1);
        let claim = |asked| match owners.claim(id, &lease(), asked) {
            Claimed::Ours(ownership) => Some(ownership),
            Claimed::Asked | Claimed::Taken => None,
        };
        let deed = |ownership: &Ownership| hold::<_, Fault>(Some(ownership), || Ok(())).map_err(|it| it.code);
        let old = claim(None).unwrap();
        assert_eq!(deed(&old), Ok(()));
        assert!(claim(None).is_none());
        assert!(claim(Instant::now().checked_sub(TAKE_OVER / 2)).is_none(), "its time is not up");

        let new = claim(Instant::now().checked_sub(TAKE_OVER)).unwrap();
        assert_eq!((deed(&old), deed(&new)), (Err(Code::TakenOver), Ok(())));
        drop(old);
        assert_eq!(deed(&new), Ok(()));
        assert!(owners.claim_free(id).is_none(), "the end of the older one freed what the newer one owns");
        drop(new);
        assert!(owners.claim_free(id).is_some());
    }

    #[test]
    fn a_take_over_waits_for_the_deed_in_progress() {
        let owners = Arc::new(Owners::default());
        let id = StageId(1);
        let Claimed::Ours(old) = owners.claim(id, &lease(), None) else { panic!("a free body is not ours") };
        let (taken, is_taken) = std::sync::mpsc::channel();
        let done = hold::<_, Fault>(Some(&old), || {
            let owners = owners.clone();
            let thread = std::thread::spawn(move || {
                let new = owners.claim(id, &lease(), Instant::now().checked_sub(TAKE_OVER));
                taken.send(()).unwrap();
                new
            });
            // However long this waits, the take-over must not have happened.
            let early = is_taken.recv_timeout(Duration::from_millis(100));
            Ok((early, thread))
        });
        let Ok((early, thread)) = done else { panic!("the deed failed") };
        assert!(early.is_err(), "taken over in the middle of a deed");
        assert!(matches!(thread.join().unwrap(), Claimed::Ours(_)));
        assert!(hold::<(), Fault>(Some(&old), || Ok(())).is_err());
    }
}
