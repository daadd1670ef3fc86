//! Columns of numbers in a few bytes each: what packed chunks of samples are made of.
//!
//! The packed form is pco's (Loncaric, "Pcodec: Better Compression for Numerical Sequences", 2025). It finds the decimal
//! grid behind measured values, stores what is off the grid beside it, takes differences where they are smaller, and
//! restores every bit, negative zeros included.

use pco::data_types::Number;
use pco::wrapped::{FileCompressor, FileDecompressor};
use pco::{ChunkConfig, FULL_BATCH_N};

/// Higher levels take twice the time and save at most 2 %.
const LEVEL: usize = 4;

/// Why bytes are not a packed column.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    #[error("the bytes end too early")]
    Short,
    #[error("the packed numbers are damaged")]
    Damaged(#[from] pco::errors::PcoError),
}

/// Packs one column.
///
/// # Errors
/// [`CodecError::Damaged`] if the codec rejects the numbers, for example because there are none.
pub fn pack<T: Number>(numbers: &[T]) -> Result<Vec<u8>, CodecError> {
    let file = FileCompressor::default();
    let mut chunk = file.chunk_compressor(numbers, &ChunkConfig::default().with_compression_level(LEVEL))?;
    let out = chunk.write_meta(file.write_header(Vec::new())?)?;
    Ok(chunk.write_page(0, out)?)
}

/// Unpacks the `count` numbers of one column.
///
/// `count` decides how much memory is allocated: bound it before calling.
///
/// # Errors
/// [`CodecError`] if the bytes do not hold `count` numbers.
pub fn unpack<T: Number>(bytes: &[u8], count: usize) -> Result<Vec<T>, CodecError> {
    let (file, rest) = FileDecompressor::new(bytes)?;
    let (mut chunk, rest) = file.chunk_decompressor::<T, _>(rest)?;
    let mut numbers = vec![T::default(); count.next_multiple_of(FULL_BATCH_N)];
    let progress = chunk.page_decompressor(rest, count)?.read(&mut numbers)?;
    if progress.n_processed != count {
        return Err(CodecError::Short);
    }
    numbers.truncate(count);
    Ok(numbers)
}

/// Splits the first `N` bytes off.
///
/// # Errors
/// [`CodecError::Short`] if there are fewer.
pub fn split<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), CodecError> {
    bytes.split_first_chunk().map(|(head, rest)| (*head, rest)).ok_or(CodecError::Short)
}
