//! Samples in the formats of other tools.

mod csv;
mod influx;
mod prometheus;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::features::hosts::fields::{Field, Kind};
use crate::features::hosts::model::HostId;
use crate::features::hosts::sample::Sample;
use crate::features::hosts::tenancy::{Organisation, Owners};
use crate::http::extract::Json;

/// The owner of a host, if it is to be exported and has a name.
fn owner_of<'a>(owners: Option<&'a Owners>, host: &HostId) -> Option<&'a str> {
    owners?.get(host).map(Organisation::as_str).filter(|name| !name.is_empty())
}

/// The format of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = HostExportFormat)]
pub(in super::super) enum Format {
    Json,
    Csv,
    /// Text exposition format 0.0.4, for newest samples only.
    Prometheus,
    /// Line protocol, nanoseconds.
    Influx,
}

/// The cursor of the next page, for formats that cannot contain it.
static NEXT_CURSOR: HeaderName = HeaderName::from_static("next-cursor");

impl Format {
    /// The requested format: the parameter, else the first known type in `Accept`, else JSON.
    pub(in super::super) fn of(parameter: Option<Self>, headers: &HeaderMap) -> Self {
        let accepted = || {
            let ranges = headers.get(header::ACCEPT)?.to_str().ok()?.split(',');
            ranges.map(|range| range.split(';').next().unwrap_or_default().trim()).find_map(|media| match media {
                "application/json" | "*/*" => Some(Self::Json),
                "text/csv" => Some(Self::Csv),
                "text/plain" | "application/openmetrics-text" => Some(Self::Prometheus),
                _ => None,
            })
        };
        parameter.or_else(accepted).unwrap_or(Self::Json)
    }

    /// Writes samples in this format, with the organisations of their hosts if `owners` has them; `json` is the response for
    /// the JSON format.
    pub(in super::super) fn answer<'a>(
        self,
        samples: impl Iterator<Item = (&'a HostId, &'a Sample)>,
        owners: Option<&Owners>,
        next_cursor: Option<&str>,
        json: &impl Serialize,
    ) -> Response {
        let (media_type, text) = match self {
            Self::Json => return Json(json).into_response(),
            Self::Csv => ("text/csv; charset=utf-8", csv::text(samples, owners)),
            Self::Prometheus => ("text/plain; version=0.0.4; charset=utf-8", prometheus::text(samples, owners)),
            Self::Influx => ("text/plain; charset=utf-8", influx::text(samples, owners)),
        };
        let mut response = ([(header::CONTENT_TYPE, HeaderValue::from_static(media_type))], text).into_response();
        if let Some(cursor) = next_cursor.and_then(|cursor| HeaderValue::from_str(cursor).ok()) {
            response.headers_mut().insert(NEXT_CURSOR.clone(), cursor);
        }
        response
    }
}

/// Appends a field's number as the shortest text that parses to the same number.
fn number(out: &mut String, field: &Field, sample: &Sample) {
    let bits = (field.bits)(sample);
    match field.kind {
        Kind::Whole => out.push_str(itoa::Buffer::new().format(bits)),
        Kind::Float => out.push_str(zmij::Buffer::new().format(f64::from_bits(bits))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::hosts::sample::{Cpu, Network, Space};

    fn samples() -> [(HostId, Sample); 2] {
        let one = Sample {
            timestamp: 1_767_225_600_000,
            seq: 0,
            cpu: Cpu { usage: 12.5, cores: 4, load_avg: [0.5, 0.25, 0.125] },
            memory: Space { total: 1_000, used: 400, free: 600, usage_percent: 40.0 },
            disk: Space { total: 5_000, used: 1_000, free: 4_000, usage_percent: 20.0 },
            network: Network { bytes_in: 100, bytes_out: 50, packets_in: 10, packets_out: 5 },
        };
        let host = |name| HostId::new(name).expect("a name");
        [(host("a"), one), (host("b"), Sample { seq: 3, ..one })]
    }

    type Text = fn(std::vec::IntoIter<(&'static HostId, &'static Sample)>, Option<&Owners>) -> String;

    fn write_with(text: Text, owners: Option<&Owners>) -> String {
        let samples: &'static [(HostId, Sample); 2] = Box::leak(Box::new(samples()));
        text(samples.iter().map(|(host, sample)| (host, sample)).collect::<Vec<_>>().into_iter(), owners)
    }

    fn write(text: Text) -> String {
        write_with(text, None)
    }

    #[test]
    fn organisations_are_escaped() {
        let owners = Owners::from([(samples()[1].0.clone(), Organisation::new("x, \"y\"=\\z"))]);
        let csv = write_with(csv::text, Some(&owners));
        let lines: Vec<&str> = csv.lines().collect();
        assert!(lines[0].ends_with(",network.packetsOut,organisation"), "{csv}");
        assert!(lines[1].ends_with(",10,5,") && lines[2].ends_with(r#",10,5,"x, ""y""=\z""#), "{csv}");
        let influx = write_with(influx::text, Some(&owners));
        assert!(influx.contains("host=a cpu"), "{influx}");
        assert!(influx.contains(r#"host=b,organisation=x\,\ "y"\=\z,seq=3 cpu"#), "{influx}");
        let exposition = write_with(prometheus::text, Some(&owners));
        assert!(exposition.contains("{host=\"a\"} "), "{exposition}");
        assert!(exposition.contains(r#"{host="b",organisation="x, \"y\"=\\z"} "#), "{exposition}");
    }

    #[test]
    fn csv_has_a_column_for_each_field() {
        insta::assert_snapshot!(write(csv::text), @r"
        host,timestamp,seq,cpu.usage,cpu.cores,cpu.loadAvg.1,cpu.loadAvg.5,cpu.loadAvg.15,memory.total,memory.used,memory.free,memory.usagePercent,disk.total,disk.used,disk.free,disk.usagePercent,network.bytesIn,network.bytesOut,network.packetsIn,network.packetsOut
        a,1767225600000,0,12.5,4,0.5,0.25,0.125,1000,400,600,40.0,5000,1000,4000,20.0,100,50,10,5
        b,1767225600000,3,12.5,4,0.5,0.25,0.125,1000,400,600,40.0,5000,1000,4000,20.0,100,50,10,5
        ");
    }

    #[test]
    fn line_protocol_has_a_line_for_each_sample() {
        insta::assert_snapshot!(write(influx::text), @r"
        host_metrics,host=a cpu.usage=12.5,cpu.cores=4i,cpu.loadAvg.1=0.5,cpu.loadAvg.5=0.25,cpu.loadAvg.15=0.125,memory.total=1000i,memory.used=400i,memory.free=600i,memory.usagePercent=40.0,disk.total=5000i,disk.used=1000i,disk.free=4000i,disk.usagePercent=20.0,network.bytesIn=100i,network.bytesOut=50i,network.packetsIn=10i,network.packetsOut=5i 1767225600000000000
        host_metrics,host=b,seq=3 cpu.usage=12.5,cpu.cores=4i,cpu.loadAvg.1=0.5,cpu.loadAvg.5=0.25,cpu.loadAvg.15=0.125,memory.total=1000i,memory.used=400i,memory.free=600i,memory.usagePercent=40.0,disk.total=5000i,disk.used=1000i,disk.free=4000i,disk.usagePercent=20.0,network.bytesIn=100i,network.bytesOut=50i,network.packetsIn=10i,network.packetsOut=5i 1767225600000000000
        ");
    }

    #[test]
    fn exposition_has_every_host_below_each_name() {
        let text = write(prometheus::text);
        let lines: Vec<&str> = text.lines().take(4).collect();
        assert_eq!(
            lines,
            [
                "# HELP host_cpu_usage_percent Processors in use.",
                "# TYPE host_cpu_usage_percent gauge",
                "host_cpu_usage_percent{host=\"a\"} 12.5",
                "host_cpu_usage_percent{host=\"b\"} 12.5",
            ]
        );
        assert!(text.contains("# TYPE host_network_receive_bytes_total counter\n"), "{text}");
        assert!(text.ends_with("host_last_sample_timestamp_seconds{host=\"b\"} 1767225600.0\n"), "{text}");
    }
}
