//! The memory of a key in Redis, by strategy.

use redis::{Cmd, Value};

use super::evalsha;
use crate::peers::{Bench, Transport};
use crate::redis_benchmark::RANDOM;
use crate::report::Report;
use crate::socket::RedisSocket;

/// Keys per strategy: enough for the growth of the server's tables to be visible.
const KEYS: usize = 10_000;
/// Name, strategy, and the number of calls per key.
const KINDS: &[(&str, &str, &[usize])] = &[
    ("bucket", r#"kind = "token_bucket", capacity = 100, refill_per_second = 0.01"#, &[1]),
    ("gcra", r#"kind = "gcra", limit = 100, period = "1d""#, &[1]),
    ("fixed", r#"kind = "fixed_window", limit = 100, calendar = "month", zone = "Asia/Bangkok""#, &[1]),
    ("backoff", r#"kind = "exponential_backoff", limit = 100, window = "12h", factor = 2, maximum = "2d""#, &[1]),
    ("sliding", r#"kind = "sliding_window", limit = 1000, window = "1d""#, &[1, 10, 100, 1_000]),
];

pub fn run(bench: &Bench, report: &mut Report) {
    let limiters = KINDS.iter().map(|(name, strategy, _)| {
        format!(
            "[[ratelimit.limiters]]\nname = \"{name}\"\nkey = \"rate_limit:{name}:{{key}}\"\n\
             strategy = {{ {strategy} }}\nwithout_redis = \"closed\"\n"
        )
    });
    let service = bench.service_with(Transport::Tcp, &limiters.collect::<String>());
    let mut redis = RedisSocket::connect(bench.redis.address);
    for (name, strategy, fillings) in KINDS {
        let script = evalsha(bench, &service, &format!(r#"{{"limiter":"{name}","key":"{RANDOM}"}}"#));
        for calls in *fillings {
            // The longest logs use fewer keys.
            let keys = KEYS / calls.isqrt();
            redis.call(&redis::cmd("FLUSHALL"));
            let before = used(&mut redis);
            for key in 0..keys {
                let command = numbered(&script, key);
                redis.pipeline(&vec![command; *calls]);
            }
            let grown = (used(&mut redis) - before) / keys;
            let key = script[3].replace(RANDOM, &number(0));
            let usage = integer(&redis.call(redis::cmd("MEMORY").arg("USAGE").arg(&key)));
            let kind = strategy.split('"').nth(1).unwrap_or(name);
            report.row(
                format!("memory of a rate-limit key of {} bytes: {kind}, {calls} calls", key.len()),
                format!(
                    "MEMORY USAGE {usage} bytes; {grown} bytes per key of {keys}, including the share of the tables"
                ),
                "",
            );
        }
    }
    redis.call(&redis::cmd("FLUSHALL"));
}

fn number(key: usize) -> String {
    format!("{key:012}")
}

/// The script call for one key.
fn numbered(script: &[String], key: usize) -> Cmd {
    let mut command = Cmd::new();
    for argument in script {
        command.arg(argument.replace(RANDOM, &number(key)));
    }
    command
}

/// The bytes that Redis uses.
fn used(redis: &mut RedisSocket) -> usize {
    let info = redis.call(redis::cmd("INFO").arg("memory"));
    let info: String = redis::from_redis_value(info).expect("text");
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:")).expect("memory in use");
    line.parse().expect("a number")
}

fn integer(value: &Value) -> usize {
    redis::from_redis_value(value.clone()).expect("a number")
}
