//! Readers and consumers that wait.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{append_numbers, claim, items, put_group, settle, versions};
use crate::support::TestApp;

/// How many commands Redis has executed.
fn commands(app: &TestApp) -> u64 {
    let info: String = app.redis().command(&["INFO", "stats"]);
    let line = info.lines().find_map(|line| line.strip_prefix("total_commands_processed:")).expect("a line");
    line.trim().parse().expect("a number")
}

/// Commands per second, over six seconds.
async fn rate_of_commands(app: &TestApp) -> f64 {
    let (begun, before) = (Instant::now(), commands(app));
    // The time over which the rate is measured.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let count = u32::try_from(commands(app) - before).expect("few");
    f64::from(count) / begun.elapsed().as_secs_f64()
}

fn connections(app: &TestApp) -> usize {
    let list: String = app.redis().command(&["CLIENT", "LIST"]);
    list.lines().count()
}

#[tokio::test]
async fn a_waiting_consumer_gets_an_event_as_soon_as_it_is_appended() {
    let app = TestApp::builder().system_clock().spawn().await;
    append_numbers(&app, "orders", 1..=1).await;
    put_group(&app, "billing", json!({ "start": "now" })).await;
    let begun = Instant::now();
    let request = json!({ "consumer": "c", "count": 10, "wait_ms": 20_000 });
    let publisher = async {
        // The consumer waits when the event comes.
        tokio::time::sleep(Duration::from_millis(300)).await;
        append_numbers(&app, "orders", 2..=2).await;
    };
    let (claimed, ()) = tokio::join!(claim(&app, "billing", request), publisher);
    assert_eq!(versions(&claimed["items"]), [2]);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    // A returned event and one whose timeout passes wake the consumer as well.
    let returned = async {
        // The consumer waits when the event is returned.
        tokio::time::sleep(Duration::from_millis(100)).await;
        settle(&app, "billing", "nack", &items(&claimed), json!({ "delay_ms": 200 })).await.expect(200);
    };
    let request = json!({ "consumer": "d", "wait_ms": 20_000 });
    let (claimed, ()) = tokio::join!(claim(&app, "billing", request), returned);
    assert_eq!((versions(&claimed["items"]), &claimed["items"][0]["deliveries"]), (vec![2], &json!(2)));
    let begun = Instant::now();
    let nothing = claim(&app, "billing", json!({ "consumer": "e", "wait_ms": 200 })).await;
    assert_eq!((nothing["items"].clone(), &nothing["lag"]), (json!([]), &json!(1)));
    assert!(begun.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_waiting_reader_gets_the_next_events_and_the_first_of_a_new_stream() {
    let app = TestApp::builder().system_clock().spawn().await;
    for from in [1, 2] {
        let path = format!("/streams/orders/events?from_version={from}&wait_ms=20000");
        let publisher = async {
            // The reader waits when the event comes.
            tokio::time::sleep(Duration::from_millis(200)).await;
            append_numbers(&app, "orders", from..=from).await;
        };
        let begun = Instant::now();
        let (page, ()) = tokio::join!(app.get(&path), publisher);
        assert_eq!(versions(&page.expect(200).json()["items"]), [from]);
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
    app.get("/streams/nothing/events?wait_ms=100").await.expect_problem(404, "stream-not-found");
}

#[tokio::test]
async fn a_thousand_waiting_consumers_cost_no_connection_and_five_commands_a_second_at_most() {
    const CONSUMERS: usize = 1_000;
    let app = TestApp::builder().config("http.max_connections = 5000").system_clock().spawn().await;
    append_numbers(&app, "orders", 1..=1).await;
    put_group(&app, "billing", json!({ "start": "now" })).await;
    // The service sends some commands by itself, such as those of its health.
    let alone = rate_of_commands(&app).await;
    let before = connections(&app);
    let consumers = (0..CONSUMERS).map(|number| {
        let request = json!({ "consumer": format!("c{number}"), "wait_ms": 25_000 });
        claim(&app, "billing", request)
    });
    let measure = async {
        // The time in which all of them begin to wait.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let rate = rate_of_commands(&app).await - alone;
        let opened = connections(&app).saturating_sub(before);
        // Each gets one event.
        append_numbers(&app, "orders", 2..=u64::try_from(CONSUMERS + 1).expect("few")).await;
        (rate, opened)
    };
    let (claims, (rate, opened)) = tokio::join!(futures_util::future::join_all(consumers), measure);
    assert!(rate <= 5.0 && opened <= 2, "{rate} commands/s and {opened} connections for {CONSUMERS} consumers");
    let mut found: Vec<u64> = claims.iter().flat_map(|claimed| versions(&claimed["items"])).collect();
    found.sort_unstable();
    assert_eq!(found, (2..=u64::try_from(CONSUMERS + 1).expect("few")).collect::<Vec<_>>());
}
