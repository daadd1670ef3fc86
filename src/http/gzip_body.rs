//! Request bodies that are compressed with gzip.
//!
//! tower-http decompresses request bodies too, but version 0.7 reads only the first member of a gzip stream (RFC 1952,
//! section 2.2) and ignores the rest, so writes of clients that send several members would lose data without an error.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_compression::tokio::bufread::GzipDecoder;
use axum::body::{Body, Bytes};
use futures_util::{StreamExt, TryStreamExt};
use tokio_util::io::{ReaderStream, StreamReader};

/// Decompressed bytes that are read at a time.
const PIECE: usize = 64 << 10;

/// How many times larger than its compressed form a body may be. Samples of meters reach 26; gzip can reach 1,032, so that a
/// few megabytes would cost minutes of work.
const MAX_RATIO: u64 = 50;

/// Bodies up to this size, bytes, may have any ratio.
const ANY_RATIO: u64 = 1 << 20;

/// A body is much larger than its compressed form.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "a compressed body above {ANY_RATIO} bytes must not be more than {MAX_RATIO} times as large as its compressed form"
)]
pub struct TooCompressed;

/// Decompresses a body while it is read. It ends with [`TooCompressed`] if it exceeds [`MAX_RATIO`].
pub fn decompress(body: Body) -> Body {
    let compressed = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&compressed);
    let pieces = body.into_data_stream().map_err(io::Error::other).inspect_ok(move |piece| {
        count.fetch_add(piece.len() as u64, Ordering::Relaxed);
    });
    let mut decoder = GzipDecoder::new(StreamReader::new(pieces));
    decoder.multiple_members(true);
    let mut size = 0;
    let check = move |piece: io::Result<Bytes>| -> Result<Bytes, Box<dyn Error + Send + Sync>> {
        let piece = piece?;
        size += piece.len() as u64;
        let is_too_compressed = size > ANY_RATIO && size / MAX_RATIO > compressed.load(Ordering::Relaxed);
        if is_too_compressed { Err(TooCompressed.into()) } else { Ok(piece) }
    };
    Body::from_stream(ReaderStream::with_capacity(decoder, PIECE).map(check))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use http_body_util::BodyExt;

    use super::super::paced_body::incomplete;
    use super::*;

    async fn read(compressed: Vec<u8>, cut: usize) -> Result<Vec<u8>, axum::Error> {
        let pieces: Vec<_> =
            compressed.chunks(cut).map(|piece| Ok::<_, io::Error>(Bytes::copy_from_slice(piece))).collect();
        let mut body = decompress(Body::from_stream(futures_util::stream::iter(pieces)));
        let mut read = Vec::new();
        while let Some(frame) = body.frame().await {
            let piece = frame?.into_data().expect("no trailers");
            assert!(!piece.is_empty() && piece.len() <= PIECE, "{}", piece.len());
            read.extend_from_slice(&piece);
        }
        Ok(read)
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).expect("memory");
        encoder.finish().expect("memory")
    }

    #[tokio::test]
    async fn bodies_are_decompressed_piece_by_piece() {
        let text: Vec<u8> = (0..200_000_u32).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        for cut in [1 << 20, 1_000] {
            assert_eq!(read(gzip(&text), cut).await.expect("a body"), text);
        }
        // The members of a stream are one body.
        assert_eq!(read([gzip(b"a"), gzip(b"b")].concat(), 7).await.expect("a body"), b"ab");
    }

    #[tokio::test]
    async fn a_body_is_read_only_up_to_its_ratio() {
        let zeros = |mib: usize| gzip(&vec![0; mib << 20]);
        assert_eq!(read(zeros(1), 1 << 20).await.expect("a small body").len(), 1 << 20);
        let error = read(zeros(20), 1_000).await.expect_err("refused");
        assert_eq!(incomplete(error).status(), 413);
        // The ratio is that of the whole body so far.
        let mut state = 1_u32;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        });
        let noise: Vec<u8> = noise.take(1 << 20).collect();
        let text = [noise, vec![0; 20 << 20]].concat();
        assert_eq!(read(gzip(&text), 1 << 20).await.expect("a body").len(), text.len());
    }

    #[tokio::test]
    async fn an_incomplete_or_invalid_stream_is_an_error() {
        let whole = gzip(b"some text that is long enough");
        for bad in [b"plain".to_vec(), whole[..whole.len() - 3].to_vec(), whole[..5].to_vec()] {
            read(bad, 100).await.expect_err("refused");
        }
    }
}
