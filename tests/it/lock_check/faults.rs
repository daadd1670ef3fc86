//! What is done to the processes and their links, and healed again: one fault at a time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

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

/// The faults that one Redis without `locks.nodes` has to bear ...
const WITHOUT_NODES: &[Fault] =
    &[StopService, KillService, StopClients, KillClients, StopNodes, KillNodes, CutLinks, StallLinks];
/// ... and those for lock nodes.
const WITH_NODES: &[Fault] = &[
    StopService,
    KillService,
    StopClients,
    KillClients,
    StopNodes,
    KillNodes,
    WipeNodes,
    StopLine,
    WipeLine,
    CutLinks,
    StallLinks,
];

/// All kinds of faults in a random order, then again in another.
pub struct Deck {
    kinds: &'static [Fault],
    left: Vec<Fault>,
    rounds: usize,
}

impl Deck {
    pub fn new(has_nodes: bool) -> Self {
        let kinds = if has_nodes { WITH_NODES } else { WITHOUT_NODES };
        Self { kinds, left: kinds.to_vec(), rounds: 0 }
    }

    pub fn draw(&mut self, random: &mut Random) -> Fault {
        let fault = self.left.swap_remove(random.index(self.left.len()));
        if self.left.is_empty() {
            self.left = self.kinds.to_vec();
            self.rounds += 1;
        }
        fault
    }

    /// Whether each kind was drawn so often.
    pub fn has_struck(&self, times: usize) -> bool {
        self.rounds >= times
    }
}

impl Stage {
    /// Strikes, lets time pass, and heals.
    pub async fn suffer(&mut self, fault: Fault, random: &mut Random) {
        let struck = now();
        self.strike(fault, random).await;
        self.record.push(Event::Suffered { fault, struck, healed: now() });
    }

    async fn strike(&mut self, fault: Fault, random: &mut Random) {
        let pause = Duration::from_millis(50 + random.below(750));
        let service = random.index(self.services.len());
        let clients = some(self.clients.len(), 1 + random.index(3), random);
        let nodes = some(self.nodes().len(), 1 + random.index(self.minority()), random);
        match fault {
            StopService => {
                self.services[service].process.pause();
                tokio::time::sleep(pause).await;
                self.services[service].process.go_on();
            }
            KillService => self.services[service].replace(),
            StopClients => {
                clients.iter().for_each(|at| self.clients[*at].process.pause());
                // What they are granted in the first moments has ended when they wake up.
                tokio::time::sleep(Duration::from_millis(TTL + 150) + pause / 3).await;
                clients.iter().for_each(|at| self.clients[*at].process.go_on());
            }
            KillClients => clients.iter().for_each(|at| self.replace_clients(*at)),
            StopNodes => {
                nodes.iter().for_each(|at| self.nodes()[*at].stall());
                tokio::time::sleep(pause).await;
                nodes.iter().for_each(|at| self.nodes()[*at].resume());
            }
            KillNodes => {
                nodes.iter().for_each(|at| self.nodes()[*at].kill());
                tokio::time::sleep(pause / 2).await;
                nodes.iter().for_each(|at| self.nodes()[*at].boot());
            }
            WipeNodes => nodes.iter().for_each(|at| self.nodes()[*at].command(&["FLUSHALL"])),
            StopLine => {
                self.line.stall();
                tokio::time::sleep(pause).await;
                self.line.resume();
            }
            WipeLine => self.line.command(&["FLUSHALL"]),
            CutLinks => self.disturb_links(Proxy::cut, pause, random).await,
            StallLinks => self.disturb_links(Proxy::stall, pause, random).await,
        }
    }

    async fn disturb_links(&mut self, disturb: fn(&Proxy), pause: Duration, random: &mut Random) {
        let hit = some(self.links.len(), 1 + random.index(self.links.len()), random);
        hit.iter().for_each(|at| disturb(&self.links[*at]));
        tokio::time::sleep(pause).await;
        hit.iter().for_each(|at| self.links[*at].heal());
    }
}

/// So many different indices below `length`.
fn some(length: usize, count: usize, random: &mut Random) -> Vec<usize> {
    let mut all: Vec<usize> = (0..length).collect();
    (0..count.min(length)).map(|_| all.swap_remove(random.index(all.len()))).collect()
}
