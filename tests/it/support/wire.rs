//! HTTP/1.1 over one connection that is kept: as little as a client needs, so that the load is not the bottleneck.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Longer than any wait: an answer that takes longer is given up.
const PATIENCE: Duration = Duration::from_millis(2_500);

pub struct Question<'a> {
    pub method: &'static str,
    pub path: String,
    pub header: Option<(&'static str, &'a str)>,
    /// JSON; empty without a body.
    pub body: String,
}

pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Answer {
    /// The code of the problem that it tells; empty if it is none.
    pub fn problem(&self) -> String {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        problem["code"].as_str().unwrap_or_default().to_owned()
    }
}

pub struct Wire {
    port: u16,
    stream: Option<BufReader<TcpStream>>,
}

impl Wire {
    pub fn new(port: u16) -> Self {
        Self { port, stream: None }
    }

    /// Asks and waits for the answer; an error costs the connection.
    pub fn ask(&mut self, question: &Question<'_>) -> std::io::Result<Answer> {
        let mut stream = self.send(question)?;
        let answer = read(&mut stream)?;
        self.stream = Some(stream);
        Ok(answer)
    }

    /// Asks and hangs up after a while.
    pub fn abandon(&mut self, question: &Question<'_>, after: Duration) {
        if let Ok(_stream) = self.send(question) {
            // The client is slow on purpose.
            std::thread::sleep(after);
        }
    }

    fn send(&mut self, question: &Question<'_>) -> std::io::Result<BufReader<TcpStream>> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        let Question { method, path, header, body } = question;
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
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(BufReader::new(stream))
    }
}

fn read(stream: &mut BufReader<TcpStream>) -> std::io::Result<Answer> {
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
    Ok(Answer { status, body })
}

fn cut_off() -> std::io::Error {
    std::io::ErrorKind::UnexpectedEof.into()
}
