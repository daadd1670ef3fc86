//! Request bodies that are compressed with gzip.
//!
//! tower-http decompresses request bodies too, but version 0.7 reads only the first member of a gzip stream (RFC 1952,
//! section 2.2) and ignores the rest, so writes of clients that send several members would lose data without an error.

use std::io;

use async_compression::tokio::bufread::GzipDecoder;
use axum::body::Body;
use futures_util::TryStreamExt;
use tokio_util::io::{ReaderStream, StreamReader};

/// Decompressed bytes that are read at a time.
const PIECE: usize = 64 << 10;

/// Decompresses a body while it is read.
pub fn decompress(body: Body) -> Body {
    let mut decoder = GzipDecoder::new(StreamReader::new(body.into_data_stream().map_err(io::Error::other)));
    decoder.multiple_members(true);
    Body::from_stream(ReaderStream::with_capacity(decoder, PIECE))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use axum::body::Bytes;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use http_body_util::BodyExt;

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
        // Twenty million zeros are never in memory together.
        assert_eq!(read(gzip(&vec![0; 20 << 20]), 1 << 20).await.expect("a body").len(), 20 << 20);
    }

    #[tokio::test]
    async fn an_incomplete_or_invalid_stream_is_an_error() {
        let whole = gzip(b"some text that is long enough");
        for bad in [b"plain".to_vec(), whole[..whole.len() - 3].to_vec(), whole[..5].to_vec()] {
            read(bad, 100).await.expect_err("refused");
        }
    }
}
