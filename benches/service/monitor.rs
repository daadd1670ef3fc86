//! Records the commands that Redis runs during a measurement.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;

use crate::socket::RedisSocket;

const LAST: &str = "bench-last-command";

/// Records all commands of a Redis from `start` to `stop`.
pub struct Monitor {
    address: SocketAddr,
    reader: JoinHandle<Vec<MonitorEntry>>,
}

/// One command that Redis ran.
pub struct MonitorEntry {
    /// The name and the arguments.
    pub arguments: Vec<String>,
    /// Whether a script called the command, not a client.
    pub in_script: bool,
}

impl Monitor {
    pub fn start(address: SocketAddr) -> Self {
        let mut connection = TcpStream::connect(address).expect("Redis listens");
        connection.write_all(b"MONITOR\r\n").expect("Redis reads");
        let mut lines = BufReader::new(connection);
        let mut line = String::new();
        lines.read_line(&mut line).expect("a reply");
        assert_eq!(line, "+OK\r\n");
        let reader = std::thread::spawn(move || {
            lines.lines().map(|line| parse_entry(&line.expect("a line"))).take_while(|entry| !entry.is_last()).collect()
        });
        Self { address, reader }
    }

    pub fn stop(self) -> Vec<MonitorEntry> {
        RedisSocket::connect(self.address).call(redis::cmd("ECHO").arg(LAST));
        self.reader.join().expect("the commands")
    }
}

impl MonitorEntry {
    fn is_last(&self) -> bool {
        self.arguments.get(1).is_some_and(|argument| argument == LAST)
    }
}

/// Parses `+<time> [<database> <client>] "<argument>" ..`; the measured commands have no quotes in arguments.
fn parse_entry(line: &str) -> MonitorEntry {
    let (origin, arguments) = line.split_once(']').expect("an origin");
    let arguments = arguments.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    MonitorEntry { arguments, in_script: origin.ends_with(" lua") }
}
