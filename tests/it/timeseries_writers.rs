//! Four processes write to one series while they and Redis are killed: every acknowledged sample is stored once.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{RedisServer, START, ServiceProcess};

const WRITERS: i64 = 4;
const BATCHES: i64 = 24;
const BATCH: i64 = 200;
const SERIES: &str = "/timeseries/energy:consumption:shared";

/// How long a writer repeats a batch until it is acknowledged.
const PATIENCE: Duration = Duration::from_secs(60);

/// Each writer has every fourth timestamp, in an order that falls into old chunks as often as into the head.
fn batch(writer: i64, number: i64) -> Vec<(i64, f64)> {
    let scattered = |at: i64| (at * 7_919) % (BATCHES * BATCH);
    (0..BATCH)
        .map(|at| scattered(number * BATCH + at) * WRITERS + writer)
        .map(|slot| (START + slot * 15_000, value(slot)))
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand")]
fn value(slot: i64) -> f64 {
    (slot % 997) as f64 / 100.0
}

/// Sends one request; `None` if the connection broke, so that its outcome is unknown.
fn exchange(address: SocketAddr, method: &str, path: &str, body: &str) -> Option<(u16, Value)> {
    let mut connection = TcpStream::connect(address).ok()?;
    connection.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Type: application/json\r\n");
    write!(connection, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some((status, serde_json::from_str(body).ok()?))
}

/// Sends the batches of a writer to the service at `address`, which is `None` while the service does not run.
fn write_all(writer: i64, address: &Mutex<Option<SocketAddr>>, acknowledged: &AtomicUsize) {
    for number in 0..BATCHES {
        let samples: Vec<Value> =
            batch(writer, number).iter().map(|(time, value)| json!({ "timestamp": time, "value": value })).collect();
        let body = json!({ "samples": samples }).to_string();
        let start = Instant::now();
        loop {
            let address = *address.lock().expect("the address");
            match address.and_then(|address| exchange(address, "POST", &format!("{SERIES}/samples"), &body)) {
                Some((200, answer)) => {
                    assert_eq!((&answer["accepted"], &answer["refused"]), (&json!(BATCH), &json!([])));
                    break;
                }
                // The batch is sent again, whether or not it was stored.
                Some((status, _)) if status >= 500 => {}
                Some(other) => panic!("refused: {other:?}"),
                None => {}
            }
            assert!(start.elapsed() < PATIENCE, "writer {writer} has no acknowledgement");
            std::thread::yield_now();
        }
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits until `count` batches are acknowledged.
fn wait_for_batches(acknowledged: &AtomicUsize, count: usize) {
    let start = Instant::now();
    while acknowledged.load(Ordering::Relaxed) < count {
        assert!(start.elapsed() < PATIENCE, "the writers make no progress");
        // The writers are threads of this process that only count: polling every 2 ms leaves them the processors.
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn every_sample_is_stored_once_although_processes_are_killed() {
    let mut redis = RedisServer::with_options(&["--appendonly", "yes", "--appendfsync", "always", "--save", ""]);
    let mut services: Vec<ServiceProcess> = (0..WRITERS).map(|_| ServiceProcess::start_on(&redis, &[])).collect();
    let addresses: Vec<Mutex<Option<SocketAddr>>> =
        services.iter_mut().map(|service| Mutex::new(Some(service.address()))).collect();
    services[0].ready();
    let first = services[0].address();
    assert_eq!(exchange(first, "PUT", SERIES, "{}").map(|answer| answer.0), Some(201));
    let rollup = json!({ "bucket": "1h", "agg": "sum" }).to_string();
    assert_eq!(exchange(first, "POST", &format!("{SERIES}/rollups"), &rollup).map(|answer| answer.0), Some(201));

    let acknowledged = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for (writer, address) in (0..WRITERS).zip(&addresses) {
            let acknowledged = &acknowledged;
            scope.spawn(move || write_all(writer, address, acknowledged));
        }
        // Kill each process once, and Redis twice, while the others write.
        for kill in 0..6 {
            wait_for_batches(&acknowledged, (kill + 1) * 12);
            if kill % 3 == 2 {
                redis.kill();
                redis.boot();
                continue;
            }
            let killed = kill - kill / 3;
            // Its port may soon be that of another test's service.
            *addresses[killed].lock().expect("the address") = None;
            services[killed].signal("KILL");
            services[killed].ended_within(PATIENCE);
            services[killed] = ServiceProcess::start_on(&redis, &[]);
            *addresses[killed].lock().expect("the address") = Some(services[killed].address());
        }
    });

    let service = &mut services[0];
    service.ready();
    let (status, page) = service.get(&format!("{SERIES}/range?limit=100000"));
    assert_eq!(status, 200, "{page}");
    let page: Value = serde_json::from_str(&page).expect("JSON");
    let found: Vec<(i64, f64)> = page["samples"]
        .as_array()
        .expect("samples")
        .iter()
        .map(|sample| (sample["timestamp"].as_i64().expect("a time"), sample["value"].as_f64().expect("a value")))
        .collect();
    let expected: BTreeMap<i64, u64> =
        (0..WRITERS * BATCHES * BATCH).map(|slot| (START + slot * 15_000, value(slot).to_bits())).collect();
    let stored: BTreeMap<i64, f64> = found.iter().copied().collect();
    let missing: Vec<i64> = expected.keys().filter(|time| !stored.contains_key(time)).copied().collect();
    let repeated: Vec<i64> = found.windows(2).filter(|pair| pair[0].0 >= pair[1].0).map(|pair| pair[1].0).collect();
    assert_eq!((missing, repeated), (Vec::new(), Vec::new()), "timestamps of missing and of repeated samples");
    assert!(
        found.iter().map(|(time, value)| (*time, value.to_bits())).eq(expected),
        "the stored samples differ from those that were sent"
    );

    // The rollup gives the same answer as the samples.
    let sums = |service: &mut ServiceProcess| service.get(&format!("{SERIES}/range?agg=sum&bucket=1h&limit=1000")).1;
    let with = sums(service);
    let address = service.address();
    let dropped = service.send("DELETE", &format!("{SERIES}/rollups/sum:1h"), "").0;
    assert_eq!((dropped, address == service.address()), (204, true));
    assert_eq!(with, sums(service));
}
