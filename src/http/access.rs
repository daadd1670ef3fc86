//! Who may call which route, and how much of the service a call may use: one row per operation.
//!
//! Features declare their rows next to their handlers' paths; together they are the one table that the edge enforces
//! and that the OpenAPI document shows as `security`. An operation without a row does not start (see `app.rs`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;

use super::problem::ProblemKind;
use crate::telemetry::metrics::{HttpMetrics, RouteMetrics};

/// What a caller must bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Nothing: health, documentation.
    Public,
    /// A credential with this scope.
    Scope(&'static str),
}

/// How much time and body a call may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// `http.request_deadline` and `http.body_limit`.
    Standard,
    /// `http.streaming_deadline`; the handler bounds the body itself as it comes.
    Streaming,
    /// As [`Budget::Standard`], and [`LONGEST_WAIT`] on top of the deadline: the caller asked to wait.
    Waiting,
}

/// The longest that a handler may let its caller wait for something to happen.
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What an operation does with a `Fencing-Token`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fencing {
    /// It keeps no fence. A write refuses the header, lest its caller believe in a check that nobody makes; a read
    /// ignores it.
    None,
    /// Its target judges the token: a stale one is 409 `stale-fence`.
    Target,
    /// Every item of its body is judged by itself: a stale one is among the items' results.
    Items,
}

/// One operation's row.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    pub method: &'static str,
    pub path: &'static str,
    pub guard: Guard,
    pub budget: Budget,
    pub fencing: Fencing,
    /// The problems that it can return, as lists of kinds; the API document shows them.
    pub problems: &'static [&'static [&'static ProblemKind]],
}

impl Access {
    /// Anybody may call it.
    pub const fn public(method: &'static str, path: &'static str) -> Self {
        Self { method, path, guard: Guard::Public, budget: Budget::Standard, fencing: Fencing::None, problems: &[] }
    }

    /// Callers with `scope` may call it.
    pub const fn scoped(method: &'static str, path: &'static str, scope: &'static str) -> Self {
        Self {
            method,
            path,
            guard: Guard::Scope(scope),
            budget: Budget::Standard,
            fencing: Fencing::None,
            problems: &[],
        }
    }

    /// States the problems that the operation can return. The lists are those of [`problem`](super::problem), such as
    /// [`REDIS_READ`](super::problem::REDIS_READ), and the feature's own.
    #[must_use]
    pub const fn problems(mut self, problems: &'static [&'static [&'static ProblemKind]]) -> Self {
        self.problems = problems;
        self
    }

    /// The same for a call that streams its body.
    #[must_use]
    pub const fn streaming(mut self) -> Self {
        self.budget = Budget::Streaming;
        self
    }

    /// The same for a call that may wait for something to happen.
    #[must_use]
    pub const fn waiting(mut self) -> Self {
        self.budget = Budget::Waiting;
        self
    }

    /// The same for a write whose target remembers fencing tokens; its handler takes
    /// [`GrantToken`](super::fencing::GrantToken).
    #[must_use]
    pub const fn fenced(mut self) -> Self {
        self.fencing = Fencing::Target;
        self
    }

    /// The same for a write of many targets.
    #[must_use]
    pub const fn fenced_by_item(mut self) -> Self {
        self.fencing = Fencing::Items;
        self
    }
}

/// A row as the edge uses it, with its metrics' handles prepared.
#[derive(Debug)]
pub struct RouteInfo {
    pub guard: Guard,
    pub budget: Budget,
    pub fencing: Fencing,
    pub path: &'static str,
    pub metrics: RouteMetrics,
}

/// The rows by path and method, under the root and under `/api`.
#[derive(Debug, Default)]
pub struct RouteTable {
    by_path: HashMap<String, Vec<(Method, Arc<RouteInfo>)>>,
}

/// Where the same routes are mounted once more, for older clients.
pub const LEGACY_MOUNT: &str = "/api";

impl RouteTable {
    pub fn new(rows: impl IntoIterator<Item = Access>, metrics: &HttpMetrics) -> Self {
        let mut by_path: HashMap<String, Vec<(Method, Arc<RouteInfo>)>> = HashMap::new();
        for row in rows {
            // The table is written in source: a method that is none would not match any request.
            let Ok(method) = Method::from_bytes(row.method.as_bytes()) else { continue };
            let info = Arc::new(RouteInfo {
                guard: row.guard,
                budget: row.budget,
                fencing: row.fencing,
                path: row.path,
                metrics: metrics.route(row.method, row.path),
            });
            for path in [row.path.to_owned(), format!("{LEGACY_MOUNT}{}", row.path)] {
                by_path.entry(path).or_default().push((method.clone(), Arc::clone(&info)));
            }
        }
        Self { by_path }
    }

    /// The row of a request; HEAD is served by GET's handler where it has no row of its own.
    pub fn find(&self, path: &str, method: &Method) -> Option<&Arc<RouteInfo>> {
        let rows = self.by_path.get(path)?;
        let row = |wanted: &Method| rows.iter().find(|(known, _)| known == wanted).map(|(_, info)| info);
        row(method).or_else(|| if *method == Method::HEAD { row(&Method::GET) } else { None })
    }
}
