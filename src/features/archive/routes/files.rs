//! The HTTP operations of the files.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;

use super::super::READ;
use super::super::file_model::{
    ArchiveStatus, DayFiles, FilesQuery, GapsQuery, GapsView, RunReport, RunRequest, StatusQuery, Step, Verified,
    VerifyRequest,
};
use super::super::service::ArchiveService;
use super::{DAY, check_unit, closed_range};
use crate::http::auth::Principal;
use crate::http::counts::require_count;
use crate::http::extract::{Json, NoQuery, Query};
use crate::http::problem::Problem;

/// The longest time of a list of gaps.
const MAX_GAPS: i64 = 31 * DAY;

/// Get the state of the archive: the directory of this replica, and the window of each symbol.
#[utoipa::path(get, path = "/trades/archive/status", tag = "market", operation_id = "get_archive_status",
    params(StatusQuery),
    responses((status = 200, description = "The state", body = ArchiveStatus)))]
pub(in super::super) async fn get_archive_status(
    State(archive): State<Arc<ArchiveService>>,
    Extension(caller): Extension<Arc<Principal>>,
    Query(query): Query<StatusQuery>,
) -> Result<Json<ArchiveStatus>, Problem> {
    require_count("limit", query.limit, 100)?;
    if let Some(symbol) = &query.symbol {
        caller.require_key(READ, symbol.as_str())?;
    } else {
        caller.require(READ)?;
    }
    Ok(Json(archive.status(query.symbol, query.cursor, query.limit).await?))
}

/// List the files of a day of a symbol, as its manifest has them.
#[utoipa::path(get, path = "/trades/archive/files", tag = "market", operation_id = "list_archive_files",
    params(FilesQuery),
    responses((status = 200, description = "A page of files; empty for a day without files", body = DayFiles)))]
pub(in super::super) async fn list_archive_files(
    State(archive): State<Arc<ArchiveService>>,
    Extension(caller): Extension<Arc<Principal>>,
    Query(query): Query<FilesQuery>,
) -> Result<Json<DayFiles>, Problem> {
    caller.require_key(READ, query.symbol.as_str())?;
    require_count("limit", query.limit, 1_000)?;
    let now = archive.clock.now();
    let time = query.day.map_or(now, |day| day.resolve(now));
    check_unit(time).map_err(|rule| Problem::query_parameter("day", rule))?;
    let from = query.cursor.map_or(0, |cursor| usize::try_from(cursor).unwrap_or(usize::MAX));
    Ok(Json(archive.files(&query.symbol, time, from, query.limit).await?))
}

/// List the minutes of a symbol without trades to show, with the reasons.
#[utoipa::path(get, path = "/trades/archive/gaps", tag = "market", operation_id = "list_archive_gaps",
    params(GapsQuery),
    responses((status = 200, description = "The gaps, oldest first. Files are looked for, but not read", body = GapsView)))]
pub(in super::super) async fn list_archive_gaps(
    State(archive): State<Arc<ArchiveService>>,
    Extension(caller): Extension<Arc<Principal>>,
    Query(query): Query<GapsQuery>,
) -> Result<Json<GapsView>, Problem> {
    caller.require_key(READ, query.symbol.as_str())?;
    let range = closed_range(query.from, query.to, archive.clock.now(), DAY, MAX_GAPS, "31 days")?;
    Ok(Json(GapsView { items: archive.gaps(&query.symbol, range).await? }))
}

/// Verify files: read them, and compare them with their manifests.
///
/// A call works for at most 15 seconds. `next_from` says where the next one goes on.
#[utoipa::path(post, path = "/trades/archive/verify", tag = "market", operation_id = "verify_archive",
    request_body = VerifyRequest,
    responses((status = 200, description = "What is wrong with which file", body = Verified)))]
pub(in super::super) async fn verify_archive(
    State(archive): State<Arc<ArchiveService>>,
    NoQuery: NoQuery,
    Json(request): Json<VerifyRequest>,
) -> Result<Json<Verified>, Problem> {
    let now = archive.clock.now();
    let times =
        [("/from", request.from), ("/to", request.to)].map(|(name, time)| (name, time.map(|time| time.resolve(now))));
    for (name, time) in times {
        check_unit(time.unwrap_or(0)).map_err(|rule| Problem::body_field(name, rule))?;
    }
    if let [(_, Some(from)), (_, to)] = times
        && from > to.unwrap_or(now)
    {
        return Err(Problem::body_field("/from", "must not be after to"));
    }
    Ok(Json(archive.verify(request).await?))
}

/// Run a step of the archive now, or tell what it would do.
///
/// All steps run by themselves, too. A call works for at most 15 seconds.
#[utoipa::path(post, path = "/trades/archive/run", tag = "market", operation_id = "run_archive",
    request_body = RunRequest,
    responses((status = 200, description = "What was done", body = RunReport)))]
pub(in super::super) async fn run_archive(
    State(archive): State<Arc<ArchiveService>>,
    NoQuery: NoQuery,
    Json(request): Json<RunRequest>,
) -> Result<Json<RunReport>, Problem> {
    if request.step == Step::Adopt && request.symbol.is_none() {
        return Err(Problem::body_field("/symbol", "must be given for the step adopt"));
    }
    Ok(Json(archive.run(request).await?))
}
