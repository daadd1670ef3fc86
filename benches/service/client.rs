//! One keep-alive connection that speaks just enough HTTP/1.1, so that the client costs little.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

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
        self.answer()
    }

    fn answer(&mut self) -> Answer {
        let status = self.line();
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().expect("a length");
            }
            chunked |= line == "transfer-encoding: chunked";
        }
        let mut body = Vec::new();
        while chunked {
            length = usize::from_str_radix(&self.line(), 16).expect("a chunk's length");
            self.take(length, &mut body);
            self.line();
            chunked = length > 0;
            length = 0;
        }
        self.take(length, &mut body);
        Answer { status, body }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.connection.read_line(&mut line).expect("an answer");
        assert!(line.ends_with("\r\n"), "the connection ended: {line:?}");
        line.truncate(line.len() - 2);
        line
    }

    fn take(&mut self, length: usize, body: &mut Vec<u8>) {
        let before = body.len();
        body.resize(before + length, 0);
        self.connection.read_exact(&mut body[before..]).expect("the whole body");
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
