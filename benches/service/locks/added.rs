//! The time that the service adds to Redis: requests at a fixed rate through the service, compared with the same
//! scripts at the same rate directly on Redis.

use std::net::SocketAddr;

use redis::Value;

use super::scripts::{ACQUIRE, JSON, Scripts, numbered, token};
use crate::get::ROUNDS;
use crate::open_loop::{STEADY, SendRequest, latencies, percentile};
use crate::peers::{Bench, Service, Transport};
use crate::report::Report;
use crate::socket::RedisSocket;

pub fn run(bench: &Bench, report: &mut Report) {
    let service = bench.service(Transport::Tcp);
    let scripts = Scripts::of(&service, bench);
    let (mut through, mut direct) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        through.push(latencies(STEADY, (0..STEADY.connections).map(|number| over_http(&service, number)).collect()));
        direct.push(latencies(
            STEADY,
            (0..STEADY.connections).map(|number| over_resp(bench.redis.address, &scripts, number)).collect(),
        ));
    }
    for (name, rounds) in [("through the service", &through), ("the same scripts on a socket to Redis", &direct)] {
        report.row(
            format!("acquire or release at {} per second, open loop: {name}", STEADY.per_second),
            format!("p50 {:.0} us, p99 {:.0} us", percentile(rounds, 50), percentile(rounds, 99)),
            "",
        );
    }
    report.row(
        "the same: time that the service adds, p50",
        format!("{:.0} us", percentile(&through, 50) - percentile(&direct, 50)),
        "below 1,000 us",
    );
}

fn over_http(service: &Service, number: u32) -> SendRequest<'_> {
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

fn over_resp(redis: SocketAddr, scripts: &Scripts, number: u32) -> SendRequest<'static> {
    let mut redis = RedisSocket::connect(redis);
    let [acquire, release] = [&scripts.acquire, &scripts.release].map(|script| numbered(script, u64::from(number)));
    Box::new(move |request| {
        let reply = redis.call(if request % 2 == 0 { &acquire } else { &release });
        let succeeded = matches!(&reply, Value::Array(items) if items.first() == Some(&Value::Int(1)));
        assert!(succeeded, "{reply:?}");
    })
}
