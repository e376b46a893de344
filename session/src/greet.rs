//! How a session begins (`Hello`, then `Welcome` or a reason why not), and how it ends.

use ferry_proto::{Code, Hello, Message, VERSION, Violation, Welcome, limits};
use tokio::time::timeout;

use crate::{Incoming, Outbox, SessionError};

/// The client's side: says hello and waits for the welcome.
pub async fn introduce(
    incoming: &mut Incoming,
    outbox: &Outbox,
    hello: Hello,
) -> Result<Welcome, SessionError> {
    outbox.say(hello)?;
    match timeout(limits::FIRST_MESSAGE, incoming.message()).await.map_err(|_| SessionError::Silent)?? {
        Message::Welcome(welcome) if welcome.version == VERSION => {
            outbox.greeted();
            Ok(welcome)
        }
        Message::Welcome(_) => Err(Violation("a welcome in a version that was not offered").into()),
        _ => Err(Violation("no welcome after hello").into()),
    }
}

/// The server's side: waits for the hello.
pub async fn await_hello(incoming: &mut Incoming) -> Result<Hello, SessionError> {
    match timeout(limits::FIRST_MESSAGE, incoming.message()).await.map_err(|_| SessionError::Silent)?? {
        Message::Hello(hello) => Ok(hello),
        _ => Err(Violation("something else than hello at first").into()),
    }
}

/// Ends a session whose work came to this.
pub async fn close(incoming: Incoming, outbox: Outbox, result: &Result<(), SessionError>) {
    match result {
        Ok(()) => farewell(incoming, outbox, Code::Bye, "").await,
        Err(error) => part(incoming, outbox, error).await,
    }
}

/// Tells the peer why the session ends, and lets it read that.
pub async fn part(incoming: Incoming, outbox: Outbox, error: &SessionError) {
    if let Some((code, detail)) = error.goodbye() {
        farewell(incoming, outbox, code, detail).await;
    }
}

/// Ends a session with these words.
pub async fn farewell(incoming: Incoming, outbox: Outbox, code: Code, detail: impl Into<String>) {
    // Reading goes on, because a stream that is closed with unread bytes is reset, and the words with it.
    tokio::join!(outbox.goodbye(code, detail), incoming.drain());
}
