//! The file of a backup: `age(zstd(tar))`, which `age`, `zstd` and `tar` open too.
//!
//! Its entries are `header.json`, `records/000001` and so on, `manifest.json` and `SHA256SUMS`, in this order. The entries
//! of records are one sequence of bytes, cut every 8 MiB.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use age::x25519::{Identity, Recipient};
use sha2::{Digest, Sha256};

use super::error::BackupError;
use super::model::{Header, Manifest, Part};
use crate::random::hex;

const HEADER: &str = "header.json";
const MANIFEST: &str = "manifest.json";
const SUMS: &str = "SHA256SUMS";
/// The size of the entries of records.
const PART: usize = 8 << 20;
/// The longest entry of another kind.
const LONGEST_TEXT: u64 = 8 << 20;
/// A size at which zstd needs little memory and is faster than the disk.
const LEVEL: i32 = 3;

/// A file, and the SHA-256 of what was written to it.
struct Hashed {
    file: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or_default());
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

type Compressor = zstd::Encoder<'static, age::stream::StreamWriter<Hashed>>;

/// Writes the file of a backup.
pub(super) struct Writer {
    tar: tar::Builder<Compressor>,
    /// Bytes of records that are no complete entry yet.
    pending: Vec<u8>,
    parts: Vec<Part>,
    sums: String,
}

/// A complete file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileDigest {
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

impl Writer {
    pub(super) fn create(path: &Path, recipients: &[Recipient], header: &Header) -> Result<Self, BackupError> {
        let recipients = recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
        let encryptor =
            age::Encryptor::with_recipients(recipients).map_err(|error| BackupError::Recipients(error.to_string()))?;
        let file = BufWriter::new(new_file(path)?);
        let encrypted = encryptor.wrap_output(Hashed { file, hash: Sha256::new(), bytes: 0 })?;
        let mut compressor = zstd::Encoder::new(encrypted, LEVEL)?;
        compressor.include_checksum(true)?;
        let tar = tar::Builder::new(compressor);
        let mut writer = Self { tar, pending: Vec::new(), parts: Vec::new(), sums: String::new() };
        writer.entry(HEADER, &json(header)?)?;
        Ok(writer)
    }

    /// Appends to the records.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (fitting, rest) = bytes.split_at(bytes.len().min(PART - self.pending.len()));
            self.pending.extend_from_slice(fitting);
            bytes = rest;
            if self.pending.len() == PART {
                self.part()?;
            }
        }
        Ok(())
    }

    fn part(&mut self) -> io::Result<()> {
        let name = format!("records/{:06}", self.parts.len() + 1);
        let bytes = std::mem::take(&mut self.pending);
        let sha256 = self.entry(&name, &bytes)?;
        self.parts.push(Part { name, bytes: bytes.len() as u64, sha256 });
        self.pending = bytes;
        self.pending.clear();
        Ok(())
    }

    /// Writes what is left, and the manifest, which receives the list of parts.
    pub(super) fn finish(mut self, manifest: &mut Manifest) -> Result<FileDigest, BackupError> {
        if !self.pending.is_empty() {
            self.part()?;
        }
        manifest.parts = std::mem::take(&mut self.parts);
        self.entry(MANIFEST, &json(manifest)?)?;
        let sums = std::mem::take(&mut self.sums);
        self.entry(SUMS, sums.as_bytes())?;
        let mut hashed = self.tar.into_inner()?.finish()?.finish()?;
        hashed.flush()?;
        hashed.file.get_ref().sync_all()?;
        Ok(FileDigest { bytes: hashed.bytes, sha256: hex(&hashed.hash.finalize()) })
    }

    fn entry(&mut self, name: &str, bytes: &[u8]) -> io::Result<String> {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        self.tar.append_data(&mut header, name, bytes)?;
        let sha256 = hex(&Sha256::digest(bytes));
        // The form of sha256sum.
        self.sums.extend([&sha256, "  ", name, "\n"]);
        Ok(sha256)
    }
}

/// A new file that only its owner may read.
pub(super) fn new_file(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, BackupError> {
    serde_json::to_vec_pretty(value).map_err(|error| BackupError::File(error.to_string()))
}

/// Reads a whole file and checks it, with `records` as the receiver of the bytes of records. Returns its manifest.
///
/// The receiver may get bytes of a file that turns out to be invalid: a caller that acts on them reads the file twice.
///
/// # Errors
/// [`BackupError::File`] with what is wrong, or the error of the receiver.
pub(super) fn read(
    path: &Path,
    identities: &[Identity],
    mut records: impl FnMut(&[u8]) -> Result<(), BackupError>,
) -> Result<Manifest, BackupError> {
    let invalid = |reason: &str| BackupError::File(reason.to_owned());
    let input = BufReader::new(File::open(path).map_err(|error| BackupError::File(error.to_string()))?);
    let decryptor = age::Decryptor::new_buffered(input).map_err(|error| BackupError::File(error.to_string()))?;
    let identities = identities.iter().map(|identity| identity as &dyn age::Identity);
    let decrypted = decryptor.decrypt(identities).map_err(|error| BackupError::File(error.to_string()))?;
    let mut decoder = zstd::Decoder::new(decrypted)?;
    let mut contents = Contents::default();
    let mut archive = tar::Archive::new(&mut decoder);
    for entry in archive.entries().map_err(|error| damaged(&error))? {
        let mut entry = entry.map_err(|error| damaged(&error))?;
        let name = entry.path().map_err(|error| damaged(&error))?.to_string_lossy().into_owned();
        let limit = if name.starts_with("records/") { PART as u64 } else { LONGEST_TEXT };
        if entry.size() > limit {
            return Err(invalid(&format!("its entry {name} is too large")));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(|error| damaged(&error))?;
        if contents.add(&name, &bytes)? {
            records(&bytes)?;
        }
    }
    // The rest of the archive, the checksum of its compression, and the mark of the last encrypted chunk.
    let mut rest = [0; 4_096];
    loop {
        match decoder.read(&mut rest).map_err(|error| damaged(&error))? {
            0 => break,
            size if rest.iter().take(size).all(|byte| *byte == 0) => {}
            _ => return Err(invalid("bytes follow its archive")),
        }
    }
    contents.finish()
}

fn damaged(error: &io::Error) -> BackupError {
    BackupError::File(format!("it is damaged or not complete: {error}"))
}

/// The entries that were read.
#[derive(Default)]
struct Contents {
    digests: BTreeMap<String, String>,
    parts: Vec<Part>,
    header: Option<Header>,
    manifest: Option<Manifest>,
    sums: Option<String>,
}

impl Contents {
    /// Adds an entry. Returns whether it has records.
    fn add(&mut self, name: &str, bytes: &[u8]) -> Result<bool, BackupError> {
        let unexpected = || BackupError::File(format!("its entry {name} is not expected there"));
        if self.sums.is_some() || (self.header.is_none() != (name == HEADER)) {
            return Err(unexpected());
        }
        let sha256 = hex(&Sha256::digest(bytes));
        let malformed = |error: serde_json::Error| BackupError::File(format!("its entry {name} is malformed: {error}"));
        let mut is_part = false;
        match name {
            HEADER => {
                let header: Header = serde_json::from_slice(bytes).map_err(malformed)?;
                header.check()?;
                self.header = Some(header);
            }
            MANIFEST if self.manifest.is_none() => {
                self.manifest = Some(serde_json::from_slice(bytes).map_err(malformed)?);
            }
            SUMS if self.manifest.is_some() => {
                self.sums = Some(String::from_utf8_lossy(bytes).into_owned());
                return Ok(false);
            }
            _ if self.manifest.is_none() && name == format!("records/{:06}", self.parts.len() + 1) => {
                self.parts.push(Part { name: name.to_owned(), bytes: bytes.len() as u64, sha256: sha256.clone() });
                is_part = true;
            }
            _ => return Err(unexpected()),
        }
        self.digests.insert(name.to_owned(), sha256);
        Ok(is_part)
    }

    fn finish(self) -> Result<Manifest, BackupError> {
        let (Some(manifest), Some(sums), Some(header)) = (self.manifest, self.sums, self.header) else {
            return Err(BackupError::File("it is not complete".to_owned()));
        };
        let listed: BTreeMap<String, String> = sums
            .lines()
            .filter_map(|line| line.split_once("  "))
            .map(|(sum, name)| (name.into(), sum.into()))
            .collect();
        if listed != self.digests || manifest.parts != self.parts || manifest.id != header.id {
            return Err(BackupError::File("its parts do not have the sums in its list".to_owned()));
        }
        Ok(manifest)
    }
}
