//! The page of `examples/realtime` in a real browser.

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use super::centrifugo_client::Link;
use super::socket::price;
use crate::support::{
    TestApp, build_directory, eventually, in_repository, node_package, output_text, python, run_python_tool,
};

/// Serves the page for the service at this address, and publishes nothing. Returns the address of the page.
async fn serve_page(service: std::net::SocketAddr) -> (Child, String) {
    let mut command = python(&in_repository("examples/realtime/serve.py"));
    command.args(["--idle", "--port", "0", "--service", &service.to_string(), "--library"]);
    command.arg(node_package("centrifuge/dist/centrifuge.js")).stdout(std::process::Stdio::piped()).kill_on_drop(true);
    let mut server = command.spawn().expect("the server starts");
    let mut lines = BufReader::new(server.stdout.take().expect("its output")).lines();
    let url = lines.next_line().await.expect("its output").expect("an address");
    (server, url)
}

fn order(number: u64) -> Value {
    json!({ "message_type": "Created", "data": { "order_id": format!("order-{number}"), "user_id": "ann", "symbol": "E",
        "side": "buy", "price": "1", "quantity": "1", "filled_quantity": "0", "status": "open", "timestamp": 1 } })
}

#[tokio::test]
async fn the_page_shows_prices_own_orders_and_a_dashboard() {
    let mut app = TestApp::builder().system_clock().spawn().await;
    let address = app.serve();
    let link = Link::to(address).await;
    let (_server, url) = serve_page(link.address()).await;
    let has_subscriptions =
        async |count: u64| app.get("/metrics").await.text().contains(&format!("pubsub_subscriptions {count}\n"));
    let publish_order = async |number| app.post("/pubsub/orders:ann", order(number)).await.expect(201);
    let publishing = async {
        publish_order(1).await;
        eventually("the page has subscribed", async || has_subscriptions(3).await).await;
        publish_order(2).await;
        link.cut();
        eventually("the page is disconnected", async || has_subscriptions(0).await).await;
        publish_order(3).await;
        link.lead_to(address);
        eventually("the page has subscribed again", async || has_subscriptions(3).await).await;
        for at in 1..=100 {
            app.post("/pubsub/market:events", price(at)).await.expect(201);
            app.post("/pubsub/market:prices", price(at)).await.expect(201);
        }
        publish_order(4).await;
    };
    let script = in_repository("tests/browser/realtime_page.py").display().to_string();
    let screenshot = build_directory().join("realtime_page_failure.png").display().to_string();
    let arguments =
        [&script, &url, "--screenshot", &screenshot, "--connections", "2", "--prices", "100", "--orders", "4"];
    let (output, ()) = tokio::join!(run_python_tool("python", &arguments), publishing);
    assert!(output.status.success(), "{}", output_text(&output));
    let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let orders: Vec<_> = shown["orders"].as_array().expect("rows").iter().map(|row| &row[0]).collect();
    assert_eq!(orders, ["order-4", "order-3", "order-2", "order-1"], "one was published during the cut");
    assert_eq!((&shown["ticker_count"], &shown["ticker"][0][1]), (&json!(100), &json!("100")), "{shown}");
    let dashboard = shown["dashboard_count"].as_u64().expect("a count");
    assert!((1..=10).contains(&dashboard), "{shown}");
}
