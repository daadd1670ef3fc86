//! Addresses of S3 stores.

use super::FieldError;

/// Checks a setting that names a place in a store.
///
/// # Errors
/// [`FieldError`] for a text without a bucket, and in a binary without the feature.
pub(super) fn check_store(field: &'static str, url: &str) -> Result<(), FieldError> {
    let bucket = url.strip_prefix("s3://").and_then(|rest| rest.split('/').next());
    if bucket.is_none_or(str::is_empty) {
        return Err(FieldError::new(field, "must be empty or s3://BUCKET/PREFIX"));
    }
    if !cfg!(feature = "object-store") {
        return Err(FieldError::new(field, "needs a binary that was built with the feature object-store"));
    }
    Ok(())
}
