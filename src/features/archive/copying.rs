//! Brings copies of packs into a store, and packs that are missing back from there.

use super::directory::Directory;
use super::error::ArchiveError;
use super::files::calendar::day_directory;
use super::service::ArchiveService;
use crate::clock::UnixMillis;
use crate::s3::S3Store;
use crate::tape::Symbol;

impl ArchiveService {
    /// Copies the last pack of a day, unless the store has it, and restores it if it is missing. `checks`: also if it is damaged.
    /// Returns what was done or would be, for each file.
    ///
    /// # Errors
    /// [`ArchiveError`] of the directory. A failure of the store is an outcome.
    pub(super) async fn copy_day(
        &self,
        symbol: &Symbol,
        day: UnixMillis,
        checks: bool,
        dry_run: bool,
    ) -> Result<Vec<String>, ArchiveError> {
        let (Some(copies), directory) = (&self.copies, self.require_directory()?) else { return Ok(Vec::new()) };
        let (of, to) = (symbol.clone(), copies.name().to_owned());
        let work = directory.run(move |files| files.copy_work(&of, day, &to, checks)).await?;
        let mut outcomes = Vec::new();
        for (names, verb) in [(work.restore, "restored"), (work.copy, "copied")] {
            for file in names {
                let done = match verb {
                    _ if dry_run => Ok(()),
                    "restored" => self.restore(directory, copies, symbol, day, &file).await,
                    _ => self.copy(directory, copies, symbol, day, &file).await,
                };
                let result = if done.is_ok() { verb } else { "failed" };
                if !dry_run {
                    self.metrics.copies.with_label_values(&[result]).inc();
                }
                outcomes.push(match done {
                    Ok(()) => format!("{file} {verb}"),
                    Err(reason) => {
                        tracing::warn!(%symbol, file, reason, "a pack was not {verb}");
                        // The log has the reason, which may name the store.
                        format!("{file} not {verb}")
                    }
                });
            }
        }
        Ok(outcomes)
    }

    async fn copy(
        &self,
        directory: &Directory,
        copies: &S3Store,
        symbol: &Symbol,
        day: UnixMillis,
        file: &str,
    ) -> Result<(), String> {
        let (of, name, now) = (symbol.clone(), file.to_owned(), self.clock.now());
        let [(path, manifest), (pack_path, pack)] =
            directory.run(move |files| files.copy_of(&of, day, &name)).await.map_err(|error| error.to_string())?;
        // An earlier attempt may have left a shorter manifest, which names the pack, too.
        if !copies.has(&path).await.map_err(|error| error.to_string())? {
            copies.put(&path, manifest).await.map_err(|error| error.to_string())?;
        }
        copies.put(&pack_path, pack).await.map_err(|error| error.to_string())?;
        let (of, name, to) = (symbol.clone(), file.to_owned(), copies.name().to_owned());
        let noted = directory.run(move |files| files.note_copy(&of, day, name, to, now)).await;
        noted.map_err(|error| error.to_string())
    }

    async fn restore(
        &self,
        directory: &Directory,
        copies: &S3Store,
        symbol: &Symbol,
        day: UnixMillis,
        file: &str,
    ) -> Result<(), String> {
        let path = format!("{}/{file}", day_directory(symbol, day));
        let bytes = copies.get(&path).await.map_err(|error| error.to_string())?;
        let (of, name, now) = (symbol.clone(), file.to_owned(), self.clock.now());
        let restored = directory.run(move |files| files.restore(&of, day, &name, &bytes, now)).await;
        restored.map_err(|error| error.to_string())
    }
}
