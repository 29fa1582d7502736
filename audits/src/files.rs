//! The few things the log asks of a file system, so that a test can make each of them fail.

use std::any::Any;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) is_dir: bool,
}

/// File operations. `write`'s contents are durable when it returns; names (of new, renamed and removed files) are
/// durable only after `sync_dir` of the folder they are in.
pub(crate) trait Files: Send + Sync {
    /// The whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Creates or empties the file, writes it and syncs its contents.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Puts `from` in the place of `to`, atomically.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes a folder; one that is there already is fine.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty folder.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes the folder's names durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// What lies in a folder, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<Listed>>;
    /// Locks a file, which is created if need be, until the answer is dropped; `WouldBlock` if another holds it.
    fn lock(&self, path: &Path, lock: Lock) -> io::Result<Box<dyn Any + Send>>;
}

/// Whom a lock keeps out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    /// Everybody: the writer's.
    Exclusive,
    /// Writers: a verifier's. The file must exist already.
    Shared,
}

/// The operating system's files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            done => done,
        }
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        // A relative path's parent may be empty, which means the current folder.
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        File::open(path)?.sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Listed>> {
        let mut listed = Vec::new();
        for item in fs::read_dir(path)? {
            let item = item?;
            // A name that is not UTF-8 is none of ours; its readable part is enough to report it.
            let name = item.file_name().to_string_lossy().into_owned();
            listed.push(Listed { name, is_dir: item.file_type()?.is_dir() });
        }
        listed.sort();
        Ok(listed)
    }

    fn lock(&self, path: &Path, lock: Lock) -> io::Result<Box<dyn Any + Send>> {
        let (file, locked) = match lock {
            Lock::Exclusive => {
                let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
                let locked = file.try_lock();
                (file, locked)
            }
            Lock::Shared => {
                let file = File::open(path)?;
                let locked = file.try_lock_shared();
                (file, locked)
            }
        };
        match locked {
            Ok(()) => Ok(Box::new(file)),
            Err(TryLockError::WouldBlock) => Err(ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}
