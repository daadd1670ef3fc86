//! The space on the file systems that hold the service's data.

use std::path::PathBuf;

use super::scrape::{Labels, Row};

pub(super) const ROWS: [Row; 2] = [
    Row::gauge("disk_free_bytes", "Free space of the file system that holds a directory of the service"),
    Row::gauge("disk_size_bytes", "Size of the file system that holds a directory of the service"),
];

/// The values of [`ROWS`]. A directory that does not exist yet has none.
#[expect(clippy::cast_precision_loss, reason = "Prometheus values are floats")]
pub(super) fn read(directories: &[(&'static str, PathBuf)]) -> [Vec<(Labels, f64)>; ROWS.len()] {
    let mut samples = [Vec::new(), Vec::new()];
    for (content, directory) in directories {
        let Ok(space) = rustix::fs::statvfs(directory) else { continue };
        // Like `df`, leaves out the blocks that only root may use.
        for (samples, blocks) in samples.iter_mut().zip([space.f_bavail, space.f_blocks]) {
            let labels = vec![("dir", (*content).to_owned())];
            samples.push((labels, blocks as f64 * space.f_frsize as f64));
        }
    }
    samples
}
