//! A proxy between the service and Redis that cuts, stalls, slows down and heals on demand.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

/// How many bytes the proxy forwards at a time in trickle mode, and the pause after them.
const TRICKLE_BYTES: usize = 64;
const TRICKLE_PAUSE: Duration = Duration::from_millis(5);

/// What the proxy does with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Forwards everything.
    Forward,
    /// Forwards replies slowly, in small pieces.
    Trickle,
    /// Keeps connections open and forwards nothing.
    Stall,
    /// Closes connections, and new ones immediately.
    Cut,
    /// Forwards one byte of the next reply, closes its connection, and forwards everything again.
    CutNextReply,
}

/// The state that all connections share.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub(super) mode: Mode,
    /// Connections with a lower number are stalled permanently.
    stranded_below: u64,
    /// The number of the next connection.
    next: u64,
}

impl State {
    pub(super) const fn new() -> Self {
        Self { mode: Mode::Forward, stranded_below: 0, next: 0 }
    }
}

pub struct Proxy {
    directory: TempDir,
    state: watch::Sender<State>,
}

impl Proxy {
    pub fn start(target: &Path) -> Self {
        let directory = tempfile::Builder::new().prefix("gtx-proxy-").tempdir().expect("a temporary directory");
        let listener = UnixListener::bind(directory.path().join("proxy.sock")).expect("a socket");
        let state = watch::Sender::new(State::new());
        #[expect(clippy::disallowed_methods, reason = "the harness is not the service")]
        tokio::spawn(accept(listener, target.to_owned(), state.clone()));
        Self { directory, state }
    }

    pub fn url(&self) -> String {
        format!("unix://{}", self.directory.path().join("proxy.sock").display())
    }

    pub fn cut(&self) {
        self.state.send_modify(|state| state.mode = Mode::Cut);
    }

    /// Cuts the next reply in the middle.
    pub fn cut_next_reply(&self) {
        self.state.send_modify(|state| state.mode = Mode::CutNextReply);
    }

    pub fn trickle(&self) {
        self.state.send_modify(|state| state.mode = Mode::Trickle);
    }

    pub fn stall(&self) {
        self.state.send_modify(|state| state.mode = Mode::Stall);
    }

    /// Stalls the existing connections permanently; new ones work.
    pub fn strand(&self) {
        self.state.send_modify(|state| state.stranded_below = state.next);
    }

    pub fn heal(&self) {
        self.state.send_modify(|state| state.mode = Mode::Forward);
    }
}

async fn accept(listener: UnixListener, target: PathBuf, state: watch::Sender<State>) {
    while let Ok((client, _)) = listener.accept().await {
        if state.borrow().mode == Mode::Cut {
            continue;
        }
        let number = state.borrow().next;
        state.send_modify(|state| state.next += 1);
        let (target, shared, state) = (target.clone(), state.clone(), state.subscribe());
        #[expect(clippy::disallowed_methods, reason = "the harness is not the service")]
        tokio::spawn(async move {
            if let Ok(server) = UnixStream::connect(&target).await {
                forward(client, server, number, state, &shared).await;
            }
        });
    }
}

/// Forwards bytes in both directions until one side closes or the proxy is cut.
pub(super) async fn forward(
    client: impl AsyncRead + AsyncWrite,
    server: impl AsyncRead + AsyncWrite,
    number: u64,
    mut state: watch::Receiver<State>,
    shared: &watch::Sender<State>,
) {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let (mut request, mut reply) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let now = *state.borrow_and_update();
        if now.mode == Mode::Cut {
            return;
        }
        let open = now.mode != Mode::Stall && number >= now.stranded_below;
        let limit = match now.mode {
            Mode::Trickle => TRICKLE_BYTES,
            Mode::CutNextReply => 1,
            _ => reply.len(),
        };
        let alive = tokio::select! {
            changed = state.changed() => changed.is_ok(),
            read = from_client.read(&mut request), if open => match read {
                Ok(length) if length > 0 => to_server.write_all(&request[..length]).await.is_ok(),
                _ => false,
            },
            read = from_server.read(&mut reply[..limit]), if open => match read {
                Ok(length) if length > 0 => {
                    to_client.write_all(&reply[..length]).await.is_ok() && now.mode != Mode::CutNextReply
                }
                _ => false,
            },
        };
        if !alive {
            if now.mode == Mode::CutNextReply {
                shared.send_modify(|state| state.mode = Mode::Forward);
            }
            return;
        }
        if now.mode == Mode::Trickle {
            // Slows the replies down.
            tokio::time::sleep(TRICKLE_PAUSE).await;
        }
    }
}
