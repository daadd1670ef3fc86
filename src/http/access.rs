//! One row per operation: who may call it, how much time and body it may use, and which problems it returns.
//!
//! Features declare their rows next to the paths of their handlers. The rows form one table: the middleware enforces it,
//! and the OpenAPI document shows it as `security`. The service does not start with an operation that has no row (see
//! `app.rs`).

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;

use super::legacy_prefix::without_legacy_prefix;
use super::problem::ProblemKind;
use crate::telemetry::metrics::{HttpMetrics, RouteMetrics};

/// What a caller must present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Nothing; used for health and documentation.
    Public,
    /// A credential with this scope.
    Scope(&'static str),
}

/// How much time a call may take and how large its body may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// `http.request_deadline` and `http.body_limit`.
    Standard,
    /// `http.streaming_deadline`; the handler limits the body itself while it arrives.
    Streaming,
    /// The limits of [`Budget::Standard`] with [`LONGEST_WAIT`] added to the deadline, because the caller asked to wait.
    Waiting,
}

/// The longest time that a handler may let its caller wait for an event.
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What an operation does with a `Fencing-Token` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fencing {
    /// It has no fence. A write rejects the header, so that no caller relies on a check that does not happen. A read
    /// ignores the header.
    None,
    /// Its target checks the token: a stale one is 409 `stale-fence`.
    Target,
    /// Each item of its body has its own check; a stale token appears in the result of its item.
    Items,
}

/// The row of one operation.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    pub method: &'static str,
    pub path: &'static str,
    pub guard: Guard,
    pub budget: Budget,
    pub fencing: Fencing,
    /// The problems that it can return; the API document lists them.
    pub problems: &'static [&'static [&'static ProblemKind]],
}

impl Access {
    /// An operation that needs no credential.
    pub const fn public(method: &'static str, path: &'static str) -> Self {
        Self { method, path, guard: Guard::Public, budget: Budget::Standard, fencing: Fencing::None, problems: &[] }
    }

    /// An operation for callers that have `scope`.
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

    /// Gives the operation the budget of a streamed body.
    #[must_use]
    pub const fn streaming(mut self) -> Self {
        self.budget = Budget::Streaming;
        self
    }

    /// Gives the operation the budget of a call that may wait for an event.
    #[must_use]
    pub const fn waiting(mut self) -> Self {
        self.budget = Budget::Waiting;
        self
    }

    /// Declares that the target of the write remembers fencing tokens. The handler must take a
    /// [`GrantToken`](super::fencing::GrantToken).
    #[must_use]
    pub const fn fenced(mut self) -> Self {
        self.fencing = Fencing::Target;
        self
    }

    /// Declares that each item of the body has its own fencing token check.
    #[must_use]
    pub const fn fenced_by_item(mut self) -> Self {
        self.fencing = Fencing::Items;
        self
    }
}

/// What the middleware needs to know about one operation.
#[derive(Debug)]
pub struct RouteInfo {
    pub guard: Guard,
    pub budget: Budget,
    pub fencing: Fencing,
    pub path: &'static str,
    pub metrics: RouteMetrics,
}

/// The operations of one path.
#[derive(Debug, Default)]
pub struct PathOperations(Vec<(Method, Arc<RouteInfo>)>);

impl PathOperations {
    /// The operation of a method. HEAD falls back to GET, because the router serves HEAD with the handler of GET.
    pub fn get(&self, method: &Method) -> Option<&Arc<RouteInfo>> {
        let find = |wanted: &Method| self.0.iter().find(|(known, _)| known == wanted).map(|(_, info)| info);
        find(method).or_else(|| if *method == Method::HEAD { find(&Method::GET) } else { None })
    }
}

/// The access rows by path: a tree whose levels are the segments of paths.
///
/// It only matches, where the router also collects parameters; that makes it several times cheaper.
#[derive(Debug, Default)]
pub struct RouteTable(PathTree);

/// The paths below one segment. As in axum's router, fixed text comes before a parameter,
/// and a parameter at the end of a path is not empty.
#[derive(Debug, Default)]
struct PathTree {
    fixed: Vec<(&'static str, PathTree)>,
    parameter: Option<Box<PathTree>>,
    /// What the path that ends here offers.
    operations: Option<PathOperations>,
}

impl RouteTable {
    pub fn new(rows: impl IntoIterator<Item = Access>, metrics: &HttpMetrics) -> Self {
        let mut root = PathTree::default();
        for row in rows {
            // Methods are written in source: an invalid one would match no request.
            let Ok(method) = Method::from_bytes(row.method.as_bytes()) else { continue };
            let info = RouteInfo {
                guard: row.guard,
                budget: row.budget,
                fencing: row.fencing,
                path: row.path,
                metrics: metrics.route(row.method, row.path),
            };
            let segments = row.path.trim_start_matches('/').split('/');
            let end = segments.fold(&mut root, PathTree::below);
            end.operations.get_or_insert_default().0.push((method, Arc::new(info)));
        }
        Self(root)
    }

    /// The operations at the path of a request, with or without the legacy prefix.
    pub fn at(&self, path: &str) -> Option<&PathOperations> {
        self.0.find(without_legacy_prefix(path).unwrap_or(path).strip_prefix('/')?)
    }
}

impl PathTree {
    /// The tree below a segment of a route, which is made if it is new.
    #[expect(clippy::indexing_slicing, reason = "the element was found or made just before")]
    fn below(&mut self, segment: &'static str) -> &mut Self {
        if segment.starts_with('{') {
            return self.parameter.get_or_insert_default();
        }
        let at = self.fixed.iter().position(|(known, _)| *known == segment).unwrap_or(self.fixed.len());
        if at == self.fixed.len() {
            self.fixed.push((segment, Self::default()));
        }
        &mut self.fixed[at].1
    }

    fn find(&self, path: &str) -> Option<&PathOperations> {
        let end = path.bytes().position(|byte| byte == b'/').unwrap_or(path.len());
        let (segment, rest) = path.split_at_checked(end)?;
        let fixed = self.fixed.iter().find(|(known, _)| *known == segment).map(|(_, tree)| tree);
        let parameter = self.parameter.as_deref().filter(|_| !path.is_empty());
        fixed.and_then(|tree| tree.find_rest(rest)).or_else(|| parameter?.find_rest(rest))
    }

    /// `rest` is empty at the end of the path, and otherwise begins with a slash.
    fn find_rest(&self, rest: &str) -> Option<&PathOperations> {
        match rest.strip_prefix('/') {
            Some(path) => self.find(path),
            None => self.operations.as_ref(),
        }
    }
}
