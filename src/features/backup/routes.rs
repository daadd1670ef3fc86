//! The HTTP operations of backups.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio_util::io::ReaderStream;
use utoipa::ToSchema;

use super::Backups;
use super::model::{BackupList, BackupPath, Listed, RestoreRequest, Run, SnapshotQuery, Verification};
use crate::http::extract::{Json, NoQuery, Path, Query};
use crate::http::problem::Problem;

/// The file of a backup: `age(zstd(tar))`.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "described here, sent as it is")]
struct EncryptedFile(Vec<u8>);

/// Start a backup.
///
/// It runs in the background, one at a time in a deployment. `GET /admin/backups` shows how far it is.
#[utoipa::path(post, path = "/admin/backups", tag = "backup", operation_id = "start_backup",
    responses((status = 202, description = "The backup, which has just begun", body = Run)))]
pub(super) async fn start_backup(
    State(backups): State<Backups>,
    NoQuery: NoQuery,
) -> Result<(StatusCode, Json<Run>), Problem> {
    Ok((StatusCode::ACCEPTED, Json(backups.service.start(&backups.background.tasks).await?)))
}

/// List the backups in the directory of the replica that answers, the last run, and the last drill that has passed.
///
/// Without Redis, the run and the drill are left out.
#[utoipa::path(get, path = "/admin/backups", tag = "backup", operation_id = "list_backups",
    responses((status = 200, description = "The backups", body = BackupList)))]
pub(super) async fn list_backups(
    State(backups): State<Backups>,
    NoQuery: NoQuery,
) -> Result<Json<BackupList>, Problem> {
    Ok(Json(backups.service.overview().await?))
}

/// Get what a backup contains.
#[utoipa::path(get, path = "/admin/backups/{id}", tag = "backup", operation_id = "get_backup", params(BackupPath),
    responses((status = 200, description = "The backup", body = Listed)))]
pub(super) async fn get_backup(
    State(backups): State<Backups>,
    Path(path): Path<BackupPath>,
    NoQuery: NoQuery,
) -> Result<Json<Listed>, Problem> {
    Ok(Json(backups.service.get(&path.id).await?))
}

/// Delete a backup. The newest one cannot be deleted.
#[utoipa::path(delete, path = "/admin/backups/{id}", tag = "backup", operation_id = "delete_backup", params(BackupPath),
    responses((status = 204, description = "The backup was deleted")))]
pub(super) async fn delete_backup(
    State(backups): State<Backups>,
    Path(path): Path<BackupPath>,
    NoQuery: NoQuery,
) -> Result<StatusCode, Problem> {
    backups.service.delete(&path.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Verify that the file of a backup is what was written.
///
/// The service cannot decrypt the file. `gridtokenx-redis backup verify` with the secret key reads its contents.
#[utoipa::path(post, path = "/admin/backups/{id}/verify", tag = "backup", operation_id = "verify_backup", params(BackupPath),
    responses((status = 200, description = "What was found", body = Verification)))]
pub(super) async fn verify_backup(
    State(backups): State<Backups>,
    Path(path): Path<BackupPath>,
    NoQuery: NoQuery,
) -> Result<Json<Verification>, Problem> {
    Ok(Json(backups.service.verify(&path.id).await?))
}

/// Download the encrypted file of a backup.
#[utoipa::path(get, path = "/admin/backups/{id}/content", tag = "backup", operation_id = "download_backup", params(BackupPath),
    responses((status = 200, description = "The file", content_type = "application/octet-stream", body = inline(EncryptedFile))))]
pub(super) async fn download_backup(
    State(backups): State<Backups>,
    Path(path): Path<BackupPath>,
    NoQuery: NoQuery,
) -> Result<Response, Problem> {
    let (listed, file) = backups.service.content(&path.id).await?;
    Ok(download(&listed, file))
}

/// Make a backup and download it at once. It is not kept.
///
/// The response begins when the file is complete and was read back, so it has the length and the digest of the whole file.
#[utoipa::path(get, path = "/admin/snapshot", tag = "backup", operation_id = "get_snapshot", params(SnapshotQuery),
    responses((status = 200, description = "The encrypted file", content_type = "application/octet-stream", body = inline(EncryptedFile))))]
pub(super) async fn get_snapshot(
    State(backups): State<Backups>,
    Query(query): Query<SnapshotQuery>,
) -> Result<Response, Problem> {
    let (listed, file) = backups.service.snapshot(query.recipient.as_deref(), &backups.background.tasks).await?;
    Ok(download(&listed, file))
}

/// Start a drill: restore a backup to an empty server, and compare every value.
///
/// If the store has a copy of the backup, the copy is drilled. `GET /admin/backups` shows how far it is.
#[utoipa::path(post, path = "/admin/backups/{id}/drill", tag = "backup", operation_id = "start_drill", params(BackupPath),
    responses((status = 202, description = "The drill, which has just begun", body = Run)))]
pub(super) async fn start_drill(
    State(backups): State<Backups>,
    Path(path): Path<BackupPath>,
    NoQuery: NoQuery,
) -> Result<(StatusCode, Json<Run>), Problem> {
    Ok((StatusCode::ACCEPTED, Json(backups.service.start_drill(&path.id, &backups.background).await?)))
}

/// Start a restore below another key prefix, beside the data of the service.
///
/// Without `"dry_run": false`, the backup and the server are only checked. `GET /admin/backups` shows how far it is. To replace
/// the data of the service, stop it and use the command line.
#[utoipa::path(post, path = "/admin/backups/{id}/restore", tag = "backup", operation_id = "start_restore", params(BackupPath),
    request_body = RestoreRequest,
    responses((status = 202, description = "The restore, which has just begun", body = Run)))]
pub(super) async fn start_restore(
    State(backups): State<Backups>,
    Path(path): Path<BackupPath>,
    NoQuery: NoQuery,
    Json(request): Json<RestoreRequest>,
) -> Result<(StatusCode, Json<Run>), Problem> {
    Ok((StatusCode::ACCEPTED, Json(backups.service.start_restore(&path.id, request, &backups.background).await?)))
}

fn download(listed: &Listed, file: tokio::fs::File) -> Response {
    let mut response = Body::from_stream(ReaderStream::with_capacity(file, 1 << 16)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(listed.bytes));
    // RFC 9530.
    let byte = |at: usize| u8::from_str_radix(listed.sha256.get(at..at + 2)?, 16).ok();
    let digest: Option<Vec<u8>> = (0..listed.sha256.len()).step_by(2).map(byte).collect();
    let digest = digest.map(|bytes| format!("sha-256=:{}:", STANDARD.encode(bytes)));
    let name = Some(format!("attachment; filename=\"{}\"", listed.file));
    for (header, text) in [(HeaderName::from_static("repr-digest"), digest), (header::CONTENT_DISPOSITION, name)] {
        if let Some(value) = text.and_then(|text| HeaderValue::try_from(text).ok()) {
            headers.insert(header, value);
        }
    }
    response
}
