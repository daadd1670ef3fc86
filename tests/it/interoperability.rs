//! Locks shared with other clients of the same Redis: redis-py's `Lock`, node-redlock and the service exclude each
//! other.

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Peer, PeerKind, RedisServer, Reply, TestApp, eventually};

const LONG: u64 = 60_000;
/// The TTL of leases that the tests let expire, and the maximum wait for them.
const SHORT: u64 = 300;
const WAIT: u64 = 20_000;
/// The key that holds the name of the client in the critical section of `lock:c`.
const INSIDE: &str = "inside:lock:c";
const UNKNOWN_TOKEN: &str = "0123456789abcdef0123456789abcdef";

const REDLOCKS: &[PeerKind] = &[PeerKind::Redlock("redlock"), PeerKind::Redlock("redlock-5")];
const ALL: &[PeerKind] = &[PeerKind::RedisPy, PeerKind::Redlock("redlock"), PeerKind::Redlock("redlock-5")];

/// The service and the independent masters that store its locks, if any.
struct Scene {
    app: TestApp,
    nodes: Vec<RedisServer>,
}

impl Scene {
    /// Locks on the state role's Redis.
    async fn single() -> Self {
        Self { app: TestApp::builder().plain_redis().system_clock().spawn().await, nodes: Vec::new() }
    }

    /// Locks on five masters whose quarantine has ended.
    async fn five() -> Self {
        let nodes: Vec<RedisServer> = (0..5).map(|_| RedisServer::plain()).collect();
        for node in &nodes {
            let info: String = node.command(&["INFO", "server"]);
            let run = info.lines().find_map(|line| line.strip_prefix("run_id:")).expect("a run id").trim();
            let _: String = node.command(&["SET", "locks:node", &format!("{run}:0")]);
        }
        let urls: Vec<String> = nodes.iter().map(RedisServer::url).collect();
        let config = format!("[locks]\nrecheck = \"50ms\"\nnode_timeout = \"2s\"\nnodes = {urls:?}");
        let app = TestApp::builder().plain_redis().system_clock().config(&config).spawn().await;
        Self { app, nodes }
    }

    fn peer(&self, kind: PeerKind) -> Peer {
        let state = self.app.redis();
        let nodes: Vec<&RedisServer> = self.nodes.iter().collect();
        Peer::start(kind, &state, if nodes.is_empty() { vec![&*state] } else { nodes }.as_slice())
    }

    async fn acquire(&self, name: &str, ttl_ms: u64, wait_ms: u64) -> Reply {
        self.app.post(&format!("/locks/{name}"), json!({ "ttl_ms": ttl_ms, "wait_ms": wait_ms })).await
    }

    async fn extend(&self, name: &str, token: &str) -> Reply {
        self.app.patch(&format!("/locks/{name}"), json!({ "token": token, "ttl_ms": LONG })).await
    }

    async fn release(&self, name: &str, token: &str) -> Reply {
        self.app.send(Method::DELETE, &format!("/locks/{name}"), &[("lock-token", token)], Body::empty()).await
    }

    async fn is_held(&self, name: &str) -> bool {
        self.app.get(&format!("/locks/{name}")).await.json()["held"] == true
    }
}

fn token(grant: &Value) -> &str {
    grant["token"].as_str().expect("a token")
}

/// The peer gets a lock that the service holds only after its release or expiry.
async fn service_holds_and_peer_waits(scene: &Scene, kind: PeerKind) {
    let mut peer = scene.peer(kind);
    let ours = scene.acquire("a", LONG, 0).await.expect(201).json();
    assert!(!peer.acquire("lock:a", LONG, 0).await, "{kind:?} acquired a lock that the service holds");
    let (theirs, ()) = tokio::join!(peer.acquire("lock:a", LONG, WAIT), async {
        assert!(scene.is_held("a").await);
        scene.release("a", token(&ours)).await.expect(204);
    });
    assert!(theirs, "{kind:?} did not get the released lock");
    scene.release("a", token(&ours)).await.expect_problem(409, "lock-not-owned");
    assert!(peer.release().await);

    let ours = scene.acquire("a", SHORT, 0).await.expect(201).json();
    assert!(peer.acquire("lock:a", LONG, WAIT).await, "{kind:?} did not get the expired lock");
    scene.extend("a", token(&ours)).await.expect_problem(409, "lock-lost");
    scene.release("a", token(&ours)).await.expect_problem(409, "lock-not-owned");
    assert!(peer.extend(LONG).await, "late calls of the service changed the lock of {kind:?}");
    assert!(peer.release().await);
}

/// The service gets a lock that the peer holds only after its release or expiry.
async fn peer_holds_and_service_waits(scene: &Scene, kind: PeerKind) {
    let mut peer = scene.peer(kind);
    assert!(peer.acquire("lock:b", LONG, 0).await);
    let conflict = scene.acquire("b", LONG, 0).await.expect_problem(409, "lock-held");
    assert!(conflict["retry_after_ms"].as_u64().is_some_and(|ms| (1..=LONG).contains(&ms)), "{kind:?}: {conflict}");
    scene.release("b", UNKNOWN_TOKEN).await.expect_problem(409, "lock-not-owned");
    scene.extend("b", UNKNOWN_TOKEN).await.expect_problem(409, "lock-lost");
    assert!(peer.extend(LONG).await, "{kind:?}");
    let (ours, ()) = tokio::join!(scene.acquire("b", LONG, WAIT), async {
        eventually("the service waits", async || scene.app.get("/locks/stats").await.json()["waiting"] == 1).await;
        assert!(peer.release().await);
    });
    let ours = ours.expect(201).json();
    assert!(
        !peer.release().await && !peer.extend(LONG).await,
        "{kind:?} released or extended a lock that it no longer holds"
    );
    scene.extend("b", token(&ours)).await.expect(200);
    scene.release("b", token(&ours)).await.expect(204);

    assert!(peer.acquire("lock:b", SHORT, 0).await);
    let ours = scene.acquire("b", LONG, WAIT).await.expect(201).json();
    assert!(!peer.extend(LONG).await && !peer.release().await, "{kind:?} extended or released an expired lock");
    scene.extend("b", token(&ours)).await.expect(200);
    scene.release("b", token(&ours)).await.expect(204);
}

#[tokio::test]
async fn a_lock_passes_between_the_service_and_every_client_on_one_redis() {
    let scene = Scene::single().await;
    for kind in ALL {
        service_holds_and_peer_waits(&scene, *kind).await;
        peer_holds_and_service_waits(&scene, *kind).await;
    }
}

#[tokio::test]
async fn a_lock_passes_between_the_service_and_redlock_on_five_masters() {
    let scene = Scene::five().await;
    for kind in REDLOCKS {
        service_holds_and_peer_waits(&scene, *kind).await;
        peer_holds_and_service_waits(&scene, *kind).await;
    }
}

/// All clients contend for one lock; only one client at a time is in the critical section.
async fn contend(scene: &Scene, kinds: &[PeerKind], ours: usize, rounds: usize) {
    const TTL: u64 = 30_000;
    let mut peers: Vec<(String, Peer)> =
        kinds.iter().enumerate().map(|(nth, kind)| (format!("peer-{nth}"), scene.peer(*kind))).collect();
    // Peers take longer to start than the service takes for all its rounds.
    for (name, peer) in &mut peers {
        assert!(peer.acquire(name, TTL, 0).await && peer.release().await);
    }
    let theirs = join_all(peers.iter_mut().map(async |(name, peer)| peer.contend("lock:c", TTL, rounds, name).await));
    let here = join_all((0..ours).map(async |nth| {
        let name = format!("ours-{nth}");
        let mut intruders = 0;
        // The service can finish its rounds before a slow peer tries again; it then goes on until the lock has passed.
        for round in 0..rounds * 20 {
            if round >= rounds && times_passed(scene) >= 2 {
                break;
            }
            let grant = loop {
                let reply = scene.acquire("c", TTL, WAIT).await;
                if reply.is(201) {
                    break reply.json();
                }
                assert!(reply.is(409) || reply.is(503), "{}", reply.text());
            };
            intruders += u64::from(!is_alone(scene, &name).await);
            scene.release("c", token(&grant)).await.expect(204);
            // A client that is woken is faster than one that polls: the pause gives the peers a chance.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        intruders
    }));
    let (theirs, here) = tokio::join!(theirs, here);
    assert_eq!(
        theirs.iter().sum::<u64>() + here.iter().sum::<u64>(),
        0,
        "two clients were in the critical section at once"
    );
    let visits = visits(scene);
    assert!(visits.len() >= (kinds.len() + ours) * rounds, "{} visits", visits.len());
    let passed = times_passed(scene);
    println!("{} visits, {passed} times the lock passed between the service and a peer", visits.len());
    assert!(passed >= 2, "the clients did not contend: {passed}");
}

/// Who was in the critical section, in order.
fn visits(scene: &Scene) -> Vec<String> {
    scene.app.redis().command(&["LRANGE", "visits:lock:c", "0", "-1"])
}

/// How often the lock passed between the service and a peer.
fn times_passed(scene: &Scene) -> usize {
    let is_ours = |name: &String| name.starts_with("ours");
    visits(scene).windows(2).filter(|pair| is_ours(&pair[0]) != is_ours(&pair[1])).count()
}

/// Passes through the critical section as the peers do; whether no other client was in it.
async fn is_alone(scene: &Scene, name: &str) -> bool {
    let state = scene.app.state();
    let run = async |parts: &[&str]| -> redis::Value {
        let mut command = redis::Cmd::new();
        for part in parts {
            command.arg(part);
        }
        state.query(&command, gridtokenx_redis::redis::Effect::Write).await.expect("a reply")
    };
    let entered = run(&["SET", INSIDE, name, "NX"]).await == redis::Value::Okay;
    run(&["RPUSH", "visits:lock:c", name]).await;
    let stayed = run(&["GET", INSIDE]).await == redis::Value::BulkString(name.as_bytes().to_vec());
    run(&["DEL", INSIDE]).await;
    entered && stayed
}

#[tokio::test]
async fn every_client_detects_an_intruder_in_the_critical_section() {
    let scene = Scene::single().await;
    let intrude = || scene.app.redis().command::<String>(&["SET", INSIDE, "an intruder"]);
    for kind in ALL {
        intrude();
        assert_eq!(scene.peer(*kind).contend("lock:c", LONG, 1, "alone?").await, 1, "{kind:?}");
    }
    intrude();
    assert!(!is_alone(&scene, "alone?").await);
}

#[tokio::test]
async fn all_kinds_of_clients_exclude_each_other() {
    let mut scene = Scene::single().await;
    scene.app = TestApp::builder().system_clock().config("[locks]\nrecheck = \"5ms\"").beside(&scene.app).spawn().await;
    contend(&scene, &[ALL, ALL].concat(), 4, 30).await;
}

#[tokio::test]
async fn all_redlock_versions_exclude_each_other_on_five_masters() {
    let scene = Scene::five().await;
    contend(&scene, &[REDLOCKS, REDLOCKS].concat(), 3, 20).await;
}
