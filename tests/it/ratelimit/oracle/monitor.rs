//! The decisions as Redis reports them: MONITOR shows each script's commands, and when they ran on Redis's clock.

use std::thread::JoinHandle;

use super::rates::Moment;
use crate::support::RedisServer;

/// Newer servers read a script's time up to this long before they report the script's call, microseconds.
const HEAD_START: u64 = 200;
const LAST: &str = "the-last-command";

/// Follows a Redis from `start` to `stop`, or until the server ends.
pub struct Monitor {
    reader: JoinHandle<CommandLog>,
}

/// The commands that MONITOR reported.
#[derive(Debug, Default)]
pub struct CommandLog {
    pub decisions: Vec<Decision>,
    /// When the last command ran.
    pub until: u64,
    /// Whether the last command belongs to a decision.
    is_deciding: bool,
}

/// A call of a script that read the time.
#[derive(Debug)]
pub struct Decision {
    /// The key that it read.
    pub key: String,
    pub at: Moment,
    /// Whether it wrote: a granted cost is taken, and a refusal takes nothing.
    pub granted: bool,
}

impl Monitor {
    pub fn start(redis: &RedisServer) -> Self {
        let lines = redis.monitor().take_while(|line| !line.contains(LAST));
        let mut log = CommandLog::default();
        Self {
            reader: std::thread::spawn(move || {
                lines.for_each(|line| log.add(&line));
                log
            }),
        }
    }

    pub fn stop(self, redis: &RedisServer) -> CommandLog {
        redis.command::<String>(&["ECHO", LAST]);
        self.ended()
    }

    /// Waits until the server ends.
    pub fn ended(self) -> CommandLog {
        self.reader.join().expect("the decisions")
    }
}

impl CommandLog {
    /// A line is `<seconds>.<microseconds> [<database> <client>] "<command>" "<argument>" ..`; the client of a script's
    /// commands is `lua`. A script's call comes first, directly followed by its commands.
    fn add(&mut self, line: &str) {
        let (origin, command) = line.split_once("] ").expect("an origin");
        let mut words = command.split('"').skip(1).step_by(2);
        let (name, key) = (words.next().expect("a command"), words.next().unwrap_or_default());
        let (seconds, rest) = origin.split_once('.').expect("a time");
        let (fraction, client) = rest.split_once(" [").expect("a client");
        let number = |text: &str| text.parse::<u64>().expect("a number");
        let at = number(seconds) * 1_000_000 + number(fraction);
        // Scripts that do not read the time decide nothing.
        self.is_deciding = client.ends_with(" lua") && (self.is_deciding || name == "TIME");
        if self.is_deciding {
            if name == "TIME" {
                let at = Moment { earliest: self.until - HEAD_START, latest: at };
                self.decisions.push(Decision { key: String::new(), at, granted: false });
            } else if let Some(decision) = self.decisions.last_mut() {
                key.clone_into(&mut decision.key);
                decision.granted |= matches!(name, "SET" | "APPEND");
            }
        }
        self.until = at;
    }
}
