//! Complete snapshots of servers: each server sends one as it would to a new replica.
//!
//! The connections are synchronous: a snapshot is read, compressed and encrypted on a thread of its own.

use std::io::{self, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo};

use super::{Redis, RedisFault};
use crate::redis::fault::Effect;

/// A server ends the connection of a replica that stalls for a minute (`repl-timeout`).
const STALL: Duration = Duration::from_secs(60);
/// The length of the random mark that ends a snapshot.
const MARK: usize = 40;
/// The longest line of a reply.
const LINE: usize = 1_024;

/// Why there is no complete snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The server does not send snapshots to this user, or not over this connection.
    #[error("the server sends no snapshot: {0}")]
    Refused(String),
    #[error("the snapshot is not complete: {0}")]
    Broken(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The user that may read snapshots. Without one, it is the user of the service.
#[derive(Clone, Default)]
pub struct SnapshotLogin {
    pub username: String,
    pub password: String,
}

/// A server that can send a snapshot.
pub struct SnapshotSource {
    info: ConnectionInfo,
    login: SnapshotLogin,
    limit: Duration,
}

trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

enum Ending {
    Mark([u8; MARK]),
    Length(u64),
}

/// A snapshot in the RDB format, which begins with the next byte.
pub struct Snapshot {
    wire: BufReader<Box<dyn Wire>>,
    ending: Ending,
    read: u64,
    /// The identifier of the history of writes ...
    pub replication_id: String,
    /// ... and the place in it at which the snapshot was made.
    pub offset: u64,
    /// The number of the database that the service uses; the snapshot has all.
    pub database: u64,
}

impl Redis {
    pub(super) async fn masters(&self) -> Result<Vec<ConnectionInfo>, RedisFault> {
        let masters = self.0.lane_pool.manager().masters().await;
        masters.map_err(|error| RedisFault::classify(error, Effect::Read))
    }

    /// The servers that together hold the data: one, or the masters of a cluster.
    ///
    /// # Errors
    /// A [`RedisFault`] if they cannot be found.
    pub async fn snapshot_sources(&self, login: &SnapshotLogin) -> Result<Vec<SnapshotSource>, RedisFault> {
        let limit = self.0.limits.connect;
        Ok(self.masters().await?.into_iter().map(|info| SnapshotSource { info, login: login.clone(), limit }).collect())
    }
}

impl SnapshotSource {
    /// Asks for a snapshot, and waits until it begins.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub fn open(&self) -> Result<Snapshot, SnapshotError> {
        let mut wire = BufReader::with_capacity(1 << 16, self.connect()?);
        let settings = self.info.redis_settings();
        let (username, password) = match self.login.username.as_str() {
            "" => (settings.username().unwrap_or("default"), settings.password().unwrap_or_default()),
            name => (name, self.login.password.as_str()),
        };
        if !password.is_empty() {
            ask(&mut wire, &["AUTH", username, password])?;
        }
        // One command at a time: PSYNC is rejected while a reply is pending.
        ask(&mut wire, &["REPLCONF", "capa", "eof"])?;
        // The server ends the connection after the snapshot.
        ask(&mut wire, &["REPLCONF", "rdb-only", "1"])?;
        let began = ask(&mut wire, &["PSYNC", "?", "-1"])?;
        let mut words = began.split(' ');
        let (Some("FULLRESYNC"), Some(id), Some(Ok(offset))) =
            (words.next(), words.next(), words.next().map(str::parse))
        else {
            return Err(SnapshotError::Refused(began));
        };
        let replication_id = id.to_owned();
        let size = line(&mut wire)?;
        let ending = match (size.strip_prefix("$EOF:"), size.strip_prefix('$').map(str::parse)) {
            (Some(mark), _) => Ending::Mark(
                mark.as_bytes()
                    .try_into()
                    .map_err(|_| SnapshotError::Broken("its end mark is malformed".to_owned()))?,
            ),
            (None, Some(Ok(length))) => Ending::Length(length),
            _ => return Err(SnapshotError::Refused(size)),
        };
        let database = u64::try_from(settings.db()).unwrap_or_default();
        Ok(Snapshot { wire, ending, read: 0, replication_id, offset, database })
    }

    fn connect(&self) -> Result<Box<dyn Wire>, SnapshotError> {
        match self.info.addr() {
            ConnectionAddr::Tcp(host, port) => {
                let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
                for address in (host.as_str(), *port).to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, self.limit) {
                        Ok(stream) => {
                            stream.set_read_timeout(Some(STALL))?;
                            stream.set_write_timeout(Some(STALL))?;
                            return Ok(Box::new(stream));
                        }
                        Err(error) => failure = error,
                    }
                }
                Err(failure.into())
            }
            ConnectionAddr::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(STALL))?;
                stream.set_write_timeout(Some(STALL))?;
                Ok(Box::new(stream))
            }
            _ => Err(SnapshotError::Refused("snapshots are not read over TLS".to_owned())),
        }
    }
}

impl Snapshot {
    /// Checks that the server has marked the end where the snapshot ended, and that nothing follows. `rest` was read beyond
    /// the end.
    ///
    /// # Errors
    /// [`SnapshotError::Broken`], [`SnapshotError::Io`].
    pub fn finish(mut self, rest: &[u8]) -> Result<(), SnapshotError> {
        let mut found = rest.to_vec();
        Read::by_ref(&mut self).take(MARK as u64 + 1).read_to_end(&mut found)?;
        let is_whole = match self.ending {
            Ending::Mark(mark) => found == mark,
            Ending::Length(length) => found.is_empty() && length == self.read,
        };
        if is_whole { Ok(()) } else { Err(SnapshotError::Broken("it does not end where its server says".to_owned())) }
    }
}

impl Read for Snapshot {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.wire.read(buffer)?;
        self.read += read as u64;
        Ok(read)
    }
}

/// Sends a command and returns its status reply.
fn ask(wire: &mut BufReader<Box<dyn Wire>>, words: &[&str]) -> Result<String, SnapshotError> {
    let arguments: Vec<String> = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    let text = format!("*{}\r\n{}", words.len(), arguments.concat());
    wire.get_mut().write_all(text.as_bytes())?;
    let reply = line(wire)?;
    match reply.strip_prefix('+') {
        Some(status) => Ok(status.to_owned()),
        None => Err(SnapshotError::Refused(reply)),
    }
}

/// The next line that is not empty: a server that prepares a snapshot sends newlines.
fn line(wire: &mut impl Read) -> Result<String, SnapshotError> {
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        wire.read_exact(&mut byte)?;
        match byte {
            [b'\n'] if line.is_empty() => {}
            [b'\n'] => return Ok(String::from_utf8_lossy(&line).into_owned()),
            [b'\r'] => {}
            [other] => line.push(other),
        }
        if line.len() > LINE {
            return Err(SnapshotError::Broken("a line is too long".to_owned()));
        }
    }
}
