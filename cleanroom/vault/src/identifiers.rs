//! Whom the members of an audience are, for the one room that turns them into pseudonyms: canonical identifiers, card
//! pseudonyms and households of a set of shoppers, handed out one at a time and kept nowhere.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int64Type, UInt32Type};
use identity::{Canonical, IdentifierKind, ShopperPseudonym};
use ids::UnitIx;
use roaring::RoaringBitmap;

use crate::catalogue::{HouseholdColumn, UNIT_IX};
use crate::refusal::VaultRefused;
use crate::shoppers::canonical_key;
use crate::store::Vault;

/// Stands for one household, or for a shopper who is one alone: a keyed hash that means nothing without the vault's key.
/// Personal data like a pseudonym.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HouseholdKey([u8; 32]);

impl HouseholdKey {
    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for HouseholdKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HouseholdKey(redacted)")
    }
}

/// How many of the members asked for have what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reached {
    /// Members handed out.
    pub members: u64,
    /// Members whose latest text is no identifier of that kind.
    pub unusable: u64,
}

impl Vault {
    /// Opens the canonical identifiers of one kind of these members and hands them out, one per member: that of the row
    /// loaded last, in the first table of the catalogue that has a usable one. The members come in the order in which they
    /// are stored, which is no order to rely on. Who has none is not handed out. For [`IdentifierKind::Card`] it is the
    /// card's pseudonym.
    ///
    /// # Guarantee
    /// An older text never stands in for a newer one that is empty or unusable: a number that was given back may be
    /// somebody else's by now.
    ///
    /// # Errors
    /// When a part or a field does not open.
    pub fn identifiers(
        &self,
        members: &RoaringBitmap,
        kind: IdentifierKind,
        each: &mut dyn FnMut(UnitIx, &Canonical),
    ) -> Result<Reached, VaultRefused> {
        let mut reached = Reached::default();
        if kind == IdentifierKind::Card {
            self.card_pseudonyms(members, &mut |unit, pseudonym| {
                reached.members += 1;
                each(unit, &Canonical::card(pseudonym));
            })?;
            return Ok(reached);
        }
        let (mut done, mut unusable) = (RoaringBitmap::new(), RoaringBitmap::new());
        for table in self.catalogue().tables().iter().filter(|table| table.is_private()) {
            for column in table.columns.iter().filter(|column| column.identifier_kind() == Some(kind)) {
                let mut seen = RoaringBitmap::new();
                let parts: Vec<_> = self.manifest.parts_of(&table.name).collect();
                for entry in parts.into_iter().rev() {
                    if members.range_cardinality(entry.units.0..=entry.units.1) == 0 {
                        continue;
                    }
                    // Rows of one shopper lie together, in the order in which they came: the last of a run counts.
                    let wanted =
                        |unit| members.contains(unit) && !done.contains(unit) && !seen.contains(unit);
                    let mut run: Option<(u32, Option<Result<Canonical, ()>>)> = None;
                    let mut ended: Vec<(u32, Option<Result<Canonical, ()>>)> = Vec::new();
                    self.open_fields(entry, &column.name, &wanted, &mut |unit, held| {
                        let canonical = held.map(|held| held.canonical(kind).map_err(drop));
                        match &mut run {
                            Some((same, latest)) if *same == unit => *latest = canonical,
                            other => ended.extend(other.replace((unit, canonical))),
                        }
                        Ok(())
                    })?;
                    for (unit, latest) in ended.into_iter().chain(run) {
                        seen.insert(unit);
                        match latest {
                            Some(Ok(canonical)) => {
                                done.insert(unit);
                                each(UnitIx(unit), &canonical);
                            }
                            Some(Err(())) => {
                                unusable.insert(unit);
                            }
                            None => {}
                        }
                    }
                }
            }
        }
        Ok(Reached { members: done.len(), unusable: (unusable - &done).len() })
    }

    /// The card pseudonyms of these members, in the order of positions. Erased shoppers are not handed out.
    ///
    /// # Errors
    /// When the unit directory does not open.
    pub fn card_pseudonyms(
        &self,
        members: &RoaringBitmap,
        each: &mut dyn FnMut(UnitIx, &ShopperPseudonym),
    ) -> Result<(), VaultRefused> {
        let shoppers = self.shoppers()?;
        for unit in members {
            if let Some(pseudonym) = shoppers.pseudonym(UnitIx(unit)) {
                each(UnitIx(unit), &pseudonym);
            }
        }
        Ok(())
    }

    /// The household keys of these members, in the order of positions: of the household column's value in the row loaded
    /// last, and of the shopper alone where that is empty or the catalogue names no such column.
    ///
    /// # Errors
    /// When a part or the unit directory does not open.
    pub fn households(
        &self,
        members: &RoaringBitmap,
        each: &mut dyn FnMut(UnitIx, HouseholdKey),
    ) -> Result<(), VaultRefused> {
        let named = match self.catalogue().household() {
            Some(household) => self.named_households(members, household)?,
            None => std::collections::HashMap::new(),
        };
        let dataset = self.catalogue().dataset();
        // The leading NUL keeps both apart from every unit key that can be typed, and so from card pseudonyms.
        let key = |name: &str| HouseholdKey(*self.pseudonym_key.pseudonym(dataset, name).as_bytes());
        self.card_pseudonyms(members, &mut |unit, pseudonym| {
            each(
                unit,
                match named.get(&unit.0) {
                    Some(Some(name)) => key(&format!("\0household/{name}")),
                    _ => key(&format!("\0alone/{}", hex::encode(pseudonym.as_bytes()))),
                },
            );
        })
    }

    /// The latest value of the household column of each of these members, as text.
    fn named_households(
        &self,
        members: &RoaringBitmap,
        household: &HouseholdColumn,
    ) -> Result<std::collections::HashMap<u32, Option<String>>, VaultRefused> {
        let case = self.catalogue().unit_case();
        let mut named = std::collections::HashMap::new();
        // Parts in the order of loads, rows of one shopper in the order they came: the last one written stays.
        for entry in self.manifest.parts_of(&household.table) {
            if members.range_cardinality(entry.units.0..=entry.units.1) == 0 {
                continue;
            }
            self.read_entry(entry, Some(&[UNIT_IX, &household.column]), &mut |batch| {
                let internal = || VaultRefused::Internal { act: "reading households" };
                let units = batch.column_by_name(UNIT_IX).and_then(|a| a.as_primitive_opt::<UInt32Type>());
                let names = batch.column_by_name(&household.column);
                let (Some(units), Some(names)) = (units, names) else { return Err(internal()) };
                for (row, &unit) in units.values().iter().enumerate() {
                    if members.contains(unit) {
                        let name = text_at(names, row).and_then(|name| canonical_key(case, &name));
                        named.insert(unit, name);
                    }
                }
                Ok(())
            })?;
        }
        Ok(named)
    }
}

fn text_at(values: &ArrayRef, row: usize) -> Option<String> {
    if values.is_null(row) {
        return None;
    }
    match values.data_type() {
        DataType::Int64 => Some(values.as_primitive::<Int64Type>().value(row).to_string()),
        DataType::Utf8 => Some(values.as_string::<i32>().value(row).to_owned()),
        _ => None,
    }
}
