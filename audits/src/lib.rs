//! The audit log: every access leaves an entry that nobody can change, drop or reorder unnoticed.
//!
//! The log is a folder of static files in the public `tlog-tiles` format (C2SP): bundles of entries, tiles of hashes
//! (RFC 6962) and one checkpoint, a signed note of three lines. Whoever has the folder and the [`VerifierKey`] verifies
//! it offline with [`verify::folder`], with the binary `cleanroom-audit`, or with a stranger's tool.
//!
//! * **No receipt, no result.** [`Log::append`] returns when the entry is durable and part of the signed tree.
//! * Entries are headers: names, digests, whole numbers. Bodies lie beside the tree, sealed; erasing one keeps every
//!   proof valid.
//! * One writer. It fails closed: after a failed file operation it takes nothing more until the log is opened again.
//!
//! It never looks into a body, never decides anything, and never repairs what it cannot explain by a crash of its own.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! use audits::{BodyKey, Entry, Kind, Log, LogConfig, LogKey, verify};
//! use ids::{SystemClock, SystemEntropy};
//! # let home = tempfile::tempdir()?;
//! # let home = home.path();
//!
//! let entropy = SystemEntropy::new();
//! let config = LogConfig {
//!     dir: home.join("log"),
//!     head_path: home.join("log-head"),
//!     origin: "audit.example.kz/main-2026".to_owned(),
//! };
//! let (key, body_key) = (LogKey::generate(&entropy)?, BodyKey::generate(&entropy)?);
//! let log = Log::create(config.clone(), key, body_key, Arc::new(SystemClock), Arc::new(entropy))?;
//! let receipt = log.append(Entry::new(Kind::QueryReleased), Some(b"SELECT COUNT(*) FROM baskets"))?;
//! receipt.verify(&log.entry(receipt.index)?.to_leaf()?, log.verifier_key())?;
//!
//! let vkey = log.verifier_key().clone();
//! drop(log);
//! assert_eq!(verify::folder(&config.dir, &vkey)?.size, 1);
//! # Ok(())
//! # }
//! ```

mod body;
mod commit;
mod entry;
mod files;
mod folder;
mod json;
mod log;
mod note;
mod receipt;
mod recover;
mod tiles;
mod tree;
pub mod verify;

#[cfg(test)]
mod crash_tests;

pub use body::{BODY_BYTES_MAX, BodyKey};
pub use entry::{
    BodyCommit, Charge, Decision, ENTRY_BYTES_MAX, Entry, EntryRefused, Kind, Label, LabelRefused, Logged,
    Remaining,
};
pub use folder::{Fault, StorageFailed, VerifyRefused};
pub use json::{NumberRefused, canonical as canonical_json};
pub use log::{AppendFailed, Log, LogConfig, ReadRefused};
pub use note::{
    Checkpoint, LogKey, NoteRefused, Origin, OriginRefused, VerifierKey, VerifierKeyRefused, open_note,
    sign_note,
};
pub use receipt::{Receipt, ReceiptRefused};
pub use recover::LogRefused;
pub use tree::{ProofRefused, empty_root, leaf_hash, node_hash, verify_consistency, verify_inclusion};
