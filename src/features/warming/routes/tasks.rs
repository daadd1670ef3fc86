//! Tasks and their runs.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::super::hot::MOST;
use super::super::keys::HISTORY;
use super::super::model::{
    HotKeys, HotQuery, RequestedRun, Run, RunList, RunRequest, RunsQuery, TaskDefinition, TaskList, TaskView,
};
use super::super::service::Shared;
use crate::http::counts::require_count;
use crate::http::extract::{Json, NoQuery, Path, Query};
use crate::http::problem::Problem;
use crate::http::reply::NoContent;

/// List the warming tasks with their states.
#[utoipa::path(get, path = "/warming", tag = "warming", operation_id = "list_warming_tasks",
    responses((status = 200, description = "The tasks, by name", body = TaskList)))]
pub(in super::super) async fn list_warming_tasks(
    State(warming): State<Shared>,
    NoQuery: NoQuery,
) -> Result<Json<TaskList>, Problem> {
    Ok(Json(TaskList { items: warming.list().await? }))
}

/// Read a task with its state.
#[utoipa::path(get, path = "/warming/tasks/{name}", tag = "warming", operation_id = "get_warming_task",
    params(("name" = String, Path, description = "The name of a task", example = "limits")),
    responses((status = 200, description = "The task", body = TaskView)))]
pub(in super::super) async fn get_warming_task(
    State(warming): State<Shared>,
    Path(name): Path<String>,
    NoQuery: NoQuery,
) -> Result<Json<TaskView>, Problem> {
    Ok(Json(warming.view(&name).await?))
}

/// Create a task, or replace one that was made by a request.
///
/// A task combines a configured source, or values in the request, with a template of keys, a strategy and a TTL. Tasks of the
/// configuration cannot be replaced.
#[utoipa::path(put, path = "/warming/tasks/{name}", tag = "warming", operation_id = "put_warming_task",
    params(("name" = String, Path, description = "1 to 64 characters a-z, 0-9, _ and -", example = "limits")),
    request_body = TaskDefinition,
    responses((status = 200, description = "The task", body = TaskView)))]
pub(in super::super) async fn put_warming_task(
    State(warming): State<Shared>,
    Path(name): Path<String>,
    NoQuery: NoQuery,
    Json(definition): Json<TaskDefinition>,
) -> Result<Json<TaskView>, Problem> {
    Ok(Json(warming.define(&name, definition).await?))
}

/// Remove a task that was made by a request. What it cached stays until it expires.
#[utoipa::path(delete, path = "/warming/tasks/{name}", tag = "warming", operation_id = "delete_warming_task",
    params(("name" = String, Path, description = "The name of a task", example = "former-limits")),
    responses((status = 204, description = "The task is removed")))]
pub(in super::super) async fn delete_warming_task(
    State(warming): State<Shared>,
    Path(name): Path<String>,
    NoQuery: NoQuery,
) -> Result<NoContent, Problem> {
    warming.remove(&name).await?;
    Ok(NoContent)
}

/// Pause a task on all replicas until it is resumed. A run in progress goes on.
#[utoipa::path(post, path = "/warming/tasks/{name}/pause", tag = "warming", operation_id = "pause_warming_task",
    params(("name" = String, Path, description = "The name of a task", example = "limits")),
    responses((status = 200, description = "The task", body = TaskView)))]
pub(in super::super) async fn pause_warming_task(
    State(warming): State<Shared>,
    Path(name): Path<String>,
    NoQuery: NoQuery,
) -> Result<Json<TaskView>, Problem> {
    Ok(Json(warming.pause(&name, true).await?))
}

/// Let a paused task run again.
#[utoipa::path(post, path = "/warming/tasks/{name}/resume", tag = "warming", operation_id = "resume_warming_task",
    params(("name" = String, Path, description = "The name of a task", example = "limits")),
    responses((status = 200, description = "The task", body = TaskView)))]
pub(in super::super) async fn resume_warming_task(
    State(warming): State<Shared>,
    Path(name): Path<String>,
    NoQuery: NoQuery,
) -> Result<Json<TaskView>, Problem> {
    Ok(Json(warming.pause(&name, false).await?))
}

/// Run a task now, also if it is paused.
///
/// One of the replicas begins within a second. With `dry_run` it fetches and compares, and writes nothing. A second request
/// replaces one that has not begun.
#[utoipa::path(post, path = "/warming/tasks/{name}/run", tag = "warming", operation_id = "run_warming_task",
    params(("name" = String, Path, description = "The name of a task", example = "limits")),
    request_body = RunRequest,
    responses((status = 200, description = "The run, which ended within `wait_ms`", body = RequestedRun),
              (status = 202, description = "The run begins within a second or so", body = RequestedRun)))]
pub(in super::super) async fn run_warming_task(
    State(warming): State<Shared>,
    Path(name): Path<String>,
    NoQuery: NoQuery,
    Json(request): Json<RunRequest>,
) -> Result<Response, Problem> {
    let requested = warming.request(&name, request).await?;
    let status = if requested.run.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(requested)).into_response())
}

/// List the newest runs of a task, newest first. The newest 200 are kept.
#[utoipa::path(get, path = "/warming/tasks/{name}/runs", tag = "warming", operation_id = "list_warming_runs",
    params(("name" = String, Path, description = "The name of a task", example = "limits"), RunsQuery),
    responses((status = 200, description = "The runs", body = RunList)))]
pub(in super::super) async fn list_warming_runs(
    State(warming): State<Shared>,
    Path(name): Path<String>,
    Query(query): Query<RunsQuery>,
) -> Result<Json<RunList>, Problem> {
    require_count("limit", query.limit, HISTORY)?;
    Ok(Json(RunList { items: warming.runs(&name, query.limit).await? }))
}

/// Read a run, in progress or ended.
#[utoipa::path(get, path = "/warming/runs/{id}", tag = "warming", operation_id = "get_warming_run",
    params(("id" = String, Path, description = "The id of a run", example = "limits.1")),
    responses((status = 200, description = "The run", body = Run)))]
pub(in super::super) async fn get_warming_run(
    State(warming): State<Shared>,
    Path(id): Path<String>,
    NoQuery: NoQuery,
) -> Result<Json<Run>, Problem> {
    Ok(Json(warming.run_by_id(&id).await?))
}

/// Stop a run. It ends between two batches; what it wrote stays.
#[utoipa::path(post, path = "/warming/runs/{id}/stop", tag = "warming", operation_id = "stop_warming_run",
    params(("id" = String, Path, description = "The id of a run", example = "limits.1")),
    responses((status = 200, description = "The run as it was when the call came", body = Run)))]
pub(in super::super) async fn stop_warming_run(
    State(warming): State<Shared>,
    Path(id): Path<String>,
    NoQuery: NoQuery,
) -> Result<Json<Run>, Problem> {
    Ok(Json(warming.stop_run(&id).await?))
}

/// List the keys of a task that clients use most, on all replicas, with the error of each count.
#[utoipa::path(get, path = "/warming/hot", tag = "warming", operation_id = "list_hot_warming_keys", params(HotQuery),
    responses((status = 200, description = "The keys, the most used first", body = HotKeys)))]
pub(in super::super) async fn list_hot_warming_keys(
    State(warming): State<Shared>,
    Query(query): Query<HotQuery>,
) -> Result<Json<HotKeys>, Problem> {
    require_count("limit", query.limit, MOST)?;
    let task = warming.known(&query.task).await?;
    Ok(Json(HotKeys { items: warming.hot_keys(&task, query.limit).await? }))
}
