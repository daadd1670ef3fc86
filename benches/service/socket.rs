//! One plain connection to Redis, a question at a time.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use redis::{Cmd, Parser, Value};

pub struct RedisSocket {
    connection: BufReader<TcpStream>,
    parser: Parser,
}

impl RedisSocket {
    pub fn connect(address: SocketAddr) -> Self {
        let connection = TcpStream::connect(address).expect("Redis listens");
        connection.set_nodelay(true).expect("a socket");
        Self { connection: BufReader::new(connection), parser: Parser::new() }
    }

    pub fn ask(&mut self, command: &Cmd) -> Value {
        self.send(&command.get_packed_command());
        self.answer()
    }

    /// Sends many commands at once and waits for all answers.
    pub fn ask_all(&mut self, commands: &[Cmd]) {
        let packed: Vec<u8> = commands.iter().flat_map(Cmd::get_packed_command).collect();
        self.send(&packed);
        for _ in commands {
            self.answer();
        }
    }

    /// Sends packed commands.
    pub fn send(&mut self, packed: &[u8]) {
        self.connection.get_mut().write_all(packed).expect("Redis reads");
    }

    pub fn answer(&mut self) -> Value {
        let answer = self.parser.parse_value(&mut self.connection).expect("an answer");
        answer.extract_error().expect("no error")
    }
}
