//! Which modules a module may import, checked on the paths that its source names.

use std::collections::BTreeSet;

use gridtokenx_redis::features::FEATURES;

use crate::allowed_imports::{ABOUT_HTTP, ALLOWED_IMPORTS, FEATURE_TO_FEATURE};
use crate::assert_none;
use crate::tree::{File, files};

#[test]
fn modules_import_only_allowed_modules() {
    let mut violations = Vec::new();
    for file in files("src", &[".rs"]) {
        let module = module_path(&file.path);
        for path in named_paths(&file, &module) {
            if !may_import(&module, &path) {
                violations.push(format!("{}: imports crate::{path}", file.path));
            }
        }
    }
    assert_none(
        &violations,
        "Move code that two modules need to a lower layer, or pass it in Deps. If the import is right, add it to \
         ALLOWED_IMPORTS in tests/tidy/allowed_imports.rs.",
    );
}

#[test]
fn a_feature_imports_no_other_feature() {
    let mut violations = Vec::new();
    for file in files("src/features", &[".rs"]) {
        let module = module_path(&file.path);
        let Some(own) = module.split("::").nth(1) else { continue };
        for path in named_paths(&file, &module) {
            let other = path.strip_prefix("features::").and_then(|rest| rest.split("::").next()).unwrap_or(own);
            // `feature` is not a feature: it defines the type that describes one.
            let is_module = other.starts_with(|letter: char| letter.is_ascii_lowercase()) && other != "feature";
            if is_module && other != own && !FEATURE_TO_FEATURE.contains(&(own, other)) {
                violations.push(format!("{}: imports the feature `{other}`", file.path));
            }
        }
    }
    assert_none(
        &violations,
        "Code that two features need belongs in redis/, http/ or Deps. An exception is a row of FEATURE_TO_FEATURE.",
    );
}

#[test]
fn the_web_framework_stays_in_routes_and_models() {
    let inner = ["service.rs", "scripts.rs", "keys.rs", "config.rs"];
    let violations: Vec<String> = files("src/features", &inner)
        .iter()
        .filter(|file| !ABOUT_HTTP.iter().any(|folder| file.path.starts_with(folder)))
        .flat_map(|file| {
            ["axum::", "utoipa::"].into_iter().filter(|name| code(file).contains(name)).map(move |name| (file, name))
        })
        .map(|(file, name)| format!("{}: uses {name}", file.path))
        .collect();
    assert_none(
        &violations,
        "Parse requests and build responses in routes.rs, so that the service does not depend on HTTP.",
    );
}

/// The files with handlers: `routes.rs`, and the files in a folder `routes/`.
fn route_files() -> Vec<File> {
    files("src/features", &[".rs"]).into_iter().filter(|file| is_route_file(&file.path)).collect()
}

fn is_route_file(path: &str) -> bool {
    path.ends_with("/routes.rs") || path.contains("/routes/")
}

#[test]
fn routes_call_the_service_and_not_redis() {
    let files = route_files();
    assert!(files.len() > FEATURES.len(), "the route files are found");
    let mut violations = Vec::new();
    for file in files {
        let named = named_paths(&file, &module_path(&file.path));
        if named.iter().any(|path| path.starts_with("redis::Redis") && !path.starts_with("redis::RedisFault")) {
            violations.push(format!("{}: uses Redis", file.path));
        }
        let code = code(&file);
        let services: BTreeSet<&str> = code.split("State(").skip(1).filter_map(|rest| rest.split(')').next()).collect();
        for service in services {
            for field in ["config", "metrics", "redis"] {
                if contains_field(&code, &format!("{service}.{field}")) {
                    violations.push(format!("{}: reads `{service}.{field}`", file.path));
                }
            }
        }
        for service in code.split("\nimpl ").skip(1).filter_map(|rest| rest.split([' ', '<']).next()) {
            if service.ends_with("Service") {
                violations.push(format!("{}: implements {service}", file.path));
            }
        }
    }
    assert_none(
        &violations,
        "A handler extracts its input, calls the service once and builds the response. Methods of the service belong in \
         service.rs, or in a file next to it that is named after the operation.",
    );
}

/// Whether `.name` occurs as a whole field, and not as the start of a longer name or of a method call.
fn contains_field(code: &str, field: &str) -> bool {
    code.match_indices(field).any(|(at, _)| {
        let next = code[at + field.len()..].chars().next().unwrap_or(' ');
        !next.is_alphanumeric() && next != '_' && next != '('
    })
}

/// Files other than routes and `error.rs` that create problems, each with its reason.
const PROBLEMS_BELOW_ROUTES: &[(&str, &str)] = &[
    ("src/features/audit/layer.rs", "a layer returns its own responses"),
    ("src/features/locks/websocket.rs", "it is the handler of a route"),
    ("src/features/pubsub/session.rs", "the problem of a credential comes from the authenticator"),
    ("src/features/pubsub/socket.rs", "it upgrades requests of two routes"),
    ("src/features/pubsub/sockets.rs", "it refuses connections of several routes"),
    ("src/features/pubsub/sse.rs", "it is the handler of a route"),
    ("src/features/pubsub/websocket.rs", "it is the handler of a route"),
    ("src/features/ratelimit/guard.rs", "a layer returns its own responses"),
];

#[test]
fn only_routes_and_error_types_create_problems() {
    let violations: Vec<String> = files("src/features", &[".rs"])
        .iter()
        .filter(|file| !is_route_file(&file.path) && !file.path.ends_with("/error.rs"))
        .filter(|file| !ABOUT_HTTP.iter().any(|folder| file.path.starts_with(folder)))
        .filter(|file| !PROBLEMS_BELOW_ROUTES.iter().any(|(path, _)| *path == file.path))
        .filter(|file| named_paths(file, &module_path(&file.path)).iter().any(|path| path == "http::problem::Problem"))
        .map(|file| file.path.clone())
        .collect();
    assert_none(
        &violations,
        "Return the feature's own error type; `From<..> for Problem` in error.rs gives it a status. An exception is a \
         row of PROBLEMS_BELOW_ROUTES.",
    );
}

fn may_import(module: &str, path: &str) -> bool {
    let Some((own, allowed)) = ALLOWED_IMPORTS.iter().find(|(own, _)| starts_with(module, own)) else { return false };
    starts_with(path, own) || allowed.iter().any(|start| starts_with(path, start))
}

/// Whether `path` is `start` or below it.
fn starts_with(path: &str, start: &str) -> bool {
    path.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// `src/features/cache/mod.rs` is `features::cache`.
pub fn module_path(file: &str) -> String {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    path.trim_end_matches("/mod").replace('/', "::")
}

/// The file without its comments and without its unit tests, which may import anything.
pub fn code(file: &File) -> String {
    let text = file.text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Every path below `crate` that the code names, `super` and one level of braces resolved.
pub fn named_paths(file: &File, module: &str) -> Vec<String> {
    let code = code(file);
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let is_word_end =
            code[..at].chars().next_back().is_none_or(|before| !before.is_alphanumeric() && before != '_');
        if is_word_end {
            paths.extend(expand(String::new(), &code[at + "crate::".len()..]));
        }
    }
    for (at, _) in code.match_indices("super::") {
        // The inner ones of super::super:: are reached from the first.
        if code[..at].ends_with("super::") {
            continue;
        }
        let (mut rest, mut base) = (&code[at..], module);
        while let Some(inner) = rest.strip_prefix("super::") {
            rest = inner;
            base = base.rsplit_once("::").map_or("", |(parent, _)| parent);
        }
        paths.extend(expand(base.to_owned(), rest));
    }
    paths.retain(|path| !path.is_empty() && path != "*");
    paths
}

/// `a::{b::c, d}` below `base` is `base::a::b::c` and `base::a::d`.
pub fn expand(mut base: String, text: &str) -> Vec<String> {
    let end = text.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | ':' | '*'))).unwrap_or(text.len());
    let (head, rest) = text.split_at(end);
    for part in head.split("::").filter(|part| !part.is_empty()) {
        if !base.is_empty() {
            base.push_str("::");
        }
        base.push_str(part);
    }
    match rest.strip_prefix('{') {
        Some(list) if head.is_empty() || head.ends_with("::") => {
            let list = list.split('}').next().unwrap_or_default();
            list.split(',').map(str::trim).filter(|item| !item.is_empty()).fold(Vec::new(), |mut all, item| {
                let item = item.split(" as ").next().unwrap_or(item);
                let item = if item == "self" { "" } else { item };
                all.extend(expand(base.clone(), item));
                all
            })
        }
        _ => vec![base],
    }
}

#[test]
fn paths_are_read_as_the_compiler_reads_them() {
    let file = |text: &str| File { path: String::new(), text: text.to_owned() };
    let named = |text: &str| named_paths(&file(text), "features::cache::routes");
    assert_eq!(
        named("use crate::http::{self, problem::Problem, reply};"),
        ["http", "http::problem::Problem", "http::reply"]
    );
    assert_eq!(named("let x = crate::clock::now();"), ["clock::now"]);
    assert_eq!(named("use super::service::Cache;"), ["features::cache::service::Cache"]);
    assert_eq!(named("use super::super::{Feature, locks::Lock};"), ["features::Feature", "features::locks::Lock"]);
    assert_eq!(named("// crate::app\n#[cfg(test)]\nmod tests {}"), Vec::<String>::new());
    assert!(!may_import("config::http", "redis::Key") && may_import("redis::link", "lifecycle::Tasks"));
}
