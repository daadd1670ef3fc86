//! The commands for backups.

use std::process::{Command, Stdio};

use super::{Vault, fill};
use crate::support::{RedisServer, in_repository, output_text};

#[test]
fn a_backup_has_the_keys_of_the_service_and_no_others() {
    let (redis, vault) = (RedisServer::plain(), Vault::new());
    fill(&redis);
    let file = vault.back_up(&redis);
    let manifest = vault.manifest(&file);
    assert_eq!(manifest["consistency"], "snapshot", "{manifest}");
    assert_eq!(manifest["foreign"], 2, "{manifest}");
    let keys = |name: &str| manifest["holdings"][name]["keys"].as_u64();
    let found = ["alerts", "hosts", "json", "locks", "trades"].map(keys);
    assert_eq!(found, [Some(2), Some(9), Some(9), Some(2), Some(2)], "{manifest}");
    for (name, holding) in manifest["holdings"].as_object().expect("an object") {
        assert_eq!(holding["opaque"], 0, "{name}: every value of Redis {} is digested", manifest["rdb_version"]);
    }
    let listed = vault.run(&redis, &["backup", "list"]);
    assert_eq!(String::from_utf8_lossy(&listed.stdout).lines().count(), 1, "{}", output_text(&listed));
    let identity = vault.identity_file().display().to_string();
    let verified = vault.run(&redis, &["backup", "verify", "--identity", &identity]);
    assert!(
        verified.status.success() && output_text(&verified).contains("whole, 24 keys"),
        "{}",
        output_text(&verified)
    );
    let compared = vault.run(&redis, &["backup", "verify"]);
    assert!(compared.status.success(), "{}", output_text(&compared));
    let cipher = std::fs::read(&file).expect("the file");
    assert!(!String::from_utf8_lossy(&cipher).contains("metrics:"), "the file is encrypted");
}

#[test]
fn another_key_does_not_open_a_backup() {
    let (redis, vault, other) = (RedisServer::plain(), Vault::new(), Vault::new());
    fill(&redis);
    vault.back_up(&redis);
    let identity = other.identity_file().display().to_string();
    let refused = vault.run(&redis, &["backup", "verify", "--identity", &identity]);
    assert_eq!(refused.status.code(), Some(1), "{}", output_text(&refused));
    assert!(output_text(&refused).contains("No matching keys"), "{}", output_text(&refused));
}

#[test]
fn standard_tools_open_a_backup() {
    let (redis, vault) = (RedisServer::plain(), Vault::new());
    fill(&redis);
    let file = vault.back_up(&redis);
    let directory = tempfile::tempdir().expect("a directory");
    let script =
        "age -d -i \"$1\" \"$2\" | zstd -dq | tar -x -C \"$3\" && cd \"$3\" && sha256sum --quiet -c SHA256SUMS";
    let opened = Command::new("sh")
        .args(["-c", script, "open"])
        .args([&vault.identity_file(), &file])
        .arg(directory.path())
        .output()
        .expect("sh runs");
    assert!(opened.status.success(), "install them with scripts/setup_tests.sh: {}", output_text(&opened));
    let manifest = std::fs::read_to_string(directory.path().join("manifest.json")).expect("a manifest");
    assert!(manifest.contains("\"consistency\": \"snapshot\""), "{manifest}");
    assert!(directory.path().join("records/000001").exists());
}

#[test]
fn without_snapshots_each_key_is_read_by_itself() {
    let redis = RedisServer::with_options(&["--save", "", "--rename-command", "PSYNC", "NO-PSYNC"]);
    let vault = Vault::new();
    fill(&redis);
    let file = vault.back_up(&redis);
    let manifest = vault.manifest(&file);
    assert_eq!(manifest["consistency"], "per-key", "{manifest}");
    assert!(manifest["refusal"].as_str().is_some_and(|reason| reason.contains("PSYNC")), "{manifest}");
    let whole = RedisServer::plain();
    fill(&whole);
    let other = Vault::new();
    let expected = other.manifest(&other.back_up(&whole));
    for name in ["alerts", "hosts", "json", "locks"] {
        let digest = |manifest: &serde_json::Value| manifest["holdings"][name]["digest"].clone();
        assert_eq!(digest(&manifest), digest(&expected), "{name}: both ways find the same values");
    }
}

#[test]
fn the_shipped_users_permit_backups_to_one_of_them_only() {
    let (redis, vault) = (RedisServer::start(), Vault::new());
    fill(&redis);
    let refused = vault.command(&redis.url(), "", &["backup"]).output().expect("the binary runs");
    assert!(!refused.status.success(), "{}", output_text(&refused));
    let password = vault.identity_file().with_file_name("password");
    std::fs::write(&password, "backup\n").expect("written");
    let login = format!("username = \"backup\"\npassword_file = {password:?}\n");
    let _: i64 = redis.command(&["DEL", "backup:{running}"]);
    let file = vault.back_up_with(&redis, &login);
    assert_eq!(vault.manifest(&file)["consistency"], "snapshot");
    let denied = redis.try_command::<String>(&["ACL", "DRYRUN", "backup", "GET", "json:text"]).expect("a reply");
    assert!(denied.contains("no permissions"), "{denied}");
}

#[test]
fn a_deployment_with_a_prefix_backs_up_its_own_keys() {
    let (redis, vault) = (RedisServer::plain(), Vault::new());
    for key in ["a:json:x", "lock:fence:{a:lock:y}", "a:anything", "b:json:x", "json:x", "lock:fence:{lock:y}"] {
        redis.command::<()>(&["SET", key, "1"]);
    }
    let made = vault.command(&redis.url(), "[redis]\nkey_prefix = \"a:\"\n", &["backup"]).output().expect("it runs");
    assert!(made.status.success() && output_text(&made).contains(" 3 keys"), "{}", output_text(&made));
}

#[test]
fn a_killed_backup_is_none_and_the_next_one_succeeds() {
    let (redis, vault) = (RedisServer::plain(), Vault::new());
    let script = "for nth = 1, 60000 do redis.call('SET', 'json:' .. nth, nth .. string.rep('v', 1000)) end";
    redis.command::<()>(&["EVAL", script, "0"]);
    for _ in 0..3 {
        let mut command = vault.command(&redis.url(), "", &["backup"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts");
        // The file appears in the middle of the backup.
        while std::fs::read_dir(vault.backups()).map_or(0, Iterator::count) == 0 {
            assert!(child.try_wait().expect("a status").is_none(), "it ended before it began");
            std::thread::yield_now();
        }
        child.kill().expect("killed");
        child.wait().expect("ended");
        let listed = vault.run(&redis, &["backup", "list"]);
        assert!(listed.status.success() && listed.stdout.is_empty(), "there is no backup: {}", output_text(&listed));
        let _: i64 = redis.command(&["DEL", "backup:{running}"]);
        std::fs::remove_dir_all(vault.backups()).expect("removed");
    }
    let file = vault.back_up(&redis);
    assert_eq!(vault.manifest(&file)["holdings"]["json"]["keys"], 60_000);
}

#[test]
fn mistakes_in_the_configuration_are_named() {
    let (redis, vault) = (RedisServer::plain(), Vault::new());
    for (more, expected) in [
        ("every = \"1s\"\n", "backup.every"),
        ("username = \"backup\"\n", "backup.username"),
        ("[redis]\ncache = {}\n", "redis.cache"),
    ] {
        let refused = vault.command(&redis.url(), more, &["backup"]).output().expect("it runs");
        assert_eq!(refused.status.code(), Some(64), "{more}: {}", output_text(&refused));
        assert!(output_text(&refused).contains(expected), "{more}: {}", output_text(&refused));
    }
    let mut without = Command::new(env!("CARGO_BIN_EXE_gridtokenx-redis"));
    let off = without.arg("backup").env_clear().env("REDIS_URL", redis.url()).output().expect("it runs");
    assert_eq!(off.status.code(), Some(64), "{}", output_text(&off));
    assert!(output_text(&off).contains("backup.dir"), "{}", output_text(&off));
}

#[test]
fn the_script_makes_a_backup_and_keeps_exit_codes() {
    let (redis, vault) = (RedisServer::plain(), Vault::new());
    fill(&redis);
    let config = vault.identity_file().with_file_name("config.toml");
    std::fs::write(&config, vault.config()).expect("written");
    let run = |url: &str| {
        Command::new("sh")
            .arg(in_repository("scripts/redis_backup.sh"))
            .arg(&config)
            .env("GRIDTOKENX_REDIS", env!("CARGO_BIN_EXE_gridtokenx-redis"))
            .env("REDIS_URL", url)
            .output()
            .expect("sh runs")
    };
    let made = run(&redis.url());
    assert!(made.status.success() && output_text(&made).contains(" 24 keys"), "{}", output_text(&made));
    let unreachable = run("unix:///nowhere");
    assert_eq!(unreachable.status.code(), Some(69), "{}", output_text(&unreachable));
}
