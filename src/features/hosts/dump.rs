//! Prints the chunks of a history as JSON lines, for inspecting Redis by hand.

use std::io::{self, Write};

use super::store::chunk;

/// Why chunks cannot be printed.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    #[error("at byte {at}: {cause}")]
    NoChunk { at: usize, cause: String },
    #[error("the samples cannot be written: {0}")]
    Output(#[from] io::Error),
}

/// Writes the samples of consecutive chunks as JSON, one sample per line. Line ends between chunks are skipped, because
/// `redis-cli` adds them.
///
/// # Errors
/// [`DumpError`]; the samples before the error are written.
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
        let samples =
            chunk::take_samples(&mut rest).map_err(|error| DumpError::NoChunk { at, cause: error.to_string() })?;
        for sample in samples {
            serde_json::to_writer(&mut *out, &sample).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
        }
    }
}
