//! What Redis is asked while something else is measured.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;

use crate::socket::RedisSocket;

const LAST: &str = "bench-last-command";

/// Follows all commands of a Redis from `start` to `stop`.
pub struct Monitor {
    address: SocketAddr,
    reader: JoinHandle<Vec<Seen>>,
}

/// One command that Redis ran.
pub struct Seen {
    /// Its name first.
    pub arguments: Vec<String>,
    /// A script called it; no client sent it.
    pub in_script: bool,
}

impl Monitor {
    pub fn start(address: SocketAddr) -> Self {
        let mut connection = TcpStream::connect(address).expect("Redis listens");
        connection.write_all(b"MONITOR\r\n").expect("Redis reads");
        let mut lines = BufReader::new(connection);
        let mut line = String::new();
        lines.read_line(&mut line).expect("an answer");
        assert_eq!(line, "+OK\r\n");
        let reader = std::thread::spawn(move || {
            lines.lines().map(|line| seen(&line.expect("a line"))).take_while(|seen| !seen.is_last()).collect()
        });
        Self { address, reader }
    }

    pub fn stop(self) -> Vec<Seen> {
        RedisSocket::connect(self.address).ask(redis::cmd("ECHO").arg(LAST));
        self.reader.join().expect("the commands")
    }
}

impl Seen {
    fn is_last(&self) -> bool {
        self.arguments.get(1).is_some_and(|argument| argument == LAST)
    }
}

/// `+<time> [<database> <client>] "<argument>" ..`; arguments with quotes of their own are none of ours.
fn seen(line: &str) -> Seen {
    let (origin, arguments) = line.split_once(']').expect("an origin");
    let arguments = arguments.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    Seen { arguments, in_script: origin.ends_with(" lua") }
}
