//! Errors of the window and the archive, and the problems that each operation can return.

use std::time::Duration;

use super::files::FileError;
use crate::http::problem::{
    FOLD_BEHIND, INVALID_BODY, INVALID_HEADER, INVALID_PATH, INVALID_QUERY, OVERLOADED, Problem, ProblemKind,
    WRONG_TYPE,
};
use crate::lifecycle::offload::NoThread;
use crate::problems;
use crate::redis::RedisFault;

problems! { PROBLEMS:
    NO_ARCHIVE = "no-archive", NOT_FOUND, "This service has no archive",
        "Set archive.dir to a directory to keep minutes of trades as files.";
    ARCHIVE_UNAVAILABLE = "archive-unavailable", SERVICE_UNAVAILABLE, "The directory of the archive cannot be used",
        "Minutes stay in Redis until it can. GET /trades/archive/status and readiness show the reason.";
    VERSION_NOT_FOUND = "minute-version-not-found", NOT_FOUND, "The minute has no file of this version",
        "GET /trades/archive/files lists the versions.";
}

/// The problems of a read with a query, in addition to those of every read.
pub(super) static READ: &[&ProblemKind] =
    &[&FOLD_BEHIND, &ARCHIVE_UNAVAILABLE, &INVALID_QUERY, &INVALID_HEADER, &WRONG_TYPE];
/// The problems of reading one minute, in addition to those of every read.
pub(super) static MINUTE: &[&ProblemKind] = &[
    &FOLD_BEHIND,
    &NO_ARCHIVE,
    &ARCHIVE_UNAVAILABLE,
    &VERSION_NOT_FOUND,
    &INVALID_PATH,
    &INVALID_QUERY,
    &INVALID_HEADER,
    &WRONG_TYPE,
];
/// The problems of reading about the files, in addition to those of every read.
pub(super) static FILES: &[&ProblemKind] = &[&NO_ARCHIVE, &ARCHIVE_UNAVAILABLE, &INVALID_QUERY, &WRONG_TYPE];
/// The problems of listing gaps, in addition to those of every read.
pub(super) static GAPS: &[&ProblemKind] =
    &[&FOLD_BEHIND, &NO_ARCHIVE, &ARCHIVE_UNAVAILABLE, &INVALID_QUERY, &WRONG_TYPE];
/// The problems of a verification.
pub(super) static VERIFY: &[&ProblemKind] = &[&NO_ARCHIVE, &ARCHIVE_UNAVAILABLE, &INVALID_BODY, &INVALID_QUERY];
/// The problems of work on the files, in addition to those of every write with a JSON body.
pub(super) static RUN: &[&ProblemKind] =
    &[&NO_ARCHIVE, &ARCHIVE_UNAVAILABLE, &INVALID_BODY, &INVALID_QUERY, &WRONG_TYPE];

/// Why trades could not be folded first.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the window does not have all trades")]
pub(super) struct Unfolded(pub Problem);

#[derive(Debug, thiserror::Error)]
pub(super) enum ArchiveError {
    #[error("could not reach the Redis that keeps the window")]
    Redis(#[from] RedisFault),
    #[error("{0}")]
    NotFolded(#[from] Unfolded),
    #[error("{0}")]
    Files(#[from] FileError),
    #[error("the disk of the archive does not answer")]
    SlowDisk,
    #[error(transparent)]
    Overloaded(#[from] NoThread),
    #[error("the file of the minute is missing or damaged")]
    Unreadable,
    #[error("archive.dir is not set")]
    NoArchive,
    #[error("the minute has no file of version {0}")]
    NoVersion(u32),
}

impl From<ArchiveError> for Problem {
    fn from(error: ArchiveError) -> Self {
        let of = |kind| Self::new(kind).detail(&error);
        match error {
            ArchiveError::Redis(fault) => Self::from(fault),
            ArchiveError::NotFolded(Unfolded(problem)) => problem,
            // The paths of the machine are for its operators, who see them in readiness.
            ArchiveError::Files(_) => {
                Self::new(&ARCHIVE_UNAVAILABLE).detail("a file or directory cannot be used").retry_after(RETRY)
            }
            ArchiveError::SlowDisk | ArchiveError::Unreadable => of(&ARCHIVE_UNAVAILABLE).retry_after(RETRY),
            ArchiveError::Overloaded(_) => of(&OVERLOADED).retry_after(RETRY),
            ArchiveError::NoArchive => of(&NO_ARCHIVE),
            ArchiveError::NoVersion(_) => of(&VERSION_NOT_FOUND),
        }
    }
}

/// After which time a disk may be back.
const RETRY: Duration = Duration::from_secs(5);
