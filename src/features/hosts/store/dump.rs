//! Chunks of a history as text, for people who look into Redis.

use std::io::{self, Write};

use crate::features::hosts::store::chunk;

/// Why bytes cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    #[error("at byte {at}: {cause}")]
    NoChunk { at: usize, cause: String },
    #[error("the samples cannot be written: {0}")]
    Output(#[from] io::Error),
}

/// Writes the samples of chunks, one after the other, as JSON, a line each; line ends between chunks are skipped, since
/// `redis-cli` adds them.
///
/// # Errors
/// [`DumpError`]; what stands before it is written.
pub fn write(chunks: &[u8], out: &mut impl Write) -> Result<(), DumpError> {
    let mut rest = chunks;
    loop {
        while let [b'\n', tail @ ..] = rest {
            rest = tail;
        }
        if rest.is_empty() {
            return Ok(());
        }
        let at = chunks.len() - rest.len();
        let (samples, tail) =
            chunk::decode_first(rest).map_err(|error| DumpError::NoChunk { at, cause: error.to_string() })?;
        for sample in samples {
            serde_json::to_writer(&mut *out, &sample).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
        }
        rest = tail;
    }
}
