//! Finds the master that the newest configuration of the Sentinels names.
//!
//! Each failover raises the epoch of the configuration. A Sentinel that was cut off meanwhile, or has not heard of the failover
//! yet, still names the former master, which may be well and accept writes that are lost later. So all Sentinels are asked, and
//! the newest epoch counts. An older one than the service has seen counts only if a majority of the Sentinels has none newer:
//! then they were set up again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deadpool::managed::Manager as _;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::aio::MultiplexedConnection;
use redis::{ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, Value};
use tokio::time::{Instant, timeout, timeout_at};

/// The time for the answers of a majority ...
const PATIENCE: Duration = Duration::from_secs(1);
/// ... and then for those of the others. The one that has led a failover knows of it first.
const MORE_PATIENCE: Duration = Duration::from_millis(200);

/// The Sentinels of one master.
#[derive(Debug)]
pub(super) struct Sentinels {
    /// The name under which the Sentinels know the master.
    pub(super) name: String,
    pub(super) addresses: Vec<ConnectionInfo>,
    /// How the master is contacted; its address is that of a Sentinel.
    master: ConnectionInfo,
    /// One more than the newest epoch that was seen, or 0.
    seen: AtomicU64,
}

/// What a Sentinel says about the master.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NamedMaster {
    epoch: u64,
    host: String,
    port: u16,
    /// Whether the Sentinel cannot reach the master.
    is_down: bool,
}

impl Sentinels {
    pub(super) fn new(name: &str, addresses: Vec<ConnectionInfo>, master: ConnectionInfo) -> Self {
        Self { name: name.to_owned(), addresses, master, seen: AtomicU64::new(0) }
    }

    /// The master, which says itself that it is one.
    pub(super) async fn master(&self) -> Result<ConnectionInfo, RedisError> {
        let (answers, mut failure) = self.ask_all().await;
        for NamedMaster { host, port, .. } in self.newest(answers)? {
            let master = self.master.clone().set_addr(at(self.master.addr(), host, port));
            match is_master(&master).await {
                Ok(true) => return Ok(master),
                Ok(false) => failure = Some(missing("the server that the Sentinels name is no master")),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| missing("no Sentinel names a master that it can reach")))
    }

    /// Whether this Sentinel names a newer configuration than the service has seen.
    pub(super) async fn is_newer(&self, sentinel: &ConnectionInfo) -> Result<bool, RedisError> {
        let seen = self.seen.load(Ordering::Relaxed);
        Ok(seen > 0 && self.ask(sentinel).await?.epoch >= seen)
    }

    async fn ask_all(&self) -> (Vec<NamedMaster>, Option<RedisError>) {
        let mut asked: FuturesUnordered<_> = self.addresses.iter().map(|sentinel| self.ask(sentinel)).collect();
        let (mut answers, mut failure) = (Vec::new(), None);
        let mut end = Instant::now() + PATIENCE;
        while let Ok(Some(answer)) = timeout_at(end, asked.next()).await {
            match answer {
                Ok(answer) => {
                    answers.push(answer);
                    if self.is_majority(answers.len()) {
                        end = end.min(Instant::now() + MORE_PATIENCE);
                    }
                }
                Err(error) => failure = Some(error),
            }
        }
        (answers, failure)
    }

    async fn ask(&self, sentinel: &ConnectionInfo) -> Result<NamedMaster, RedisError> {
        let mut connection = connect(sentinel).await?;
        // In this order: an address that is newer than its epoch does no harm. While a failover lasts, the fields are still those
        // of the former master, but the epoch may be that of its successor.
        let mut questions = redis::pipe();
        questions.cmd("SENTINEL").arg("MASTER").arg(&self.name);
        questions.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name);
        let (fields, (host, port)): (HashMap<String, String>, (String, u16)) =
            questions.query_async(&mut connection).await?;
        NamedMaster::new(&fields, host, port).ok_or_else(|| missing("a Sentinel tells no epoch of its configuration"))
    }

    /// The usable answers of the newest epoch.
    fn newest(&self, answers: Vec<NamedMaster>) -> Result<Vec<NamedMaster>, RedisError> {
        let Some(newest) = answers.iter().map(|answer| answer.epoch).max() else { return Ok(answers) };
        if newest < self.seen.load(Ordering::Relaxed).saturating_sub(1) {
            if !self.is_majority(answers.len()) {
                return Err(missing("the Sentinels that answer have missed a failover"));
            }
            tracing::warn!(epoch = newest, "the Sentinels have an older configuration than before");
            self.seen.store(newest + 1, Ordering::Relaxed);
        }
        self.seen.fetch_max(newest + 1, Ordering::Relaxed);
        let mut usable: Vec<NamedMaster> = Vec::new();
        for answer in answers {
            if answer.epoch == newest && !answer.is_down && !usable.contains(&answer) {
                usable.push(answer);
            }
        }
        Ok(usable)
    }

    fn is_majority(&self, count: usize) -> bool {
        count > self.addresses.len() / 2
    }
}

impl NamedMaster {
    /// `None` if the fields have no epoch.
    fn new(fields: &HashMap<String, String>, host: String, port: u16) -> Option<Self> {
        let field = |name: &str| fields.get(name).map_or("", String::as_str);
        let epoch = field("config-epoch").parse().ok()?;
        let is_about_this = field("ip") == host && field("port").parse() == Ok(port);
        let is_down = field("flags").split(',').any(|flag| flag == "s_down" || flag == "o_down");
        Some(Self { epoch, host, port, is_down: is_about_this && is_down })
    }
}

/// The address of another server that is reached in the same way.
pub(super) fn at(base: &ConnectionAddr, host: String, port: u16) -> ConnectionAddr {
    match base.clone() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure, tls_params }
        }
        _ => ConnectionAddr::Tcp(host, port),
    }
}

async fn is_master(server: &ConnectionInfo) -> Result<bool, RedisError> {
    let mut connection = connect(server).await?;
    let role: Result<Vec<Value>, RedisError> = redis::cmd("ROLE").query_async(&mut connection).await;
    if let Ok(role) = role {
        return Ok(matches!(role.first(), Some(Value::BulkString(role)) if role == b"master"));
    }
    // The service's user may lack the permission for ROLE.
    let info: String = redis::cmd("INFO").arg("replication").query_async(&mut connection).await?;
    Ok(info.contains("role:master"))
}

async fn connect(server: &ConnectionInfo) -> Result<MultiplexedConnection, RedisError> {
    let connecting = async { deadpool_redis::Manager::new(server.clone())?.create().await };
    timeout(PATIENCE, connecting)
        .await
        .unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))
}

fn missing(reason: &'static str) -> RedisError {
    RedisError::from((ErrorKind::MasterNameNotFoundBySentinel, reason))
}

#[cfg(test)]
mod tests {
    use redis::IntoConnectionInfo;

    use super::*;

    fn three() -> Sentinels {
        let address = "redis://localhost".into_connection_info().expect("an address");
        Sentinels::new("m", vec![address.clone(); 3], address)
    }

    fn answer(epoch: u64, port: u16) -> NamedMaster {
        NamedMaster { epoch, host: "a".to_owned(), port, is_down: false }
    }

    #[test]
    fn the_newest_epoch_counts_and_a_minority_with_an_older_one_is_not_believed() {
        let sentinels = three();
        let newest = |answers: &[NamedMaster]| sentinels.newest(answers.to_vec()).ok();
        assert_eq!(newest(&[answer(1, 1)]), Some(vec![answer(1, 1)]));
        assert_eq!(newest(&[answer(1, 1), answer(2, 2), answer(1, 1)]), Some(vec![answer(2, 2)]));
        assert_eq!(newest(&[answer(1, 1)]), None);
        assert_eq!(newest(&[answer(2, 2)]), Some(vec![answer(2, 2)]));
        assert_eq!(newest(&[]), Some(vec![]), "it remains unknown");
        assert_eq!(newest(&[answer(1, 1), answer(0, 1)]), Some(vec![answer(1, 1)]), "they were set up again");
        assert_eq!(newest(&[answer(0, 1)]), None);
    }

    #[test]
    fn a_master_is_down_only_if_the_flags_are_its_own() {
        let mut fields = HashMap::from([("config-epoch", "3"), ("ip", "a"), ("port", "1"), ("flags", "s_down,master")]);
        let told = |fields: &HashMap<&str, &str>, port| {
            let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            NamedMaster::new(&fields, "a".to_owned(), port)
        };
        assert_eq!(told(&fields, 1), Some(NamedMaster { is_down: true, ..answer(3, 1) }));
        assert_eq!(told(&fields, 2), Some(answer(3, 2)), "the successor, while the failover lasts");
        fields.insert("flags", "master");
        assert_eq!(told(&fields, 1), Some(answer(3, 1)));
        fields.remove("config-epoch");
        assert_eq!(told(&fields, 1), None);
    }
}
