//! The page of several replicas behind one address.

use serde_json::{Value, json};

use crate::support::{
    LineProcess, Nginx, RedisServer, ServiceProcess, build_directory, free_port, in_repository, python,
};

fn start(redis: &RedisServer, port: u16) -> ServiceProcess {
    let mut replica = ServiceProcess::start_on(redis, &[("PORT", &port.to_string())]);
    replica.ready();
    replica
}

fn name_of(replica: &mut ServiceProcess) -> String {
    let stats: Value = serde_json::from_str(&replica.get("/ratelimit/stats").1).expect("JSON");
    stats["replica"].as_str().expect("a name").to_owned()
}

/// The place in `names` of the name that the page shows.
fn shown(page: &Value, id: &str, names: &[String]) -> usize {
    names.iter().position(|name| page[id] == *name).unwrap_or_else(|| panic!("{id} of {page}"))
}

#[tokio::test]
async fn the_page_names_the_replica_that_counts_and_goes_on_with_another_one() {
    let redis = RedisServer::start();
    let ports = [free_port(), free_port()];
    let mut replicas = ports.map(|port| start(&redis, port));
    let names = replicas.each_mut().map(name_of);
    assert_ne!(names[0], names[1]);
    let missed = [3, 5];
    for (replica, times) in replicas.iter_mut().zip(missed) {
        for _ in 0..times {
            assert_eq!(replica.get("/nowhere").0, 404);
        }
    }
    let nginx = Nginx::start(|address| {
        let servers = ports.map(|port| format!("server 127.0.0.1:{port} fail_timeout=1s;")).concat();
        format!(
            "upstream replicas {{ {servers} }}\nserver {{\nlisten {address};\n\
             location / {{ proxy_pass http://replicas; proxy_http_version 1.1; }}\n}}"
        )
    })
    .await;
    let mut script = python(&in_repository("tests/browser/page_lines.py"));
    script.arg(build_directory().join("page_replicas_failure.png"));
    let mut page = LineProcess::start("the page", script);
    let address = format!("http://{}/ui/", nginx.address);
    let is_well =
        "document.querySelector('#status.ok') && document.querySelector('#connection').textContent === 'live'";
    let names_one = format!("{is_well} && shown('#replica')");
    let begun = page.request(json!({ "open": address, "until": names_one })).await;
    let first = shown(&begun, "replica", &names);

    let counts = "shown('#counted-by') && document.querySelectorAll('main table tbody tr').length > 0";
    let problems = page.request(json!({ "place": "problems?q=not-found", "until": counts })).await;
    let counter = shown(&problems, "counted-by", &names);
    let rows = problems["rows"][0].as_array().expect("rows");
    let row = rows.iter().find(|row| row[0] == "not-found").expect("a row");
    assert_eq!(row[1], missed[counter].to_string(), "{problems}");
    let limits = page.request(json!({ "place": "locks", "until": "shown('#limits-by')" })).await;
    shown(&limits, "limits-by", &names);

    // A crash, and a regular stop after the first replica is back.
    let [one, two] = replicas;
    let (crashed, rest) = if first == 0 { (one, two) } else { (two, one) };
    drop(crashed);
    let is = |name: &str| format!("{is_well} && document.querySelector('#replica').textContent === {name:?}");
    let moved = page.request(json!({ "place": "overview", "until": is(&names[1 - first]) })).await;
    assert!(moved["reasons"].is_null(), "{moved}");
    let _back = start(&redis, ports[first]);
    rest.terminate();
    page.request(json!({ "place": "overview", "until": is(&names[first]) })).await;
}
