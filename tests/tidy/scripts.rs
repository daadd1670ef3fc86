//! Rules for `migrations-lua/`.

use std::collections::BTreeSet;

use crate::assert_none;
use crate::tree::files;

/// Scripts that belong to no feature: the Redis layer loads them itself.
const OF_THE_REDIS_LAYER: &[&str] =
    &["redis/fence.lua", "redis/probe.lua", "redis/reset_fence.lua", "redis/take_turn.lua"];

/// Texts with which scripts of a feature begin.
const BEGINNINGS: &[&str] = &["locks/fence.lua", "orderbook/book.lua", "streams/group.lua"];

#[test]
fn every_script_belongs_to_a_feature_and_has_its_folder() {
    let listed: BTreeSet<&str> = gridtokenx_redis::app::scripts().iter().map(|script| script.name).collect();
    let violations: Vec<String> = files("migrations-lua", &[".lua"])
        .iter()
        .map(|file| file.path.trim_start_matches("migrations-lua/"))
        .filter(|name| !listed.contains(name) && !OF_THE_REDIS_LAYER.contains(name) && !BEGINNINGS.contains(name))
        .map(|name| format!("migrations-lua/{name}"))
        .collect();
    assert_none(&violations, "List the script in FEATURE.scripts of its feature, or delete it: it is never loaded.");
}

#[test]
fn every_script_states_its_contract() {
    let mut violations = Vec::new();
    for file in files("migrations-lua", &[".lua"]) {
        let header: Vec<&str> = file.text.lines().take_while(|line| line.starts_with("--")).collect();
        let purpose = header.first().is_some_and(|line| line.len() > 10 && !line.contains("KEYS["));
        for (missing, present) in [
            ("a first line that says what it does", purpose),
            ("a line `-- KEYS[1] ...`", header.iter().any(|line| line.starts_with("-- KEYS["))),
            ("a line `-- Returns ...`", header.iter().any(|line| line.starts_with("-- Returns"))),
            ("an assert on #KEYS", file.text.contains("assert(#KEYS")),
            (
                "a line `-- ARGV[...] ...` for the arguments it reads",
                !file.text.contains("ARGV[") || header.iter().any(|line| line.contains("ARGV[")),
            ),
        ] {
            if !present {
                violations.push(format!("{}: lacks {missing}", file.path));
            }
        }
    }
    assert_none(&violations, "The header is the script's contract: migrations-lua/README.md shows the form.");
}

#[test]
fn scripts_do_not_scan_the_key_space() {
    let forbidden = ["KEYS", "SCAN", "FLUSHALL", "FLUSHDB", "RANDOMKEY", "SELECT"];
    let mut violations = Vec::new();
    for file in files("migrations-lua", &[".lua"]) {
        for command in forbidden {
            for quote in ['\'', '"'] {
                if file.text.to_uppercase().contains(&format!("CALL({quote}{command}{quote}")) {
                    violations.push(format!("{}: calls {command}", file.path));
                }
            }
        }
    }
    assert_none(&violations, "Other services own keys in the same Redis: keep an index of your own instead.");
}
