//! The service under attack, its Redis, and its memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use gridtokenx_redis::http::auth::api_key;

use super::{Size, batches, client, documents, samples};
use crate::support::{RedisServer, ServiceProcess, eventually};

pub const HOSTILE_KEY: &str = "ak_11111111111111111111111111111111";
pub const VICTIM_KEY: &str = "ak_22222222222222222222222222222222";

/// Every scope but `admin`.
const SCOPES: [&str; 15] = [
    "cache:read",
    "cache:write",
    "config:read",
    "config:write",
    "forms:read",
    "forms:write",
    "hosts:read",
    "hosts:write",
    "json:read",
    "json:write",
    "locks:read",
    "locks:write",
    "ratelimit:check",
    "ratelimit:read",
    "ratelimit:inline",
];

/// Expensive to check: uniqueness compares all pairs of members, and the pattern backtracks in other engines.
const SCHEMA: &str = r##"{"type":"object","properties":{"list":{"type":"array","uniqueItems":true},
"text":{"type":"string","pattern":"^(([a-z])+.)+[A-Z]([a-z])+$"},"tree":{"$ref":"#/$defs/tree"}},
"$defs":{"tree":{"anyOf":[{"type":"array","items":{"$ref":"#/$defs/tree"}},{"type":"null"}]}}}"##;

pub struct Target {
    service: ServiceProcess,
    _redis: RedisServer,
    _directory: tempfile::TempDir,
}

/// The resident memory of the service during an attack, KiB.
pub struct Memory {
    pub before: u64,
    pub max: u64,
}

pub struct MemoryWatch {
    stopped: Arc<AtomicBool>,
    thread: JoinHandle<Memory>,
}

impl Target {
    pub fn start() -> Self {
        let redis = RedisServer::with_options(&["--save", "", "--appendonly", "no"]);
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("service.toml");
        let more = [
            "metrics:read",
            "pubsub:read",
            "pubsub:write",
            "streams:read",
            "streams:write",
            "timeseries:read",
            "timeseries:write",
            "users:read",
            "users:write",
        ];
        let scopes: Vec<&str> = SCOPES.iter().chain(&more).copied().collect();
        let key = |id: &str, key: &str| {
            let digest = api_key::hex(&api_key::digest(key.as_bytes()));
            format!(
                "[[auth.keys]]\nid = \"{id}\"\nsha256 = \"{digest}\"\nscopes = {scopes:?}\norganisation = \"{id}\"\n"
            )
        };
        let config = format!(
            "[http]\nworkers = 0\n[redis]\nurl = \"{}\"\n{}{}\
             [[json.collections]]\nprefix = \"schema:\"\nschema = '''{SCHEMA}'''\n\
             [ratelimit]\nenvoy = [{{ domain = \"gateway\", entries = [{{ key = \"remote_address\" }}], limiter = \"api\" }}]\n",
            redis.url(),
            key("hostile", HOSTILE_KEY),
            key("victim", VICTIM_KEY),
        );
        std::fs::write(&file, config).expect("the configuration is written");
        let workers = ("GTX__HTTP__WORKERS", "0");
        let mut service = ServiceProcess::start_with(&file, &[workers, ("LOG_LEVEL", "error")]);
        service.ready();
        Self { service, _redis: redis, _directory: directory }
    }

    pub fn port(&mut self) -> u16 {
        self.service.address().port()
    }

    pub fn resident_kib(&self) -> u64 {
        self.service.resident_kib()
    }

    /// Stores what the attacks read.
    pub async fn prepare(&mut self, size: &Size) {
        let port = self.port();
        let victim = client::call("PUT", "/cache/victim", "", "{\"a\":1}");
        let calls = [vec![victim], documents::stored(size), batches::stored(size), samples::stored(size)].concat();
        for call in calls {
            let status = client::send(port, &call).await;
            let start = String::from_utf8_lossy(&call[..call.len().min(80)]).into_owned();
            assert!((200..300).contains(&status), "{status}: {start}");
        }
    }

    pub fn watch_memory(&self) -> MemoryWatch {
        let stopped = Arc::new(AtomicBool::new(false));
        let (is_stopped, before) = (Arc::clone(&stopped), self.service.resident_kib());
        let memory = self.service.memory_of();
        let thread = std::thread::spawn(move || {
            let mut max = before;
            while !is_stopped.load(Ordering::Relaxed) {
                max = max.max(memory());
                // Samples the memory of a process.
                std::thread::sleep(Duration::from_millis(5));
            }
            Memory { before, max }
        });
        MemoryWatch { stopped, thread }
    }

    /// Waits until the requests of an attack have ended.
    pub async fn settle(&mut self) {
        let port = self.port();
        let metrics = client::call("GET", "/metrics", "", "");
        eventually("the connections are closed", async || {
            let text = client::text(port, &metrics).await;
            text.lines().any(|line| line == "http_connections 1")
        })
        .await;
    }
}

impl MemoryWatch {
    pub fn end(self) -> Memory {
        self.stopped.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic")
    }
}
