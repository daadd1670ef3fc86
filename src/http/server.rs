//! Accepts connections and serves them: one acceptor, and workers that each own a runtime and a share of the connections.
//!
//! A worker is a thread with a single-threaded runtime: a request never leaves its core, and its commands use the
//! worker's own Redis connection. Compared with one shared runtime that saves a quarter of the CPU per request. The
//! acceptor distributes connections in turn, which stays even where the result of `SO_REUSEPORT` depends on a hash or on
//! the platform.

use std::convert::Infallible;
use std::future::{Future as _, Ready, poll_fn, ready};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Version, header};
use axum::response::Response;
use futures_util::future::Either;
use hyper::body::{Body as _, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use prometheus::IntGauge;
#[cfg(target_os = "linux")]
use socket2::SockRef;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::audited::Peer;
use super::connection::{OpenConnection, ProbesOnly};
use super::documentation;
use super::header_timer::HeaderTimer;
use super::problem::{BAD_REQUEST, Problem};
use super::read_by_client::ReadByClient;
use super::request_id::{self, RequestId};
use crate::config::http::HttpConfig;
use crate::lifecycle::Tasks;
use crate::telemetry::episodes;

/// Connections that may wait in the kernel until they are accepted: many clients reconnect when a replica stops.
const BACKLOG: i32 = 4_096;
/// The most bytes that the kernel takes from the service and has not sent yet. Without a limit they are several megabytes
/// for a client that does not read, and real-time messages would be minutes old when they arrive.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 64 << 10;
/// The longest time in which a client acknowledges nothing that was sent to it.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);
/// The pause after a failed accept, such as with too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The most concurrent requests of one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;
/// The longest request head, and the most bytes that a connection buffers, bytes; as in HTTP/2.
const MAX_HEAD: usize = 16 << 10;
/// The most bytes that an HTTP/2 stream buffers while its client does not read.
const STREAM_BUFFER: usize = 64 << 10;

/// Opens the listening socket.
///
/// # Errors
/// When the address is in use or does not belong to this machine.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Connections beyond the limit that are accepted for the operations that tell how the service is. Others get an error, and
/// each connection is closed after its first request.
const RESERVE: usize = 16;

/// A connection on its way to a worker, with its permit from the limit of connections, and whether that is one of the
/// reserve.
pub type Handover = (std::net::TcpStream, OwnedSemaphorePermit, bool);

/// Accepts connections until `stop` and distributes them over the workers in turn.
pub async fn accept(
    listener: TcpListener,
    workers: Vec<mpsc::UnboundedSender<Handover>>,
    max_connections: usize,
    stop: CancellationToken,
) {
    let (permits, reserve) = (Arc::new(Semaphore::new(max_connections)), Arc::new(Semaphore::new(RESERVE)));
    let mut turn = workers.iter().cycle();
    loop {
        // Without the reserve, further connections wait in the kernel's queue.
        let permit = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            permit = Arc::clone(&permits).acquire_owned() => permit,
            permit = Arc::clone(&reserve).acquire_owned() => permit,
        };
        let Ok(mut permit) = permit else { return };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let handed = accepted.and_then(|(stream, _)| {
            prepare(&stream)?;
            stream.into_std()
        });
        // A connection may have ended while this one was awaited.
        let mut is_reserve = Arc::ptr_eq(permit.semaphore(), &reserve);
        if is_reserve && let Ok(regular) = Arc::clone(&permits).try_acquire_owned() {
            (permit, is_reserve) = (regular, false);
        }
        match (handed, turn.next()) {
            (Ok(stream), Some(worker)) => {
                if worker.send((stream, permit, is_reserve)).is_err() {
                    return;
                }
            }
            (Ok(_), None) => return,
            (Err(error), _) => {
                if let Some(repeated) = episodes::next("accept") {
                    tracing::warn!(%error, repeated, "could not accept a connection");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Bounds what a client that does not read can take of the kernel's memory, and the time until a client that vanished is
/// noticed.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    {
        let socket = SockRef::from(stream);
        socket.set_tcp_notsent_lowat(UNSENT)?;
        socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    }
    Ok(())
}

/// Serves connections on the current runtime until the acceptor has ended and every connection is closed.
#[derive(Clone, Debug)]
pub struct Worker<S> {
    service: S,
    header_timeout: Duration,
    /// The longest pause of a client that does not read its response.
    idle: Duration,
    connections: IntGauge,
    drain: CancellationToken,
}

impl<S> Worker<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + Sync
        + 'static,
{
    /// `service` must always be ready, as axum's routers are. `drain` tells every connection to finish its request and
    /// close.
    pub fn new(service: S, config: &HttpConfig, connections: IntGauge, drain: CancellationToken) -> Self {
        let (header_timeout, idle) = (config.header_timeout.duration(), config.body_idle_timeout.duration());
        Self { service, header_timeout, idle, connections, drain }
    }

    pub async fn run(self, mut incoming: mpsc::UnboundedReceiver<Handover>, tasks: &Tasks) {
        // Every connection holds a clone of the sender: the receiver ends with the last connection.
        let (alive, mut gone) = mpsc::channel::<()>(1);
        while let Some((stream, permit, is_reserve)) = incoming.recv().await {
            let stream = match TcpStream::from_std(stream) {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(%error, "could not take over a connection");
                    continue;
                }
            };
            let worker = self.clone();
            let alive = alive.clone();
            tasks.spawn_connection(async move {
                let connection = OpenConnection::new(permit, worker.connections.clone());
                worker.serve(stream, connection, is_reserve).await;
                drop(alive);
            });
            // The worker serves its other connections in between, however many clients connect at once.
            tokio::task::yield_now().await;
        }
        drop(alive);
        let _ = gone.recv().await;
    }

    async fn serve(&self, stream: TcpStream, open: OpenConnection, is_reserve: bool) {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        // Head and body share one buffer: for the small responses of this service a copy is cheaper than a vectored write.
        let mut http1 = builder.http1();
        http1
            .timer(HeaderTimer::default())
            .header_read_timeout(self.header_timeout)
            .writev(false)
            .max_buf_size(MAX_HEAD);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_send_buf_size(STREAM_BUFFER)
            .keep_alive_interval(Some(Duration::from_secs(20)))
            .keep_alive_timeout(Duration::from_secs(10));
        let is_used = Arc::new(AtomicBool::new(false));
        let peer = stream.peer_addr().ok().map(|address| Peer(address.ip().to_canonical()));
        let stream = ReadByClient::new(stream, self.idle, open.clone());
        let (service, is_used_by) = (self.service.clone(), Arc::clone(&is_used));
        let service = ConnectionService { service, is_used: is_used_by, open, peer, is_reserve };
        let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
        // hyper's own header timeout begins only when it knows the version of HTTP, for which it would wait forever.
        let mut first_request = pin!(tokio::time::sleep(self.header_timeout));
        let mut drained = pin!(self.drain.cancelled());
        let (mut is_registered, mut is_draining) = (false, false);
        let ended = poll_fn(|cx| {
            // Each of the two futures wakes this task when it is due. Every request wakes it too, so they are polled only
            // where that can make a difference.
            if !is_draining && (!is_registered || self.drain.is_cancelled()) && drained.as_mut().poll(cx).is_ready() {
                is_draining = true;
                connection.as_mut().graceful_shutdown();
            }
            is_registered = true;
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(Some(ended));
            }
            if is_reserve && !is_draining && is_used.load(Ordering::Relaxed) {
                is_draining = true;
                connection.as_mut().graceful_shutdown();
                if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                    return Poll::Ready(Some(ended));
                }
            }
            if !is_used.load(Ordering::Relaxed) && first_request.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            Poll::Pending
        });
        match ended.await {
            Some(Ok(())) => {}
            // Resets, header timeouts and invalid requests are the client's doing.
            Some(Err(error)) => tracing::debug!(%error, "connection ended early"),
            None => tracing::debug!("connection closed: no request within the header timeout"),
        }
    }
}

/// The service as hyper calls it, for one connection.
struct ConnectionService<S> {
    service: S,
    /// Whether a request has arrived.
    is_used: Arc<AtomicBool>,
    open: OpenConnection,
    peer: Option<Peer>,
    is_reserve: bool,
}

impl<S> hyper::service::Service<hyper::Request<Incoming>> for ConnectionService<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Response, Infallible>>>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        self.is_used.store(true, Ordering::Relaxed);
        if let Err(rule) = check_host(request.version(), request.headers()) {
            let id = RequestId::of(request.headers());
            let problem = Problem::new(&BAD_REQUEST).detail(rule).header(request_id::HEADER.clone(), id.header());
            let mut response = problem.render(request.uri().path(), id.as_str());
            documentation::protect_browsers(response.headers_mut());
            return Either::Right(ready(Ok(response)));
        }
        // An empty body needs no allocation.
        let body = |incoming: Incoming| if incoming.is_end_stream() { Body::empty() } else { Body::new(incoming) };
        let mut request = request.map(body);
        if request.headers().contains_key(header::UPGRADE) {
            request.extensions_mut().insert(self.open.clone());
        }
        if self.is_reserve {
            request.extensions_mut().insert(ProbesOnly);
        }
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(peer);
        }
        Either::Left(self.service.clone().call(request))
    }
}

/// Checks the header `Host` (RFC 9112, section 3.2). HTTP/1.0 may omit it, and HTTP/2 has `:authority` instead.
fn check_host(version: Version, headers: &HeaderMap) -> Result<(), &'static str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() || host.is_none() && version == Version::HTTP_11 {
        return Err("a request must have exactly one Host header");
    }
    if host.is_none_or(|host| is_host(host.as_bytes())) {
        Ok(())
    } else {
        Err("the Host header must be a host and an optional port")
    }
}

/// Whether `value` is a host and an optional port. A client that has no name of the service sends an empty one.
fn is_host(value: &[u8]) -> bool {
    let Ok(authority) = Authority::try_from(value) else { return value.is_empty() };
    let port = authority.as_str().strip_prefix(authority.host());
    port.is_some_and(|port| {
        port.is_empty()
            || port.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))
    })
}
