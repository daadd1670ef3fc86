//! Newest samples in the Prometheus text exposition format, as a scrape target.
//!
//! Lines have no timestamps, because Prometheus rejects old ones; the time of the newest sample is a metric of its own.

use super::{Owners, number, owner_of};
use crate::features::hosts::fields::FIELDS;
use crate::features::hosts::model::HostId;
use crate::features::hosts::sample::Sample;

/// Name, kind and help of each field, in the order of [`FIELDS`].
const METRICS: &[(&str, &str, &str)] = &[
    ("host_cpu_usage_percent", "gauge", "Processors in use."),
    ("host_cpu_cores", "gauge", "Processors."),
    ("host_load1", "gauge", "Runnable processes, over 1 minute."),
    ("host_load5", "gauge", "Runnable processes, over 5 minutes."),
    ("host_load15", "gauge", "Runnable processes, over 15 minutes."),
    ("host_memory_total_bytes", "gauge", "Memory."),
    ("host_memory_used_bytes", "gauge", "Memory in use."),
    ("host_memory_free_bytes", "gauge", "Memory that is free."),
    ("host_memory_usage_percent", "gauge", "Memory in use."),
    ("host_disk_total_bytes", "gauge", "Disk."),
    ("host_disk_used_bytes", "gauge", "Disk in use."),
    ("host_disk_free_bytes", "gauge", "Disk that is free."),
    ("host_disk_usage_percent", "gauge", "Disk in use."),
    ("host_network_receive_bytes_total", "counter", "Bytes received."),
    ("host_network_transmit_bytes_total", "counter", "Bytes sent."),
    ("host_network_receive_packets_total", "counter", "Packets received."),
    ("host_network_transmit_packets_total", "counter", "Packets sent."),
];

pub(super) fn text<'a>(samples: impl Iterator<Item = (&'a HostId, &'a Sample)>, owners: Option<&Owners>) -> String {
    let samples: Vec<(String, &Sample)> = samples.map(|(host, sample)| (labels(host, owners), sample)).collect();
    let mut out = String::new();
    for (field, (name, kind, help)) in FIELDS.iter().zip(METRICS) {
        begin(&mut out, name, kind, help);
        for (labels, sample) in &samples {
            out.extend([name, labels.as_str(), " "]);
            number(&mut out, field, sample);
            out.push('\n');
        }
    }
    let name = "host_last_sample_timestamp_seconds";
    begin(&mut out, name, "gauge", "When the newest sample was measured.");
    for (labels, sample) in &samples {
        out.extend([name, labels.as_str(), " "]);
        #[expect(clippy::cast_precision_loss, reason = "timestamps are below 2^53")]
        out.push_str(zmij::Buffer::new().format(sample.timestamp as f64 / 1_000.0));
        out.push('\n');
    }
    out
}

fn labels(host: &HostId, owners: Option<&Owners>) -> String {
    let name = host.name();
    match owner_of(owners, host) {
        None => format!("{{host=\"{name}\"}}"),
        Some(owner) => {
            let owner = owner.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            format!("{{host=\"{name}\",organisation=\"{owner}\"}}")
        }
    }
}

fn begin(out: &mut String, name: &str, kind: &str, help: &str) {
    out.extend(["# HELP ", name, " ", help, "\n# TYPE ", name, " ", kind, "\n"]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_its_metric() {
        assert_eq!(METRICS.len(), FIELDS.len());
        for (field, (name, ..)) in FIELDS.iter().zip(METRICS) {
            let part = field.name.split('.').next().expect("a part");
            assert!(name.contains(part) || field.name.contains("load") && name.contains("load"), "{name}");
        }
    }
}
