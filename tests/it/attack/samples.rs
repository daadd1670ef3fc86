//! Attacks on time series, Prometheus queries and hosts: many series, long ranges, expensive queries, exports.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::Size;
use super::client::{Attack, JSON, Manner, call, encoded};

const NDJSON: &str = "Content-Type: application/x-ndjson\r\n";
const TEXT: &str = "Content-Type: text/plain\r\n";

/// The time between two samples of the long series, ms.
const INTERVAL: u64 = 15_000;

fn now() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the harness is not the service")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_millis()).expect("small")
}

/// The time of the first of this many samples of a long series.
fn start(samples: usize) -> u64 {
    now() - u64::try_from(samples).expect("small") * INTERVAL
}

/// Samples of one series up to the present.
fn long_series(name: &str, samples: usize) -> String {
    let first = start(samples);
    let line = |n: usize| {
        let timestamp = first + u64::try_from(n).expect("small") * INTERVAL;
        format!("{{\"series\":\"{name}\",\"timestamp\":{timestamp},\"value\":{}}}\n", n % 977)
    };
    (0..samples).map(line).collect()
}

/// Line protocol with one sample of each of many series.
#[expect(clippy::format_collect, reason = "short enough to read, and only once per attack")]
fn many_series(measurement: &str, series: usize) -> String {
    (0..series).map(|n| format!("{measurement},meter=m{n},zone=z{} value={n}\n", n % 50)).collect()
}

fn host_samples(count: u64) -> Value {
    let now = now();
    let sample = |n: u64| {
        json!({
            "timestamp": now - n * 5_000,
            "cpu": { "usage": 12.5, "cores": 4, "loadAvg": [0.5, 0.25, 0.125] },
            "memory": { "total": 1_000, "used": 400, "free": 600, "usagePercent": 40.0 },
            "disk": { "total": 5_000, "used": 1_000, "free": 4_000, "usagePercent": 20.0 },
            "network": { "bytesIn": 100 + n, "bytesOut": 50, "packetsIn": 10, "packetsOut": 5 },
        })
    };
    (0..count).map(sample).collect()
}

/// Samples of the long series.
const SAMPLES: usize = 150_000;

pub fn stored(size: &Size) -> Vec<Vec<u8>> {
    let load = |name: &str| call("POST", "/timeseries/samples", NDJSON, long_series(name, size.of_many(SAMPLES)));
    let hosts = (0..size.of_many(200)).map(|n| {
        let count = if n == 0 { 1_000 } else { 60 };
        call("POST", &format!("/hosts/host-{n}/metrics"), JSON, host_samples(count).to_string())
    });
    let series = call("POST", "/write", TEXT, many_series("kwh", size.of_many(20_000)));
    [vec![load("long:a"), load("long:b"), series], hosts.collect()].concat()
}

pub fn attacks(size: &Size) -> Vec<Attack> {
    let from = start(size.of_many(SAMPLES));
    let ranges: Vec<_> = [
        "range?limit=100000".to_owned(),
        "range?agg=p99.9&bucket=1d".to_owned(),
        "range?agg=median,p50,p90,p95,p99,p99.9,std_p,twa&bucket=100y".to_owned(),
        "range?agg=count&bucket=1ms&empty=true&limit=100000".to_owned(),
        "range?agg=avg&bucket=1ms&fill=linear&limit=100000".to_owned(),
        "range?agg=last&bucket=1s&fill=previous&limit=100000&order=desc".to_owned(),
        "stats".to_owned(),
    ]
    .iter()
    .map(|rest| {
        let join = if rest.contains('?') { "&" } else { "?" };
        call("GET", &format!("/timeseries/long:a/{rest}{join}from={from}"), "", "")
    })
    .collect();
    let query = |body: Value| call("POST", "/timeseries/query", JSON, body.to_string());
    let queries = vec![
        query(json!({ "filter": ["zone=z1"], "agg": "sum", "bucket": "1ms", "from": "-7d", "group_by": "meter",
                      "reduce": "sum", "empty": true })),
        query(json!({ "filter": ["meter!="], "agg": "p99", "bucket": "15m", "from": "-7d" })),
        query(json!({ "filter": ["zone!="], "from": "-7d", "limit": 1000 })),
        call("GET", &format!("/timeseries?limit=1000&filter={}", encoded("zone=(z1,z2,z3)")), "", ""),
        call("GET", "/timeseries?limit=1000", "", ""),
    ];
    let end = now() / 1_000;
    let prom = |query: &str| {
        let form = "Content-Type: application/x-www-form-urlencoded\r\n";
        let days = end - 8 * 86_400;
        let body = format!("query={}&start={days}&end={end}&step=70", encoded(query));
        call("POST", "/prom/api/v1/query_range", form, body)
    };
    let nested = (0..30).fold("{__name__=~\"long:.\"}".to_owned(), |inner, _| format!("({inner})*2+1"));
    let prom = vec![
        prom("sum_over_time({__name__=~\"long:.*\"}[30d])"),
        prom("quantile_over_time(0.99, {__name__=\"long:a\"}[7d])"),
        prom("{zone=~\"z.*\"} * on(meter) {zone=~\"z.*\"}"),
        prom("sum by (meter) (rate({zone=~\"(z1|z2|z3)+.*\"}[30d]))"),
        prom("sum by (meter) ({zone=\"z1\"})"),
        prom(&nested),
        prom("stddev_over_time({__name__=\"long:b\"}[30d]) / max_over_time({__name__=\"long:b\"}[30d])"),
        // Each compiled form would take megabytes.
        prom(&format!("{{zone=\"z1\",{}}}", vec!["m=~\"\\\\pL{100}\""; 50].join(","))),
        prom(&format!("{{zone=\"z1\",{}}}", vec!["m=~\"\\\\pL{4}\""; 16].join(","))),
        call("GET", "/prom/api/v1/label/meter/values", "", ""),
        call("GET", &format!("/prom/api/v1/series?match[]={}", encoded("{zone=~\".+\"}")), "", ""),
    ];
    let more = (0..size.of_many(16))
        .map(|n| call("POST", "/write", TEXT, many_series(&format!("more{n}"), size.of_many(20_000))));
    let loads = (0..4).map(|n| {
        let lines = long_series(&format!("load:{n}"), size.of_many(SAMPLES));
        call("POST", "/timeseries/samples", NDJSON, lines)
    });
    let lists: Vec<_> = (0..10_000).map(|n| json!({ "series": format!("json:{n}"), "value": n })).collect();
    let lists = call("POST", "/timeseries/samples", JSON, json!({ "samples": lists }).to_string());
    let exports: Vec<_> = ["text/csv", "application/x-ndjson", "application/json"]
        .iter()
        .flat_map(|kind| {
            let accept = format!("Accept: {kind}\r\n");
            let export = |rest: &str| call("GET", &format!("/timeseries/long:a/export?from={from}{rest}"), &accept, "");
            let range = call("GET", &format!("/timeseries/long:a/range?from={from}&limit=100000"), &accept, "");
            [export(""), export("&agg=avg&bucket=1ms&fill=linear"), range]
        })
        .collect();
    let hosts = vec![
        call("GET", "/hosts/host-0/metrics/range?startTime=-1d&limit=10000", "", ""),
        call("GET", "/hosts/host-0/metrics/range?startTime=-1d&limit=10000&format=csv", "", ""),
        call("GET", "/hosts/host-0/metrics/recent?count=1000&format=influx", "", ""),
        call("GET", "/hosts/host-0/metrics/summary?startTime=-1d&bucket=1m", "", ""),
        call("GET", "/hosts/host-0/metrics/anomaly?field=cpu.usage", "", ""),
        call("GET", "/hosts/host-0/metrics/forecast?field=cpu.usage&horizon=24h", "", ""),
        call("GET", "/hosts/metrics/latest?limit=1000&format=prometheus", "", ""),
        call("GET", "/hosts?limit=1000", "", ""),
        call("POST", "/hosts/host-1/metrics", JSON, host_samples(1_000).to_string()),
        call("POST", "/hosts/host-2/metrics", JSON, host_samples(1).to_string()),
    ];
    vec![
        Attack::new("series: ranges", Manner::Read, size.of_many(64), ranges),
        Attack::new("series: queries", Manner::Read, size.of_many(64), queries),
        Attack::new("series: Prometheus", Manner::Read, size.of_many(64), prom),
        Attack::new("series: many new ones", Manner::Read, size.of_many(16), more.collect()),
        Attack::new("series: loads", Manner::Read, size.of_many(16), loads.chain([lists]).collect()),
        Attack::new("series: slow exports", Manner::Stall, size.of_many(300), exports),
        Attack::new("hosts", Manner::Read, size.of_many(64), hosts.clone()),
        Attack::new("hosts: slow readers", Manner::Stall, size.of_many(1_000), hosts),
    ]
}
