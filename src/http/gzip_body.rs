//! Request bodies that are compressed with gzip.
//!
//! tower-http decompresses request bodies too, but version 0.7 reads only the first member of a gzip stream (RFC 1952,
//! section 2.2) and ignores the rest, so writes of clients that send several members would lose data without an error.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use flate2::write::MultiGzDecoder;
use http_body::Frame;

/// Compressed bytes that are decompressed at a time. They become at most a thousand times as many: 4 MiB.
const PIECE: usize = 4_096;

/// Decompresses a body while it is read.
pub fn decompress(body: Body) -> Body {
    Body::new(GzipBody { body, decoder: MultiGzDecoder::new(Vec::new()), compressed: Bytes::new(), is_complete: false })
}

struct GzipBody {
    body: Body,
    decoder: MultiGzDecoder<Vec<u8>>,
    /// The received bytes that are not decompressed yet.
    compressed: Bytes,
    is_complete: bool,
}

impl http_body::Body for GzipBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        loop {
            match self.decompress_received() {
                Ok(Some(piece)) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                Ok(None) if self.is_complete => return Poll::Ready(None),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(axum::Error::new(error)))),
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose()? {
                // Trailers carry nothing that the service reads.
                Some(frame) => self.compressed = frame.into_data().unwrap_or_default(),
                None => self.is_complete = true,
            }
        }
    }
}

impl GzipBody {
    /// The next piece of the received bytes, `None` if all of them are decompressed.
    fn decompress_received(&mut self) -> io::Result<Option<Bytes>> {
        while !self.compressed.is_empty() {
            let piece = self.compressed.split_to(self.compressed.len().min(PIECE));
            self.decoder.write_all(&piece)?;
            if let Some(bytes) = self.decompressed() {
                return Ok(Some(bytes));
            }
        }
        if self.is_complete {
            // Fails if the last member is incomplete.
            self.decoder.try_finish()?;
        }
        Ok(self.decompressed())
    }

    fn decompressed(&mut self) -> Option<Bytes> {
        let bytes = std::mem::take(self.decoder.get_mut());
        (!bytes.is_empty()).then(|| Bytes::from(bytes))
    }
}

#[cfg(test)]
mod tests {
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
            assert!(!piece.is_empty() && piece.len() <= 8 << 20, "{}", piece.len());
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
