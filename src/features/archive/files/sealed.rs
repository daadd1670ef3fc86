//! Encryption of files: a header, then chunks of AES-256-GCM-SIV (RFC 8452), each bound to the name of the file, its place and
//! whether it is the last one. The same content under the same name and key has the same bytes.

use std::fmt;
use std::io::{self, Read, Write};

use aes_gcm_siv::aead::{Aead, KeyInit, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Nonce};
use sha2::{Digest as _, Sha256};

/// The beginning of every encrypted file. Neither JSON nor gzip begins with it.
const MAGIC: &[u8; 8] = b"GTXSEAL1";
/// The end of the names of encrypted files.
pub const ENCRYPTED: &str = ".enc";
/// The header: [`MAGIC`], the id of the key, the salt of the file, and zeros.
const HEADER: usize = 32;
const SALT: usize = 7;
const CHUNK: usize = 1 << 20;
const TAG: usize = 16;

type KeyId = [u8; 8];

/// The first key encrypts, and every key decrypts.
#[derive(Clone, Default)]
pub struct Keys(Vec<(KeyId, Aes256GcmSiv)>);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

impl Keys {
    /// Reads keys: each is a line of 64 hexadecimal digits.
    ///
    /// # Errors
    /// What a line must be; no part of a key is quoted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let key = |line: &str| {
            let byte = |at: usize| line.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
            let is_hex = line.len() == 64 && line.bytes().all(|digit| digit.is_ascii_hexdigit());
            let bytes: Option<Vec<u8>> = if is_hex { (0..64).step_by(2).map(byte).collect() } else { None };
            let bytes = bytes.ok_or("each line must have 64 hexadecimal digits")?;
            let digest: [u8; 32] =
                Sha256::new_with_prefix(b"gridtokenx archive key").chain_update(&bytes).finalize().into();
            let mut id = KeyId::default();
            id.copy_from_slice(digest.get(..8).unwrap_or_default());
            let cipher = Aes256GcmSiv::new_from_slice(&bytes).map_err(|_| "each key must have 256 bits")?;
            Ok::<_, String>((id, cipher))
        };
        let keys =
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(key).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err("must have a key".to_owned()) } else { Ok(Self(keys)) }
    }

    pub fn encrypts(&self) -> bool {
        !self.0.is_empty()
    }

    /// The bytes of a file; without keys, the content itself.
    ///
    /// # Errors
    /// None in practice: memory takes all bytes.
    pub fn seal(&self, name: &str, content: Vec<u8>) -> io::Result<Vec<u8>> {
        if !self.encrypts() {
            return Ok(content);
        }
        let mut sealing = self.writer(Vec::new(), name, &content)?;
        sealing.write_all(&content)?;
        sealing.finish()
    }

    /// The content of a file, encrypted or not.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] if no key decrypts it.
    pub fn open(&self, name: &str, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        if !bytes.starts_with(MAGIC) {
            return Ok(bytes);
        }
        let mut content = Vec::new();
        self.reader(bytes.as_slice(), name)?.read_to_end(&mut content)?;
        Ok(content)
    }

    /// Encrypts what is written to it; without keys, it does not. Files with the same `salt` and name have the same bytes if they
    /// have the same content.
    ///
    /// # Errors
    /// Those of `inner`.
    pub fn writer<W: Write>(&self, mut inner: W, name: &str, salt: &[u8]) -> io::Result<Sealing<W>> {
        let Some((id, cipher)) = self.0.first() else {
            return Ok(Sealing { inner, chunks: None, buffer: Vec::new() });
        };
        let digest: [u8; 32] = Sha256::new_with_prefix(name).chain_update(salt).finalize().into();
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(MAGIC);
        header[8..16].copy_from_slice(id);
        header[16..16 + SALT].copy_from_slice(digest.get(..SALT).unwrap_or_default());
        inner.write_all(&header)?;
        Ok(Sealing { inner, chunks: Some(Chunks::new(cipher, &header, name)), buffer: Vec::new() })
    }

    /// Decrypts what it reads, if it is encrypted. It never returns a byte whose chunk was changed, and fails at the end of a file
    /// that was cut.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] if there is no key for it; those of `inner`.
    pub fn reader<R: Read>(&self, mut inner: R, name: &str) -> io::Result<Opening<R>> {
        let mut header = Vec::new();
        inner.by_ref().take(HEADER as u64).read_to_end(&mut header)?;
        if !header.starts_with(MAGIC) {
            return Ok(Opening { inner, chunks: None, content: header, at: 0, next: Vec::new(), is_over: false });
        }
        let header: [u8; HEADER] = header.try_into().map_err(|_| invalid("is cut"))?;
        let cipher = self.0.iter().find(|(id, _)| header[8..16] == id[..]).map(|(_, cipher)| cipher);
        let cipher =
            cipher.ok_or_else(|| invalid("is encrypted with a key that archive.encryption_key_file does not have"))?;
        let chunks = Some(Chunks::new(cipher, &header, name));
        let mut next = Vec::new();
        inner.by_ref().take(SEALED).read_to_end(&mut next)?;
        Ok(Opening { inner, chunks, content: Vec::new(), at: 0, next, is_over: false })
    }
}

const SEALED: u64 = (CHUNK + TAG) as u64;

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

struct Chunks {
    cipher: Aes256GcmSiv,
    salt: [u8; SALT],
    /// What every chunk is bound to.
    bound: Vec<u8>,
    count: u32,
}

impl Chunks {
    fn new(cipher: &Aes256GcmSiv, header: &[u8; HEADER], name: &str) -> Self {
        let mut salt = [0; SALT];
        salt.copy_from_slice(&header[16..16 + SALT]);
        Self { cipher: cipher.clone(), salt, bound: [header, name.as_bytes()].concat(), count: 0 }
    }

    /// The nonce of the next chunk.
    fn nonce(&mut self, is_last: bool) -> io::Result<Nonce> {
        let mut nonce = [0; 12];
        nonce[..SALT].copy_from_slice(&self.salt);
        nonce[SALT..11].copy_from_slice(&self.count.to_be_bytes());
        nonce[11] = u8::from(is_last);
        self.count = self.count.checked_add(1).ok_or_else(|| invalid("is too large"))?;
        Ok(Nonce::from(nonce))
    }

    fn seal(&mut self, msg: &[u8], is_last: bool) -> io::Result<Vec<u8>> {
        let nonce = self.nonce(is_last)?;
        self.cipher.encrypt(&nonce, Payload { msg, aad: &self.bound }).map_err(|_| invalid("is too large"))
    }

    fn open(&mut self, msg: &[u8], is_last: bool) -> io::Result<Vec<u8>> {
        let nonce = self.nonce(is_last)?;
        let opened = self.cipher.decrypt(&nonce, Payload { msg, aad: &self.bound });
        opened.map_err(|_| invalid("was changed, cut or renamed"))
    }
}

/// See [`Keys::writer`].
pub struct Sealing<W> {
    inner: W,
    chunks: Option<Chunks>,
    buffer: Vec<u8>,
}

impl<W: Write> Sealing<W> {
    /// Writes the last chunk.
    ///
    /// # Errors
    /// Those of the inner writer.
    pub fn finish(mut self) -> io::Result<W> {
        if let Some(chunks) = &mut self.chunks {
            let last = chunks.seal(&self.buffer, true)?;
            self.inner.write_all(&last)?;
        }
        Ok(self.inner)
    }
}

impl<W: Write> Write for Sealing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(chunks) = &mut self.chunks else { return self.inner.write(bytes) };
        // The last chunk may be a full one, so a full one waits for what follows.
        if self.buffer.len() == CHUNK && !bytes.is_empty() {
            let sealed = chunks.seal(&self.buffer, false)?;
            self.inner.write_all(&sealed)?;
            self.buffer.clear();
        }
        let room = CHUNK - self.buffer.len();
        let taken = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        self.buffer.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// See [`Keys::reader`].
pub struct Opening<R> {
    inner: R,
    chunks: Option<Chunks>,
    /// What was decrypted, and how much of it was read.
    content: Vec<u8>,
    at: usize,
    /// The next encrypted chunk: whether it is the last one shows only when nothing follows.
    next: Vec<u8>,
    is_over: bool,
}

impl<R: Read> Read for Opening<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.content.len() && !self.is_over {
            let Some(chunks) = &mut self.chunks else { return self.inner.read(out) };
            let chunk = std::mem::take(&mut self.next);
            self.inner.by_ref().take(SEALED).read_to_end(&mut self.next)?;
            self.is_over = self.next.is_empty();
            self.content = chunks.open(&chunk, self.is_over)?;
            self.at = 0;
        }
        let rest = self.content.get(self.at..).unwrap_or_default();
        let count = rest.len().min(out.len());
        for (to, from) in out.iter_mut().zip(rest) {
            *to = *from;
        }
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(numbers: &[u8]) -> Keys {
        let lines: Vec<String> = numbers.iter().map(|number| format!("{number:064x}")).collect();
        Keys::parse(&lines.join("\n")).expect("keys")
    }

    #[test]
    fn what_is_encrypted_is_read_again_at_any_length() {
        let keys = keys(&[1]);
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 7] {
            let content: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).expect("small")).collect();
            let sealed = keys.seal("a", content.clone()).expect("encrypted");
            // In pieces that fill a chunk exactly, as a compressor writes them.
            let mut sealing = keys.writer(Vec::new(), "a", &content).expect("memory");
            content.chunks(CHUNK / 4).for_each(|piece| sealing.write_all(piece).expect("encrypted"));
            assert_eq!(sealed, sealing.finish().expect("encrypted"), "the same bytes");
            assert_eq!(keys.open("a", sealed).expect("decrypted"), content);
        }
    }

    #[test]
    fn a_changed_cut_or_renamed_file_is_not_read() {
        let keys = keys(&[1]);
        let sealed = keys.seal("a", b"minute".to_vec()).expect("encrypted");
        for at in 0..sealed.len() {
            let mut other = sealed.clone();
            other[at] ^= 1;
            let opened = keys.open("a", other.clone());
            // Without its mark, it is not taken for an encrypted file, and its hash is another one.
            assert!(opened.map_or(at >= 8, |content| at < 8 && content == other), "{at}");
            assert!(at < 8 || keys.open("a", sealed[..at].to_vec()).is_err(), "{at}");
        }
        assert!(keys.open("b", sealed.clone()).is_err());
        let long = keys.seal("a", vec![7; 2 * CHUNK]).expect("encrypted");
        let end = HEADER + CHUNK + TAG;
        assert!(keys.open("a", long[..end].to_vec()).is_err(), "a whole chunk is missing");
        let swapped = [&long[..HEADER], &long[end..], &long[HEADER..end]].concat();
        assert!(keys.open("a", swapped).is_err());
    }

    #[test]
    fn the_first_key_encrypts_and_older_keys_decrypt() {
        let old = keys(&[1]).seal("a", b"minute".to_vec()).expect("encrypted");
        assert_eq!(keys(&[2, 1]).open("a", old.clone()).expect("decrypted"), b"minute");
        assert!(keys(&[2]).open("a", old.clone()).is_err() && Keys::default().open("a", old).is_err());
        assert_eq!(keys(&[1]).open("a", b"{}".to_vec()).expect("not encrypted"), b"{}");
        assert_eq!(Keys::default().seal("a", b"{}".to_vec()).expect("not encrypted"), b"{}");
        for text in ["", "\n", "00", &"g".repeat(64), &"0".repeat(63)] {
            assert!(Keys::parse(text).is_err(), "{text}");
        }
        assert_eq!(format!("{:?}", keys(&[1, 2])), "2 keys");
    }
}
