//! Which master the connections lead to, and the end of those that may lead to a former one.

use redis::ConnectionAddr;
use tokio_util::sync::CancellationToken;

use super::sentinels::at;

/// The connections that were made since the last change of the master.
#[derive(Default)]
pub(super) struct Present {
    /// The parent of their tokens.
    pub(super) end: CancellationToken,
    /// The servers to which they lead, as Sentinels name them: one, unless a Sentinel has missed a failover or some of them name
    /// hosts and others addresses.
    masters: Vec<ConnectionAddr>,
    /// How often a Sentinel has named that one as the new master since.
    pub(super) confirmations: u64,
}

impl Present {
    /// Ends all connections, and those that are being made, unless all lead to this master.
    pub(super) fn leave_for(&mut self, host: &str, port: u16) {
        let is_there = |master: &ConnectionAddr| *master == at(master, host.to_owned(), port);
        if !self.masters.is_empty() && self.masters.iter().all(is_there) {
            self.confirmations += 1;
        } else {
            std::mem::take(self).end.cancel();
        }
    }

    /// Records where a connection leads that is being made, or ends it: a Sentinel that has switched since `confirmations` may
    /// have named the former master before.
    pub(super) fn settle(&mut self, master: &ConnectionAddr, lost: &CancellationToken, confirmations: u64) {
        if lost.is_cancelled() || self.masters.contains(master) {
            return;
        }
        if self.confirmations == confirmations {
            self.masters.push(master.clone());
        } else {
            lost.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(host: &str) -> ConnectionAddr {
        ConnectionAddr::Tcp(host.to_owned(), 6379)
    }

    #[test]
    fn connections_end_unless_all_lead_to_the_master_that_a_sentinel_names() {
        let mut present = Present::default();
        let begin = |present: &Present| (present.end.child_token(), present.confirmations);
        let (first, seen) = begin(&present);
        present.settle(&server("a"), &first, seen);
        let (slow, before) = begin(&present);
        present.leave_for("a", 6379);
        assert!(!first.is_cancelled(), "it leads to the new master");
        present.settle(&server("b"), &slow, before);
        assert!(slow.is_cancelled() && !first.is_cancelled(), "it asked before a Sentinel switched");
        let (other, seen) = begin(&present);
        present.settle(&server("host-of-a"), &other, seen);
        assert!(!other.is_cancelled() && !first.is_cancelled(), "another name of the same server");
        present.leave_for("a", 6379);
        assert!(other.is_cancelled() && first.is_cancelled(), "one of them may be the former master");
        let (new, _) = begin(&present);
        present.leave_for("a", 6379);
        assert!(new.is_cancelled(), "it is not known where it will lead");
    }
}
