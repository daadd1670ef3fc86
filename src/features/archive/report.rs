//! Why minutes stay in Redis, for readiness and the status.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::files::FileError;
use crate::clock::UnixMillis;
use crate::lifecycle::{Component, ComponentHealth, Finding};
use crate::tape::Symbol;

/// The name of the component.
const COMPONENT: &str = "archive";

/// The most symbols that a report of readiness names.
const NAMED: usize = 10;

/// Why a minute, or all minutes of a symbol, stay in Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub minute: Option<UnixMillis>,
    pub reason: String,
}

impl Trouble {
    pub(super) fn other_store() -> Self {
        Self { minute: None, reason: "another directory keeps the files of the symbol".to_owned() }
    }

    pub(super) fn conflict(minute: UnixMillis) -> Self {
        let reason = "the file and Redis each have trades that the other one lacks; both are kept".to_owned();
        Self { minute: Some(minute), reason }
    }

    pub(super) fn unreadable(minute: UnixMillis, error: &FileError) -> Self {
        Self {
            minute: Some(minute),
            reason: format!("the file to which late trades are added cannot be read: {error}"),
        }
    }
}

/// What this replica found in its last round.
#[derive(Debug, Default)]
pub(super) struct Board {
    troubles: Mutex<BTreeMap<Symbol, Vec<Trouble>>>,
    /// Why the directory could not be used.
    directory: Mutex<Option<String>>,
}

impl Board {
    pub(super) fn set(&self, symbol: &Symbol, troubles: Vec<Trouble>) {
        if troubles.is_empty() {
            return self.forget(symbol);
        }
        self.lock().insert(symbol.clone(), troubles);
    }

    pub(super) fn forget(&self, symbol: &Symbol) {
        self.lock().remove(symbol);
    }

    pub(super) fn of(&self, symbol: &Symbol) -> Vec<Trouble> {
        self.lock().get(symbol).cloned().unwrap_or_default()
    }

    pub(super) fn set_directory(&self, failure: Option<String>) {
        *self.directory.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    pub(super) fn directory(&self) -> Option<String> {
        self.directory.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reports readiness: the outcome of the last round, and the troubles.
    pub(super) fn report(&self, health: &ComponentHealth, failure: Option<String>) {
        let mut findings: Vec<Finding> = failure.into_iter().map(Finding::degraded).collect();
        for (symbol, troubles) in self.lock().iter().take(NAMED) {
            if let Some(first) = troubles.first() {
                let text = format!("{symbol}: {} ({} minutes)", first.reason, troubles.len());
                findings.push(Finding::degraded(text));
            }
        }
        health.report(COMPONENT, Component { members: Vec::new(), findings });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Symbol, Vec<Trouble>>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
