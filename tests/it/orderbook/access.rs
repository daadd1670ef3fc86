//! Who may do what: users act for themselves, the matching engine for all.

use axum::http::Method;
use serde_json::json;

use super::{BOOK, create, order};
use crate::auth::{SECRET, WRITER, key, platform_token};
use crate::support::{Reply, TestApp};

async fn spawn() -> TestApp {
    let config = format!("[auth]\njwt_secret = \"{SECRET}\"\n{}", key("writer", WRITER, "scopes = [\"admin\"]"));
    TestApp::builder().config(&config).spawn().await
}

async fn call(app: &TestApp, subject: &str, role: &str, method: Method, path: &str, body: serde_json::Value) -> Reply {
    let token = format!("Bearer {}", platform_token(&json!({ "sub": subject, "role": role })));
    let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
    app.send(method, path, &headers, body.to_string()).await
}

#[tokio::test]
async fn a_user_acts_only_for_its_own_subject() {
    let app = spawn().await;
    let admin = [("x-api-key", WRITER), ("content-type", "application/json")];
    let settings = json!({ "mode": "store", "kind": "orders" }).to_string();
    app.send(Method::PUT, "/orderbooks/GRID/settings", &admin, settings).await.expect(201);
    let mine = json!({ "order_id": "a", "side": "buy", "price": "4", "quantity": "1" });
    for role in ["user", "producer", "consumer"] {
        let placed = call(&app, "ann", role, Method::POST, "/orderbooks/GRID/orders", mine.clone()).await.expect(201);
        assert_eq!(placed.json()["order"]["owner"], "ann");
    }
    let others = order("b", "buy", "4", "1");
    call(&app, "ann", "user", Method::POST, "/orderbooks/GRID/orders", others).await.expect_problem(403, "forbidden");
    for (method, path, body) in [
        (Method::GET, "/orderbooks/GRID/orders/a", json!(null)),
        (Method::DELETE, "/orderbooks/GRID/orders/a", json!(null)),
        (Method::PATCH, "/orderbooks/GRID/orders/a", json!({ "quantity": "2" })),
    ] {
        call(&app, "bob", "user", method, path, body).await.expect_problem(404, "order-not-found");
    }
    for path in ["/orderbooks/GRID/orders?owner=ann", "/orderbooks/GRID/orders?owner=ann&side=buy"] {
        call(&app, "bob", "user", Method::GET, path, json!(null)).await.expect_problem(403, "forbidden");
        call(&app, "bob", "user", Method::DELETE, path, json!(null)).await.expect_problem(403, "forbidden");
    }
    call(&app, "bob", "user", Method::DELETE, "/orders?owner=ann", json!(null)).await.expect_problem(403, "forbidden");
    let listed =
        call(&app, "bob", "user", Method::GET, "/orderbooks/GRID/orders", json!(null)).await.expect(200).json();
    assert_eq!(listed["items"], json!([]));
    let listed =
        call(&app, "ann", "user", Method::GET, "/orderbooks/GRID/orders", json!(null)).await.expect(200).json();
    assert_eq!(listed["items"][0]["order_id"], "a");
    for (method, path, body) in [
        (Method::POST, "/orderbooks/GRID/fills", json!({ "fills": [] })),
        (Method::PUT, BOOK, json!({ "bids": [], "asks": [] })),
        (Method::PUT, "/orderbooks/GRID/settings", json!({ "mode": "store", "kind": "orders" })),
        (Method::DELETE, BOOK, json!(null)),
        (Method::GET, "/orderbooks/GRID/deltas?after=1&view=orders", json!(null)),
    ] {
        call(&app, "ann", "user", method, path, body).await.expect_problem(403, "forbidden");
    }
    call(&app, "ann", "user", Method::GET, "/orderbooks/GRID/deltas?after=1", json!(null)).await.expect(200);
    let cancelled = call(&app, "ann", "user", Method::DELETE, "/orders", json!(null)).await.expect(200).json();
    assert_eq!(cancelled["cancelled"], 1);
}

#[tokio::test]
async fn a_service_names_the_owner() {
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    let nameless = json!({ "order_id": "a", "side": "buy", "price": "4", "quantity": "1" });
    app.post("/orderbooks/GRID/orders", nameless).await.expect_violation(422, "invalid-body", "/owner");
    app.get("/orderbooks/GRID/orders").await.expect_violation(422, "invalid-query", "/side");
}
