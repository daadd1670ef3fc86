//! The HTTP operations of backups.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio_util::io::ReaderStream;

use super::Backups;
use super::model::{BackupList, BackupPath, Listed, Run, Verification};
use crate::http::extract::{Json, NoQuery, Path};
use crate::http::problem::Problem;

/// Start a backup.
///
/// It runs in the background, one at a time in a deployment. `GET /admin/backups` shows how far it is.
#[utoipa::path(post, path = "/admin/backups", tag = "backup", operation_id = "start_backup",
    responses((status = 202, description = "The backup, which has just begun", body = Run)))]
pub(super) async fn start_backup(
    State(backups): State<Backups>,
    NoQuery: NoQuery,
) -> Result<(StatusCode, Json<Run>), Problem> {
    Ok((StatusCode::ACCEPTED, Json(backups.service.start(&backups.tasks).await?)))
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
    responses((status = 200, description = "The file", content_type = "application/octet-stream", body = [u8])))]
pub(super) async fn download_backup(
    State(backups): State<Backups>,
    Path(path): Path<BackupPath>,
    NoQuery: NoQuery,
) -> Result<Response, Problem> {
    let (listed, file) = backups.service.content(&path.id).await?;
    let mut response = Body::from_stream(ReaderStream::with_capacity(file, 1 << 16)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(listed.bytes));
    // The name of the file is made of an id.
    if let Ok(name) = HeaderValue::try_from(format!("attachment; filename=\"{}\"", listed.file)) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}
