//! Real sockets: slow and misbehaving clients, many connections, and a shutdown during a request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use futures_util::future::join_all;
use gridtokenx_redis::clock::Clock;
use gridtokenx_redis::config::Config;
use gridtokenx_redis::config::http::HttpConfig;
use gridtokenx_redis::http::server::{self, Worker};
use gridtokenx_redis::lifecycle::Tasks;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prometheus::IntGauge;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::support::facade::{self, set};
use crate::support::{TestApp, eventually};

const HEADER_TIMEOUT: Duration = Duration::from_millis(300);

/// A router behind the service's own accept loop and worker.
struct Served {
    address: SocketAddr,
    connections: IntGauge,
    stop: CancellationToken,
    done: oneshot::Receiver<()>,
}

fn settings(overrides: &str) -> HttpConfig {
    let config = Config::with_overrides(&format!("[http]\nheader_timeout = \"300ms\"\n{overrides}")).expect("TOML");
    config.section().expect("settings")
}

fn worker(router: Router, http: &HttpConfig, stop: &CancellationToken) -> (Worker<Router>, IntGauge) {
    let connections = IntGauge::new("connections", "open").expect("a gauge");
    (Worker::new(router, http, connections.clone(), stop.clone()), connections)
}

fn serve(router: Router, overrides: &str) -> Served {
    let http = settings(overrides);
    let listener = server::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let address = listener.local_addr().expect("an address");
    let stop = CancellationToken::new();
    let (worker, connections) = worker(router, &http, &stop);
    let (sender, receiver) = mpsc::unbounded_channel();
    let (finished, done) = oneshot::channel();
    let tasks = Tasks::new(Clock::System);
    let (spawner, stopped) = (tasks.clone(), stop.clone());
    spawner.spawn_connection(async move {
        tokio::join!(
            server::accept(listener, vec![sender], http.max_connections, stopped),
            worker.run(receiver, &tasks)
        );
        let _ = finished.send(());
    });
    Served { address, connections, stop, done }
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("a connection")
}

fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";

/// Reads until the text has arrived.
async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut all = Vec::new();
    let mut part = [0; 4096];
    while !String::from_utf8_lossy(&all).contains(text) {
        let length = stream.read(&mut part).await.expect("a response");
        assert!(length > 0, "closed before {text:?}: {:?}", String::from_utf8_lossy(&all));
        all.extend_from_slice(&part[..length]);
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// The time until the server closes the connection; responses before that are ignored.
async fn closed_after(stream: &mut TcpStream, started: Instant) -> Duration {
    let mut answer = Vec::new();
    let limit = Duration::from_secs(10);
    let closed = tokio::time::timeout(limit, stream.read_to_end(&mut answer)).await;
    closed.expect("the server never closed").ok();
    started.elapsed()
}

#[track_caller]
fn assert_in_time(took: Duration) {
    assert!(took >= HEADER_TIMEOUT / 2 && took < HEADER_TIMEOUT + Duration::from_millis(500), "{took:?}");
}

#[tokio::test]
async fn a_client_that_sends_its_header_byte_by_byte_is_disconnected() {
    let served = serve(hello(), "");
    let started = Instant::now();
    let (mut reader, mut writer) = connect(served.address).await.into_split();
    let drip = async {
        for byte in REQUEST.iter().chain(std::iter::repeat(&b'x')) {
            if writer.write_all(&[*byte]).await.is_err() {
                return;
            }
            // The client sends slowly on purpose.
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    };
    let mut answer = Vec::new();
    tokio::select! {
        () = drip => {}
        _ = reader.read_to_end(&mut answer) => {}
    }
    assert_in_time(started.elapsed());
    assert!(!String::from_utf8_lossy(&answer).contains("200"), "{:?}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn a_client_that_does_not_send_a_complete_header_is_disconnected() {
    let served = serve(hello(), "");
    let began = ["", "P", "PRI * HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/1.1\r\nHost"];
    let clients = began.iter().map(async |beginning: &&str| {
        let started = Instant::now();
        let mut stream = connect(served.address).await;
        stream.write_all(beginning.as_bytes()).await.expect("sent");
        assert_in_time(closed_after(&mut stream, started).await);
    });
    join_all(clients).await;
    eventually("all connections are closed", async || served.connections.get() == 0).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_a_request() {
    let served = serve(hello(), "");
    for rest in ["", "GET / HTTP/1.1\r\nHo"] {
        let mut stream = connect(served.address).await;
        stream.write_all(REQUEST).await.expect("sent");
        read_until(&mut stream, "hello").await;
        let started = Instant::now();
        stream.write_all(rest.as_bytes()).await.expect("sent");
        assert_in_time(closed_after(&mut stream, started).await);
    }
}

#[tokio::test]
async fn clients_over_the_connection_limit_get_one_request_or_wait() {
    let served = serve(hello().route("/busy", get(std::future::pending::<()>)), "max_connections = 2");
    let (mut one, mut two) = (connect(served.address).await, connect(served.address).await);
    for stream in [&mut one, &mut two] {
        stream.write_all(b"GET /busy HTTP/1.1\r\nHost: test\r\n\r\n").await.expect("sent");
    }
    eventually("both are accepted", async || served.connections.get() == 2).await;
    // A few further connections are accepted, for requests that ask how the service is.
    let mut further = connect(served.address).await;
    let started = Instant::now();
    further.write_all(REQUEST).await.expect("sent");
    read_until(&mut further, "hello").await;
    assert!(closed_after(&mut further, started).await < HEADER_TIMEOUT, "it was not closed after its request");
    let mut waiting = Vec::new();
    while served.connections.get() < 2 + 16 {
        waiting.push(connect(served.address).await);
        tokio::task::yield_now().await;
    }
    let mut last = connect(served.address).await;
    last.write_all(REQUEST).await.expect("sent");
    let early = tokio::time::timeout(Duration::from_millis(100), last.read_u8()).await;
    early.expect_err("the last client was served despite the limit");
    drop((one, waiting));
    read_until(&mut last, "hello").await;
}

#[tokio::test]
async fn a_shutdown_finishes_the_request_in_flight_and_accepts_no_new_ones() {
    let (entered, released) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = {
        let (entered, released) = (Arc::clone(&entered), Arc::clone(&released));
        async move || {
            entered.notify_one();
            released.notified().await;
            "finished"
        }
    };
    let served = serve(Router::new().route("/", get(slow)), "");
    let mut busy = connect(served.address).await;
    busy.write_all(REQUEST).await.expect("sent");
    entered.notified().await;
    served.stop.cancel();
    eventually("new connections are refused", async || TcpStream::connect(served.address).await.is_err()).await;
    released.notify_one();
    let answer = read_until(&mut busy, "finished").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
    let mut rest = Vec::new();
    busy.read_to_end(&mut rest).await.expect("the connection is closed");
    tokio::time::timeout(Duration::from_secs(2), served.done).await.expect("the worker is done").expect("no panic");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let named = async |axum::extract::RawQuery(query): axum::extract::RawQuery| query.unwrap_or_default();
    let served = serve(Router::new().route("/", get(named)), "");
    let mut stream = connect(served.address).await;
    let requests: Vec<String> =
        (0..50).map(|nth| format!("GET /?answer-{nth}. HTTP/1.1\r\nHost: test\r\n\r\n")).collect();
    stream.write_all(requests.concat().as_bytes()).await.expect("sent");
    let answers = read_until(&mut stream, "answer-49.").await;
    let mut from = 0;
    for nth in 0..50 {
        let at = answers[from..].find(&format!("answer-{nth}.")).unwrap_or_else(|| panic!("{nth}: {answers}"));
        from += at;
    }
}

#[tokio::test]
async fn http_2_without_tls_serves_many_requests_on_one_connection() {
    let named = async |axum::extract::RawQuery(query): axum::extract::RawQuery| query.unwrap_or_default();
    let served = serve(Router::new().route("/", get(named)), "");
    let stream = TokioIo::new(connect(served.address).await);
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.expect("HTTP/2");
    let asking = join_all((0..100).map(|nth| {
        let mut sender = sender.clone();
        async move {
            let uri = format!("http://test/?answer-{nth}");
            let request = hyper::Request::get(uri).body(Empty::<axum::body::Bytes>::new()).expect("a request");
            let response = sender.send_request(request).await.expect("a response");
            assert_eq!(response.version(), hyper::Version::HTTP_2);
            let body = response.into_body().collect().await.expect("a body").to_bytes();
            assert_eq!(body, format!("answer-{nth}"));
        }
    }));
    tokio::select! {
        _ = asking => {}
        ended = connection => panic!("the connection ended: {ended:?}"),
    }
    assert_eq!(served.connections.get(), 1);
}

#[tokio::test]
async fn ten_thousand_aborted_requests_mix_up_no_reply() {
    let app = TestApp::spawn().await;
    let redis = app.state().clone();
    for nth in 0..100 {
        set(&redis, &format!("key-{nth}"), &format!("value of key-{nth}.")).await.expect("a write");
    }
    let value = async |State(redis): State<gridtokenx_redis::redis::Redis>,
                       axum::extract::RawQuery(query): axum::extract::RawQuery| {
        facade::get(&redis, &query.unwrap_or_default()).await.ok().flatten().unwrap_or_default()
    };
    let served = serve(Router::new().route("/", get(value)).with_state(redis), "");
    let address = served.address;
    for batch in 0..200 {
        join_all((0..50).map(async |nth| {
            let request = format!("GET /?key-{nth} HTTP/1.1\r\nHost: test\r\n\r\n");
            // Clients disconnect within the header, right after it, or within the response.
            let length = if nth % 3 == 0 { (batch * 7 + nth) % request.len() } else { request.len() };
            let mut stream = connect(address).await;
            stream.write_all(&request.as_bytes()[..length]).await.expect("sent");
            if nth % 3 == 2 {
                let _ = stream.read_u8().await;
            }
        }))
        .await;
    }
    eventually("all connections are closed", async || served.connections.get() == 0).await;
    let mut stream = connect(address).await;
    for nth in 0..100 {
        stream.write_all(format!("GET /?key-{nth} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).await.expect("sent");
        read_until(&mut stream, &format!("value of key-{nth}.")).await;
    }
    app.get("/health/ready").await.expect(200);
}

#[tokio::test]
async fn aborted_requests_leave_nothing_in_flight() {
    let mut app = TestApp::spawn().await;
    let address = app.serve();
    for _ in 0..500 {
        let mut stream = connect(address).await;
        stream.write_all(b"GET /health/ready HTTP/1.1\r\nHost: test\r\n\r\n").await.expect("sent");
    }
    eventually("nothing is in flight", async || app.app().deps.metrics.http.connections.get() == 0).await;
    app.get("/health/ready").await.expect(200);
}

#[tokio::test]
async fn a_worker_serves_requests_before_it_takes_over_many_new_connections() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (sender, receiver) = mpsc::unbounded_channel();
    let permits = Arc::new(Semaphore::new(100));
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = connect(address).await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").await.expect("sent");
        let (stream, _) = listener.accept().expect("a connection");
        stream.set_nonblocking(true).expect("a socket");
        let permit = Arc::clone(&permits).acquire_owned().await.expect("open");
        sender.send((stream, permit, false)).expect("open");
        clients.push(client);
    }
    let router = Router::new().route("/", get(|| async { "response" }));
    let (worker, connections) = worker(router, &settings(""), &CancellationToken::new());
    let tasks = Tasks::new(Clock::System);
    let spawner = tasks.clone();
    spawner.spawn_connection(async move { worker.run(receiver, &tasks).await });
    read_until(&mut clients[0], "response").await;
    let taken = connections.get();
    assert!(taken < 20, "the first response came after {taken} connections");
    for client in &mut clients[1..] {
        read_until(client, "response").await;
    }
}
