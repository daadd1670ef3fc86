//! Attacks on JSON documents: paths that multiply, large and deep documents, patches, and a schema.

use serde_json::json;

use super::Size;
use super::client::{Attack, JSON, Manner, call, encoded};

/// `[0,0,..]`, `count` times 0.
fn zeros(count: usize) -> String {
    format!("[{}]", vec!["0"; count].join(","))
}

/// Arrays in arrays; documents may have 64 levels.
fn deep(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

fn long_name() -> String {
    format!("[[{{\"{}\":1}}]]", "n".repeat(900_000))
}

pub fn stored(size: &Size) -> Vec<Vec<u8>> {
    let put = |key: &str, text: &str| call("PUT", &format!("/json/{key}"), JSON, text);
    let lists = format!("[{}]", vec![zeros(500); size.of_many(900)].join(","));
    let texts = format!("[{}]", vec![format!("\"{}\"", "a".repeat(1_000)); size.of_many(900)].join(","));
    vec![
        put("zeros", &zeros(size.of_many(500_000))),
        put("name", &long_name()),
        put("lists", &lists),
        put("texts", &texts),
        put("deep", &deep(64)),
        put("number", "{\"n\":1,\"list\":[1]}"),
    ]
}

pub fn attacks(size: &Size) -> Vec<Attack> {
    let get = |key: &str, paths: &[&str]| {
        let paths: Vec<String> = paths.iter().map(|path| format!("path={}", encoded(path))).collect();
        call("GET", &format!("/json/{key}?{}", paths.join("&")), "", "")
    };
    let twice = format!("${0}{0}", zeros(80));
    let or: Vec<String> = (0..40).map(|n| format!("@=~'(a|b)*x{n}'")).collect();
    let paths = vec![
        get("name", &[&twice]),
        get("name/keys", &[&twice]),
        get("lists/type", &[&twice]),
        get("zeros", &["$..*"]),
        get("lists", &["$..*..*"]),
        get("lists", &["$..[?(@..*)]"]),
        get("lists", &["$[*][*]", "$..[0]", "$..[1]", "$..[2]"]),
        get("texts", &["$[?(@=~'(a+)+b')]"]),
        get("texts", &[&format!("$[?({})]", or.join("||"))]),
        get("deep", &["$..*..*..*..*..*..*"]),
        get("zeros", &["$[?(@==0)]", "$[?(@>1)]", "$[?(@<1||@==2)]"]),
    ];
    let large = [zeros(500_000), long_name(), format!("\"{}\"", "\\u0001".repeat(170_000)), deep(500_000), deep(64)];
    let objects: Vec<String> = (0..60_000).map(|n| format!("\"{n}\":[{n}]")).collect();
    let large = [&large[..], &[format!("{{{}}}", objects.join(","))]].concat();
    let writes = large.iter().flat_map(|text| {
        let preferences = call("PUT", "/users/a/preferences", JSON, text);
        [call("PUT", "/json/written", JSON, text), call("PUT", "/json/lists?path=$[0]", JSON, text), preferences]
    });
    let patch = "Content-Type: application/json-patch+json\r\n";
    let merge = "Content-Type: application/merge-patch+json\r\n";
    // Each copy doubles the document.
    let doubling = vec![json!({ "op": "copy", "from": "", "path": "/list/-" }); 40];
    let tests: Vec<_> = (0..9_000).map(|_| json!({ "op": "test", "path": "/0", "value": 0 })).collect();
    let moves: Vec<_> = (0..9_000).map(|_| json!({ "op": "move", "from": "/0", "path": "/-" })).collect();
    let patches = vec![
        call("PATCH", "/json/number", patch, json!(doubling).to_string()),
        call("PATCH", "/json/zeros", patch, json!(tests).to_string()),
        call("PATCH", "/json/zeros", patch, json!(moves).to_string()),
        call("PATCH", "/json/merged", merge, format!("{{{}}}", objects.join(","))),
        call("PATCH", "/json/lists", merge, zeros(500_000)),
        call("POST", "/json/lists/array/append", JSON, r#"{"path":"$[*]","values":[[[1]]]}"#),
        call("POST", "/json/zeros/array/insert", JSON, r#"{"path":"$","index":0,"values":[1]}"#),
        call("POST", "/json/lists/number/multiply", JSON, r#"{"path":"$..*","by":3}"#),
        call("POST", "/json/texts/string/append", JSON, r#"{"path":"$..*","value":"aaaaaaaaaaaaaaaaaaaaaaaaaaaa"}"#),
        call("POST", "/json/lists/clear", JSON, r#"{"path":"$..nothing"}"#),
    ];
    let schema = [
        json!({ "list": (0..4_000).map(|n| json!({ "a": [n] })).collect::<Vec<_>>() }),
        json!({ "list": (0..100_000).collect::<Vec<_>>() }),
        json!({ "text": "a".repeat(900_000) }),
        json!({ "tree": serde_json::from_str::<serde_json::Value>(&deep(60)).expect("JSON") }),
        json!({ "tree": vec![json!([[[[[1]]]]]); 80_000] }),
    ];
    let schema = schema.iter().map(|document| call("PUT", "/json/schema:a", JSON, document.to_string()));
    vec![
        Attack::new("json: paths", Manner::Read, size.of_many(64), paths),
        Attack::new("json: large documents", Manner::Read, size.of_many(64), writes.collect()),
        Attack::new("json: patches", Manner::Read, size.of_many(64), patches),
        Attack::new("json: schema", Manner::Read, size.of_many(64), schema.collect()),
    ]
}
