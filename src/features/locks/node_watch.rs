//! Which lock nodes vote: looked up in the background and told to readiness.
//!
//! Looking also begins a new or emptied node's quarantine, so that it is over when the first lock is asked for.

use std::time::Duration;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::keys::node_record;
use super::node_scripts::{Enroll, Franchise};
use super::store::Store;
use crate::clock::Clock;
use crate::lifecycle::{Component, ComponentHealth, ComponentMember, Finding, Tasks};
use crate::redis::RedisFault;

/// The part's name in the health report.
const PART: &str = "locks.nodes";

/// A lock node and the address under which people know it.
pub(super) struct Watched {
    pub address: String,
    pub store: Store,
}

/// Keeps the nodes connected and reports them, for its task.
pub(super) struct NodeWatch {
    nodes: Vec<Watched>,
    franchise: Franchise,
    interval: Duration,
    clock: Clock,
    component_health: ComponentHealth,
}

/// Whether a node takes part in decisions.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    Voting,
    /// For so long yet.
    Quarantined(Duration),
    Unreachable(String),
}

impl NodeWatch {
    pub(super) fn new(
        nodes: Vec<Watched>,
        franchise: Franchise,
        interval: Duration,
        clock: &Clock,
        component_health: &ComponentHealth,
    ) -> Self {
        let watch =
            Self { nodes, franchise, interval, clock: clock.clone(), component_health: component_health.clone() };
        let unseen = watch.nodes.iter().map(|_| Standing::Unreachable("it has not been asked yet".to_owned()));
        watch.report(&unseen.collect::<Vec<_>>());
        watch
    }

    /// Connects the nodes and looks at them until `stop`.
    pub(super) async fn run(self, tasks: Tasks, stop: CancellationToken) {
        for node in &self.nodes {
            node.store.redis().attach(0, &tasks);
        }
        let mut looks = tokio::time::interval(self.interval);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = looks.tick() => {}
            }
            let standings = join_all(self.nodes.iter().map(|node| self.look(&node.store))).await;
            self.report(&standings);
        }
    }

    async fn look(&self, node: &Store) -> Standing {
        let (redis, terms) = (node.redis(), node.terms());
        let call = Enroll { record: &node_record(redis.keys()), franchise: self.franchise, now: &terms.now };
        match redis.call(&call).await {
            Ok(rest) if rest.is_zero() => Standing::Voting,
            Ok(rest) => Standing::Quarantined(rest),
            Err(fault) => Standing::Unreachable(cause(node, &fault)),
        }
    }

    fn report(&self, standings: &[Standing]) {
        let mut part = Component::default();
        for (Watched { address, store }, standing) in self.nodes.iter().zip(standings) {
            let (state, rest) = match standing {
                Standing::Voting => ("voting", None),
                Standing::Quarantined(rest) => {
                    part.findings.push(Finding::degraded(format!(
                        "lock node {address} may have forgotten its votes: it stays out for {rest:.0?} yet"
                    )));
                    ("quarantined", Some(*rest))
                }
                Standing::Unreachable(cause) => {
                    part.findings.push(Finding::degraded(format!("lock node {address} does not vote: {cause}")));
                    ("unreachable", None)
                }
            };
            let own = store.redis().report().findings;
            part.findings.extend(
                own.into_iter()
                    .map(|finding| Finding { reason: format!("lock node {address}: {}", finding.reason), ..finding }),
            );
            let until = rest.map(|rest| self.clock.now() + i64::try_from(rest.as_millis()).unwrap_or_default());
            part.members.push(ComponentMember { name: address.clone(), state, until });
        }
        let (voting, total) = (standings.iter().filter(|&one| *one == Standing::Voting).count(), self.nodes.len());
        if voting <= total / 2 {
            part.findings.push(Finding::down(format!("{voting} of {total} lock nodes vote: no lock can be granted")));
        }
        self.component_health.report(PART, part);
    }
}

/// Why a node cannot be asked: the reason for its missing connection says more than a refused call.
fn cause(node: &Store, fault: &RedisFault) -> String {
    node.redis().report().refusal.unwrap_or_else(|| fault.to_string())
}
