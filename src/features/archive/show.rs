//! `trades show`: prints the content of a file, decrypted and without compression.

use std::io::{self, BufReader, Read, Write};

use flate2::read::MultiGzDecoder;

use super::files::binding;
use super::files::disk::{Disk as _, RealDisk};
use super::key_file::encryption_keys;
use crate::config::archive::ArchiveConfig;
use crate::config::{Config, ConfigError, FieldError};

/// Why a file cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum ShowError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Keys(#[from] FieldError),
    #[error(transparent)]
    File(#[from] io::Error),
}

/// Writes the content of a minute's file or of a pack; `file` is its path below `archive.dir`, to which it is bound.
///
/// # Errors
/// [`ShowError`]; a part may have been written.
pub fn show(config: &Config, file: &str, out: &mut impl Write) -> Result<(), ShowError> {
    let config: ArchiveConfig = config.section()?;
    let opened = BufReader::new(RealDisk::new(&config.dir).open(file)?);
    let mut content: Box<dyn Read> = Box::new(encryption_keys(&config)?.reader(opened, &binding(file))?);
    if file.contains(".gz") {
        content = Box::new(MultiGzDecoder::new(BufReader::new(content)));
    }
    io::copy(&mut content, out)?;
    Ok(())
}
