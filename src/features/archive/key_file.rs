//! The file with the keys of encrypted files.

use super::files::sealed::Keys;
use crate::config::FieldError;
use crate::config::archive::ArchiveConfig;

/// The keys of encrypted files; none without `archive.encryption_key_file`.
///
/// # Errors
/// [`FieldError`] if the file cannot be used.
pub(super) fn encryption_keys(config: &ArchiveConfig) -> Result<Keys, FieldError> {
    let file = &config.encryption_key_file;
    if file.as_os_str().is_empty() {
        return Ok(Keys::default());
    }
    let refuse =
        |reason: String| FieldError::new("archive.encryption_key_file", format!("{}: {reason}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| refuse(error.to_string()))?;
    Keys::parse(&text).map_err(refuse)
}
