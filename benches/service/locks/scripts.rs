//! The two script calls of the service.

use redis::Cmd;

use crate::monitor::Monitor;
use crate::peers::{Bench, Service};
use crate::redis_benchmark::RANDOM;

/// The lease of every measured lock.
pub const ACQUIRE: &[u8] = br#"{"ttl_ms":30000}"#;
pub const JSON: &str = "content-type: application/json\r\n";

/// The commands of one acquire and one release, for a resource whose number is [`RANDOM`].
pub struct Scripts {
    pub acquire: Vec<String>,
    pub release: Vec<String>,
}

impl Scripts {
    /// Records the commands of one pair, so that exactly the same commands are compared.
    pub fn of(service: &Service, bench: &Bench) -> Self {
        let monitor = Monitor::start(bench.redis.address);
        let mut client = service.client();
        let path = format!("/locks/bench:{RANDOM}");
        let grant = client.send("POST", &path, JSON, ACQUIRE).expect_success("a grant");
        let header = format!("lock-token: {}\r\n", token(&grant.body));
        client.send("DELETE", &path, &header, &[]).expect_success("a release");
        let sent = monitor.stop().into_iter().filter(|entry| !entry.in_script);
        let mut scripts = sent.map(|entry| entry.arguments).filter(|arguments| {
            arguments[0].eq_ignore_ascii_case("evalsha") && arguments.iter().any(|argument| argument.ends_with(RANDOM))
        });
        let mut next = || scripts.next().expect("a script call");
        Self { acquire: next(), release: next() }
    }
}

/// The command for one resource.
pub fn numbered(command: &[String], number: u64) -> Cmd {
    let mut numbered = Cmd::new();
    for argument in command {
        numbered.arg(argument.replace(RANDOM, &format!("{number:012}")));
    }
    numbered
}

/// The token in the JSON of a grant.
pub fn token(grant: &[u8]) -> String {
    let grant: serde_json::Value = serde_json::from_slice(grant).expect("JSON");
    grant["token"].as_str().expect("a token").to_owned()
}
