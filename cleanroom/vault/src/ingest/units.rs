//! The unit directory: which shopper is which `unit_ix`. It holds keyed pseudonyms; raw unit keys live only as long as a
//! load does, and only in memory.

use std::collections::HashMap;

use identity::PseudonymKey;
use ids::DatasetId;
use zeroize::Zeroizing;

use crate::catalogue::UnitCase;
use crate::refusal::VaultRefused;

/// Bytes of a pseudonym.
const PSEUDONYM_BYTES: usize = 32;

/// Most shoppers: `u32::MAX` itself stays free as a mark.
const UNITS_MAX: u32 = u32::MAX - 1;

/// Finds shoppers, and adds those it has not seen.
pub(super) struct UnitDirectory<'v> {
    key: &'v PseudonymKey,
    dataset: DatasetId,
    case: UnitCase,
    pseudonyms: Zeroizing<Vec<u8>>,
    index: HashMap<[u8; PSEUDONYM_BYTES], u32>,
    known: u32,
    ids: HashMap<i64, u32>,
    texts: HashMap<String, u32>,
}

impl<'v> UnitDirectory<'v> {
    /// `pseudonyms` is the opened content of the directory's file, empty for a new vault.
    pub(super) fn new(
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
        Ok(Self { key, dataset, case, pseudonyms, index, known, ids: HashMap::new(), texts: HashMap::new() })
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
    pub(super) fn id(&mut self, id: i64) -> Result<u32, VaultRefused> {
        if let Some(&ix) = self.ids.get(&id) {
            return Ok(ix);
        }
        let ix = self.intern(&id.to_string())?;
        self.ids.insert(id, ix);
        Ok(ix)
    }

    /// The shopper with this text as key; `None` if it is blank. White space around it never makes another shopper, and
    /// letter case only if the catalogue says so.
    pub(super) fn text(&mut self, text: &str) -> Result<Option<u32>, VaultRefused> {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Ok(None);
        }
        if let Some(&ix) = self.texts.get(trimmed) {
            return Ok(Some(ix));
        }
        let ix = match self.case {
            UnitCase::Exact => self.intern(trimmed)?,
            UnitCase::Fold => self.intern(&trimmed.to_lowercase())?,
        };
        self.texts.insert(trimmed.to_owned(), ix);
        Ok(Some(ix))
    }

    /// A shopper of its own for one row of one file. The leading NUL keeps it apart from every key that can be typed.
    pub(super) fn own(&mut self, file: &ids::Digest, row: u64) -> Result<u32, VaultRefused> {
        self.intern(&format!("\0own/{file}/{row}"))
    }

    fn intern(&mut self, canonical: &str) -> Result<u32, VaultRefused> {
        let pseudonym = *self.key.pseudonym(&self.dataset, canonical).as_bytes();
        let next = self.count();
        if let Some(&ix) = self.index.get(&pseudonym) {
            return Ok(ix);
        }
        if next >= UNITS_MAX {
            return Err(VaultRefused::TooMany { what: "shoppers", max: u64::from(UNITS_MAX) });
        }
        self.index.insert(pseudonym, next);
        self.pseudonyms.extend_from_slice(&pseudonym);
        Ok(next)
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
        assert_eq!(folded.text("Card-1").unwrap(), Some(0));
        assert_eq!(folded.text("  card-1 ").unwrap(), Some(0));
        assert_eq!(folded.text("card-2").unwrap(), Some(1));
        assert_eq!(folded.text(" \t").unwrap(), None);
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
        assert_eq!((second.id(30).unwrap(), second.added()), (2, 1));
    }
}
