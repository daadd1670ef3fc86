//! A proxy between the service and Redis that cuts, stalls and heals on demand.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

/// What the proxy does with its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    /// Passes everything on.
    Heal,
    /// Keeps connections open and passes nothing.
    Stall,
    /// Closes connections, and new ones at once.
    Cut,
}

pub struct Proxy {
    directory: TempDir,
    mood: watch::Sender<Mood>,
}

impl Proxy {
    pub fn start(target: &Path) -> Self {
        let directory = tempfile::Builder::new().prefix("gtx-proxy-").tempdir().expect("a temporary directory");
        let listener = UnixListener::bind(directory.path().join("proxy.sock")).expect("a socket");
        let mood = watch::Sender::new(Mood::Heal);
        let (target, follow) = (target.to_owned(), mood.subscribe());
        #[expect(clippy::disallowed_methods, reason = "the harness is not the service")]
        tokio::spawn(accept(listener, target, follow));
        Self { directory, mood }
    }

    pub fn url(&self) -> String {
        format!("unix://{}", self.directory.path().join("proxy.sock").display())
    }

    pub fn cut(&self) {
        self.mood.send_replace(Mood::Cut);
    }

    pub fn stall(&self) {
        self.mood.send_replace(Mood::Stall);
    }

    pub fn heal(&self) {
        self.mood.send_replace(Mood::Heal);
    }
}

async fn accept(listener: UnixListener, target: PathBuf, mood: watch::Receiver<Mood>) {
    while let Ok((client, _)) = listener.accept().await {
        if *mood.borrow() == Mood::Cut {
            continue;
        }
        let (target, mood) = (target.clone(), mood.clone());
        #[expect(clippy::disallowed_methods, reason = "the harness is not the service")]
        tokio::spawn(async move {
            if let Ok(server) = UnixStream::connect(&target).await {
                pass(client, server, mood).await;
            }
        });
    }
}

/// Passes bytes both ways until one side closes or the proxy is cut.
async fn pass(client: UnixStream, server: UnixStream, mut mood: watch::Receiver<Mood>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (mut question, mut answer) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let now = *mood.borrow_and_update();
        if now == Mood::Cut {
            return;
        }
        let open = now == Mood::Heal;
        let alive = tokio::select! {
            changed = mood.changed() => changed.is_ok(),
            read = from_client.read(&mut question), if open => match read {
                Ok(length) if length > 0 => to_server.write_all(&question[..length]).await.is_ok(),
                _ => false,
            },
            read = from_server.read(&mut answer), if open => match read {
                Ok(length) if length > 0 => to_client.write_all(&answer[..length]).await.is_ok(),
                _ => false,
            },
        };
        if !alive {
            return;
        }
    }
}
