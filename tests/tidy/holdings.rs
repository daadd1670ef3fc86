//! Each key that a file of keys describes belongs to a capability: backups rely on it.

use gridtokenx_redis::holdings::{OTHER, holding};

use crate::assert_none;
use crate::tree::files;

/// The keys that the docs of a file describe, one a line: `/// `lock:<resource>` - string` or `//! | `json:{backend}` | ...`.
fn described(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.contains("channel that") && !line.contains(" channel: ")).filter_map(|line| {
        let line = line.trim_start();
        let doc = line.strip_prefix("/// `").or_else(|| line.strip_prefix("//! | `"))?;
        let (key, _) = doc.split_once('`')?;
        let (beginning, _) = key.split_once(':')?;
        let is_name = !beginning.is_empty() && beginning.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        is_name.then_some(key)
    })
}

#[test]
fn every_described_key_has_a_holding() {
    let (mut found, mut violations) = (0, Vec::new());
    for file in files("src", &["keys.rs", "tape/mod.rs"]) {
        for key in described(&file.text) {
            found += 1;
            if holding(key) == OTHER {
                violations.push(format!("{}: {key}", file.path));
            }
        }
    }
    assert!(found > 80, "the test finds {found} keys");
    assert_none(&violations, "Add a row for the key to BEGINNINGS in src/holdings.rs: what becomes of it in a backup?");
}
