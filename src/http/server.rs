//! From sockets to requests: one acceptor, and workers that each own a runtime and a share of the connections.
//!
//! A worker is a thread with a single-threaded runtime: a request never leaves its core, and its commands travel over
//! the worker's own Redis connection. Measured against one shared runtime that saves a quarter of the CPU per request.
//! The acceptor deals connections out in turn, which is even where `SO_REUSEPORT` depends on a hash or the platform.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use prometheus::IntGauge;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::config::http::HttpConfig;
use crate::lifecycle::Tasks;

/// Connections that may wait in the kernel until the acceptor comes by.
const BACKLOG: i32 = 1_024;
/// A failed accept (too many open files) is tried again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// HTTP/2: what one connection may ask for at once.
const MAX_STREAMS: u32 = 256;

/// Opens the listening socket.
///
/// # Errors
/// When the address is taken or not ours.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A connection on its way to a worker, with its place in the count.
type Handover = (std::net::TcpStream, OwnedSemaphorePermit);

/// Accepts until `stop`, dealing connections out to the workers in turn.
pub async fn accept(
    listener: TcpListener,
    workers: Vec<mpsc::UnboundedSender<Handover>>,
    max_connections: usize,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(max_connections));
    let mut turn = workers.iter().cycle();
    loop {
        // Over the cap, further connections wait in the kernel's queue.
        let place = tokio::select! {
            () = stop.cancelled() => return,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let Ok(place) = place else { return };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let handed = accepted.and_then(|(stream, _)| {
            stream.set_nodelay(true)?;
            stream.into_std()
        });
        match (handed, turn.next()) {
            (Ok(stream), Some(worker)) => {
                if worker.send((stream, place)).is_err() {
                    return;
                }
            }
            (Ok(_), None) => return,
            (Err(error), _) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves connections on the current runtime until the acceptor is gone and every connection is closed.
#[derive(Clone, Debug)]
pub struct Worker {
    router: Router,
    header_timeout: Duration,
    connections: IntGauge,
    drain: CancellationToken,
}

impl Worker {
    /// `drain` asks every connection to finish its request and close.
    pub fn new(router: Router, config: &HttpConfig, connections: IntGauge, drain: CancellationToken) -> Self {
        Self { router, header_timeout: config.header_timeout.duration(), connections, drain }
    }

    pub async fn run(self, mut incoming: mpsc::UnboundedReceiver<Handover>, tasks: &Tasks) {
        // Every connection holds a clone; the last one gone, the receiver ends.
        let (alive, mut gone) = mpsc::channel::<()>(1);
        while let Some((stream, place)) = incoming.recv().await {
            let stream = match TcpStream::from_std(stream) {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection was not taken over");
                    continue;
                }
            };
            let worker = self.clone();
            let alive = alive.clone();
            tasks.spawn_connection(async move {
                worker.connections.inc();
                worker.serve(stream).await;
                worker.connections.dec();
                drop((place, alive));
            });
        }
        drop(alive);
        let _ = gone.recv().await;
    }

    async fn serve(&self, stream: TcpStream) {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        // Head and body in one buffer: for the answers that are common here a copy is cheaper than a vectored write.
        builder.http1().timer(TokioTimer::new()).header_read_timeout(self.header_timeout).writev(false);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .keep_alive_interval(Some(Duration::from_secs(20)))
            .keep_alive_timeout(Duration::from_secs(10));
        let has_asked = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&has_asked);
        let service = self.router.clone().map_request(move |request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            request
        });
        let connection =
            builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service));
        let mut connection = std::pin::pin!(connection);
        // hyper's own header timeout begins only when it knows the version of HTTP, for which it would wait forever.
        let mut first_request = std::pin::pin!(tokio::time::sleep(self.header_timeout));
        let (mut waiting, mut draining) = (true, false);
        let ended = loop {
            tokio::select! {
                ended = connection.as_mut() => break ended,
                () = first_request.as_mut(), if waiting => {
                    if !has_asked.load(Ordering::Relaxed) {
                        tracing::debug!("a client has not asked anything in time");
                        return;
                    }
                    waiting = false;
                }
                () = self.drain.cancelled(), if !draining => {
                    draining = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        };
        if let Err(error) = ended {
            // Resets, header timeouts and garbage are the client's doing.
            tracing::debug!(%error, "a connection ended early");
        }
    }
}
