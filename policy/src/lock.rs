//! `bundle.lock`: the digest of every file of a bundle, so that what was reviewed is what decides.
//!
//! Version 1 has no signatures: the list is there, and must be empty. A reader that cannot check a signature refuses
//! it instead of passing over it.
//!
//! ```toml
//! version = 1
//! signatures = []
//!
//! [files]
//! "facts/budgets.toml" = "sha256:…"
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ids::Digest;
use serde::Deserialize;

use crate::refusal::{BundleRefused, line_at};

/// Name of the lock inside the bundle's folder.
pub(crate) const FILE: &str = "bundle.lock";
const VERSION: u32 = 1;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LockFile {
    version: u32,
    signatures: Vec<toml::Value>,
    files: BTreeMap<String, Digest>,
}

/// The digest of every file.
pub(crate) fn digests(files: &BTreeMap<String, String>) -> BTreeMap<String, Digest> {
    files.iter().map(|(file, text)| (file.clone(), Digest::of(text.as_bytes()))).collect()
}

/// One digest over paths and contents of the files that `keep` selects.
pub(crate) fn digest(files: &BTreeMap<String, String>, keep: impl Fn(&str) -> bool) -> Digest {
    let kept = files.iter().filter(|(file, _)| keep(file));
    let parts: Vec<&[u8]> = kept.flat_map(|(file, text)| [file.as_bytes(), text.as_bytes()]).collect();
    Digest::of_parts(&parts)
}

/// The text of the lock for these files.
pub(crate) fn write(files: &BTreeMap<String, String>) -> String {
    let mut text = format!("version = {VERSION}\nsignatures = []\n\n[files]\n");
    for (file, digest) in digests(files) {
        // Writing to a String cannot fail; file names were restricted to plain characters before.
        let _ = writeln!(text, "\"{file}\" = \"{digest}\"");
    }
    text
}

/// Refuses unless the lock names exactly these files with exactly these contents.
pub(crate) fn check(lock: &str, files: &BTreeMap<String, String>) -> Result<(), BundleRefused> {
    let refuse = |reason: String| Err(BundleRefused::Lock { reason });
    let locked: LockFile = toml::from_str(lock).map_err(|error| {
        let line = error.span().map_or(1, |span| line_at(lock, span.start));
        BundleRefused::malformed(FILE, line, error.message())
    })?;
    if locked.version != VERSION {
        return refuse(format!("version {} is not known, only {VERSION} is", locked.version));
    }
    if !locked.signatures.is_empty() {
        return refuse("there are signatures, which version 1 cannot check".to_owned());
    }
    for (file, digest) in digests(files) {
        match locked.files.get(&file) {
            None => return refuse(format!("`{file}` is not locked")),
            Some(expected) if *expected != digest => {
                return refuse(format!("`{file}` differs from what was locked"));
            }
            Some(_) => {}
        }
    }
    match locked.files.keys().find(|file| !files.contains_key(*file)) {
        Some(file) => refuse(format!("`{file}` is locked but missing")),
        None => Ok(()),
    }
}
