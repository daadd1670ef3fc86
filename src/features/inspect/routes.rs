//! The HTTP operations of looks into Redis.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use super::model::{
    HotKeys, HotKeysQuery, Inventory, Items, LatencyEvent, PersistenceView, RedisClients, RedisCommand, RoleQuery,
    SlowCommand,
};
use super::service::{HOT_KEYS, InspectService};
use crate::http::counts::require_count;
use crate::http::extract::{Json, NoQuery, Query};
use crate::http::problem::Problem;

/// Show how each Redis server keeps its data, and what a crash of it loses.
///
/// The states are those of the last check in the background. `fsync` and `save_points` are null if the service's Redis user may
/// not read the configuration, and in a cluster.
#[utoipa::path(get, path = "/admin/persistence", tag = "inspect", operation_id = "get_persistence",
    responses((status = 200, description = "The servers", body = PersistenceView)))]
pub(super) async fn get_persistence(
    State(inspect): State<Arc<InspectService>>,
    NoQuery: NoQuery,
) -> Json<PersistenceView> {
    Json(inspect.persistence().await)
}

/// List slow commands, newest first.
///
/// Up to 256 entries of Redis's slow log, without arguments, which are the data of callers. The replica reads the log every 15
/// seconds and remembers entries that have left it.
#[utoipa::path(get, path = "/admin/redis/slowlog", tag = "inspect", operation_id = "list_slow_commands", params(RoleQuery),
    responses((status = 200, description = "The slow commands", body = Items<SlowCommand>)))]
pub(super) async fn list_slow_commands(
    State(inspect): State<Arc<InspectService>>,
    Query(query): Query<RoleQuery>,
) -> Result<Json<Items<SlowCommand>>, Problem> {
    Ok(Json(Items { items: inspect.slow_commands(query.role).await? }))
}

/// List the latency spikes that Redis has seen, by kind.
#[utoipa::path(get, path = "/admin/redis/latency", tag = "inspect", operation_id = "list_latency_events", params(RoleQuery),
    responses((status = 200, description = "The kinds of spikes", body = Items<LatencyEvent>)))]
pub(super) async fn list_latency_events(
    State(inspect): State<Arc<InspectService>>,
    Query(query): Query<RoleQuery>,
) -> Result<Json<Items<LatencyEvent>>, Problem> {
    Ok(Json(Items { items: inspect.latency_events(query.role).await? }))
}

/// Count the clients of Redis by name and user.
#[utoipa::path(get, path = "/admin/redis/clients", tag = "inspect", operation_id = "list_redis_clients", params(RoleQuery),
    responses((status = 200, description = "The clients", body = Items<RedisClients>)))]
pub(super) async fn list_redis_clients(
    State(inspect): State<Arc<InspectService>>,
    Query(query): Query<RoleQuery>,
) -> Result<Json<Items<RedisClients>>, Problem> {
    Ok(Json(Items { items: inspect.clients(query.role).await? }))
}

/// List the busiest commands, most time first, as the last check saw them. Redis is not asked.
#[utoipa::path(get, path = "/admin/redis/commands", tag = "inspect", operation_id = "list_redis_commands", params(RoleQuery),
    responses((status = 200, description = "The commands", body = Items<RedisCommand>)))]
pub(super) async fn list_redis_commands(
    State(inspect): State<Arc<InspectService>>,
    Query(query): Query<RoleQuery>,
) -> Json<Items<RedisCommand>> {
    Json(Items { items: inspect.commands(query.role) })
}

/// List the keys that this replica uses most often. Redis is not asked.
///
/// Every exchange with Redis counts as a use of each of its keys, in bounded memory. `error` bounds the difference from the
/// true number: at most the number of uses divided by 1,024, and more only if exchanges were sampled.
#[utoipa::path(get, path = "/admin/redis/hot", tag = "inspect", operation_id = "list_hot_keys", params(HotKeysQuery),
    responses((status = 200, description = "The keys", body = HotKeys)))]
pub(super) async fn list_hot_keys(
    State(inspect): State<Arc<InspectService>>,
    Query(query): Query<HotKeysQuery>,
) -> Result<Json<HotKeys>, Problem> {
    require_count("limit", query.limit, HOT_KEYS)?;
    Ok(Json(inspect.hot_keys(query.role, query.holding.as_deref(), query.limit)?))
}

/// Start an inventory: what the server holds by capability, and its largest keys.
///
/// It looks at 2,000 keys per second in the background and stops if Redis becomes slow. One runs at a time.
#[utoipa::path(post, path = "/admin/redis/inventory", tag = "inspect", operation_id = "start_inventory", params(RoleQuery),
    responses((status = 202, description = "The inventory, which has just begun", body = Inventory)))]
pub(super) async fn start_inventory(
    State(inspect): State<Arc<InspectService>>,
    Query(query): Query<RoleQuery>,
) -> Result<(StatusCode, Json<Inventory>), Problem> {
    Ok((StatusCode::ACCEPTED, Json(inspect.start(query.role).await?)))
}

/// Get the last inventory, which may still be running.
#[utoipa::path(get, path = "/admin/redis/inventory", tag = "inspect", operation_id = "get_inventory",
    responses((status = 200, description = "The inventory", body = Inventory)))]
pub(super) async fn get_inventory(
    State(inspect): State<Arc<InspectService>>,
    NoQuery: NoQuery,
) -> Result<Json<Inventory>, Problem> {
    Ok(Json(inspect.inventory().await?))
}
