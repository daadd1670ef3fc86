//! What is done to the processes and their links, and healed again: one fault at a time.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::client::TTL;
use super::clock::now;
use super::history::Event;
use super::random::Random;
use super::stage::Stage;
use crate::support::Proxy;

#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// A replica sleeps; its waiters, and the locks held through it, cannot move.
    StopService,
    KillService,
    /// Clients sleep on what they hold, often beyond its end, and write when they wake up.
    StopClients,
    KillClients,
    /// The Redis of the locks, or a minority of the lock nodes, sleeps.
    StopNodes,
    /// It is killed and started again: with its data where it is the only Redis, else empty.
    KillNodes,
    /// FLUSHALL.
    WipeNodes,
    /// The Redis that keeps the line for lock nodes sleeps.
    StopLine,
    WipeLine,
    /// One replica loses some of its connections.
    CutLinks,
    /// Nothing passes on them; what was sent meanwhile arrives late.
    StallLinks,
}

use Fault::{
    CutLinks, KillClients, KillNodes, KillService, StallLinks, StopClients, StopLine, StopNodes, StopService, WipeLine,
    WipeNodes,
};

/// What every kind of lock has to bear ...
const ALWAYS: [Fault; 8] =
    [StopService, KillService, StopClients, KillClients, StopNodes, KillNodes, CutLinks, StallLinks];
/// ... and what those on lock nodes have to bear as well: one Redis alone may not forget what it has granted.
const ON_NODES: [Fault; 3] = [WipeNodes, StopLine, WipeLine];

/// All kinds of faults in a random order, then again in another.
pub struct Deck {
    kinds: Vec<Fault>,
    left: Vec<Fault>,
    /// How often each kind was drawn.
    pub rounds: usize,
}

impl Deck {
    pub fn new(has_nodes: bool) -> Self {
        let mut kinds = ALWAYS.to_vec();
        if has_nodes {
            kinds.extend(ON_NODES);
        }
        Self { left: kinds.clone(), kinds, rounds: 0 }
    }

    pub fn draw(&mut self, random: &mut Random) -> Fault {
        let fault = self.left.swap_remove(random.index(self.left.len()));
        if self.left.is_empty() {
            self.left.clone_from(&self.kinds);
            self.rounds += 1;
        }
        fault
    }
}

impl Stage {
    /// Strikes, lets time pass, heals, and notes it.
    pub async fn suffer(&mut self, fault: Fault, random: &mut Random) {
        let struck = now();
        self.strike(fault, random).await;
        self.record.push(Event::Suffered { fault, struck, healed: now() });
    }

    async fn strike(&mut self, fault: Fault, random: &mut Random) {
        let pause = Duration::from_millis(50 + random.below(750));
        let service = random.index(self.services.len());
        let clients = some(self.clients.len(), 3, random);
        let nodes = some(self.nodes().len(), self.minority(), random);
        let links = some(self.links.len(), self.links.len(), random);
        match fault {
            StopService => {
                self.services[service].process.pause();
                sleep(pause).await;
                self.services[service].process.go_on();
            }
            KillService => self.services[service].replace(),
            StopClients => {
                for at in &clients {
                    self.clients[*at].process.pause();
                }
                // What they are granted in the first moments has ended when they wake up.
                sleep(Duration::from_millis(TTL + 150) + pause / 3).await;
                for at in &clients {
                    self.clients[*at].process.go_on();
                }
            }
            KillClients => {
                for at in clients {
                    self.replace_clients(at);
                }
            }
            StopNodes => {
                for at in &nodes {
                    self.nodes()[*at].stall();
                }
                sleep(pause).await;
                for at in &nodes {
                    self.nodes()[*at].resume();
                }
            }
            KillNodes => {
                for at in &nodes {
                    self.nodes()[*at].kill();
                }
                sleep(pause / 2).await;
                for at in &nodes {
                    self.nodes()[*at].boot();
                }
            }
            WipeNodes => {
                for at in nodes {
                    let _: String = self.nodes()[at].command(&["FLUSHALL"]);
                }
            }
            StopLine => {
                self.line.stall();
                sleep(pause).await;
                self.line.resume();
            }
            WipeLine => {
                let _: String = self.line.command(&["FLUSHALL"]);
            }
            CutLinks => self.disturb(&links, Proxy::cut, pause).await,
            StallLinks => self.disturb(&links, Proxy::stall, pause).await,
        }
    }

    async fn disturb(&self, links: &[usize], how: fn(&Proxy), pause: Duration) {
        for at in links {
            how(&self.links[*at]);
        }
        sleep(pause).await;
        for at in links {
            self.links[*at].heal();
        }
    }
}

/// One to `most` different indices below `length`.
fn some(length: usize, most: usize, random: &mut Random) -> Vec<usize> {
    let mut all: Vec<usize> = (0..length).collect();
    (0..=random.index(most)).map(|_| all.swap_remove(random.index(all.len()))).collect()
}
