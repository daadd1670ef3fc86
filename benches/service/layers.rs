//! The cost of each layer: in complete requests with the layer on and off, and alone, called in a loop.

use std::hint::black_box;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use gridtokenx_redis::clock::Clock;
use gridtokenx_redis::config::Config;
use gridtokenx_redis::config::log::TelemetryConfig;
use gridtokenx_redis::hot_keys::HotKeys;
use gridtokenx_redis::http::access::Access;
use gridtokenx_redis::http::openapi_router::OpenApiRouter;
use gridtokenx_redis::http::reply::NoContent;
use gridtokenx_redis::http::request_id::RequestId;
use gridtokenx_redis::http::route_table::RouteTable;
use gridtokenx_redis::lifecycle::Tasks;
use gridtokenx_redis::lifecycle::deadline::{deadline, start_wheel};
use gridtokenx_redis::telemetry::metrics::Metrics;
use gridtokenx_redis::telemetry::traces::Traces;
use tokio::runtime::Builder;

use crate::get::{self, PATH, ROUNDS};
use crate::median;
use crate::peers::{Bench, KEY_HEADER, Service, Transport};
use crate::report::Report;
use crate::wrk::{self, RequestSpec, Run};

const SECONDS: u32 = 3;
const LIVE: &str = "/health/live";
/// No collector listens on this port: only the sampling decision and the queue are measured.
const TRACED: &str = "[telemetry]\notlp_endpoint = \"http://127.0.0.1:9\"\n";

pub fn run(bench: &Bench, report: &mut Report) {
    let request = complete_requests(bench, report);
    alone(report, request);
}

/// CPU microseconds of a complete cached read.
fn complete_requests(bench: &Bench, report: &mut Report) -> f64 {
    let shipped = bench.service(Transport::Tcp);
    let traced = bench.service_with(Transport::Tcp, TRACED);
    let open = bench.service_with(Transport::Tcp, "[auth]\nmode = \"none\"\n");
    let live = shipped.client().get(LIVE).expect_success("the constant route");
    let bare = bench.bare(&String::from_utf8(live.body).expect("text"));
    get::store(&shipped);
    let candidates: [(&Service, &str, Option<&str>); 5] = [
        (&bare, LIVE, None),
        (&shipped, LIVE, None),
        (&traced, LIVE, None),
        (&open, PATH, None),
        (&shipped, PATH, Some(KEY_HEADER)),
    ];
    let mut runs: Vec<Vec<Run>> = candidates.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for ((peer, path, header), runs) in candidates.iter().zip(&mut runs) {
            runs.push(wrk::run(peer.peer(), bench.redis.pid(), RequestSpec::get(path, *header), SECONDS));
        }
    }
    // CPU seconds per 100,000 requests are tens of microseconds per request.
    let cpu: Vec<f64> = runs.iter().map(|runs| get::medians(runs).peer_cpu * 10.0).collect();
    let [bare, live, traced, open, authenticated] = cpu[..] else { panic!("a run of each") };
    let mut row = |what: &str, on: f64, off: f64| {
        let share = (on - off) / authenticated * 100.0;
        report.row(what, format!("{on:.2} us / {off:.2} us: {share:+.1} % of a cached read"), "");
    };
    row("CPU per request: constant route with all layers / bare route", live, bare);
    row("CPU per request: traces on, 1 % sampled / off", traced, live);
    row("CPU per request: cached read with an API key / mode none", authenticated, open);
    authenticated
}

/// Measures each layer alone; `request` is the CPU time of a complete cached read in microseconds.
fn alone(report: &mut Report, request: f64) {
    let mut row = |what: &str, nanoseconds: f64| {
        let share = nanoseconds / 10.0 / request;
        report.row(
            format!("alone: {what}"),
            format!("{nanoseconds:.0} ns, {share:.1} % of a cached read"),
            "below 3 %",
        );
    };
    let plain = Request::builder().uri(LIVE).body(Body::empty()).expect("a request");
    row("request id", nanoseconds(|| drop(black_box(RequestId::of(plain.headers())))));

    let metrics = Metrics::new();
    let api = OpenApiRouter::new().on("GET", LIVE, async || NoContent);
    let table = RouteTable::new(&[Access::public("GET", LIVE)], api.into_operations(), &metrics.http);
    let find = || table.at(LIVE).and_then(|operations| operations.get(&Method::GET));
    row("route table lookup", nanoseconds(|| drop(black_box(find().cloned()))));
    let route = find().expect("a row");
    row(
        "HTTP metrics",
        nanoseconds(|| {
            let started = Instant::now();
            metrics.http.in_flight.inc();
            route.metrics.record(StatusCode::OK, started.elapsed());
            metrics.http.in_flight.dec();
        }),
    );
    let role = &["state"];
    let commands = metrics.counter("bench_commands_total", "as in the Redis facade", &["role"]).with_label_values(role);
    let durations = metrics.histogram("bench_seconds", "as in the Redis facade", &["role"]).with_label_values(role);
    row(
        "metrics of a Redis command",
        nanoseconds(|| {
            let started = Instant::now();
            durations.observe(started.elapsed().as_secs_f64());
            commands.inc();
        }),
    );
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    row("hot keys: a cached read of one key", hot_keys(1));
    row("hot keys: reads of 100,000 keys", hot_keys(CALLS));
    row("deadline", runtime.block_on(deadline_on_the_wheel()));

    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let traces = |toml: &str, metrics: &Metrics| {
        let config: TelemetryConfig =
            Config::with_overrides(toml).and_then(|config| config.section()).expect("a configuration");
        Traces::start(&config, metrics).expect("traces start").requests()
    };
    let off = traces("", &metrics);
    row("traces off", nanoseconds(|| drop(black_box(off.start(&plain, Some(LIVE), id)))));
    let none = traces(&format!("{TRACED}sample_ratio = 0.0"), &metrics);
    row("traces on, not sampled", nanoseconds(|| drop(black_box(none.start(&plain, Some(LIVE), id)))));
}

/// A use of one of `different` keys. Every batch is in a minute of its own, so that all uses are counted one by one.
fn hot_keys(different: u32) -> f64 {
    let hot = HotKeys::new(1);
    let keys: Vec<String> = (0..different).map(|nth| format!("cache:session:{nth:08}")).collect();
    let mut next = keys.iter().cycle().enumerate();
    nanoseconds(|| {
        let Some((nth, key)) = next.next() else { return };
        if nth % 100_000 == 0 {
            hot.advance(Duration::from_millis(u64::try_from(nth).unwrap_or_default()));
        }
        hot.record(0, std::iter::once(key.as_bytes()));
    })
}

/// A deadline that is created, polled once and dropped, as for a request that finishes in time.
async fn deadline_on_the_wheel() -> f64 {
    start_wheel(&Tasks::new(Clock::System));
    let mut times = Vec::new();
    for _ in 0..BATCHES {
        let started = Instant::now();
        for _ in 0..CALLS {
            let mut waiting = deadline(started + Duration::from_secs(2));
            let _ = black_box(futures_util::poll!(&mut waiting));
        }
        times.push(per_call(started));
    }
    median(times)
}

const BATCHES: usize = 9;
const CALLS: u32 = 100_000;

fn nanoseconds(mut call: impl FnMut()) -> f64 {
    let batch = |_| {
        let started = Instant::now();
        for _ in 0..CALLS {
            call();
        }
        per_call(started)
    };
    median((0..BATCHES).map(batch).collect())
}

fn per_call(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
}
