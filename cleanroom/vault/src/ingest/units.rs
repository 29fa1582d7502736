//! The unit directory during a load: which shopper is which `unit_ix`, and new ones. It holds keyed pseudonyms; raw unit
//! keys live only as long as a load does, and only in memory.

use std::collections::HashMap;

use identity::PseudonymKey;
use ids::DatasetId;
use roaring::RoaringBitmap;
use zeroize::Zeroizing;

use crate::catalogue::UnitCase;
use crate::refusal::VaultRefused;
use crate::shoppers::{canonical_key, tombstone};
use crate::store::Vault;

/// Bytes of a pseudonym.
const PSEUDONYM_BYTES: usize = 32;

/// Most shoppers: `u32::MAX` itself stays free as a mark.
const UNITS_MAX: u32 = u32::MAX - 1;

/// Whom a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// This shopper.
    Shopper(u32),
    /// A shopper who was erased.
    Erased,
    /// Nobody: the key is blank.
    Nobody,
    /// Somebody who is not in the directory, named in a way that adds nobody.
    Stranger,
}

/// Finds shoppers, and adds those it has not seen.
pub(super) struct UnitDirectory<'v> {
    key: &'v PseudonymKey,
    dataset: DatasetId,
    case: UnitCase,
    pseudonyms: Zeroizing<Vec<u8>>,
    index: HashMap<[u8; PSEUDONYM_BYTES], u32>,
    known: u32,
    /// Positions whose shopper was erased; the directory holds their tombstones there.
    erased: RoaringBitmap,
    ids: HashMap<i64, u32>,
    texts: HashMap<String, u32>,
}

impl<'v> UnitDirectory<'v> {
    /// The directory of the vault's current snapshot.
    pub(super) fn open(vault: &'v Vault) -> Result<Self, VaultRefused> {
        let (catalogue, pseudonyms) = (vault.catalogue(), vault.open_units()?);
        let dataset = catalogue.dataset().clone();
        let directory = Self::new(&vault.pseudonym_key, dataset, catalogue.unit_case(), pseudonyms)?;
        Ok(Self { erased: vault.erased_shoppers(), ..directory })
    }

    /// `pseudonyms` is the opened content of the directory's file, empty for a new vault.
    fn new(
        key: &'v PseudonymKey,
        dataset: DatasetId,
        case: UnitCase,
        pseudonyms: Zeroizing<Vec<u8>>,
    ) -> Result<Self, VaultRefused> {
        let (chunks, rest) = pseudonyms.as_chunks::<PSEUDONYM_BYTES>();
        if !rest.is_empty() {
            return Err(VaultRefused::Tampered { what: "the unit directory".to_owned() });
        }
        let index: HashMap<_, _> =
            chunks.iter().zip(0_u32..).map(|(&pseudonym, ix)| (pseudonym, ix)).collect();
        let known = u32::try_from(index.len()).unwrap_or(u32::MAX);
        let (erased, ids, texts) = (RoaringBitmap::new(), HashMap::new(), HashMap::new());
        Ok(Self { key, dataset, case, pseudonyms, index, known, erased, ids, texts })
    }

    /// How many shoppers there are now.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.index.len()).unwrap_or(u32::MAX)
    }

    /// How many of them this load has added.
    pub(super) fn added(&self) -> u32 {
        self.count() - self.known
    }

    /// The content to seal.
    pub(super) fn pseudonyms(&self) -> &[u8] {
        &self.pseudonyms
    }

    /// The shopper with this number.
    pub(super) fn id(&mut self, id: i64) -> Result<Who, VaultRefused> {
        if let Some(&ix) = self.ids.get(&id) {
            return Ok(Who::Shopper(ix));
        }
        let who = self.intern(&id.to_string())?;
        if let Who::Shopper(ix) = who {
            self.ids.insert(id, ix);
        }
        Ok(who)
    }

    /// The shopper with this text as key.
    pub(super) fn text(&mut self, text: &str) -> Result<Who, VaultRefused> {
        let trimmed = text.trim();
        if let Some(&ix) = self.texts.get(trimmed) {
            return Ok(Who::Shopper(ix));
        }
        let Some(canonical) = canonical_key(self.case, trimmed) else { return Ok(Who::Nobody) };
        let who = self.intern(&canonical)?;
        if let Who::Shopper(ix) = who {
            self.texts.insert(trimmed.to_owned(), ix);
        }
        Ok(who)
    }

    /// A shopper of its own for one row of one file. The leading NUL keeps it apart from every key that can be typed.
    pub(super) fn own(&mut self, file: &ids::Digest, row: u64) -> Result<Who, VaultRefused> {
        self.intern(&format!("\0own/{file}/{row}"))
    }

    /// The shopper at this position.
    pub(super) fn at(&self, ix: u32) -> Who {
        match (ix < self.count(), self.erased.contains(ix)) {
            (true, false) => Who::Shopper(ix),
            (true, true) => Who::Erased,
            (false, _) => Who::Stranger,
        }
    }

    /// The shopper with this pseudonym.
    pub(super) fn pseudonym(&self, pseudonym: &[u8]) -> Who {
        let Ok(pseudonym) = <[u8; PSEUDONYM_BYTES]>::try_from(pseudonym) else { return Who::Stranger };
        // An erased position holds a tombstone: who calls it a pseudonym means nobody.
        match self.index.get(&pseudonym) {
            Some(&ix) if !self.erased.contains(ix) => Who::Shopper(ix),
            _ if self.is_erased(pseudonym) => Who::Erased,
            _ => Who::Stranger,
        }
    }

    fn is_erased(&self, pseudonym: [u8; PSEUDONYM_BYTES]) -> bool {
        if self.erased.is_empty() {
            return false;
        }
        let tombstone = tombstone(self.key, &self.dataset, pseudonym);
        self.index.get(&tombstone).is_some_and(|&ix| self.erased.contains(ix))
    }

    fn intern(&mut self, canonical: &str) -> Result<Who, VaultRefused> {
        let pseudonym = *self.key.pseudonym(&self.dataset, canonical).as_bytes();
        let next = self.count();
        if let Some(&ix) = self.index.get(&pseudonym) {
            return Ok(Who::Shopper(ix));
        }
        if self.is_erased(pseudonym) {
            return Ok(Who::Erased);
        }
        if next >= UNITS_MAX {
            return Err(VaultRefused::TooMany { what: "shoppers", max: u64::from(UNITS_MAX) });
        }
        self.index.insert(pseudonym, next);
        self.pseudonyms.extend_from_slice(&pseudonym);
        Ok(Who::Shopper(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory<'k>(key: &'k PseudonymKey, case: UnitCase, known: &[u8]) -> UnitDirectory<'k> {
        UnitDirectory::new(key, "d".parse().unwrap(), case, Zeroizing::new(known.to_vec())).unwrap()
    }

    #[test]
    fn one_shopper_is_one_unit_however_the_key_is_written() {
        let key = PseudonymKey::from_bytes([9; 32]);
        let mut folded = directory(&key, UnitCase::Fold, &[]);
        assert_eq!(folded.text("Card-1").unwrap(), Who::Shopper(0));
        assert_eq!(folded.text("  card-1 ").unwrap(), Who::Shopper(0));
        assert_eq!(folded.text("card-2").unwrap(), Who::Shopper(1));
        assert_eq!(folded.text(" \t").unwrap(), Who::Nobody);
        let mut exact = directory(&key, UnitCase::Exact, &[]);
        assert_ne!(exact.text("a").unwrap(), exact.text("A").unwrap());
        assert_eq!(exact.id(7).unwrap(), exact.id(7).unwrap());
        assert_ne!(
            exact.own(&ids::Digest::of(b"f"), 1).unwrap(),
            exact.own(&ids::Digest::of(b"f"), 2).unwrap()
        );
    }

    #[test]
    fn a_later_load_finds_the_shoppers_of_an_earlier_one() {
        let key = PseudonymKey::from_bytes([9; 32]);
        let mut first = directory(&key, UnitCase::Fold, &[]);
        let (a, b) = (first.id(10).unwrap(), first.id(20).unwrap());
        let mut second = directory(&key, UnitCase::Fold, first.pseudonyms());
        assert_eq!((second.id(20).unwrap(), second.id(10).unwrap(), second.added()), (b, a, 0));
        assert_eq!((second.id(30).unwrap(), second.added()), (Who::Shopper(2), 1));
    }
}
