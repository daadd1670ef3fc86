//! What the service adds to the time of Redis: requests at a fixed rate through it, against the same scripts at the
//! same rate straight to Redis.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use redis::Value;

use super::scripts::{ACQUIRE, JSON, Scripts, numbered, token};
use crate::get::ROUNDS;
use crate::median;
use crate::peers::{Bench, Service, Transport};
use crate::report::Report;
use crate::socket::RedisSocket;

/// Requests per second.
const RATE: u32 = 1_000;
/// Connections that take turns; each has this many intervals for its request.
const CONNECTIONS: u32 = 16;
/// Requests of each connection: five seconds, an acquire and a release in turn.
const REQUESTS: u32 = 312;

pub fn run(bench: &Bench, report: &mut Report) {
    let service = bench.service(Transport::Tcp);
    let scripts = Scripts::of(&service, bench);
    let (mut through, mut straight) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        through.push(latencies((0..CONNECTIONS).map(|number| over_http(&service, number)).collect()));
        straight
            .push(latencies((0..CONNECTIONS).map(|number| over_resp(bench.redis.address, &scripts, number)).collect()));
    }
    let at = |rounds: &[Vec<f64>], share: usize| {
        median(rounds.iter().map(|sorted| sorted[sorted.len() * share / 100]).collect())
    };
    for (name, rounds) in [("through the service", &through), ("the same scripts on a socket to Redis", &straight)] {
        report.row(
            format!("acquire or release at {RATE} per second, open loop: {name}"),
            format!("p50 {:.0} us, p99 {:.0} us", at(rounds, 50), at(rounds, 99)),
            "",
        );
    }
    report.row(
        "the same: time that the service adds, p50",
        format!("{:.0} us", at(&through, 50) - at(&straight, 50)),
        "below 1,000 us",
    );
}

/// A connection's next request and its answer.
type Ask<'a> = Box<dyn FnMut(u32) + Send + 'a>;

/// Microseconds of all requests, sorted. Each counts from the moment at which it was due, so that one which had to wait
/// for the answer before it, or for this loader, is not flattered.
fn latencies(connections: Vec<Ask<'_>>) -> Vec<f64> {
    let interval = Duration::from_secs(1) / RATE;
    let start = Instant::now() + 10 * interval;
    let mut latencies: Vec<f64> = thread::scope(|scope| {
        let running: Vec<_> = (0..CONNECTIONS)
            .zip(connections)
            .map(|(place, mut ask)| {
                scope.spawn(move || {
                    let one = |request| {
                        let due: Instant = start + (place + request * CONNECTIONS) * interval;
                        thread::sleep(due.saturating_duration_since(Instant::now()));
                        ask(request);
                        due.elapsed().as_secs_f64() * 1e6
                    };
                    (0..REQUESTS).map(one).collect::<Vec<_>>()
                })
            })
            .collect();
        running.into_iter().flat_map(|running| running.join().expect("the latencies")).collect()
    });
    latencies.sort_by(f64::total_cmp);
    latencies
}

fn over_http(service: &Service, number: u32) -> Ask<'_> {
    let mut client = service.client();
    let path = format!("/locks/bench:{number}");
    let mut header = String::new();
    Box::new(move |request| {
        if request % 2 == 0 {
            let grant = client.send("POST", &path, JSON, ACQUIRE).expect_success("a grant");
            header = format!("lock-token: {}\r\n", token(&grant.body));
        } else {
            client.send("DELETE", &path, &header, &[]).expect_success("a release");
        }
    })
}

fn over_resp(redis: SocketAddr, scripts: &Scripts, number: u32) -> Ask<'static> {
    let mut redis = RedisSocket::connect(redis);
    let [acquire, release] = [&scripts.acquire, &scripts.release].map(|script| numbered(script, u64::from(number)));
    Box::new(move |request| {
        let answer = redis.ask(if request % 2 == 0 { &acquire } else { &release });
        let succeeded = matches!(&answer, Value::Array(items) if items.first() == Some(&Value::Int(1)));
        assert!(succeeded, "{answer:?}");
    })
}
