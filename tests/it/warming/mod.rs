//! Cache warming: tasks and runs, cache-aside reads, sources with their guards, and replicas.

mod database;
mod hot_keys;
mod http_sources;
mod replicas;
mod source;
mod tasks;
mod values;

use serde_json::{Value, json};

use crate::support::TestApp;

/// A task with literal values under `market:limits:`.
fn limits(values: &Value) -> Value {
    json!({ "key": "market:limits:{zone}", "values": values, "strategy": { "kind": "startup" }, "ttl_ms": 600_000 })
}

/// Runs a task and returns its record.
async fn run(app: &TestApp, task: &str, mut request: Value) -> Value {
    request["wait_ms"] = json!(20_000);
    app.post(&format!("/warming/tasks/{task}/run"), request).await.expect(200).json()["run"].clone()
}

/// A configuration of one HTTP source `api` and one task `rates` that it serves.
fn http_task(url: &str, task: &str) -> String {
    format!(
        "[warming]\ncpu_share = 1.0\n[warming.http]\nallow = [\"{url}/\"]\nallow_private = [\"127.0.0.0/8\"]\ntimeout = \"5s\"\n\
         [[warming.sources]]\nname = \"api\"\nkind = \"http\"\nurl = \"{url}/rates/{{pair}}\"\n\
         [[warming.tasks]]\nname = \"rates\"\nkey = \"market:rate:{{pair}}\"\nsource = \"api\"\nttl = \"10m\"\n{task}\n"
    )
}

/// The strategy of a task that only follows requests.
const ON_DEMAND: &str = "strategy = { kind = \"on_demand\", factor = 1.5, trigger = 5 }\n";
