//! The plain way to keep a series in Redis: one member `timestamp:value` of a sorted set for each sample.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use super::Point;
use crate::client::skip;
use crate::socket::RedisSocket;

const KEY: &str = "bench:members";
/// Members of one ZADD.
const TOGETHER: usize = 1_000;

/// Read over a raw connection whose bytes are awaited and not looked at.
pub struct SortedSet(BufReader<TcpStream>);

/// A window of it.
pub struct Members {
    question: String,
    /// Bytes of the whole answer.
    length: usize,
}

impl SortedSet {
    pub fn fill(address: SocketAddr, points: &[Point]) -> Self {
        let mut redis = RedisSocket::connect(address);
        redis.ask(redis::cmd("DEL").arg(KEY));
        for points in points.chunks(TOGETHER) {
            let mut add = redis::cmd("ZADD");
            add.arg(KEY);
            for (at, value) in points {
                add.arg(*at).arg(format!("{at}:{value}"));
            }
            redis.ask(&add);
        }
        let connection = TcpStream::connect(address).expect("Redis listens");
        connection.set_nodelay(true).expect("a socket");
        Self(BufReader::with_capacity(256 << 10, connection))
    }

    /// Reads a window of `count` members once by its grammar, so that later only its bytes need to be awaited.
    pub fn members(&mut self, [from, to]: [usize; 2], count: usize) -> Members {
        let mut members = Members { question: format!("ZRANGEBYSCORE {KEY} {from} {to}\r\n"), length: 0 };
        self.ask(&members);
        let mut line = String::new();
        // The array's head, then a head and a text for every member.
        for _ in 0..=2 * count {
            line.clear();
            members.length += self.0.read_line(&mut line).expect("an answer");
        }
        assert!(line.ends_with("\r\n") && self.0.buffer().is_empty(), "the answer's grammar");
        members
    }

    pub fn read(&mut self, members: &Members) {
        self.ask(members);
        skip(&mut self.0, members.length);
    }

    fn ask(&mut self, members: &Members) {
        self.0.get_mut().write_all(members.question.as_bytes()).expect("Redis reads");
    }
}
