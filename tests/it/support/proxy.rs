//! A proxy between the service and Redis that cuts, stalls, slows down and heals on demand.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

/// What a trickle passes on at a time, and how long it rests then.
const PIECE: usize = 64;
const PAUSE: Duration = Duration::from_millis(5);

/// What the proxy does with its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    /// Passes everything on.
    Heal,
    /// Passes answers on in small pieces, one after the other.
    Trickle,
    /// Keeps connections open and passes nothing.
    Stall,
    /// Closes connections, and new ones at once.
    Cut,
}

/// What all connections follow.
#[derive(Clone, Copy, Debug)]
struct Weather {
    mood: Mood,
    /// Connections with a lower number are stalled for good.
    stranded_below: u64,
    /// The number of the next connection.
    next: u64,
}

pub struct Proxy {
    directory: TempDir,
    weather: watch::Sender<Weather>,
}

impl Proxy {
    pub fn start(target: &Path) -> Self {
        let directory = tempfile::Builder::new().prefix("gtx-proxy-").tempdir().expect("a temporary directory");
        let listener = UnixListener::bind(directory.path().join("proxy.sock")).expect("a socket");
        let weather = watch::Sender::new(Weather { mood: Mood::Heal, stranded_below: 0, next: 0 });
        #[expect(clippy::disallowed_methods, reason = "the harness is not the service")]
        tokio::spawn(accept(listener, target.to_owned(), weather.clone()));
        Self { directory, weather }
    }

    pub fn url(&self) -> String {
        format!("unix://{}", self.directory.path().join("proxy.sock").display())
    }

    pub fn cut(&self) {
        self.weather.send_modify(|weather| weather.mood = Mood::Cut);
    }

    pub fn trickle(&self) {
        self.weather.send_modify(|weather| weather.mood = Mood::Trickle);
    }

    pub fn stall(&self) {
        self.weather.send_modify(|weather| weather.mood = Mood::Stall);
    }

    /// Stalls the connections there are for good; new ones pass.
    pub fn strand(&self) {
        self.weather.send_modify(|weather| weather.stranded_below = weather.next);
    }

    pub fn heal(&self) {
        self.weather.send_modify(|weather| weather.mood = Mood::Heal);
    }
}

async fn accept(listener: UnixListener, target: PathBuf, weather: watch::Sender<Weather>) {
    while let Ok((client, _)) = listener.accept().await {
        if weather.borrow().mood == Mood::Cut {
            continue;
        }
        let number = weather.borrow().next;
        weather.send_modify(|weather| weather.next += 1);
        let (target, weather) = (target.clone(), weather.subscribe());
        #[expect(clippy::disallowed_methods, reason = "the harness is not the service")]
        tokio::spawn(async move {
            if let Ok(server) = UnixStream::connect(&target).await {
                pass(client, server, number, weather).await;
            }
        });
    }
}

/// Passes bytes both ways until one side closes or the proxy is cut.
async fn pass(client: UnixStream, server: UnixStream, number: u64, mut weather: watch::Receiver<Weather>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (mut question, mut answer) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let now = *weather.borrow_and_update();
        if now.mood == Mood::Cut {
            return;
        }
        let open = matches!(now.mood, Mood::Heal | Mood::Trickle) && number >= now.stranded_below;
        let piece = if now.mood == Mood::Trickle { PIECE } else { answer.len() };
        let alive = tokio::select! {
            changed = weather.changed() => changed.is_ok(),
            read = from_client.read(&mut question), if open => match read {
                Ok(length) if length > 0 => to_server.write_all(&question[..length]).await.is_ok(),
                _ => false,
            },
            read = from_server.read(&mut answer[..piece]), if open => match read {
                Ok(length) if length > 0 => to_client.write_all(&answer[..length]).await.is_ok(),
                _ => false,
            },
        };
        if !alive {
            return;
        }
        if now.mood == Mood::Trickle {
            // The proxy polls for the end of a stall.
            tokio::time::sleep(PAUSE).await;
        }
    }
}
