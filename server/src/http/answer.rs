//! What is answered: bodies, refusals, and the headers that every answer has.

use std::{
    io::{self, ErrorKind},
    pin::Pin,
    task::{Context, Poll},
};

use ferry_proto::{Code, escape};
use ferry_store::{Outcome, StoreError, source::SourceError};
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};
use hyper::{
    Response, StatusCode,
    body::{Bytes, Frame, SizeHint},
    header::{self, HeaderName, HeaderValue},
};
use serde_json::json;

use crate::inbox::InboxError;

/// A body that may come bit by bit.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// An answer, or why there is none of that kind.
pub(super) type Answer = Result<Response<Body>, Refusal>;

/// Why a request is not done.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    code: Code,
    /// For the people behind the request.
    detail: String,
    /// What its status wants to be said beside it.
    header: Option<(HeaderName, &'static str)>,
    /// A file has failed, and is counted as that.
    pub(super) is_of_file: bool,
}

impl Refusal {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Refusal { status: status(code), code, detail: detail.into(), header: None, is_of_file: false }
    }

    /// The same under another status than its code has of itself.
    pub(super) fn with_status(self, status: StatusCode) -> Self {
        Refusal { status, ..self }
    }

    pub(super) fn with_header(self, name: HeaderName, value: &'static str) -> Self {
        Refusal { header: Some((name, value)), ..self }
    }

    /// For a request that cannot be understood.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Refusal::new(Code::Protocol, detail)
    }

    pub(super) fn not_found() -> Self {
        Refusal::new(Code::SourceVanished, "there is nothing of this name").with_status(StatusCode::NOT_FOUND)
    }

    pub(super) fn method(allowed: &'static str) -> Self {
        Refusal::new(Code::Unsupported, "this cannot be done with what the URL names")
            .with_status(StatusCode::METHOD_NOT_ALLOWED)
            .with_header(header::ALLOW, allowed)
    }

    pub(super) fn internal() -> Self {
        Refusal::new(Code::Internal, "the server has failed: its log says why")
    }

    /// For what may go well in a moment.
    pub(super) fn busy(detail: &'static str) -> Self {
        Refusal::new(Code::Busy, detail).with_header(header::RETRY_AFTER, "1")
    }

    pub(super) fn code(&self) -> Code {
        self.code
    }

    /// As an answer: RFC 9457.
    pub(super) fn into_response(self) -> Response<Body> {
        let Refusal { status, code, detail, header: more, is_of_file: _ } = self;
        let object = json!({
            "status": status.as_u16(),
            "code": name(code),
            "title": code.phrase(),
            "detail": escape::text(&detail).to_string(),
        });
        let mut response = Response::new(full(line(&object)));
        *response.status_mut() = status;
        if status == StatusCode::UNAUTHORIZED {
            set(&mut response, header::WWW_AUTHENTICATE, "Bearer");
        }
        if let Some((name, value)) = more {
            set(&mut response, name, value);
        }
        set(&mut response, header::CONTENT_TYPE, "application/problem+json");
        response
    }
}

/// What uploads say of a file that has come to nothing.
impl From<Outcome> for Refusal {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Failed(code, detail) => Refusal { is_of_file: true, ..Refusal::new(code, detail) },
            _ => Refusal::internal(),
        }
    }
}

/// What is said of a file that cannot be read.
impl From<InboxError> for Refusal {
    fn from(error: InboxError) -> Self {
        match &error {
            // A link on the way, or a file where a folder should be.
            InboxError::Store(StoreError::NotFound | StoreError::Kind | StoreError::Name) => {
                Refusal::not_found()
            }
            InboxError::Source(SourceError::Io(io)) if io.kind() == ErrorKind::NotFound => {
                Refusal::not_found()
            }
            InboxError::Source(SourceError::Damaged) => Refusal::new(Code::StorageFailed, error.to_string()),
            _ => {
                tracing::warn!(%error, "a file or folder cannot be read");
                Refusal::internal()
            }
        }
    }
}

/// The protocol's name of it, as URLs and JSON are written: `not-allowed`.
fn name(code: Code) -> String {
    let mut name = String::new();
    for letter in code.name().chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

fn status(code: Code) -> StatusCode {
    match code {
        Code::Protocol | Code::BadName | Code::NameUnsupported | Code::SizeMismatch => {
            StatusCode::BAD_REQUEST
        }
        Code::DigestMismatch => StatusCode::UNPROCESSABLE_ENTITY,
        Code::UnknownClient | Code::Revoked | Code::Expired => StatusCode::UNAUTHORIZED,
        Code::InvalidInvite | Code::NotAllowed => StatusCode::FORBIDDEN,
        Code::KindConflict | Code::Exists | Code::TakenOver => StatusCode::CONFLICT,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::StorageFull | Code::QuotaExceeded => StatusCode::INSUFFICIENT_STORAGE,
        Code::Busy | Code::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        Code::Silent => StatusCode::REQUEST_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A whole body.
pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A whole body that leaves in pieces, with what is to be held until then.
pub(super) fn pieces(bytes: impl Into<Bytes>, held: impl Send + Unpin + 'static) -> Body {
    Body::new(Pieces { left: bytes.into(), _held: held })
}

/// See [`pieces`].
struct Pieces<T> {
    left: Bytes,
    _held: T,
}

/// Bytes of a piece. The last one may be on its way still when what is held is let go of.
const PIECE: usize = 64 * 1024;

impl<T: Unpin> hyper::body::Body for Pieces<T> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let length = self.left.len().min(PIECE);
        let piece = self.left.split_to(length);
        Poll::Ready((length > 0).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

/// No body.
pub(super) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// An answer without a body.
pub(super) fn nothing(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = status;
    response
}

/// An object that is nobody's to keep.
pub(super) fn object(object: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(full(line(object)));
    set(&mut response, header::CONTENT_TYPE, "application/json");
    response
}

/// With an end that leaves a terminal's prompt where it belongs.
fn line(object: &serde_json::Value) -> String {
    format!("{object}\n")
}

/// Sets a header to what is known to be one.
pub(super) fn set(response: &mut Response<Body>, name: HeaderName, value: &'static str) {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
}

/// Sets a header to what was made of letters that headers may have.
pub(super) fn put(response: &mut Response<Body>, name: HeaderName, value: &str) {
    match HeaderValue::from_str(value) {
        Ok(value) => drop(response.headers_mut().insert(name, value)),
        Err(_) => tracing::error!(%name, "a header's value cannot be said"),
    }
}

/// What a page of this server's may do: nothing but what it is served with. Nothing here is anybody else's to embed, and
/// nothing that was uploaded is ever run.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; \
     media-src 'self' blob:; connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

/// Sets what every answer has, unless it has it already.
pub(super) fn seal(mut response: Response<Body>) -> Response<Body> {
    const ALL: [(HeaderName, &str); 7] = [
        (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=()"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in ALL {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn what_a_body_holds_is_let_go_of_after_its_last_piece() {
        let held = Arc::new(());
        let left = Arc::downgrade(&held);
        let mut body = pieces(vec![7; PIECE + 1], held);
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!((first.len(), left.strong_count()), (PIECE, 1));
        let rest = body.collect().await.unwrap().to_bytes();
        assert_eq!((rest.len(), left.strong_count()), (1, 0));
    }

    #[test]
    fn codes_have_names_and_statuses_that_say_whose_fault_it_is() {
        assert_eq!(name(Code::NotAllowed), "not-allowed");
        assert_eq!(name(Code::Exists), "exists");
        assert_eq!(name(Code::Other(4711)), "other");
        for &code in Code::ALL {
            assert!(status(code).is_client_error() || status(code).is_server_error(), "{code:?}");
        }
    }
}
