//! Checks in the background which lock nodes vote, and reports them to readiness.
//!
//! The check also starts the quarantine of a new or emptied node, so that it is over before the first lock is
//! requested.

use std::time::Duration;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::scripts::Leases;
use crate::clock::Clock;
use crate::lifecycle::{Component, ComponentHealth, ComponentMember, Finding, Tasks};

/// The component's name in the health report.
const COMPONENT: &str = "locks.nodes";
/// How often each replica checks the nodes. One cheap script call per node; readiness is at most this stale.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Keeps the nodes connected and reports their state; runs as a background task.
pub(super) struct NodeWatch {
    /// With their addresses, which have no credentials.
    nodes: Vec<(String, Leases)>,
    clock: Clock,
    component_health: ComponentHealth,
}

impl NodeWatch {
    pub(super) fn new(nodes: Vec<(String, Leases)>, clock: &Clock, component_health: &ComponentHealth) -> Self {
        let watch = Self { nodes, clock: clock.clone(), component_health: component_health.clone() };
        let unknown = watch.nodes.iter().map(|_| Err("it was not checked yet".to_owned()));
        watch.report(&unknown.collect::<Vec<_>>());
        watch
    }

    /// Connects the nodes and checks them until `stop`.
    pub(super) async fn run(self, tasks: Tasks, stop: CancellationToken) {
        for (_, node) in &self.nodes {
            node.redis.attach(0, &tasks);
        }
        let mut checks = tokio::time::interval(CHECK_INTERVAL);
        checks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = checks.tick() => {}
            }
            let states = join_all(self.nodes.iter().map(|(_, node)| quarantine(node))).await;
            self.report(&states);
        }
    }

    /// Reports the rest of each node's quarantine, or why the node does not vote.
    fn report(&self, states: &[Result<Duration, String>]) {
        let mut component = Component::default();
        for ((address, node), state) in self.nodes.iter().zip(states) {
            let (state, rest) = match state {
                Ok(Duration::ZERO) => ("voting", None),
                Ok(rest) => {
                    component.findings.push(Finding::degraded(format!(
                        "lock node {address} may have forgotten its votes and will not vote for another {rest:.0?}"
                    )));
                    ("quarantined", Some(*rest))
                }
                Err(cause) => {
                    component.findings.push(Finding::degraded(format!("lock node {address} does not vote: {cause}")));
                    ("unreachable", None)
                }
            };
            for finding in node.redis.report().findings {
                let reason = format!("lock node {address}: {}", finding.reason);
                component.findings.push(Finding { reason, ..finding });
            }
            let until = rest.map(|rest| self.clock.now() + i64::try_from(rest.as_millis()).unwrap_or_default());
            component.members.push(ComponentMember { name: address.clone(), state, until, heard: None });
        }
        let voting = states.iter().filter(|state| matches!(state, Ok(Duration::ZERO))).count();
        let total = self.nodes.len();
        if voting <= total / 2 {
            let reason = format!("{voting} of {total} lock nodes vote: no lock can be granted");
            component.findings.push(Finding::down(reason));
        }
        self.component_health.report(COMPONENT, component);
    }
}

/// The rest of a node's quarantine, which is zero if it votes, or why it is unreachable.
async fn quarantine(node: &Leases) -> Result<Duration, String> {
    node.redis.call(node.register_node()).await.map_err(|fault| {
        // Why there is no connection says more than a call that was refused for lack of one.
        node.redis.report().refusal.unwrap_or_else(|| fault.to_string())
    })
}
