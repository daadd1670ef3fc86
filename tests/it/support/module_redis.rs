//! A Redis with modules. None is started: whoever runs the tests names one.

use std::sync::atomic::{AtomicU32, Ordering};

/// The address of a Redis with modules; without it nothing is tried there, and `make test` says so.
pub fn module_redis_url() -> Option<String> {
    std::env::var("GTX_TEST_MODULE_REDIS_URL").ok().filter(|url| !url.is_empty())
}

/// The configuration of a service on that Redis, with keys that no other one has.
pub fn on_module_redis(url: &str) -> String {
    static SERVICES: AtomicU32 = AtomicU32::new(0);
    let (process, service) = (std::process::id(), SERVICES.fetch_add(1, Ordering::Relaxed));
    let started = std::time::UNIX_EPOCH.elapsed().expect("a clock").as_micros();
    format!("[redis]\nurl = \"{url}\"\nkey_prefix = \"test-{started}-{process}-{service}:\"")
}
