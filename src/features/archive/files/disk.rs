//! The calls to the file system that decide whether a file survives a crash. Tests replace them with a model of a disk that
//! loses power.

use std::fmt::Debug;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// Readable by the service and its group.
const FILE_MODE: u32 = 0o640;
const DIRECTORY_MODE: u32 = 0o750;

/// The largest file that is read as a whole: many times the largest minute and the longest manifest of a day.
const MAX_FILE: u64 = 256 << 20;

/// A directory with files. Paths are relative to it; `""` is the directory itself.
pub trait Disk: Debug + Send + Sync {
    /// Creates a file that does not exist.
    fn create_new(&self, path: &str) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file for appending, and creates it if it does not exist.
    fn open_append(&self, path: &str) -> io::Result<Box<dyn DiskFile>>;
    /// Gives a file another name, unless a file has it (`AlreadyExists`).
    fn rename_noreplace(&self, from: &str, to: &str) -> io::Result<()>;
    /// Gives a file another name, and removes the file that had it.
    fn replace(&self, from: &str, to: &str) -> io::Result<()>;
    /// Makes names in a directory durable.
    fn fsync_dir(&self, path: &str) -> io::Result<()>;
    /// Creates a directory if it does not exist.
    fn create_dir(&self, path: &str) -> io::Result<()>;
    fn read(&self, path: &str) -> io::Result<Vec<u8>>;
    /// Opens a file that may be too large to be read as a whole.
    fn open(&self, path: &str) -> io::Result<Box<dyn io::Read + Send>>;
    fn remove(&self, path: &str) -> io::Result<()>;
    /// The names in a directory, in order.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;
    /// The free and the total space, bytes.
    fn space(&self) -> io::Result<[u64; 2]>;
}

/// A file that is open for writing.
pub trait DiskFile: Send {
    /// Writes at the end; may write less than all bytes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Makes the content durable.
    fn fsync(&mut self) -> io::Result<()>;
    /// The present length.
    fn length(&self) -> io::Result<u64>;
}

/// Writes all bytes to a file.
///
/// # Errors
/// Those of the disk; a part may be written.
pub fn write_all(file: &mut dyn DiskFile, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = file.write(bytes)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// A directory of the machine.
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
}

impl RealDisk {
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }
}

impl Disk for RealDisk {
    fn create_new(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(self.path(path))?;
        Ok(Box::new(file))
    }

    fn open_append(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(self.path(path))?;
        Ok(Box::new(file))
    }

    fn rename_noreplace(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.path(from), self.path(to));
        match renameat_with(CWD, from.as_path(), CWD, to.as_path(), RenameFlags::NOREPLACE) {
            // File systems without this call have links.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP) => {
                std::fs::hard_link(&from, &to)?;
                std::fs::remove_file(&from)
            }
            renamed => Ok(renamed?),
        }
    }

    fn replace(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path(from), self.path(to))
    }

    fn fsync_dir(&self, path: &str) -> io::Result<()> {
        File::open(self.path(path))?.sync_all()
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        match DirBuilder::new().mode(DIRECTORY_MODE).create(self.path(path)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            created => created,
        }
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.path(path))?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes)
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn io::Read + Send>> {
        Ok(Box::new(File::open(self.path(path))?))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        std::fs::remove_file(self.path(path))
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(self.path(path))?;
        let mut names = entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn space(&self) -> io::Result<[u64; 2]> {
        let space = rustix::fs::statvfs(&self.root)?;
        Ok([space.f_bavail, space.f_blocks].map(|blocks| blocks.saturating_mul(space.f_frsize)))
    }
}

impl DiskFile for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(self, bytes)
    }

    fn fsync(&mut self) -> io::Result<()> {
        self.flush()?;
        self.sync_all()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}
