//! One plain connection to Redis, one command at a time.

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

    pub fn call(&mut self, command: &Cmd) -> Value {
        self.send(&command.get_packed_command());
        self.reply()
    }

    /// Sends many commands at once and waits for all replies.
    pub fn pipeline(&mut self, commands: &[Cmd]) {
        let packed: Vec<u8> = commands.iter().flat_map(Cmd::get_packed_command).collect();
        self.send(&packed);
        for _ in commands {
            self.reply();
        }
    }

    /// Sends packed commands.
    pub fn send(&mut self, packed: &[u8]) {
        self.connection.get_mut().write_all(packed).expect("Redis reads");
    }

    pub fn reply(&mut self) -> Value {
        let reply = self.parser.parse_value(&mut self.connection).expect("a reply");
        reply.extract_error().expect("no error")
    }
}
