//! Random bytes fit for secrets.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use crate::SessionError;

/// As many random bytes as the caller's array has.
pub fn bytes<const N: usize>() -> Result<[u8; N], SessionError> {
    let mut bytes = [0; N];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(SessionError::Internal("the system gives no random bytes")),
    }
}
