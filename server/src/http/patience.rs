//! A stream that is given up when its peer takes nothing for too long, or next to nothing.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

/// Bytes that a peer has to take within the limit, from the moment on at which something waited for it: a thousandth of what
/// the slowest of networks carry.
const LEAST: usize = 64 * 1024;

/// See the module. Whoever reads from it has reasons of his own to wait, and looks after them himself.
pub(super) struct Patience<S> {
    stream: S,
    limit: Duration,
    /// Runs from when something waits to be taken, until enough of it was.
    deadline: Pin<Box<Sleep>>,
    is_waiting: bool,
    taken: usize,
}

impl<S> Patience<S> {
    pub(super) fn new(stream: S, limit: Duration) -> Self {
        Patience { stream, limit, deadline: Box::pin(tokio::time::sleep(limit)), is_waiting: false, taken: 0 }
    }

    /// Passes on what became of a write. It may have taken some.
    fn took(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &written {
            self.taken = self.taken.saturating_add(*bytes);
            self.is_waiting &= self.taken < LEAST;
            return written;
        }
        self.wait(context, written)
    }

    /// Passes on whether all has been taken, or ends the wait for it.
    fn wait<T>(&mut self, context: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.is_waiting = false;
            return done;
        }
        if !std::mem::replace(&mut self.is_waiting, true) {
            self.taken = 0;
            self.deadline.as_mut().reset(Instant::now() + self.limit);
        }
        match self.deadline.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patience<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patience<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.took(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.wait(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.wait(context, shut)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.took(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    /// Takes so many bytes each time, a second before the limit, and so many times.
    async fn take(mut far: tokio::io::DuplexStream, bytes: usize, times: usize) -> tokio::io::DuplexStream {
        for _ in 0..times {
            tokio::time::sleep(LIMIT - Duration::from_secs(1)).await;
            far.read_exact(&mut vec![0; bytes]).await.unwrap();
        }
        far
    }

    #[tokio::test(start_paused = true)]
    async fn hostile_13_a_peer_that_takes_nothing_is_given_up_and_a_slow_one_is_not() {
        let (near, far) = tokio::io::duplex(LEAST);
        let mut stream = Patience::new(near, LIMIT);
        let reader = tokio::spawn(take(far, LEAST, 5));
        stream.write_all(&vec![7; 6 * LEAST]).await.unwrap();
        let _far = reader.await.unwrap();
        assert_eq!(stream.write_all(&[7]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn hostile_13_a_peer_that_takes_a_byte_now_and_then_is_given_up() {
        let (near, far) = tokio::io::duplex(1);
        let mut stream = Patience::new(near, LIMIT);
        let reader = tokio::spawn(take(far, 1, 5));
        assert_eq!(stream.write_all(&[7; 5]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        reader.abort();
    }
}
