//! Centrifugo's own clients, and a link to the service that a test can cut.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::support::{LineProcess, in_repository, node, python};

/// A library of Centrifugo.
#[derive(Clone, Copy, Debug)]
pub enum Library {
    JavaScript,
    Python,
}

pub const LIBRARIES: [Library; 2] = [Library::JavaScript, Library::Python];

/// A process with one client.
pub struct Client(LineProcess);

impl Client {
    /// A client that connects to `address`. A client with a token asks for another one with the event `token`, and waits
    /// for the command `token`.
    pub async fn connect(library: Library, address: SocketAddr, token: Option<&str>) -> Self {
        let script = |name: &str| in_repository("tests/interoperability").join(name);
        let mut command = match library {
            Library::JavaScript => node(&script("centrifuge.js")),
            Library::Python => python(&script("centrifuge_client.py")),
        };
        command.arg(format!("ws://{address}/connection/websocket"));
        let mut client = Self(LineProcess::start(&format!("{library:?}"), command));
        client.command(json!({ "do": "connect", "token": token })).await;
        client
    }

    /// The result of a command, or an object with the `code` of its error.
    pub async fn command(&mut self, command: Value) -> Value {
        self.0.request(command).await
    }

    /// The next event of this kind; those before it are dropped.
    pub async fn until(&mut self, kind: &str) -> Value {
        loop {
            let event = self.command(json!({ "do": "event" })).await;
            if event["event"] == kind {
                return event;
            }
        }
    }

    /// Subscribes, and waits until that is done.
    pub async fn subscribe(&mut self, channel: &str, options: Value) -> Value {
        let mut command = json!({ "do": "subscribe", "channel": channel });
        for (name, option) in options.as_object().expect("an object") {
            command[name] = option.clone();
        }
        self.command(command).await;
        self.until("subscribed").await
    }
}

/// Forwards connections to a target, which a test can cut and change.
pub struct Link {
    address: SocketAddr,
    /// Where connections lead; none while the link is cut.
    target: watch::Sender<Option<SocketAddr>>,
}

impl Link {
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let target = watch::Sender::new(Some(target));
        let targets = target.subscribe();
        #[expect(clippy::disallowed_methods, reason = "the harness is not the service")]
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, targets.clone()));
            }
        });
        Self { address, target }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts all connections, and new ones immediately.
    pub fn cut(&self) {
        self.target.send_replace(None);
    }

    /// Forwards new connections to `target`, and cuts those to another.
    pub fn lead_to(&self, target: SocketAddr) {
        self.target.send_replace(Some(target));
    }
}

async fn forward(mut client: TcpStream, mut targets: watch::Receiver<Option<SocketAddr>>) {
    let Some(target) = *targets.borrow_and_update() else { return };
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        _ = targets.changed() => {}
    }
}
