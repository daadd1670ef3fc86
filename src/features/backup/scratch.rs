//! Connections of their own for drills and restores, and the private server of a drill.

use std::path::PathBuf;
use std::time::Duration;

use super::error::BackupError;
use super::scripts;
use crate::clock::Clock;
use crate::config::value::Span;
use crate::lifecycle::Tasks;
use crate::random;
use crate::redis::{Effect, EmbeddedServer, Redis, RedisRoles};

/// The time limit of one command: a command writes up to a hundred values, and no client waits for it.
const COMMAND_TIMEOUT: Span = Span::from_millis(30_000);

/// A connection with another key prefix than that of the service.
pub(super) struct Session {
    pub redis: Redis,
    tasks: Tasks,
}

impl Session {
    /// Connects to the server of the state, or to the one at `url`.
    ///
    /// # Errors
    /// [`BackupError::Target`] for an address that cannot be used.
    pub(super) async fn open(roles: &RedisRoles, prefix: &str, url: Option<&str>) -> Result<Self, BackupError> {
        let redis = roles.apart(prefix, url, COMMAND_TIMEOUT, scripts::SCRIPTS);
        let redis = redis.map_err(|error| BackupError::Target(error.to_string()))?;
        let tasks = Tasks::new(Clock::System);
        redis.attach(0, &tasks);
        redis.settled().await;
        Ok(Self { redis, tasks })
    }

    pub(super) fn close(self) {
        self.tasks.stop();
    }
}

/// The empty server of a drill.
pub(super) struct Scratch {
    session: Session,
    private: Option<(EmbeddedServer, PathBuf)>,
}

impl Scratch {
    /// Starts a private server, or connects to the configured one, which must not be that of the service.
    ///
    /// # Errors
    /// [`BackupError::Target`].
    pub(super) async fn open(roles: &RedisRoles, url: &str) -> Result<Self, BackupError> {
        if url.is_empty() {
            return Self::private(roles).await;
        }
        let session = Session::open(roles, "", Some(url)).await?;
        match check(&session.redis, roles).await {
            Ok(()) => Ok(Self { session, private: None }),
            Err(error) => {
                session.close();
                Err(error)
            }
        }
    }

    /// Starts a private server.
    ///
    /// # Errors
    /// [`BackupError::Target`].
    pub(super) async fn private(roles: &RedisRoles) -> Result<Self, BackupError> {
        let token = random::token().map_err(std::io::Error::other)?;
        let directory = std::env::temp_dir().join(format!("gridtokenx-drill-{token}"));
        let server = roles.private_server(&directory).await.map_err(|error| BackupError::Target(error.to_string()))?;
        match Session::open(roles, "", Some(&server.url())).await {
            Ok(session) => Ok(Self { session, private: Some((server, directory)) }),
            Err(error) => {
                discard(server, directory).await;
                Err(error)
            }
        }
    }

    pub(super) fn redis(&self) -> &Redis {
        &self.session.redis
    }

    /// Removes the private server, or what the drill wrote to the configured one.
    pub(super) async fn close(self) {
        if self.private.is_none() {
            // It was empty. What cannot be removed makes the next drill fail.
            let _ = self.session.redis.query::<()>(redis::cmd("FLUSHDB").arg("ASYNC"), Effect::Write).await;
        }
        self.session.close();
        if let Some((server, directory)) = self.private {
            discard(server, directory).await;
        }
    }
}

async fn discard(server: EmbeddedServer, directory: PathBuf) {
    server.stop().await;
    // What is left is in the directory of temporary files.
    let _ = tokio::time::timeout(Duration::from_secs(5), tokio::fs::remove_dir_all(directory)).await;
}

/// Checks that a server is empty, since it is emptied afterwards, and is not that of the service.
async fn check(scratch: &Redis, roles: &RedisRoles) -> Result<(), BackupError> {
    let id = run_id(scratch).await?;
    for redis in roles.distinct().filter(|redis| !redis.is_cluster()) {
        if id == run_id(redis).await? {
            return Err(BackupError::Target("backup.drill_url is the server of the service".to_owned()));
        }
    }
    let keys: u64 = scratch.query(&redis::cmd("DBSIZE"), Effect::Read).await?;
    if keys == 0 { Ok(()) } else { Err(BackupError::Target(format!("the server for drills has {keys} keys"))) }
}

async fn run_id(redis: &Redis) -> Result<String, BackupError> {
    let info: String = redis.query(redis::cmd("INFO").arg("server"), Effect::Read).await?;
    let id = info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap_or_default();
    Ok(id.trim().to_owned())
}
