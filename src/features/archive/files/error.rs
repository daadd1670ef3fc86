//! Errors of the files.

use std::io;

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The disk or its permissions; the directory may be another one, or gone.
    #[error("cannot {action} `{path}`: {source}")]
    Disk { action: &'static str, path: String, source: io::Error },
    /// The directory is not the one that this replica has opened.
    #[error("the directory has the id `{found}`, not `{expected}`: another volume may be mounted there")]
    OtherDirectory { found: String, expected: String },
    #[error("`{file}` is missing")]
    Missing { file: String },
    #[error("`{file}` is damaged: {reason}")]
    Damaged { file: String, reason: String },
}

impl FileError {
    pub fn disk(action: &'static str, path: &str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Disk { action, path: path.to_owned(), source }
    }

    /// Whether it concerns one file, not the directory.
    pub fn is_of_file(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Damaged { .. })
    }
}
