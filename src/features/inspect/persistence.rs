//! What a restart of each server loses.

use std::sync::atomic::Ordering;

use super::model::{PersistenceView, ServerPersistence};
use super::service::InspectService;
use crate::redis::{Effect, FaultKind, NodePersistence, Redis};

/// What the configuration of a server says, as far as the service may read it.
#[derive(Debug, Default)]
struct Settings {
    fsync: Option<String>,
    save: Option<String>,
    stops_writes: Option<bool>,
}

impl InspectService {
    /// The persistence of every node, as the last check saw it.
    pub(super) async fn persistence(&self) -> PersistenceView {
        let mut items = Vec::new();
        for redis in self.roles.distinct() {
            let settings = self.settings(redis).await;
            let roles: Vec<&'static str> = redis.roles().iter().map(|role| role.label()).collect();
            items.extend(redis.persistence().into_iter().map(|node| view(roles.clone(), node, &settings)));
        }
        PersistenceView { items }
    }

    /// The settings of a single server; a cluster would answer for any one node.
    async fn settings(&self, redis: &Redis) -> Settings {
        let mut settings = Settings::default();
        if redis.is_cluster() || self.is_config_denied.load(Ordering::Relaxed) {
            return settings;
        }
        for name in ["appendfsync", "save", "stop-writes-on-bgsave-error"] {
            let command = redis::cmd("CONFIG").arg("GET").arg(name).take();
            match redis.query::<(String, String)>(&command, Effect::Read).await {
                Ok((_, value)) if name == "appendfsync" => settings.fsync = Some(value),
                Ok((_, value)) if name == "save" => settings.save = Some(value),
                Ok((_, value)) => settings.stops_writes = Some(value == "yes"),
                Err(fault) => {
                    self.is_config_denied.store(fault.kind == FaultKind::Denied, Ordering::Relaxed);
                    return settings;
                }
            }
        }
        settings
    }
}

fn view(roles: Vec<&'static str>, node: NodePersistence, settings: &Settings) -> ServerPersistence {
    let save = settings.save.clone().or_else(|| node.save_points.clone());
    ServerPersistence {
        roles,
        loss: loss(&node, settings, save.as_deref()),
        findings: findings(&node, settings, save.as_deref()),
        node: node.node,
        checked_at: node.checked_at,
        kind: node.kind,
        fsync: settings.fsync.clone(),
        save_points: save,
        snapshots: node.snapshots,
        append_only: node.append_only,
    }
}

/// What a crash of the server loses, in words.
fn loss(node: &NodePersistence, settings: &Settings, save: Option<&str>) -> String {
    if node.append_only.is_enabled {
        let text = match settings.fsync.as_deref() {
            Some("always") => "nothing that was answered",
            Some("no") => "what the operating system has not written yet, usually the last 30 seconds",
            Some(_) => "the last second, or two if the disk is slow",
            None => "the last second if appendfsync is `everysec`, as in the shipped redis.conf; it may not be read",
        };
        return text.to_owned();
    }
    let changes = node.snapshots.changes_since.unwrap_or_default();
    match save {
        Some("") => format!("everything since the server started: {changes} changes and what it had loaded"),
        Some(points) => {
            format!("everything since the last snapshot: {changes} changes now; snapshots follow `{points}`")
        }
        None => format!("everything since the last snapshot: {changes} changes now; its rules may not be read"),
    }
}

/// What is unsafe or broken.
fn findings(node: &NodePersistence, settings: &Settings, save: Option<&str>) -> Vec<String> {
    let (snapshots, aof) = (&node.snapshots, &node.append_only);
    let grows = aof.bytes.zip(aof.base_bytes).is_some_and(|(bytes, base)| bytes > (8 * base).max(1 << 30));
    let rules = [
        (!aof.is_enabled, "the append-only file is off: a crash loses all since the last snapshot"),
        (save == Some(""), "snapshots are off: there is no file to copy but the append-only file"),
        (snapshots.last_ok == Some(false), "the last snapshot failed; see the log of Redis"),
        (aof.last_write_ok == Some(false), "the append-only file cannot be written; Redis refuses writes"),
        (aof.last_rewrite_ok == Some(false), "the last rewrite of the append-only file failed; see the log of Redis"),
        (grows, "the append-only file has eight times its size after the last rewrite; is automatic rewriting on?"),
        (
            settings.stops_writes == Some(false),
            "stop-writes-on-bgsave-error is `no`: Redis takes writes although it cannot save them",
        ),
        (settings.fsync.as_deref() == Some("no"), "appendfsync is `no`: the operating system decides what survives"),
    ];
    rules.into_iter().filter(|(applies, _)| *applies).map(|(_, text)| text.to_owned()).collect()
}
