//! All links to one server: a proxy on a TCP port that stops forwarding for single clients.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::proxy::{Mode, State, forward};

/// From where the service and the tests connect.
pub(super) const CLIENTS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// From where a server of a group connects to others. Each network has other addresses.
pub(super) fn source_address(network: u8, server: usize) -> IpAddr {
    Ipv4Addr::new(127, 0, network, u8::try_from(server + 1).expect("few servers")).into()
}

/// The state of the link from each client, by the address from which the client connects.
type Links = Arc<Mutex<HashMap<IpAddr, watch::Sender<State>>>>;

pub struct LinksTo {
    port: u16,
    links: Links,
}

impl LinksTo {
    /// `target` is the port of the server.
    pub async fn start(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let links = Links::default();
        #[expect(clippy::disallowed_methods, reason = "the harness is not the service")]
        tokio::spawn(accept(listener, target, Arc::clone(&links)));
        Self { port, links }
    }

    /// Where clients connect.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Loses all packets between this client and the server: connections stay open, and nothing arrives.
    pub fn lose(&self, client: IpAddr) {
        link(&mut locked(&self.links), client).send_modify(|state| state.mode = Mode::Stall);
    }

    /// Delivers what was lost for this client, as TCP would, and loses nothing more.
    pub fn deliver(&self, client: IpAddr) {
        link(&mut locked(&self.links), client).send_modify(|state| state.mode = Mode::Forward);
    }

    /// Delivers what was lost, as TCP would, and loses nothing more.
    pub fn heal(&self) {
        locked(&self.links).values().for_each(|link| link.send_modify(|state| state.mode = Mode::Forward));
    }
}

fn locked(links: &Links) -> MutexGuard<'_, HashMap<IpAddr, watch::Sender<State>>> {
    links.lock().unwrap_or_else(PoisonError::into_inner)
}

fn link(links: &mut HashMap<IpAddr, watch::Sender<State>>, client: IpAddr) -> &watch::Sender<State> {
    links.entry(client).or_insert_with(|| watch::Sender::new(State::new()))
}

async fn accept(listener: TcpListener, target: u16, links: Links) {
    while let Ok((client, from)) = listener.accept().await {
        let state = link(&mut locked(&links), from.ip()).clone();
        #[expect(clippy::disallowed_methods, reason = "the harness is not the service")]
        tokio::spawn(async move {
            if let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await {
                forward(client, server, 0, state.subscribe(), &state).await;
            }
        });
    }
}
