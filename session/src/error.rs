//! Why a session ended before its time.

use std::io;

use ferry_proto::{Code, DecodeError, Violation, escape};

/// Why a session ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The stream ended without a goodbye.
    #[error("the connection was cut")]
    Cut,
    /// The peer said goodbye without an error.
    #[error("the other side has finished")]
    Finished,
    /// Nothing came for too long.
    #[error("the other side has been silent for too long")]
    Silent,
    /// The peer said goodbye with an error.
    #[error("{}", escape::text(.code.explained(.detail)))]
    Goodbye {
        /// Why.
        code: Code,
        /// Its sentence.
        detail: String,
    },
    /// The peer's bytes are not of this protocol.
    #[error("the other side does not speak this protocol: {0}")]
    Decode(#[from] DecodeError),
    /// The peer's messages are out of place.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// The peer asks for answers and does not read them.
    #[error("the other side does not read what it asked for")]
    Flooded,
    /// A fault of this side.
    #[error("internal error: {0}")]
    Internal(&'static str),
    /// The stream failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}

impl SessionError {
    /// What to tell the peer, if there is any sense in telling it.
    pub fn goodbye(&self) -> Option<(Code, String)> {
        match self {
            SessionError::Cut
            | SessionError::Finished
            | SessionError::Io(_)
            | SessionError::Goodbye { .. } => None,
            SessionError::Silent => Some((Code::Silent, self.to_string())),
            SessionError::Decode(_) | SessionError::Violation(_) | SessionError::Flooded => {
                Some((Code::Protocol, self.to_string()))
            }
            SessionError::Internal(_) => Some((Code::Internal, "internal error".to_owned())),
        }
    }

    /// Whether another connection may do better.
    pub fn is_lost_connection(&self) -> bool {
        match self {
            SessionError::Cut | SessionError::Finished | SessionError::Silent | SessionError::Io(_) => true,
            SessionError::Goodbye { code, .. } => matches!(code, Code::Stopping | Code::Silent | Code::Busy),
            _ => false,
        }
    }
}
