//! The metrics of this machine.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use sysinfo::{Disks, Networks, System};

use gridtokenx_redis::clock::UnixMillis;

/// The shortest time between two readings of processor load.
pub(super) const SHORTEST_INTERVAL: Duration = sysinfo::MINIMUM_CPU_UPDATE_INTERVAL;

pub(super) struct Machine {
    system: System,
    disks: Disks,
    networks: Networks,
}

impl Machine {
    pub(super) fn new() -> Self {
        let mut system = System::new();
        system.refresh_cpu_usage();
        Self { system, disks: Disks::new_with_refreshed_list(), networks: Networks::new_with_refreshed_list() }
    }

    /// A sample as the service expects it.
    pub(super) fn sample(&mut self, now: UnixMillis) -> Value {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory();
        self.disks.refresh(true);
        self.networks.refresh(true);
        let load = System::load_average();
        json!({
            "timestamp": now,
            "cpu": {
                // Rounding errors may exceed 100 %.
                "usage": f64::from(self.system.global_cpu_usage()).clamp(0.0, 100.0),
                "cores": self.system.cpus().len(),
                "loadAvg": [load.one, load.five, load.fifteen],
            },
            "memory": space(self.system.total_memory(), self.system.used_memory()),
            "disk": self.disk(),
            "network": self.network(),
        })
    }

    /// The sum of all disks; a disk that is mounted several times counts once.
    fn disk(&self) -> Value {
        let mut seen = BTreeSet::new();
        let (mut total, mut available) = (0, 0);
        for disk in self.disks.list().iter().filter(|disk| seen.insert(disk.name())) {
            total += disk.total_space();
            available += disk.available_space();
        }
        space(total, total.saturating_sub(available))
    }

    /// The sum of all interfaces.
    fn network(&self) -> Value {
        let sum = |of: fn(&sysinfo::NetworkData) -> u64| self.networks.values().map(of).sum::<u64>();
        json!({
            "bytesIn": sum(sysinfo::NetworkData::total_received),
            "bytesOut": sum(sysinfo::NetworkData::total_transmitted),
            "packetsIn": sum(sysinfo::NetworkData::total_packets_received),
            "packetsOut": sum(sysinfo::NetworkData::total_packets_transmitted),
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a percentage")]
fn space(total: u64, used: u64) -> Value {
    let used = used.min(total);
    let percent = if total == 0 { 0.0 } else { used as f64 / total as f64 * 100.0 };
    json!({ "total": total, "used": used, "free": total - used, "usagePercent": percent })
}
