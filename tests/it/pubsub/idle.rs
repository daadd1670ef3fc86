//! Connections on which nothing happens for minutes, and credentials that end: on processes whose clock is fast.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};

use super::socket::{Socket, number, price};
use crate::auth::{SECRET, platform_token};
use crate::support::{ServiceProcess, TestApp, faketime};

/// How much faster the clock of the service is.
const SPEED: u32 = 15;

/// A service with a fast clock on the Redis of `app`.
pub(super) fn fast_service(app: &TestApp, variables: &[(&str, &str)]) -> ServiceProcess {
    let clock = faketime(&["-m", "-f", &format!("+0 x{SPEED}")]);
    let clock = clock.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let variables: Vec<_> = clock.chain(variables.iter().copied()).collect();
    ServiceProcess::start_on(&app.redis(), &variables)
}

/// Forwards connections, and cuts those on which nothing passes for 30 s of the service's clock.
async fn impatient_proxy(target: SocketAddr, cuts: Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    #[expect(clippy::disallowed_methods, reason = "the harness is not the service")]
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let cuts = Arc::clone(&cuts);
            tokio::spawn(async move {
                let server = TcpStream::connect(target).await.expect("the service");
                if forward(client, server).await.is_err() {
                    cuts.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    address
}

/// An error means that the connection was silent for too long.
async fn forward(mut client: TcpStream, mut server: TcpStream) -> Result<(), tokio::time::error::Elapsed> {
    let (mut up, mut down) = ([0; 4 << 10], [0; 4 << 10]);
    loop {
        let forwarded = tokio::time::timeout(Duration::from_secs(30) / SPEED, async {
            tokio::select! {
                read = client.read(&mut up) => match read {
                    Ok(length) if length > 0 => server.write_all(&up[..length]).await.is_ok(),
                    _ => false,
                },
                read = server.read(&mut down) => match read {
                    Ok(length) if length > 0 => client.write_all(&down[..length]).await.is_ok(),
                    _ => false,
                },
            }
        });
        if !forwarded.await? {
            return Ok(());
        }
    }
}

/// Opens a stream of events; `headers` end with CRLF each.
pub(super) async fn events(address: SocketAddr, path: &str, headers: &str) -> Lines<BufReader<TcpStream>> {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut lines = BufReader::new(stream).lines();
    line_with(&mut lines, "retry: ").await;
    lines
}

/// The rest of the next line that begins with this.
pub(super) async fn line_with(lines: &mut Lines<BufReader<TcpStream>>, begin: &str) -> String {
    loop {
        let line = lines.next_line().await.expect("a line").expect("the stream is open");
        if let Some(rest) = line.strip_prefix(begin) {
            return rest.to_owned();
        }
    }
}

/// A connection of Centrifugo's protocol with a subscription to `market:events`.
async fn centrifugo(address: SocketAddr, token: &str) -> Socket {
    let mut socket = Socket::connect(&format!("ws://{address}/connection/websocket")).await;
    socket.send(&json!({ "id": 1, "connect": { "token": token } })).await;
    socket.send(&json!({ "id": 2, "subscribe": { "channel": "market:events" } })).await;
    assert!(socket.event().await["connect"].is_object());
    assert!(socket.event().await["subscribe"].is_object());
    socket
}

#[tokio::test]
async fn five_idle_minutes_behind_an_impatient_proxy_close_nothing() {
    let app = TestApp::builder().system_clock().spawn().await;
    let mut service = fast_service(&app, &[]);
    let cuts = Arc::new(AtomicUsize::new(0));
    let address = impatient_proxy(service.address(), Arc::clone(&cuts)).await;
    let idle = Instant::now() + Duration::from_secs(300) / SPEED;
    let native = async {
        let mut socket = Socket::connect(&format!("ws://{address}/pubsub/ws")).await;
        socket.subscribe("market:events").await;
        number(&socket.event().await)
    };
    let centrifugo = async {
        let mut socket = centrifugo(address, "").await;
        loop {
            match socket.event().await {
                ping if ping == json!({}) => socket.send(&json!({})).await,
                push => return push["push"]["pub"]["data"]["price"].clone(),
            }
        }
    };
    let stream = async {
        let mut lines = events(address, "/pubsub/sse?channel=market:events", "").await;
        let data: Value = serde_json::from_str(&line_with(&mut lines, "data: ").await).expect("JSON");
        number(&data)
    };
    let publish = async {
        // The time in which nothing happens.
        tokio::time::sleep_until(idle.into()).await;
        app.post("/pubsub/market:events", price(7)).await.expect(201);
    };
    let received = tokio::join!(native, centrifugo, stream, publish);
    assert_eq!((received.0, received.1, received.2), (7, json!("7"), 7));
    assert_eq!(cuts.load(Ordering::SeqCst), 0, "connections were silent for 30 s");
}

#[tokio::test]
async fn an_expired_credential_ends_its_connections_at_every_replica() {
    let auth = [("GTX__AUTH__JWT_SECRET", SECRET)];
    let app = TestApp::builder().config(&format!("[auth]\njwt_secret = \"{SECRET}\"")).system_clock().spawn().await;
    let mut replicas = [fast_service(&app, &auth), fast_service(&app, &auth)];
    let ends = app.clock().now() / 1_000 + 75;
    let token = platform_token(&json!({ "sub": "ann", "role": null, "exp": ends }));
    let mut connections = Vec::new();
    for replica in &mut replicas {
        let address = replica.address();
        let mut native = Socket::connect(&format!("ws://{address}/pubsub/ws")).await;
        let connected = native.command(json!({ "id": 1, "cmd": "connect", "token": token })).await;
        assert!(connected["ok"]["expires_in_ms"].as_u64().is_some_and(|left| left <= 75_000), "{connected}");
        native.subscribe("market:events").await;
        let header = format!("Authorization: Bearer {token}\r\n");
        let stream = events(address, "/pubsub/sse?channel=market:events", &header).await;
        connections.push((native, centrifugo(address, &token).await, stream));
    }
    let ends = connections.into_iter().map(|(mut native, mut centrifugo, mut stream)| async move {
        let of_centrifugo = async {
            loop {
                match centrifugo.next().await {
                    Ok(ping) if ping == json!({}) => centrifugo.send(&json!({})).await,
                    end => return (end, Instant::now()),
                }
            }
        };
        let of_stream = async {
            line_with(&mut stream, "event: expired").await;
            Instant::now()
        };
        let of_native = async { (native.next().await, Instant::now()) };
        tokio::join!(of_stream, of_native, of_centrifugo)
    });
    for (stream, native, centrifugo) in futures_util::future::join_all(ends).await {
        assert_eq!((native.0, centrifugo.0), (Err(4401), Err(3005)));
        // They all end together; the rest is what a busy machine takes.
        for end in [native.1, centrifugo.1] {
            let apart = end.max(stream) - end.min(stream);
            assert!(apart < Duration::from_secs(20) / SPEED, "{apart:?}");
        }
    }
    let mut late = Socket::connect(&format!("ws://{}/pubsub/ws", replicas[0].address())).await;
    late.send(&json!({ "id": 1, "cmd": "connect", "token": token })).await;
    assert_eq!(late.next().await, Err(4401));
}
