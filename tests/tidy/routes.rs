//! Every route and every kind of error has a test that names it.

use std::collections::BTreeMap;

use gridtokenx_redis::config::Config;
use gridtokenx_redis::features::FEATURES;

use crate::assert_none;
use crate::tree::files;

/// The text of all integration tests, without their harness.
fn tests() -> String {
    let files = files("tests/it", &[".rs"]);
    let own = files.iter().filter(|file| !file.path.starts_with("tests/it/support/"));
    own.map(|file| file.text.as_str()).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_route_has_a_test_that_names_it() {
    let config = Config::with_overrides("").expect("the defaults");
    let document = gridtokenx_redis::app::document(config).expect("the document");
    let tests = tests();
    let untested = document.paths.paths.keys().filter(|path| !names_path(&tests, path));
    assert_none(
        &untested.cloned().collect::<Vec<_>>(),
        "Write a test in tests/it/ that calls the route and spells its path in full, such as \"/cache/a/touch\": \
         so that `git grep` finds the test.",
    );
}

#[test]
fn every_problem_of_a_feature_has_a_test_that_names_it() {
    let tests = tests();
    let mut violations = Vec::new();
    for feature in FEATURES {
        for kind in feature.problems {
            if !tests.contains(&format!("\"{}\"", kind.slug)) {
                violations.push(format!("{}: `{}`", feature.name, kind.slug));
            }
        }
    }
    assert_none(&violations, "Write a test in tests/it/ that provokes the problem and expects its code.");
}

#[test]
fn an_error_has_one_slug_and_one_title() {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    let mut titles: BTreeMap<&str, &str> = BTreeMap::new();
    let mut violations = Vec::new();
    for kind in gridtokenx_redis::app::problem_kinds() {
        if let Some(other) = seen.insert(kind.slug, kind.title) {
            violations.push(format!("`{}`: \"{}\" and \"{other}\"", kind.slug, kind.title));
        }
        if let Some(other) = titles.insert(kind.title, kind.slug) {
            violations.push(format!("`{}` and `{other}`: \"{}\"", kind.slug, kind.title));
        }
        if !kind.slug.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
            violations.push(format!("`{}`: not lower-case words with hyphens", kind.slug));
        }
        if !kind.status.is_client_error() && !kind.status.is_server_error() {
            violations.push(format!("`{}`: {} is no error", kind.slug, kind.status));
        }
    }
    assert_none(
        &violations,
        "A slug is the address of one page and the `code` that callers match: rename one of them.",
    );
}

/// Whether some string of `text` is `path` with something in place of its parameters.
fn names_path(text: &str, path: &str) -> bool {
    let mut pieces: Vec<&str> = Vec::new();
    let mut rest = path;
    while let Some((literal, tail)) = rest.split_once('{') {
        pieces.push(literal);
        rest = tail.split_once('}').map_or("", |(_, after)| after);
    }
    pieces.push(rest);
    let (first, more) = pieces.split_first().expect("at least one piece");
    text.match_indices(first).any(|(at, _)| fits(&text[at + first.len()..], more))
}

fn fits(text: &str, pieces: &[&str]) -> bool {
    let Some((piece, more)) = pieces.split_first() else {
        // The path ends here, or it is another, longer one.
        return text.starts_with(['"', '?', '#']);
    };
    let parameter = text.find(['"', '/', '?', '\n']).unwrap_or(0);
    if parameter == 0 {
        return false;
    }
    let tail = &text[parameter..];
    if piece.is_empty() { fits(tail, more) } else { tail.strip_prefix(piece).is_some_and(|tail| fits(tail, more)) }
}

#[test]
fn a_path_is_recognised_in_a_test() {
    let test = r#"app.get("/cache/a:b/touch?ttl_ms=1"); app.get(&format!("/cache/{key}")); app.get("/locks");"#;
    for named in ["/cache/{key}/touch", "/cache/{key}", "/locks"] {
        assert!(names_path(test, named), "{named}");
    }
    for unnamed in ["/cache", "/cache/{key}/increment", "/locks/{resource}", "/lock"] {
        assert!(!names_path(test, unnamed), "{unnamed}");
    }
}
