//! Bundles that come with the program, so that a new home has an agreement to begin with.

use std::fs;
use std::path::Path;

use crate::BundleRefused;

/// A bundle inside the binary.
#[derive(Debug, Clone, Copy)]
pub struct SampleBundle {
    /// Its name, such as `jv-north`.
    pub name: &'static str,
    /// Path inside the bundle and text of every file, the lock included.
    pub files: &'static [(&'static str, &'static str)],
}

macro_rules! sample {
    ($name:literal: $($file:literal),* $(,)?) => {
        SampleBundle { name: $name, files: &[$(($file, include_str!(concat!("../bundles/", $name, "/", $file)))),*] }
    };
}

/// The synthetic retailer with a joint-venture partner and its suppliers.
pub const JV_NORTH: SampleBundle = sample!("jv-north":
    "schema.cedarschema",
    "bundle.lock",
    "policies/activation.cedar",
    "policies/house.cedar",
    "policies/joint-venture.cedar",
    "policies/oversight.cedar",
    "promises/never.cedar",
    "facts/parties.toml",
    "facts/brands.toml",
    "facts/categories.toml",
    "facts/contracts.toml",
    "facts/floors.toml",
    "facts/budgets.toml",
    "facts/purposes.toml",
    "facts/columns.toml",
    "facts/obligations.toml",
    "facts/activation.toml",
    "cases/activation.toml",
    "cases/house.toml",
    "cases/partner.toml",
    "cases/suppliers.toml",
);

/// The public Complete Journey data: one analyst team over all departments.
pub const COMPLETE_JOURNEY: SampleBundle = sample!("complete-journey":
    "schema.cedarschema",
    "bundle.lock",
    "policies/insights.cedar",
    "promises/never.cedar",
    "facts/parties.toml",
    "facts/brands.toml",
    "facts/categories.toml",
    "facts/contracts.toml",
    "facts/floors.toml",
    "facts/budgets.toml",
    "facts/purposes.toml",
    "facts/columns.toml",
    "facts/obligations.toml",
    "facts/activation.toml",
    "cases/insights.toml",
);

impl SampleBundle {
    /// Every sample.
    pub const ALL: [Self; 2] = [JV_NORTH, COMPLETE_JOURNEY];

    /// The sample of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sample| sample.name == name)
    }

    /// Writes the bundle into `dir`, which is made if need be; files of the same names are replaced.
    ///
    /// # Errors
    /// If a folder or file cannot be written.
    pub fn write_to(&self, dir: &Path) -> Result<(), BundleRefused> {
        for (file, text) in self.files {
            let path = dir.join(file);
            let written = match path.parent() {
                Some(folder) => fs::create_dir_all(folder).and_then(|()| fs::write(&path, text)),
                None => fs::write(&path, text),
            };
            written.map_err(|error| BundleRefused::Io {
                path: path.display().to_string(),
                reason: error.to_string(),
            })?;
        }
        Ok(())
    }
}
