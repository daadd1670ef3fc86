//! The operations by path and method.
//!
//! The middleware needs the row of an operation before it may call the handler, so one search finds both. A router of
//! axum would search again, and box the request and the response once more.

use std::sync::Arc;

use axum::http::{HeaderValue, Method};

use super::access::{Access, Audit, Budget, Fencing, Guard, Keys, Repetition, Weight};
use super::legacy_prefix::without_legacy_prefix;
use super::openapi_router::{BoundHandler, Operation};
use super::problem::PRECONDITION_FAILED;
use crate::telemetry::metrics::{HttpMetrics, RouteMetrics};

/// What the middleware needs to know about one operation.
#[expect(clippy::struct_excessive_bools, reason = "independent properties, each read by another check")]
pub struct Route {
    pub guard: Guard,
    pub budget: Budget,
    pub fencing: Fencing,
    pub repetition: Repetition,
    pub weight: Weight,
    pub keys: Keys,
    pub read_scope: Option<&'static str>,
    pub changes_state: bool,
    pub frees_memory: bool,
    /// Whether it is a write to Redis, and how many replicas must always have it.
    pub writes: bool,
    pub min_replicas: u8,
    /// Whether it is a write that does not depend on `If-Match` and `If-None-Match`.
    pub ignores_preconditions: bool,
    pub audit: Audit,
    pub path: &'static str,
    pub has_parameters: bool,
    pub metrics: RouteMetrics,
    pub handler: BoundHandler,
}

impl Route {
    pub fn id(&self) -> OperationId {
        // The routes are never moved while the service runs.
        OperationId(std::ptr::from_ref(self).addr())
    }
}

/// Tells operations apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OperationId(pub(super) usize);

/// The operations of one path.
#[derive(Default)]
pub struct PathRoutes(Vec<(Method, Arc<Route>)>);

impl PathRoutes {
    /// The operation of a method. HEAD falls back to a GET without effects.
    pub fn get(&self, method: &Method) -> Option<&Arc<Route>> {
        self.find(method).or_else(|| if *method == Method::HEAD { self.for_head() } else { None })
    }

    fn for_head(&self) -> Option<&Arc<Route>> {
        self.find(&Method::GET).filter(|route| !route.changes_state)
    }

    fn find(&self, method: &Method) -> Option<&Arc<Route>> {
        self.0.iter().find(|(known, _)| known == method).map(|(_, route)| route)
    }

    /// The value of `Allow`.
    pub fn allow(&self) -> HeaderValue {
        let mut methods: Vec<&str> = Vec::new();
        for (method, _) in &self.0 {
            let head = if *method == Method::GET && self.for_head().is_some() { Some("HEAD") } else { None };
            for name in std::iter::once(method.as_str()).chain(head) {
                if !methods.contains(&name) {
                    methods.push(name);
                }
            }
        }
        // Names of methods are valid in a header.
        HeaderValue::from_str(&methods.join(",")).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

/// A tree whose levels are the segments of paths.
#[derive(Default)]
pub struct RouteTable(PathTree);

/// The paths below one segment. As in axum's router, fixed text comes before a parameter, and a parameter at the end of a
/// path is not empty.
#[derive(Default)]
struct PathTree {
    fixed: Vec<(&'static str, PathTree)>,
    parameter: Option<Box<PathTree>>,
    /// The operations of the path that ends here.
    routes: Option<PathRoutes>,
}

impl RouteTable {
    /// The table of the operations that have a row; no other one can be called.
    pub fn new(rows: &[Access], operations: Vec<(Operation, BoundHandler)>, metrics: &HttpMetrics) -> Self {
        let mut root = PathTree::default();
        for (operation, handler) in operations {
            let row = rows.iter().find(|row| row.method == operation.method && row.path == operation.path);
            // Methods are constants in source: an invalid one would match no request.
            let (Some(row), Ok(method)) = (row, Method::from_bytes(operation.method.as_bytes())) else { continue };
            let route = Route {
                guard: row.guard,
                budget: row.budget,
                fencing: row.fencing,
                repetition: row.repetition,
                weight: row.weight,
                keys: row.keys,
                read_scope: row.read_scope,
                changes_state: row.changes_state,
                frees_memory: row.frees_memory,
                writes: row.writes(),
                min_replicas: if row.writes() { row.min_replicas } else { 0 },
                ignores_preconditions: !method.is_safe()
                    && row.repetition != Repetition::Ignore
                    && !row.problems.iter().copied().flatten().any(|kind| **kind == PRECONDITION_FAILED),
                audit: row.audit(),
                path: row.path,
                has_parameters: row.path.contains('{'),
                metrics: metrics.route(row.method, row.path),
                handler,
            };
            let segments = row.path.trim_start_matches('/').split('/');
            let end = segments.fold(&mut root, PathTree::below);
            end.routes.get_or_insert_default().0.push((method, Arc::new(route)));
        }
        Self(root)
    }

    /// The operations at the path of a request, with or without the legacy prefix.
    pub fn at(&self, path: &str) -> Option<&PathRoutes> {
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

    fn find(&self, path: &str) -> Option<&PathRoutes> {
        let end = path.bytes().position(|byte| byte == b'/').unwrap_or(path.len());
        let (segment, rest) = path.split_at_checked(end)?;
        let fixed = self.fixed.iter().find(|(known, _)| *known == segment).map(|(_, tree)| tree);
        let parameter = self.parameter.as_deref().filter(|_| !path.is_empty());
        fixed.and_then(|tree| tree.find_rest(rest)).or_else(|| parameter?.find_rest(rest))
    }

    /// `rest` is empty at the end of the path, and otherwise begins with a slash.
    fn find_rest(&self, rest: &str) -> Option<&PathRoutes> {
        match rest.strip_prefix('/') {
            Some(path) => self.find(path),
            None => self.routes.as_ref(),
        }
    }
}

impl std::fmt::Debug for RouteTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RouteTable")
    }
}
