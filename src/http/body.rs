//! Streaming request bodies, for handlers that bound the body themselves.

use std::io::Write;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_ENCODING;
use flate2::write::MultiGzDecoder;
use http_body_util::BodyExt;

use super::problem::{self, Problem};

/// Compressed bytes that are inflated at a time; the result is at most a thousand times as large, 4 MiB.
const PACKED_PIECE: usize = 4_096;

/// The chunks of a body, one at a time, inflated if the body is `gzip`.
#[derive(Debug)]
pub struct BodyStream {
    body: Body,
    gzip: Option<Gzip>,
}

/// A body that is being inflated.
#[derive(Debug)]
struct Gzip {
    decoder: MultiGzDecoder<Vec<u8>>,
    packed: Bytes,
}

impl<S: Send + Sync> FromRequest<S> for BodyStream {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let encoding = request.headers().get(CONTENT_ENCODING).map(|value| value.as_bytes().to_ascii_lowercase());
        let gzip = match encoding.as_deref() {
            None | Some(b"identity") => None,
            Some(b"gzip") => Some(Gzip { decoder: MultiGzDecoder::new(Vec::new()), packed: Bytes::new() }),
            Some(_) => {
                let detail = "Content-Encoding must be gzip or absent";
                return Err(Problem::new(&problem::UNSUPPORTED_MEDIA_TYPE).detail(detail));
            }
        };
        Ok(Self { body: request.into_body(), gzip })
    }
}

impl BodyStream {
    /// The next chunk of the body; `None` at its end.
    ///
    /// # Errors
    /// `body-incomplete` (400) if no bytes arrive for `idle`, the body ends early, or it is not valid gzip.
    pub async fn next(&mut self, idle: Duration) -> Result<Option<Bytes>, Problem> {
        loop {
            if let Some(piece) = self.gzip.as_mut().map(Gzip::unpack).transpose()?.flatten() {
                return Ok(Some(piece));
            }
            match (received(&mut self.body, idle).await?, &mut self.gzip) {
                (Some(bytes), Some(gzip)) => gzip.packed = bytes,
                (None, Some(gzip)) => return gzip.finish(),
                (piece, None) => return Ok(piece),
            }
        }
    }
}

/// The next chunk as it was sent.
async fn received(body: &mut Body, idle: Duration) -> Result<Option<Bytes>, Problem> {
    loop {
        let frame = match tokio::time::timeout(idle, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => return Err(Problem::new(&problem::BODY_INCOMPLETE).caused_by(error)),
            Err(_) => {
                let waited = format!("no bytes arrived for {} ms", idle.as_millis());
                return Err(Problem::new(&problem::BODY_INCOMPLETE).detail(waited));
            }
        };
        // Trailers are ignored.
        if let Ok(bytes) = frame.into_data() {
            return Ok(Some(bytes));
        }
    }
}

impl Gzip {
    /// An inflated chunk of the bytes received so far; `None` when all of them are inflated.
    fn unpack(&mut self) -> Result<Option<Bytes>, Problem> {
        while !self.packed.is_empty() {
            let piece = self.packed.split_to(self.packed.len().min(PACKED_PIECE));
            self.decoder.write_all(&piece).map_err(not_gzip)?;
            if let Some(unpacked) = self.unpacked() {
                return Ok(Some(unpacked));
            }
        }
        Ok(None)
    }

    /// The last chunk, if there is one; a truncated archive has none.
    fn finish(&mut self) -> Result<Option<Bytes>, Problem> {
        self.decoder.try_finish().map_err(not_gzip)?;
        Ok(self.unpacked())
    }

    fn unpacked(&mut self) -> Option<Bytes> {
        let unpacked = std::mem::take(self.decoder.get_mut());
        (!unpacked.is_empty()).then(|| Bytes::from(unpacked))
    }
}

fn not_gzip(error: std::io::Error) -> Problem {
    Problem::new(&problem::BODY_INCOMPLETE).detail("the body is not valid gzip, or it is truncated").caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(packed: Vec<u8>, cut: usize) -> Result<Vec<u8>, Problem> {
        let pieces: Vec<_> =
            packed.chunks(cut).map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece))).collect();
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        let request = Request::post("/").header(CONTENT_ENCODING, "gzip").body(body).expect("a request");
        let mut stream = BodyStream::from_request(request, &()).await?;
        let mut read = Vec::new();
        while let Some(piece) = stream.next(Duration::from_secs(9)).await? {
            assert!(!piece.is_empty() && piece.len() <= 8 << 20, "{}", piece.len());
            read.extend_from_slice(&piece);
        }
        Ok(read)
    }

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text).expect("memory");
        encoder.finish().expect("memory")
    }

    #[tokio::test]
    async fn packed_bodies_are_unpacked_piece_by_piece() {
        let text: Vec<u8> = (0..200_000_u32).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        for cut in [1 << 20, 1_000] {
            assert_eq!(read(packed(&text), cut).await.expect("a body"), text);
        }
        // Several archives behind each other are one body.
        assert_eq!(read([packed(b"a"), packed(b"b")].concat(), 7).await.expect("a body"), b"ab");
        // Twenty million zeros are never held at once.
        assert_eq!(read(packed(&vec![0; 20 << 20]), 1 << 20).await.expect("a body").len(), 20 << 20);
    }

    #[tokio::test]
    async fn what_is_no_archive_or_cut_off_is_refused() {
        let whole = packed(b"some text that is long enough");
        for bad in [b"plain".to_vec(), whole[..whole.len() - 3].to_vec(), whole[..5].to_vec()] {
            assert_eq!(read(bad, 100).await.expect_err("refused").kind(), &problem::BODY_INCOMPLETE);
        }
    }
}
