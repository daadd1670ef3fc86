//! Every organisation has its own hosts and its own names for them; those of others do not exist for it.

use axum::http::Method;
use gridtokenx_redis::http::auth::api_key;
use serde_json::{Value, json};

use super::{WEB, sample};
use crate::support::{ADMIN_KEY, Reply, TestApp, TestAppBuilder, eventually};

const ONE: &str = "ak_11111111111111111111111111111111";
const TWO: &str = "ak_22222222222222222222222222222222";

/// A service with keys of two organisations and of an administrator without one.
fn two_organisations() -> TestAppBuilder {
    let key = |id: &str, key: &str| {
        let digest = api_key::hex(&api_key::digest(key.as_bytes()));
        format!(
            "[[auth.keys]]\nid = \"{id}\"\nsha256 = \"{digest}\"\norganisation = \"{id}\"\n\
             scopes = [\"hosts:read\", \"hosts:write\"]"
        )
    };
    TestApp::builder().config(&key("one", ONE)).config(&key("two", TWO)).admin_key()
}

async fn send(app: &TestApp, key: &str, method: Method, path: &str, body: Value) -> Reply {
    let headers = [("x-api-key", key), ("content-type", "application/json")];
    app.send(method, path, &headers, body.to_string()).await
}

async fn get(app: &TestApp, key: &str, path: &str) -> Reply {
    app.send(Method::GET, path, &[("x-api-key", key)], "").await
}

#[tokio::test]
async fn another_organisation_receives_404() {
    let app = two_organisations().spawn().await;
    send(&app, ONE, Method::POST, WEB, sample(0)).await.expect(202);
    for path in ["latest", "recent", "range", "summary"] {
        let path = format!("{WEB}/{path}");
        get(&app, ONE, &path).await.expect(200);
        get(&app, TWO, &path).await.expect_problem(404, "host-not-found");
        get(&app, ADMIN_KEY, &path).await.expect(200);
        get(&app, ADMIN_KEY, &format!("{path}?orgId=two")).await.expect_problem(404, "host-not-found");
        get(&app, ADMIN_KEY, &format!("{path}?orgId=one")).await.expect(200);
    }
    for path in ["anomaly", "forecast"] {
        let path = format!("{WEB}/{path}?field=cpu.usage");
        get(&app, ONE, &path).await.expect(200);
        get(&app, TWO, &path).await.expect_problem(404, "host-not-found");
        get(&app, ONE, &format!("{path}&orgId=two")).await.expect_problem(403, "wrong-organisation");
    }
    for (key, count) in [(ONE, 1), (TWO, 0), (ADMIN_KEY, 1)] {
        for path in ["/hosts", "/hosts/metrics/latest"] {
            assert_eq!(get(&app, key, path).await.expect(200).json()["items"].as_array().map(Vec::len), Some(count));
        }
    }
}

#[tokio::test]
async fn the_organisation_in_a_request_must_match_the_credential() {
    let app = two_organisations().spawn().await;
    send(&app, ONE, Method::POST, &format!("{WEB}?orgId=one"), sample(0)).await.expect(202);
    send(&app, ONE, Method::POST, &format!("{WEB}?orgId=two"), sample(0))
        .await
        .expect_problem(403, "wrong-organisation");
    for path in [
        &format!("{WEB}/latest"),
        &format!("{WEB}/recent"),
        &format!("{WEB}/range"),
        &format!("{WEB}/summary"),
        "/hosts",
        "/hosts/metrics/latest",
    ] {
        get(&app, ONE, &format!("{path}?orgId=two")).await.expect_problem(403, "wrong-organisation");
    }
    let heartbeat = |organisation: &str| {
        json!({
            "organizationSlug": organisation, "hostId": "db-1",
            "heartbeat": { "hostname": "h", "agentVersion": "1", "agentStatus": "ok", "uptime": 1, "metrics": sample(0) },
        })
    };
    send(&app, ONE, Method::POST, "/api/v2/heartbeat", heartbeat("two"))
        .await
        .expect_problem(403, "wrong-organisation");
    send(&app, ONE, Method::POST, "/api/v2/heartbeat", heartbeat("one")).await.expect(200);
}

#[tokio::test]
async fn only_administrators_flush_and_delete() {
    let app = two_organisations().spawn().await;
    send(&app, ONE, Method::POST, WEB, sample(0)).await.expect(202);
    send(&app, ONE, Method::POST, "/hosts/flush", Value::Null).await.expect_problem(403, "forbidden");
    send(&app, ONE, Method::DELETE, WEB, Value::Null).await.expect_problem(403, "forbidden");
    let flushed = send(&app, ADMIN_KEY, Method::POST, "/hosts/flush", Value::Null).await.expect(200).json();
    assert_eq!(flushed["written"], 1);
    let listed = async || app.redis().command::<u64>(&["SCARD", "metrics:hosts"]) == 1;
    eventually("the host is listed", listed).await;
    send(&app, ADMIN_KEY, Method::DELETE, WEB, Value::Null).await.expect(204);
    get(&app, ONE, &format!("{WEB}/latest")).await.expect_problem(404, "host-not-found");
    let mut left: Vec<String> = app.redis().command(&["KEYS", "*metrics:*"]);
    left.retain(|key| !key.starts_with("metrics:deleted:") && key != "metrics:deletions");
    assert_eq!(left, Vec::<String>::new());
    send(&app, ADMIN_KEY, Method::DELETE, WEB, Value::Null).await.expect_problem(404, "host-not-found");
    // Any organisation can use the name again.
    send(&app, TWO, Method::POST, WEB, sample(0)).await.expect(202);
}

/// The times of the samples that a caller sees, newest first.
async fn seen(app: &TestApp, key: &str, query: &str) -> Vec<i64> {
    super::times(&get(app, key, &format!("{WEB}/recent{query}")).await.expect(200).json())
}

async fn flush_all(app: &TestApp) {
    send(app, ADMIN_KEY, Method::POST, "/hosts/flush", Value::Null).await.expect(200);
}

#[tokio::test]
async fn each_organisation_has_its_own_host_names() {
    let app = two_organisations().spawn().await;
    send(&app, ONE, Method::POST, WEB, sample(0)).await.expect(202);
    get(&app, TWO, &format!("{WEB}/latest")).await.expect_problem(404, "host-not-found");
    send(&app, TWO, Method::POST, WEB, sample(1)).await.expect(202);
    let heartbeat = json!({
        "organizationSlug": "two", "hostId": "web-1",
        "heartbeat": { "hostname": "h", "agentVersion": "1", "agentStatus": "ok", "uptime": 1, "metrics": sample(2) },
    });
    send(&app, TWO, Method::POST, "/api/v2/heartbeat", heartbeat).await.expect(200);
    flush_all(&app).await;
    eventually("both are listed", async || app.redis().command::<u64>(&["SCARD", "metrics:hosts"]) == 2).await;
    // The other replica has neither host in memory.
    let other = two_organisations().beside(&app).spawn().await;
    for app in [&app, &other] {
        assert_eq!(seen(app, ONE, "").await, [0]);
        assert_eq!(seen(app, TWO, "").await, [2, 1]);
        assert_eq!(seen(app, ADMIN_KEY, "?orgId=one").await, [0]);
        assert_eq!(seen(app, ADMIN_KEY, "?orgId=two").await, [2, 1]);
        for key in [ONE, TWO] {
            let items = get(app, key, "/hosts").await.expect(200).json()["items"].clone();
            assert_eq!(items.as_array().map(|items| (items.len(), &items[0]["id"])), Some((1, &json!("web-1"))));
            let latest = get(app, key, "/hosts/metrics/latest").await.expect(200).json()["items"].clone();
            assert_eq!(latest.as_array().map(|items| (items.len(), &items[0]["host"])), Some((1, &json!("web-1"))));
            for path in ["range", "summary", "anomaly?field=cpu.usage"] {
                get(app, key, &format!("{WEB}/{path}")).await.expect(200);
            }
        }
        let first = get(app, ADMIN_KEY, "/hosts?limit=1").await.expect(200).json();
        let cursor = first["next_cursor"].as_str().expect("a second page");
        let second = get(app, ADMIN_KEY, &format!("/hosts?limit=1&cursor={cursor}")).await.expect(200).json();
        assert_eq!((&first["items"][0]["id"], &second["items"][0]["id"]), (&json!("web-1"), &json!("web-1")));
        assert_eq!(second["next_cursor"], Value::Null);
    }
    // A replica that starts again finds the same hosts.
    send(&other, ONE, Method::POST, WEB, sample(3)).await.expect(202);
    send(&other, TWO, Method::POST, WEB, sample(4)).await.expect(202);
    assert_eq!((seen(&other, ONE, "").await, seen(&other, TWO, "").await), (vec![3, 0], vec![4, 2, 1]));
    send(&other, ADMIN_KEY, Method::DELETE, &format!("{WEB}?orgId=one"), Value::Null).await.expect(204);
    assert_eq!(seen(&other, TWO, "").await, [4, 2, 1]);
    eventually("no replica has it any more", async || get(&app, ONE, &format!("{WEB}/latest")).await.is(404)).await;
    // The name is free, but its second organisation keeps its history.
    flush_all(&other).await;
    send(&app, TWO, Method::POST, WEB, sample(5)).await.expect(202);
    assert_eq!(seen(&app, TWO, "").await, [5, 4, 2, 1]);
}

#[tokio::test]
async fn pages_do_not_show_how_hosts_are_stored() {
    let app = two_organisations().spawn().await;
    let other = two_organisations().beside(&app).spawn().await;
    // The second organisation has the plain form of one name, and its own form of the others.
    send(&app, ONE, Method::POST, WEB, sample(0)).await.expect(202);
    send(&app, ONE, Method::POST, "/hosts/web-10/metrics", sample(0)).await.expect(202);
    let names = ["web-1", "web-1-a", "web-1.b", "web-10", "web-2"];
    for name in names {
        send(&app, TWO, Method::POST, &format!("/hosts/{name}/metrics"), sample(0)).await.expect(202);
    }
    eventually("all are listed", async || app.redis().command::<u64>(&["SCARD", "metrics:hosts"]) == 7).await;
    for app in [&app, &other] {
        for path in ["/hosts", "/hosts/metrics/latest"] {
            let (mut seen, mut after) = (Vec::new(), String::new());
            loop {
                let page = get(app, TWO, &format!("{path}?limit=1{after}")).await.expect(200).json();
                let host = page["items"][0]["id"].as_str().or(page["items"][0]["host"].as_str()).expect("a host");
                seen.push(host.to_owned());
                let Some(cursor) = page["next_cursor"].as_str() else { break };
                assert_eq!(cursor, host);
                after = format!("&cursor={cursor}");
            }
            assert_eq!(seen, names);
        }
    }
}

#[tokio::test]
async fn samples_sent_during_an_outage_belong_to_their_organisation() {
    let app = two_organisations().behind_proxy().spawn().await;
    let other = two_organisations().beside(&app).spawn().await;
    send(&other, ONE, Method::POST, WEB, sample(0)).await.expect(202);
    app.proxy().cut();
    eventually("the service is not ready", async || app.get("/health/ready").await.is(503)).await;
    // Redis cannot say that another organisation has the name.
    send(&app, TWO, Method::POST, WEB, sample(1)).await.expect(202);
    send(&app, ONE, Method::POST, WEB, sample(2)).await.expect(202);
    assert_eq!((seen(&app, ONE, "").await, seen(&app, TWO, "").await), (vec![2], vec![1]));
    app.proxy().heal();
    eventually("the samples are written", async || {
        send(&app, ADMIN_KEY, Method::POST, "/hosts/flush", Value::Null).await.is(200)
    })
    .await;
    flush_all(&app).await;
    flush_all(&other).await;
    let third = two_organisations().beside(&app).spawn().await;
    for app in [&app, &third] {
        assert_eq!((seen(app, ONE, "").await, seen(app, TWO, "").await), (vec![2, 0], vec![1]));
    }
}

#[tokio::test]
async fn exports_show_the_names_that_organisations_gave() {
    let app = two_organisations().spawn().await;
    for key in [ONE, TWO] {
        send(&app, key, Method::POST, WEB, sample(0)).await.expect(202);
    }
    let text = async |key: &str, path: &str| get(&app, key, path).await.expect(200).text();
    for (format, expected) in [
        ("prometheus", "host_cpu_cores{host=\"web-1\"} 4\n"),
        ("csv", "\nweb-1,1767225600000,0,12.5,"),
        ("influx", "host_metrics,host=web-1 cpu.usage=12.5,"),
    ] {
        let path = format!("/hosts/metrics/latest?format={format}");
        let (one, two) = (text(ONE, &path).await, text(TWO, &path).await);
        assert!(two.contains(expected) && !two.contains('!'), "{two}");
        assert_eq!(one, two, "nothing depends on who came first");
    }
    for path in ["recent", "range"] {
        for format in ["csv", "influx"] {
            let two = text(TWO, &format!("{WEB}/{path}?format={format}")).await;
            assert!(two.contains("web-1") && !two.contains('!') && !two.contains("organisation"), "{two}");
            let all = text(ADMIN_KEY, &format!("{WEB}/{path}?format={format}")).await;
            assert!(all.contains(if format == "csv" { ",5,one\n" } else { "host=web-1,organisation=one " }), "{all}");
        }
    }
    // An administrator sees hosts of one name apart, also at a replica that does not have them in memory.
    flush_all(&app).await;
    eventually("both are listed", async || app.redis().command::<u64>(&["SCARD", "metrics:hosts"]) == 2).await;
    let other = two_organisations().beside(&app).spawn().await;
    for app in [&app, &other] {
        for (format, of_one, of_two) in [
            ("prometheus", "{host=\"web-1\",organisation=\"one\"}", "{host=\"web-1\",organisation=\"two\"}"),
            ("csv", ",5,one\n", ",5,two\n"),
            ("influx", "host=web-1,organisation=one ", "host=web-1,organisation=two "),
        ] {
            let all = get(app, ADMIN_KEY, &format!("/hosts/metrics/latest?format={format}")).await.expect(200).text();
            assert!(all.contains(of_one) && all.contains(of_two) && !all.contains('!'), "{all}");
        }
    }
}

#[tokio::test]
async fn the_hosts_of_one_organisation_leave_memory_to_others() {
    let app =
        two_organisations().config("[hosts]\nmax_hosts = 4\nbatch_interval = \"1h\"").behind_proxy().spawn().await;
    let post =
        async |key: &str, host: &str| send(&app, key, Method::POST, &format!("/hosts/{host}/metrics"), sample(0)).await;
    for host in ["a", "b"] {
        post(ONE, host).await.expect(202);
    }
    // Redis takes no samples now, so the first hosts cannot leave memory.
    app.proxy().cut();
    eventually("the service is not ready", async || app.get("/health/ready").await.is(503)).await;
    post(ONE, "c").await.expect_problem(503, "too-many-hosts");
    for host in ["a", "d"] {
        post(TWO, host).await.expect(202);
    }
    app.proxy().heal();
    eventually("a full memory is written before the batch is due", async || post(ONE, "c").await.is(202)).await;
    post(TWO, "a").await.expect(202);
}

#[tokio::test]
async fn an_organisation_leaves_room_for_the_samples_of_others() {
    let config =
        "[hosts]\nunstored_samples = 10\n[redis]\ncommand_timeout = \"20s\"\n[http]\nrequest_deadline = \"20s\"";
    let app = two_organisations().behind_proxy().config(config).spawn().await;
    for key in [ONE, TWO] {
        send(&app, key, Method::POST, WEB, sample(0)).await.expect(202);
    }
    flush_all(&app).await;
    app.proxy().stall();
    for n in 1..=5 {
        send(&app, ONE, Method::POST, WEB, sample(n)).await.expect(202);
    }
    send(&app, ONE, Method::POST, WEB, sample(6)).await.expect_problem(503, "overloaded");
    for n in 1..=5 {
        send(&app, TWO, Method::POST, WEB, sample(n)).await.expect(202);
    }
    send(&app, TWO, Method::POST, WEB, sample(6)).await.expect_problem(503, "overloaded");
    app.proxy().heal();
    flush_all(&app).await;
    for key in [ONE, TWO] {
        send(&app, key, Method::POST, WEB, sample(6)).await.expect(202);
        assert_eq!(seen(&app, key, "").await, [6, 5, 4, 3, 2, 1, 0]);
    }
}
