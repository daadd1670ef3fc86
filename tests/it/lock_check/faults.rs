//! Faults of processes and links, injected and healed one at a time.

use std::time::Duration;

use super::client::TTL;
use super::clock::now;
use super::history::Event;
use super::random::Random;
use super::stage::Stage;
use crate::support::Proxy;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// A replica is paused, with its waiters.
    StopService,
    KillService,
    /// Clients are paused, often beyond the end of their leases, and write when they continue.
    StopClients,
    KillClients,
    /// The Redis that keeps the locks, or a minority of the lock nodes, is paused.
    StopNodes,
    /// These servers are killed and restarted: the only Redis with its data, lock nodes empty.
    KillNodes,
    /// FLUSHALL.
    WipeNodes,
    /// The Redis that keeps the queue for lock nodes is paused.
    StopQueue,
    WipeQueue,
    /// One replica loses some of its connections.
    CutLinks,
    /// These connections are paused; data sent meanwhile arrives late.
    StallLinks,
}

use Fault::{
    CutLinks, KillClients, KillNodes, KillService, StallLinks, StopClients, StopNodes, StopQueue, StopService,
    WipeNodes, WipeQueue,
};

/// Faults for every kind of lock.
const ALWAYS: [Fault; 8] =
    [StopService, KillService, StopClients, KillClients, StopNodes, KillNodes, CutLinks, StallLinks];
/// Additional faults for lock nodes. A single Redis must not forget its grants.
const ON_NODES: [Fault; 3] = [WipeNodes, StopQueue, WipeQueue];

/// Returns every kind of fault once per round, in random order.
pub struct FaultSchedule {
    kinds: Vec<Fault>,
    left: Vec<Fault>,
    /// Complete rounds.
    pub rounds: usize,
}

impl FaultSchedule {
    pub fn new(has_nodes: bool) -> Self {
        let mut kinds = ALWAYS.to_vec();
        if has_nodes {
            kinds.extend(ON_NODES);
        }
        Self { left: kinds.clone(), kinds, rounds: 0 }
    }

    pub fn next_fault(&mut self, random: &mut Random) -> Fault {
        let fault = self.left.swap_remove(random.index(self.left.len()));
        if self.left.is_empty() {
            self.left.clone_from(&self.kinds);
            self.rounds += 1;
        }
        fault
    }
}

impl Stage {
    /// Injects a fault for a while, heals it and records it.
    pub async fn inject(&mut self, fault: Fault, random: &mut Random) {
        let injected = now();
        self.apply(fault, random).await;
        self.record.push(Event::FaultInjected { fault, injected, healed: now() });
    }

    async fn apply(&mut self, fault: Fault, random: &mut Random) {
        let pause = Duration::from_millis(50 + random.below(750));
        let service = random.index(self.services.len());
        let clients = random_indices(self.clients.len(), 3, random);
        let nodes = random_indices(self.nodes().len(), self.minority(), random);
        let links = random_indices(self.links.len(), self.links.len(), random);
        match fault {
            StopService => {
                self.services[service].process.pause();
                persist(pause).await;
                self.services[service].process.resume();
            }
            KillService => self.services[service].replace(),
            StopClients => {
                for at in &clients {
                    self.clients[*at].process.pause();
                }
                // Long enough for leases that they were granted just now to end.
                persist(Duration::from_millis(TTL + 150) + pause / 3).await;
                for at in &clients {
                    self.clients[*at].process.resume();
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
                persist(pause).await;
                for at in &nodes {
                    self.nodes()[*at].resume();
                }
            }
            KillNodes => {
                for at in &nodes {
                    self.nodes()[*at].kill();
                }
                persist(pause / 2).await;
                for at in &nodes {
                    self.nodes()[*at].boot();
                }
            }
            WipeNodes => {
                for at in nodes {
                    let _: String = self.nodes()[at].command(&["FLUSHALL"]);
                }
            }
            StopQueue => {
                self.state_role.stall();
                persist(pause).await;
                self.state_role.resume();
            }
            WipeQueue => {
                let _: String = self.state_role.command(&["FLUSHALL"]);
            }
            CutLinks => self.disturb(&links, Proxy::cut, pause).await,
            StallLinks => self.disturb(&links, Proxy::stall, pause).await,
        }
    }

    async fn disturb(&self, links: &[usize], how: fn(&Proxy), pause: Duration) {
        for at in links {
            how(&self.links[*at]);
        }
        persist(pause).await;
        for at in links {
            self.links[*at].heal();
        }
    }
}

/// Lets a fault persist.
async fn persist(time: Duration) {
    // The duration belongs to the fault, so there is no condition to wait for.
    tokio::time::sleep(time).await;
}

/// Between 1 and `most` different indices below `length`.
fn random_indices(length: usize, most: usize, random: &mut Random) -> Vec<usize> {
    let mut all: Vec<usize> = (0..length).collect();
    (0..=random.index(most)).map(|_| all.swap_remove(random.index(all.len()))).collect()
}
