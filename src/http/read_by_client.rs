//! Connections end if their client does not read, so that an abandoned response does not take memory forever.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::connection::OpenConnection;

/// A connection whose client must read within a time what is written. It counts what arrives.
#[derive(Debug)]
pub struct ReadByClient {
    stream: TcpStream,
    /// The longest time in which nothing can be written.
    idle: Duration,
    /// The end of that time, while the client does not read.
    stalled: Option<Pin<Box<Sleep>>>,
    open: OpenConnection,
}

impl ReadByClient {
    pub fn new(stream: TcpStream, idle: Duration, open: OpenConnection) -> Self {
        Self { stream, idle, stalled: None, open }
    }
}

impl AsyncWrite for ReadByClient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write(cx, bytes) {
            self.stalled = None;
            return Poll::Ready(written);
        }
        let idle = self.idle;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for ReadByClient {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = bytes.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, bytes);
        self.open.count_arrived(bytes.filled().len() - before);
        read
    }
}
