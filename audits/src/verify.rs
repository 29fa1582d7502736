//! Verification without the writer, the network or any secret: from a folder and a verifier key.

use std::io::ErrorKind;
use std::path::Path;

use ids::{Digest, Timestamp};

use crate::entry::Logged;
use crate::files::{Disk, Files, Lock};
use crate::folder::{Derived, Fault, Folder, Listing, StorageFailed, VerifyRefused, derive};
use crate::note::{Checkpoint, Origin, VerifierKey};
use crate::receipt::Receipt;
use crate::tiles::{CHECKPOINT, LOCK, Name};
use crate::tree::{ProofRefused, Tree};

pub use crate::tree::{verify_consistency, verify_inclusion};

/// Which bodies must lie beside the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bodies {
    /// All but those that an entry says were erased: the operator's own folder.
    Required,
    /// Any: an export of headers.
    Optional,
}

/// A folder that holds what it must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The log.
    pub origin: Origin,
    /// Number of entries.
    pub size: u64,
    /// Root of the tree, as signed and as derived.
    pub root: Digest,
    /// The signed note.
    pub checkpoint: String,
    /// Time of the first entry.
    pub first_time: Option<Timestamp>,
    /// Time of the last entry.
    pub last_time: Option<Timestamp>,
    /// Sealed bodies that lie there, unchanged.
    pub bodies_present: u64,
    /// Bodies that are gone and an entry says so.
    pub bodies_erased: u64,
    /// Bodies that are gone without one; always 0 where bodies are required.
    pub bodies_absent: u64,
    /// A writer had the log open, so files beyond the checkpoint were not looked at.
    pub live: bool,
}

/// Why a proof could not be made from a folder.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum ProveRefused {
    /// The folder is not as it must be.
    #[error(transparent)]
    Folder(#[from] VerifyRefused),
    /// There is no such proof.
    #[error(transparent)]
    Proof(#[from] ProofRefused),
}

/// Derives everything in the folder anew and names the first thing that is not as it must be: the signature, every
/// entry and its canonical form, every bundle, every tile, every sealed body, and files that do not belong there.
///
/// It cannot tell whether the folder is the newest state: compare its size with a receipt, an older checkpoint
/// ([`consistency`]) or the log's head file.
///
/// # Errors
/// The first fault, with file, byte and entry.
pub fn folder(dir: &Path, key: &VerifierKey) -> Result<Verified, VerifyRefused> {
    folder_with(dir, key, Bodies::Required, &mut |_| ())
}

/// As [`folder`], with a say about bodies, and showing every entry. What is shown is verified only if all went well.
///
/// # Errors
/// The first fault, with file, byte and entry.
pub fn folder_with(
    dir: &Path,
    key: &VerifierKey,
    bodies: Bodies,
    show: &mut dyn FnMut(&Logged),
) -> Result<Verified, VerifyRefused> {
    folder_on(&Disk, dir, key, bodies, &mut |logged, _| show(&logged))
}

/// The receipt of entry `index` and the entry, from a folder that is verified on the way.
///
/// # Errors
/// When the folder is not as it must be or has no such entry.
pub fn inclusion(dir: &Path, key: &VerifierKey, index: u64) -> Result<(Receipt, Logged), ProveRefused> {
    let (mut tree, mut found) = (Tree::default(), None);
    let verified = folder_on(&Disk, dir, key, Bodies::Optional, &mut |logged, hash| {
        tree.push(hash);
        if logged.index == index {
            found = Some(logged);
        }
    })?;
    let proof = tree.inclusion(index, verified.size)?;
    let found = found.ok_or(ProofRefused::OutsideTree { index, size: verified.size })?;
    let Verified { size, root, checkpoint, .. } = verified;
    Ok((Receipt { index, tree_size: size, root, checkpoint, proof }, found))
}

/// The proof that the log of `new` entries extends the one of `old` entries, with both roots, from a folder that is
/// verified on the way.
///
/// # Errors
/// When the folder is not as it must be, or the sizes are in the wrong order or beyond it.
pub fn consistency(dir: &Path, key: &VerifierKey, old: u64, new: u64) -> Result<Consistency, ProveRefused> {
    let mut tree = Tree::default();
    let verified = folder_on(&Disk, dir, key, Bodies::Optional, &mut |_, hash| tree.push(hash))?;
    let refused = ProofRefused::Sizes { old, new, size: verified.size };
    let proof = tree.consistency(old, new)?;
    let (old_root, new_root) = (tree.root(old).ok_or(refused)?, tree.root(new).ok_or(refused)?);
    Ok(Consistency { old_root, new_root, proof })
}

/// Two roots of one log, and the hashes that lead from one to the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consistency {
    /// Root of the smaller tree.
    pub old_root: Digest,
    /// Root of the larger tree.
    pub new_root: Digest,
    /// See [`verify_consistency`].
    pub proof: Vec<Digest>,
}

pub(crate) fn folder_on(
    files: &dyn Files,
    dir: &Path,
    key: &VerifierKey,
    bodies: Bodies,
    visit: &mut dyn FnMut(Logged, Digest),
) -> Result<Verified, VerifyRefused> {
    // Held to the end: no writer starts meanwhile. If one is at work, we read what its checkpoint covers.
    let lock = files.lock(&dir.join(LOCK), Lock::Shared);
    let live = lock.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    let note = files.read(&dir.join(CHECKPOINT)).map_err(|error| match error.kind() {
        ErrorKind::NotFound => VerifyRefused::at(CHECKPOINT, Fault::Missing),
        _ => VerifyRefused::at(CHECKPOINT, Fault::Unreadable { reason: error.to_string() }),
    })?;
    let head =
        Checkpoint::open(&note, key).map_err(|refused| VerifyRefused::at(CHECKPOINT, refused.into()))?;
    let listing = Listing::read(files, dir).map_err(|failed| unlisted(&failed))?;
    check_names(&listing, head.size, live, files, dir)?;
    let derived = derive(Folder { files, dir, listing: &listing, live }, head.size, visit)?;
    if derived.root != head.root {
        return Err(VerifyRefused::at(CHECKPOINT, Fault::Root));
    }
    check_bodies(&derived, bodies, live)?;
    Ok(Verified {
        origin: head.origin,
        size: head.size,
        root: head.root,
        checkpoint: String::from_utf8_lossy(&note).into_owned(),
        first_time: derived.first_time,
        last_time: derived.last_time,
        bodies_present: derived.present.len() as u64,
        bodies_erased: derived.erased.len() as u64,
        bodies_absent: derived.absent.len() as u64,
        live,
    })
}

fn unlisted(failed: &StorageFailed) -> VerifyRefused {
    VerifyRefused::at("tile", Fault::Unreadable { reason: failed.to_string() })
}

/// Nothing may lie in the folder that no log has, or that the checkpoint does not reach.
fn check_names(
    listing: &Listing,
    size: u64,
    live: bool,
    files: &dyn Files,
    dir: &Path,
) -> Result<(), VerifyRefused> {
    if let Some(stray) = listing.strays.first() {
        return Err(VerifyRefused::at(stray, Fault::Stray));
    }
    if live {
        return Ok(());
    }
    for name in &listing.names {
        match name {
            Name::Temporary => return Err(VerifyRefused::at(name, Fault::Ahead)),
            // The lock file says nothing, so whatever is in it does not belong there.
            Name::Lock if files.read(&dir.join(LOCK)).is_ok_and(|bytes| !bytes.is_empty()) => {
                return Err(VerifyRefused::at(name, Fault::Trailing).offset(0));
            }
            name if name.reach() > size => return Err(VerifyRefused::at(name, Fault::Ahead)),
            _ => {}
        }
    }
    Ok(())
}

fn check_bodies(derived: &Derived, bodies: Bodies, live: bool) -> Result<(), VerifyRefused> {
    if live {
        return Ok(()); // an erasure may be under way
    }
    if let Some((target, by)) = derived.unerased.first() {
        return Err(VerifyRefused::at("bodies", Fault::BodyNotErased { by: *by }).index(*target));
    }
    match derived.absent.first() {
        Some(index) if bodies == Bodies::Required => {
            Err(VerifyRefused::at("bodies", Fault::BodyMissing).index(*index))
        }
        _ => Ok(()),
    }
}
