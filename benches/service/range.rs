//! A year of quarter-hours, 17,568 raw points, read as JSON, against as many members of a sorted set read raw.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use crate::peers::{Bench, Transport};
use crate::report::Report;
use crate::{days_ago, median};

const POINTS: usize = 17_568;
const ROUNDS: usize = 50;
/// 15 minutes in milliseconds; 96 of them make a day.
const STEP: usize = 900_000;
const SERIES: &str = "energy:consumption:bench-year";

pub fn run(bench: &Bench, report: &mut Report) {
    let service = bench.service(Transport::Tcp);
    let mut client = service.client();
    let mut body = "series,timestamp,value\n".to_owned();
    for (at, value) in points() {
        let _ = writeln!(body, "{SERIES},{at},{value}");
    }
    let csv = "content-type: text/csv\r\n";
    client.send("POST", "/timeseries/samples", csv, body.as_bytes()).expect_success("the year's samples");
    let mut redis = SortedSet::fill(bench);
    let path = format!("/timeseries/{SERIES}/range?from=0&to={}&limit=20000", days_ago(0));
    let whole = client.get(&path).expect_success("the year's range");
    let page: serde_json::Value = serde_json::from_slice(&whole.body).expect("JSON");
    assert_eq!(page["samples"].as_array().map(Vec::len), Some(POINTS), "the whole year in one answer");
    let (mut ours, mut raw) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let asked = Instant::now();
        let answer = client.get(&path).expect_success("the year's range");
        ours.push(asked.elapsed().as_secs_f64() * 1e3);
        assert_eq!(answer.body.len(), whole.body.len());
        let asked = Instant::now();
        redis.read();
        raw.push(asked.elapsed().as_secs_f64() * 1e3);
    }
    let (ours, raw) = (median(ours), median(raw));
    report.row(
        "range of 17,568 raw points as JSON / ZRANGEBYSCORE over a raw socket",
        format!("{ours:.1} ms / {raw:.1} ms = {:.2}; {} bytes of JSON", ours / raw, whole.body.len()),
        "at most 3",
    );
}

/// Unix milliseconds and a value with two decimals.
fn points() -> impl Iterator<Item = (usize, String)> {
    let start = days_ago(POINTS / 96 + 1);
    (0..POINTS).map(move |point| (start + point * STEP, format!("{}.{:02}", point % 40, (point * 37) % 100)))
}

/// A sorted set of the same points, over one raw connection.
struct SortedSet {
    connection: BufReader<TcpStream>,
    /// Bytes of the whole answer.
    length: usize,
    answer: Vec<u8>,
}

const KEY: &str = "bench:year";

impl SortedSet {
    fn fill(bench: &Bench) -> Self {
        let connection = TcpStream::connect(bench.redis.address).expect("Redis listens");
        connection.set_nodelay(true).expect("a socket");
        let mut set =
            Self { connection: BufReader::with_capacity(256 << 10, connection), length: 0, answer: Vec::new() };
        for (at, value) in points() {
            let mut line = String::new();
            write!(set.connection.get_mut(), "ZADD {KEY} {at} {at}:{value}\r\n").expect("Redis reads");
            set.connection.read_line(&mut line).expect("an answer");
            assert!(line.starts_with(':'), "{line}");
        }
        set.length = set.measure();
        set.answer = vec![0; set.length];
        set
    }

    fn ask(&mut self) {
        write!(self.connection.get_mut(), "ZRANGEBYSCORE {KEY} -inf +inf\r\n").expect("Redis reads");
    }

    /// Reads the answer once by its grammar, so that later only its bytes need to be awaited.
    fn measure(&mut self) -> usize {
        self.ask();
        let mut length = 0;
        let mut line = String::new();
        // The array's head, then a head and a text for every member.
        for _ in 0..=2 * POINTS {
            line.clear();
            length += self.connection.read_line(&mut line).expect("an answer");
        }
        assert!(line.ends_with("\r\n") && self.connection.buffer().is_empty(), "the answer's grammar");
        length
    }

    fn read(&mut self) {
        self.ask();
        self.connection.read_exact(&mut self.answer).expect("the whole answer");
    }
}
