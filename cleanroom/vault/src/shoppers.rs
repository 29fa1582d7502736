//! The unit directory between loads: from a shopper's key or pseudonym to their position, and back.
//!
//! Its file holds one keyed pseudonym per position. At the position of an erased shopper it holds a tombstone: a keyed hash
//! of the pseudonym, by which a later load knows the card again and leaves its rows out, and from which neither pseudonym
//! nor card can be had without the vault's key.

use std::collections::HashMap;

use identity::{PseudonymKey, ShopperPseudonym};
use ids::{DatasetId, Digest, UnitIx};
use roaring::RoaringBitmap;
use zeroize::Zeroizing;

use crate::catalogue::{ColumnType, UnitCase};
use crate::keys::Key;
use crate::manifest::{UnitsEntry, units_place};
use crate::refusal::VaultRefused;
use crate::store::{UNITS, Vault, random_name};

/// Bytes of a pseudonym.
const PSEUDONYM_BYTES: usize = 32;

/// What the vault knows of a unit key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shopper {
    /// A shopper, and their position.
    Known(UnitIx),
    /// Somebody who was a shopper and was erased, and the position that nobody has any more.
    Erased(UnitIx),
    /// Nobody.
    Unknown,
}

/// All pseudonyms, opened. Personal data: it stays inside the process that holds the vault.
pub struct Shoppers<'v> {
    vault: &'v Vault,
    pseudonyms: Zeroizing<Vec<u8>>,
    erased: RoaringBitmap,
}

impl std::fmt::Debug for Shoppers<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shoppers(redacted)")
    }
}

impl Shoppers<'_> {
    /// The pseudonym of the shopper at this position; `None` if there is none, or they were erased.
    pub fn pseudonym(&self, unit: UnitIx) -> Option<ShopperPseudonym> {
        let (all, _) = self.pseudonyms.as_chunks::<PSEUDONYM_BYTES>();
        let found = all.get(unit.0 as usize).filter(|_| !self.erased.contains(unit.0))?;
        Some(ShopperPseudonym::from_bytes(*found))
    }

    /// The positions of these pseudonyms, in their order; `None` for who is not a shopper, or no longer.
    pub fn units(&self, pseudonyms: &[ShopperPseudonym]) -> Vec<Option<UnitIx>> {
        let wanted: HashMap<&[u8; PSEUDONYM_BYTES], usize> =
            pseudonyms.iter().enumerate().map(|(at, pseudonym)| (pseudonym.as_bytes(), at)).collect();
        let mut found: HashMap<usize, UnitIx> = HashMap::new();
        for (unit, pseudonym) in self.iter() {
            if let Some(&at) = wanted.get(pseudonym.as_bytes()) {
                found.insert(at, unit);
            }
        }
        // Of a pseudonym that is asked for twice, the map knows the last place only.
        let unit = |pseudonym: &ShopperPseudonym| found.get(wanted.get(pseudonym.as_bytes())?).copied();
        pseudonyms.iter().map(unit).collect()
    }

    /// All shoppers with their pseudonyms, in the order of positions, without the erased.
    pub fn iter(&self) -> impl Iterator<Item = (UnitIx, ShopperPseudonym)> {
        let (all, _) = self.pseudonyms.as_chunks::<PSEUDONYM_BYTES>();
        (0_u32..)
            .zip(all)
            .filter(|(ix, _)| !self.erased.contains(*ix))
            .map(|(ix, pseudonym)| (UnitIx(ix), ShopperPseudonym::from_bytes(*pseudonym)))
    }

    /// The shopper with this unit key, as a file would write it; white space around it, and letter case if the catalogue
    /// says so, make no difference.
    pub fn find(&self, key: &str) -> Shopper {
        let Some(pseudonym) = self.vault.pseudonym_of_key(key) else { return Shopper::Unknown };
        let (all, _) = self.pseudonyms.as_chunks::<PSEUDONYM_BYTES>();
        let position = |wanted: &[u8; PSEUDONYM_BYTES]| {
            all.iter().position(|one| one == wanted).and_then(|ix| u32::try_from(ix).ok())
        };
        if let Some(ix) = position(pseudonym.as_bytes()).filter(|ix| !self.erased.contains(*ix)) {
            return Shopper::Known(UnitIx(ix));
        }
        let dataset = self.vault.catalogue().dataset();
        let tombstone = tombstone(&self.vault.pseudonym_key, dataset, *pseudonym.as_bytes());
        match position(&tombstone) {
            Some(ix) if self.erased.contains(ix) => Shopper::Erased(UnitIx(ix)),
            _ => Shopper::Unknown,
        }
    }
}

impl Vault {
    /// Opens the unit directory.
    ///
    /// # Errors
    /// When its file is missing or was changed.
    pub fn shoppers(&self) -> Result<Shoppers<'_>, VaultRefused> {
        Ok(Shoppers { vault: self, pseudonyms: self.open_units()?, erased: self.erased_shoppers() })
    }

    /// The pseudonym that a unit key has or would have, whether or not the vault knows the shopper. `None` if the text
    /// cannot be a unit key of this catalogue.
    pub fn pseudonym_of_key(&self, key: &str) -> Option<ShopperPseudonym> {
        let unit = self.catalogue().tables().iter().find_map(|table| self.catalogue().unit_column(table));
        let canonical = match unit.map(|(_, column)| column.ty) {
            Some(ColumnType::Id) => key.trim().parse::<i64>().ok()?.to_string(),
            _ => canonical_key(self.catalogue().unit_case(), key)?,
        };
        Some(self.pseudonym_key.pseudonym(self.catalogue().dataset(), &canonical))
    }

    /// Positions whose shopper was erased: nobody is there any more, and nobody ever will be.
    pub fn erased_shoppers(&self) -> RoaringBitmap {
        self.manifest.erased_units.iter().copied().collect()
    }

    /// The content of the unit directory's file.
    pub(crate) fn open_units(&self) -> Result<Zeroizing<Vec<u8>>, VaultRefused> {
        let Some(entry) = &self.manifest.units else { return Ok(Zeroizing::new(Vec::new())) };
        let path = self.folder(UNITS).join(&entry.file);
        let sealed = std::fs::read(&path).map_err(|error| VaultRefused::io("read", &path, error))?;
        let tampered = || VaultRefused::Tampered { what: format!("the unit directory `{}`", path.display()) };
        if Digest::of(&sealed) != entry.digest {
            return Err(tampered());
        }
        let place = units_place(self.catalogue().dataset(), entry.snapshot);
        self.key_of(&place)?.open(&sealed, &place).map_err(|_| tampered())
    }

    /// Seals the unit directory for a snapshot; gives its entry and, by place, its key.
    pub(crate) fn seal_units(
        &self,
        snapshot: u64,
        pseudonyms: &[u8],
    ) -> Result<(UnitsEntry, String, Key), VaultRefused> {
        let entropy = &*self.ports.entropy;
        let (key, place) = (Key::generate(entropy)?, units_place(self.catalogue().dataset(), snapshot));
        let sealed = key.seal(pseudonyms, &place, entropy)?;
        let file = format!("{snapshot}-{}.sealed", random_name(entropy)?);
        self.write_file(&self.folder(UNITS).join(&file), &sealed)?;
        Ok((UnitsEntry { snapshot, file, digest: Digest::of(&sealed) }, place, key))
    }
}

/// A text unit key without what makes no difference; `None` if nothing is left.
pub(crate) fn canonical_key(case: UnitCase, text: &str) -> Option<String> {
    let trimmed = text.trim();
    match case {
        _ if trimmed.is_empty() => None,
        UnitCase::Exact => Some(trimmed.to_owned()),
        UnitCase::Fold => Some(trimmed.to_lowercase()),
    }
}

/// What stands in the directory for an erased shopper.
pub(crate) fn tombstone(
    key: &PseudonymKey,
    dataset: &DatasetId,
    pseudonym: [u8; PSEUDONYM_BYTES],
) -> [u8; PSEUDONYM_BYTES] {
    // The leading NUL keeps it apart from every key that can be typed.
    *key.pseudonym(dataset, &format!("\0erased/{}", hex::encode(pseudonym))).as_bytes()
}
