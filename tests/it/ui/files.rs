//! The files of the page: how they are served, and where they come from.

use std::io::Read;

use axum::http::Method;
use flate2::read::GzDecoder;
use gridtokenx_redis::http::auth::api_key;

use crate::support::{Reply, TestApp, in_repository, node_package};

/// The vendored files: their names, their places in the npm packages, and their SHA-256.
const VENDORED: &[(&str, &str, &str)] = &[
    ("hooks.mjs", "preact/hooks/dist/hooks.mjs", "e862ab2973aa6455eaa0f77c5d832d2157d6be59a17c8ba546550a575b58c6b4"),
    ("htm.LICENSE.txt", "htm/LICENSE", "740725f7252e750af735d0028cc534970772f513331e9f68150fede8fb3ce00f"),
    ("htm.mjs", "htm/dist/htm.mjs", "ab33dd3f38059b9be4d5f5350128eefb2356639c4e0bbe9d9e8b3ba75847e9e4"),
    ("preact.LICENSE.txt", "preact/LICENSE", "1fe6958409c8c257a70c587a18b6f7f412b179b456630790d30b2ec9a8e4b7d4"),
    ("preact.mjs", "preact/dist/preact.mjs", "bdcbd9abdf2c77c5c45326eab42191e949222d479d0d5f69467387a77040cb55"),
    ("uplot.LICENSE.txt", "uplot/LICENSE", "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd"),
    ("uplot.css", "uplot/dist/uPlot.min.css", "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04"),
    ("uplot.js", "uplot/dist/uPlot.iife.min.js", "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f"),
];

async fn fetch(app: &TestApp, path: &str, coding: &str) -> Reply {
    app.send(Method::GET, path, &[("accept-encoding", coding)], "").await.expect(200)
}

async fn visit(app: &TestApp, accept: &str) -> Reply {
    app.send(Method::GET, "/", &[("accept", accept)], "").await
}

/// The addresses that the page names.
fn named(page: &str) -> Vec<String> {
    let parts = page.split(['"']).filter(|part| part.contains('/') && part.contains('.') && !part.contains(' '));
    parts.map(|part| format!("/ui/{part}")).collect()
}

#[tokio::test]
async fn a_browser_finds_the_page_and_other_clients_a_problem() {
    let app = TestApp::spawn().await;
    let browser = visit(&app, "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8").await.expect(303);
    assert_eq!((browser.header("location"), browser.header("vary")), (Some("/ui/"), Some("accept")));
    for accept in ["*/*", "application/json", "application/json, text/html;q=0.5", "text/html;q=0"] {
        visit(&app, accept).await.expect_problem(404, "not-found");
    }
    app.get("/").await.expect_problem(404, "not-found");
    assert_eq!(app.get("/ui").await.expect(303).header("location"), Some("/ui/"));
    app.send(Method::POST, "/ui/", &[], "").await.expect_problem(405, "method-not-allowed");
}

#[tokio::test]
async fn the_page_needs_no_credential_and_loads_only_from_the_service() {
    let app = TestApp::builder().admin_key().spawn().await;
    let page = app.get("/ui/").await.expect(200);
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'self';") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!((page.header("cache-control"), page.header("referrer-policy")), (Some("no-cache"), Some("no-referrer")));
    let text = page.text();
    assert!(!text.contains("://") && !text.contains("<script>") && !text.contains(" on"), "{text}");
    assert!(named(&text).len() > 20, "{text}");
    for path in named(&text) {
        let file = app.get(&path).await.expect(200);
        assert_eq!(file.header("cache-control"), Some("public, max-age=31536000, immutable"), "{path}");
        assert!(file.header("content-security-policy").is_some_and(|policy| policy.contains("'self'")), "{path}");
    }
    let other = named(&text)[0].replace("/ui/", "/ui/0");
    let problem = app.get(&other).await.expect_problem(404, "not-found");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("another version")), "{problem}");
    let unknown = named(&text)[0].replace("icon.svg", "none.js");
    app.get(&unknown).await.expect_problem(404, "not-found");
    app.get("/ui/..%2f..%2fCargo.toml").await.expect_problem(404, "not-found");
}

#[tokio::test]
async fn each_coding_has_the_content_of_the_file() {
    let app = TestApp::spawn().await;
    let page = app.get("/ui/").await.expect(200).text();
    for path in named(&page) {
        let plain = fetch(&app, &path, "identity").await;
        let gzip = fetch(&app, &path, "gzip, deflate").await;
        let brotli = fetch(&app, &path, "gzip, deflate, br").await;
        assert_eq!(gzip.header("content-encoding"), Some("gzip"), "{path}");
        assert_eq!(brotli.header("content-encoding"), Some("br"), "{path}");
        assert_eq!(gzip.header("vary"), Some("accept-encoding"), "{path}");
        let mut text = Vec::new();
        GzDecoder::new(&*gzip.body).read_to_end(&mut text).expect("gzip");
        assert!(text == plain.body, "{path}: gzip");
        let mut text = Vec::new();
        let mut decoder = async_compression::tokio::bufread::BrotliDecoder::new(&*brotli.body);
        tokio::io::AsyncReadExt::read_to_end(&mut decoder, &mut text).await.expect("Brotli");
        assert!(text == plain.body, "{path}: Brotli");
    }
}

#[tokio::test]
async fn the_scripts_of_the_page_are_at_most_90_kilobytes() {
    let app = TestApp::spawn().await;
    let page = app.get("/ui/").await.expect(200).text();
    let mut bytes = 0;
    for path in named(&page).into_iter().filter(|path| path.ends_with("js")) {
        bytes += fetch(&app, &path, "gzip").await.body.len();
    }
    assert!((30_000..=90_000).contains(&bytes), "{bytes} bytes");
}

#[test]
fn vendored_files_are_those_of_their_packages() {
    let folder = in_repository("src/features/ui/assets/vendor");
    let names = std::fs::read_dir(&folder).expect("the folder").map(|file| file.expect("a file").file_name());
    let mut unknown: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    // The declarations of types name the packages and have no content of theirs.
    unknown.retain(|name| !name.ends_with(".d.mts") && !VENDORED.iter().any(|(known, ..)| known == name));
    assert!(unknown.is_empty(), "{unknown:?} have no row");
    for (name, package, digest) in VENDORED {
        let vendored = std::fs::read(folder.join(name)).expect("a vendored file");
        let published = std::fs::read(node_package(package)).expect("the file of the package");
        assert!(vendored == published, "{name} differs from {package}");
        let found = api_key::hex(&api_key::digest(&vendored));
        assert_eq!(found, *digest, "{name}");
    }
}

#[test]
fn no_script_turns_text_into_markup() {
    let mut folders = vec![in_repository("src/features/ui/assets")];
    let mut count = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.ends_with("vendor") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "js") {
                let text = std::fs::read_to_string(&path).expect("a script");
                count += 1;
                for word in ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Storage", "cookie"]
                {
                    assert!(!text.contains(word), "{}: {word}", path.display());
                }
            }
        }
    }
    assert!(count > 15, "{count} scripts");
}
