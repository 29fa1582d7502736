//! The home folder: where everything of one clean room lies, and who may touch it.
//!
//! ```text
//! config.toml   settings, no secrets           ledger/   what was spent, and the releases (SQLite)
//! keys/         root, log, body and token keys log/      audit log: tiles, checkpoint, sealed bodies
//! vault/        sealed parts and manifests     log-head  size and root of the log, outside of it
//! policy/       the agreement's bundle         log.vkey  the log's public key, to hand out
//! vault-head    newest snapshot of the vault   lock      held by the process that has the home open
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::failure::Failure;

/// The paths of one home folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
}

/// The right to write into a home; the operating system takes it back when the process ends, however it ends.
#[derive(Debug)]
pub struct HomeLock {
    _file: File,
}

impl Home {
    /// The folder given, else `$HOME/.cleanroom`.
    ///
    /// # Errors
    ///
    /// No folder given and no `$HOME` to look in.
    pub fn locate(given: Option<PathBuf>) -> Result<Self, Failure> {
        let fallback = || std::env::home_dir().map(|home| home.join(".cleanroom"));
        given.or_else(fallback).map(Self::at).ok_or_else(|| {
            Failure::usage(
                "home_unknown",
                "cannot find the home folder",
                "neither `--home` nor `HOME` is set",
            )
            .way_out("give `--home DIR` or set `CLEANROOM_HOME`")
        })
    }

    /// The home at `root`, whether or not it exists.
    pub const fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Settings.
    pub fn config(&self) -> PathBuf {
        self.root.join("config.toml")
    }

    /// Folder of the keys.
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// Key that wraps the vault's keys.
    pub fn root_key(&self) -> PathBuf {
        self.keys().join("root.key")
    }

    /// Key that signs the log's checkpoints.
    pub fn log_key(&self) -> PathBuf {
        self.keys().join("log.key")
    }

    /// Key that seals the bodies beside the log.
    pub fn body_key(&self) -> PathBuf {
        self.keys().join("body.key")
    }

    /// Key of the local token issuer.
    pub fn token_key(&self) -> PathBuf {
        self.keys().join("token.key")
    }

    /// Sealed parts and manifests.
    pub fn vault(&self) -> PathBuf {
        self.root.join("vault")
    }

    /// The agreement's bundle.
    pub fn policy(&self) -> PathBuf {
        self.root.join("policy")
    }

    /// Folder of the ledger.
    pub fn ledger(&self) -> PathBuf {
        self.root.join("ledger")
    }

    /// Folder of the audit log.
    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// Size and root of the log, outside its folder: a log that was put back does not match it.
    pub fn log_head(&self) -> PathBuf {
        self.root.join("log-head")
    }

    /// The vault's newest snapshot, outside its folder: a vault that was put back does not match it.
    pub fn vault_head(&self) -> PathBuf {
        self.root.join("vault-head")
    }

    /// File of the ledger.
    pub fn ledger_file(&self) -> PathBuf {
        self.ledger().join("ledger.sqlite")
    }

    /// The log's public key, to hand to a regulator.
    pub fn log_vkey(&self) -> PathBuf {
        self.root.join("log.vkey")
    }

    /// Refuses a folder that is not a home.
    ///
    /// # Errors
    ///
    /// There is no `config.toml` in it.
    pub fn must_exist(&self) -> Result<(), Failure> {
        if self.config().is_file() {
            return Ok(());
        }
        Err(Failure::failed("home_missing", "there is no clean room here", "the folder has no `config.toml`")
            .at(self.root.display())
            .way_out("make one with `cleanroom init --catalogue FILE --policy DIR`, or see one with `cleanroom demo`"))
    }

    /// Refuses a folder that already holds something: nothing is ever overwritten.
    ///
    /// # Errors
    ///
    /// The folder exists and is not empty, or cannot be read.
    pub fn must_be_free(&self) -> Result<(), Failure> {
        let taken = |why: &str| {
            Failure::failed("home_taken", "cannot make a clean room here", why)
                .at(self.root.display())
                .way_out("choose another folder with `--home DIR`; nothing was changed")
        };
        match fs::read_dir(&self.root) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(taken(&error.to_string())),
            Ok(mut entries) => match entries.next() {
                None => Ok(()),
                Some(_) => Err(taken("the folder exists and is not empty")),
            },
        }
    }

    /// Takes the home for this process.
    ///
    /// # Errors
    ///
    /// Another process has it, or the lock file cannot be made.
    pub fn lock(&self) -> Result<HomeLock, Failure> {
        let path = self.root.join("lock");
        let failed = |why: String| {
            Failure::failed("home_locked", "cannot take the home folder", why).at(path.display())
        };
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(|why| failed(why.to_string()))?;
        match file.try_lock() {
            Ok(()) => Ok(HomeLock { _file: file }),
            Err(TryLockError::WouldBlock) => {
                Err(failed("another process, such as `cleanroom serve`, has it open".to_owned())
                    .way_out("ask that server over HTTP, or stop it first"))
            }
            Err(TryLockError::Error(why)) => Err(failed(why.to_string())),
        }
    }
}

/// Makes a folder that only its owner may enter, with its parents.
///
/// # Errors
///
/// The operating system refused.
pub fn private_folder(path: &Path) -> Result<(), Failure> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|why| Failure::failed("folder", "cannot make a folder", why).at(path.display()))
}

/// Writes a new file that only its owner may read, durably.
///
/// # Errors
///
/// The file exists already, or the operating system refused.
pub fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path);
    let written =
        file.as_mut().map_err(|why| std::io::Error::new(why.kind(), why.to_string())).and_then(|file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
    written.map_err(|why| Failure::failed("key_write", "cannot write a key", why).at(path.display()))
}

/// Reads a key file, refusing one that others may read.
///
/// # Errors
///
/// A missing file, or permissions beyond the owner's.
pub fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let failed = |why: String| Failure::failed("key_refused", "cannot use a key", why).at(path.display());
    let mode = fs::metadata(path).map_err(|why| failed(why.to_string()))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(failed(format!("others may read it (mode {:03o})", mode & 0o777))
            .way_out(format!("chmod 600 {}", path.display())));
    }
    fs::read(path).map(Zeroizing::new).map_err(|why| failed(why.to_string()))
}

/// Copies a folder of plain files and folders; links are refused.
///
/// # Errors
///
/// Something that is neither file nor folder, or the operating system refused.
pub fn copy_folder(from: &Path, to: &Path) -> Result<(), Failure> {
    let failed =
        |why: std::io::Error| Failure::failed("copy", "cannot copy a folder", why).at(from.display());
    private_folder(to)?;
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), &target).map_err(failed)?;
        } else {
            return Err(failed(std::io::Error::other(format!("`{}` is a link", entry.path().display()))));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_others_may_read_is_refused_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.key");
        write_secret(&path, b"secret").unwrap();
        assert_eq!(read_secret(&path).unwrap().as_slice(), b"secret");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = read_secret(&path).unwrap_err().to_string();
        assert!(refused.contains("mode 644") && refused.contains("chmod 600"), "{refused}");
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path().to_owned());
        home.must_be_free().unwrap();
        write_secret(&home.config(), b"").unwrap();
        assert_eq!(home.must_be_free().unwrap_err().code(), "home_taken");
        assert!(write_secret(&home.config(), b"x").is_err());
    }

    #[test]
    fn one_process_has_the_home() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path().to_owned());
        let lock = home.lock().unwrap();
        assert_eq!(home.lock().unwrap_err().code(), "home_locked");
        drop(lock);
        home.lock().unwrap();
    }
}
