//! The simplest way to store a series in Redis: one member `timestamp:value` of a sorted set per sample.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use super::Point;
use crate::client::skip;
use crate::socket::RedisSocket;

const KEY: &str = "bench:members";
/// Members per ZADD.
const BATCH: usize = 1_000;

/// A sorted set, read over a raw connection without parsing the bytes.
pub struct SortedSet(BufReader<TcpStream>);

/// A window of the sorted set.
pub struct Members {
    command: String,
    /// Bytes of the complete reply.
    length: usize,
}

impl SortedSet {
    pub fn fill(address: SocketAddr, points: &[Point]) -> Self {
        let mut redis = RedisSocket::connect(address);
        redis.call(redis::cmd("DEL").arg(KEY));
        for points in points.chunks(BATCH) {
            let mut add = redis::cmd("ZADD");
            add.arg(KEY);
            for (at, value) in points {
                add.arg(*at).arg(format!("{at}:{value}"));
            }
            redis.call(&add);
        }
        let connection = TcpStream::connect(address).expect("Redis listens");
        connection.set_nodelay(true).expect("a socket");
        Self(BufReader::with_capacity(256 << 10, connection))
    }

    /// Reads and parses a window of `count` members once, so that later reads can just count bytes.
    pub fn members(&mut self, [from, to]: [usize; 2], count: usize) -> Members {
        let mut members = Members { command: format!("ZRANGEBYSCORE {KEY} {from} {to}\r\n"), length: 0 };
        self.send(&members);
        let mut line = String::new();
        // The header of the array, then a header and a text per member.
        for _ in 0..=2 * count {
            line.clear();
            members.length += self.0.read_line(&mut line).expect("a reply");
        }
        assert!(line.ends_with("\r\n") && self.0.buffer().is_empty(), "the reply is an array of bulk strings");
        members
    }

    pub fn read(&mut self, members: &Members) {
        self.send(members);
        skip(&mut self.0, members.length);
    }

    fn send(&mut self, members: &Members) {
        self.0.get_mut().write_all(members.command.as_bytes()).expect("Redis reads");
    }
}
