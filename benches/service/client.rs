//! One keep-alive connection that speaks just enough HTTP/1.1, so that the client costs little. The service ends one that
//! is idle for some seconds.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

/// Bytes of a body that travel with the head, so that a small request is one write and one read.
const ONE_WRITE: usize = 16 << 10;

pub struct Client {
    connection: BufReader<TcpStream>,
    headers: String,
}

pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// How a large answer came whose bytes were not kept: what keeping them costs is the reader's matter.
#[derive(Debug)]
pub struct Drained {
    /// Bytes of the body.
    pub length: usize,
    /// Milliseconds from the question to the first byte of the body, and to the last.
    pub first_byte_ms: f64,
    pub whole_ms: f64,
}

impl Client {
    /// `headers` are sent with every request, each line ended by CRLF.
    pub fn connect(address: SocketAddr, headers: &str) -> Self {
        let connection = TcpStream::connect(address).expect("the peer listens");
        connection.set_nodelay(true).expect("a socket");
        Self { connection: BufReader::with_capacity(256 << 10, connection), headers: headers.to_owned() }
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, "", &[])
    }

    /// `more` are further header lines.
    pub fn send(&mut self, method: &str, path: &str, more: &str, body: &[u8]) -> Answer {
        self.ask(method, path, more, body);
        let head = self.head();
        let mut body = Vec::new();
        self.pieces(&head, |connection, length| {
            let before = body.len();
            body.resize(before + length, 0);
            connection.read_exact(&mut body[before..]).expect("the whole body");
        });
        Answer { status: head.status, body }
    }

    /// Reads an answer and forgets it.
    pub fn drain(&mut self, path: &str) -> Drained {
        let asked = Instant::now();
        let since = || asked.elapsed().as_secs_f64() * 1e3;
        self.ask("GET", path, "", &[]);
        let head = self.head();
        assert_eq!(head.status, 200, "{path}");
        let (mut length, mut first_byte_ms) = (0, None);
        self.pieces(&head, |connection, piece| {
            connection.fill_buf().expect("the whole body");
            first_byte_ms.get_or_insert_with(since);
            skip(connection, piece);
            length += piece;
        });
        Drained { length, first_byte_ms: first_byte_ms.expect("a body"), whole_ms: since() }
    }

    fn ask(&mut self, method: &str, path: &str, more: &str, body: &[u8]) {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: bench\r\ncontent-length: {length}\r\n{}{more}\r\n",
            self.headers
        );
        let mut request = head.into_bytes();
        let (with_head, rest) = body.split_at(length.min(ONE_WRITE));
        request.extend_from_slice(with_head);
        let socket = self.connection.get_mut();
        socket.write_all(&request).expect("the peer reads");
        socket.write_all(rest).expect("the peer reads");
    }

    fn head(&mut self) -> Head {
        let status = self.line();
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line().to_ascii_lowercase();
            if line.is_empty() {
                return Head { status, length: (!chunked).then_some(length) };
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().expect("a length");
            }
            chunked |= line == "transfer-encoding: chunked";
        }
    }

    /// Has `take` read the body's pieces, of which it is told the lengths.
    fn pieces(&mut self, head: &Head, mut take: impl FnMut(&mut BufReader<TcpStream>, usize)) {
        if let Some(length) = head.length {
            return take(&mut self.connection, length);
        }
        loop {
            let length = usize::from_str_radix(&self.line(), 16).expect("a chunk's length");
            if length > 0 {
                take(&mut self.connection, length);
            }
            self.line();
            if length == 0 {
                return;
            }
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.connection.read_line(&mut line).expect("an answer");
        assert!(line.ends_with("\r\n"), "the connection ended: {line:?}");
        line.truncate(line.len() - 2);
        line
    }
}

/// The head of a response.
struct Head {
    status: u16,
    /// Absent when the body comes in chunks that have their own lengths.
    length: Option<usize>,
}

/// Reads so many bytes and forgets them.
pub fn skip(connection: &mut impl BufRead, mut length: usize) {
    while length > 0 {
        let there = connection.fill_buf().expect("an answer").len();
        assert!(there > 0, "the connection ended");
        let now = there.min(length);
        connection.consume(now);
        length -= now;
    }
}

impl Answer {
    #[track_caller]
    pub fn expect_success(self, what: &str) -> Self {
        let text = String::from_utf8_lossy(&self.body);
        assert!((200..300).contains(&self.status), "{what}: {}: {text}", self.status);
        self
    }
}
