//! A minimal HTTP/1.1 client with one persistent connection, so that the load generator is not the bottleneck.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The timeout of a response; longer than any wait of the tests.
const TIMEOUT: Duration = Duration::from_millis(2_500);

pub struct Request<'a> {
    pub method: &'static str,
    pub path: String,
    pub header: Option<(&'static str, &'a str)>,
    /// JSON; empty if there is no body.
    pub body: String,
}

pub struct Response {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Response {
    /// The code of the problem in the body; empty if the body is not a problem.
    pub fn problem(&self) -> String {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        problem["code"].as_str().unwrap_or_default().to_owned()
    }
}

pub struct Wire {
    port: u16,
    timeout: Duration,
    stream: Option<BufReader<TcpStream>>,
}

impl Wire {
    pub fn new(port: u16) -> Self {
        Self { port, timeout: TIMEOUT, stream: None }
    }

    /// A client that waits up to a minute for unoptimised code.
    pub fn patient(port: u16) -> Self {
        Self { timeout: Duration::from_secs(60), ..Self::new(port) }
    }

    /// Sends a request and waits for the response; an error closes the connection.
    pub fn send(&mut self, request: &Request<'_>) -> std::io::Result<Response> {
        let mut stream = self.write(request)?;
        let response = read(&mut stream)?;
        self.stream = Some(stream);
        Ok(response)
    }

    /// Sends a request and closes the connection after `after`.
    pub fn abandon(&mut self, request: &Request<'_>, after: Duration) {
        if let Ok(_stream) = self.write(request) {
            // The client is slow on purpose.
            std::thread::sleep(after);
        }
    }

    fn write(&mut self, request: &Request<'_>) -> std::io::Result<BufReader<TcpStream>> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        let Request { method, path, header, body } = request;
        let header = header.map(|(name, value)| format!("{name}: {value}\r\n")).unwrap_or_default();
        let length = body.len();
        let text = format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n{header}\
             content-length: {length}\r\n\r\n{body}"
        );
        stream.get_mut().write_all(text.as_bytes())?;
        Ok(stream)
    }

    fn connect(&self) -> std::io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.timeout))?;
        Ok(BufReader::new(stream))
    }
}

fn read(stream: &mut BufReader<TcpStream>) -> std::io::Result<Response> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(cut_off)?;
    let mut length = 0;
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(cut_off());
        }
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().map_err(|_| cut_off())?;
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Response { status, body })
}

fn cut_off() -> std::io::Error {
    std::io::ErrorKind::UnexpectedEof.into()
}
