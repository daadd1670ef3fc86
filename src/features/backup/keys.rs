//! The Redis keys of backups. A backup does not contain them.

use crate::redis::{Key, KeySpace};

#[derive(Clone, Debug)]
pub(super) struct BackupKeys {
    /// `backup:{run}` - string, JSON: the last backup that was begun. Never expires.
    pub run: Key,
    /// `backup:{running}` - string, Unix ms: when the running backup last reported progress. Deleted at its end.
    pub running: Key,
    /// `backup:{tried}` - string, Unix ms: when a replica last began a scheduled backup. Never expires.
    pub tried: Key,
    /// `backup:{drill_tried}` - string, Unix ms: when a replica last began a scheduled drill. Never expires.
    pub drill_tried: Key,
    /// `backup:{success}` - string, Unix ms: when the last complete backup began. Never expires.
    pub success: Key,
    /// `backup:{drill}` - string, JSON: the last drill that has passed. Never expires.
    pub drill: Key,
}

impl BackupKeys {
    pub(super) fn new(space: &KeySpace) -> Self {
        let key = |name: &str| space.key(format_args!("backup:{{{name}}}"));
        Self {
            run: key("run"),
            running: key("running"),
            tried: key("tried"),
            drill_tried: key("drill_tried"),
            success: key("success"),
            drill: key("drill"),
        }
    }
}
