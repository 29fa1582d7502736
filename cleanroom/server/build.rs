//! Puts the sample agreements into the binary, so that `cleanroom demo` needs no other file.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../../policy/bundles");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("bundles.rs");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut text = String::from("&[\n");
    for bundle in sorted(&root)? {
        let name = bundle.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let _ = writeln!(text, "    ({name:?}, &[");
        files(&bundle, &bundle, &mut text)?;
        text.push_str("    ]),\n");
    }
    text.push(']');
    fs::write(out, text)
}

fn files(bundle: &Path, folder: &Path, text: &mut String) -> io::Result<()> {
    for path in sorted(folder)? {
        if path.is_dir() {
            files(bundle, &path, text)?;
        } else {
            let name = path.strip_prefix(bundle).unwrap_or(&path).to_string_lossy().into_owned();
            let _ = writeln!(text, "        ({name:?}, include_str!({:?})),", path.canonicalize()?);
        }
    }
    Ok(())
}

fn sorted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder)? {
        entries.push(entry?.path());
    }
    entries.sort();
    Ok(entries)
}
