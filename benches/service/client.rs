//! A minimal HTTP/1.1 client with one persistent connection, so that the client uses little CPU. The service closes
//! connections that are idle for some seconds.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

/// Bytes of a body that are sent with the head, so that a small request is one write and one read.
const ONE_WRITE: usize = 16 << 10;

pub struct Client {
    connection: BufReader<TcpStream>,
    headers: String,
}

pub struct Response {
    pub status: u16,
    pub body: Vec<u8>,
}

/// Length and times of a large response whose bytes were discarded, so that storing them is not measured.
#[derive(Debug)]
pub struct Drained {
    /// Bytes of the body.
    pub length: usize,
    /// Milliseconds from the request to the first byte of the body, and to the last.
    pub first_byte_ms: f64,
    pub total_ms: f64,
}

impl Client {
    /// `headers` are sent with every request; each line ends with CRLF.
    pub fn connect(address: SocketAddr, headers: &str) -> Self {
        let connection = TcpStream::connect(address).expect("the peer listens");
        connection.set_nodelay(true).expect("a socket");
        Self { connection: BufReader::with_capacity(256 << 10, connection), headers: headers.to_owned() }
    }

    pub fn get(&mut self, path: &str) -> Response {
        self.send("GET", path, "", &[])
    }

    /// `more` contains additional header lines.
    pub fn send(&mut self, method: &str, path: &str, more: &str, body: &[u8]) -> Response {
        self.write_request(method, path, more, body);
        let head = self.head();
        let mut body = Vec::new();
        self.pieces(&head, |connection, length| {
            let before = body.len();
            body.resize(before + length, 0);
            connection.read_exact(&mut body[before..]).expect("the complete body");
        });
        Response { status: head.status, body }
    }

    /// Reads a response and discards it.
    pub fn drain(&mut self, path: &str) -> Drained {
        let started = Instant::now();
        let elapsed_ms = || started.elapsed().as_secs_f64() * 1e3;
        self.write_request("GET", path, "", &[]);
        let head = self.head();
        assert_eq!(head.status, 200, "{path}");
        let (mut length, mut first_byte_ms) = (0, None);
        self.pieces(&head, |connection, piece| {
            connection.fill_buf().expect("the complete body");
            first_byte_ms.get_or_insert_with(elapsed_ms);
            skip(connection, piece);
            length += piece;
        });
        Drained { length, first_byte_ms: first_byte_ms.expect("a body"), total_ms: elapsed_ms() }
    }

    fn write_request(&mut self, method: &str, path: &str, more: &str, body: &[u8]) {
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

    /// Calls `take` with the length of each piece of the body; `take` must read the piece.
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
        self.connection.read_line(&mut line).expect("a response");
        assert!(line.ends_with("\r\n"), "the connection ended: {line:?}");
        line.truncate(line.len() - 2);
        line
    }
}

/// The head of a response.
struct Head {
    status: u16,
    /// `None` if the body is chunked.
    length: Option<usize>,
}

/// Reads `length` bytes and discards them.
pub fn skip(connection: &mut impl BufRead, mut length: usize) {
    while length > 0 {
        let available = connection.fill_buf().expect("a response").len();
        assert!(available > 0, "the connection ended");
        let now = available.min(length);
        connection.consume(now);
        length -= now;
    }
}

impl Response {
    #[track_caller]
    pub fn expect_success(self, what: &str) -> Self {
        let text = String::from_utf8_lossy(&self.body);
        assert!((200..300).contains(&self.status), "{what}: {}: {text}", self.status);
        self
    }
}
