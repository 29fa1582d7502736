//! The sample agreements that the binary carries.

use std::fs;
use std::path::Path;

use crate::failure::Failure;
use crate::home::private_folder;

/// Path inside a bundle, and its text.
type File = (&'static str, &'static str);

/// Every sample, by name.
const BUNDLES: &[(&str, &[File])] = include!(concat!(env!("OUT_DIR"), "/bundles.rs"));

/// Writes the files of a sample agreement into a new folder.
///
/// # Errors
///
/// No sample of that name, or the operating system refused.
pub(crate) fn write(name: &str, folder: &Path) -> Result<(), Failure> {
    let found = BUNDLES.iter().find(|(bundle, _)| *bundle == name);
    let (_, files) = found.ok_or_else(|| {
        Failure::failed("sample_unknown", "there is no such sample agreement", format!("`{name}`"))
    })?;
    for (path, text) in *files {
        let path = folder.join(path);
        private_folder(path.parent().unwrap_or(folder))?;
        fs::write(&path, text).map_err(|why| {
            Failure::failed("sample_write", "cannot write a sample", why).at(path.display())
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_loads_as_it_was_signed() {
        for (name, _) in BUNDLES {
            let folder = tempfile::tempdir().unwrap();
            write(name, folder.path()).unwrap();
            policy::Bundle::load(folder.path()).unwrap();
        }
        assert!(write("no-such", Path::new("/nonexistent")).is_err());
    }
}
