//! Opening sealed parts: a file is read whole, compared with the manifest's digest, and only then decrypted, so that what
//! is checked is what is used.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringBuilder};
use arrow::datatypes::UInt32Type;
use ids::{Digest, UnitIx};
use zeroize::Zeroizing;

use crate::catalogue::{Table, UNIT_IX};
use crate::ingest::identifiers::{Held, mark};
use crate::ingest::seal::identifier_place;
use crate::ingest::table::plain_schema;
use crate::keys::Sealer;
use crate::manifest::PartEntry;
use crate::part::read_part;
use crate::refusal::VaultRefused;
use crate::store::Vault;

impl Vault {
    /// Opens one part and hands out its batches; `columns` are the names wanted, or all.
    pub(crate) fn read_entry(
        &self,
        entry: &PartEntry,
        columns: Option<&[&str]>,
        each: &mut dyn FnMut(RecordBatch) -> Result<(), VaultRefused>,
    ) -> Result<(), VaultRefused> {
        let tampered = || tampered_part(entry);
        let bytes = self.read_checked(entry)?;
        let place = entry.place(self.catalogue().dataset());
        let key = self.key_of(&place)?;
        for batch in read_part(bytes, Some((&key, &place)), columns).map_err(|_| tampered())? {
            each(batch.map_err(|_| tampered())?)?;
        }
        Ok(())
    }

    /// The file of a part, if it is the one the manifest means.
    fn read_checked(&self, entry: &PartEntry) -> Result<Vec<u8>, VaultRefused> {
        let path = self.part_path(&entry.part);
        let name = || format!("part `{}` of table `{}`", entry.part, entry.table);
        let bytes = std::fs::read(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => VaultRefused::Missing { what: name() },
            _ => VaultRefused::io("read", &path, error),
        })?;
        let digest = Digest::of(&bytes);
        if digest == entry.digest {
            return Ok(bytes);
        }
        match self.manifest.parts.iter().find(|other| other.digest == digest) {
            Some(other) => Err(VaultRefused::Swapped {
                table: entry.table.clone(),
                part: entry.part.clone(),
                found: other.part.clone(),
            }),
            None => Err(VaultRefused::Tampered { what: name() }),
        }
    }

    /// Opens every part and checks that it is what the manifest says. Returns the number of rows read.
    pub fn verify(&self) -> Result<u64, VaultRefused> {
        let mut total = 0;
        for entry in &self.manifest.parts {
            let mut rows = 0;
            self.read_entry(entry, None, &mut |batch| {
                rows += batch.num_rows() as u64;
                Ok(())
            })?;
            if rows != entry.rows {
                return Err(VaultRefused::Tampered {
                    what: format!("part `{}` of table `{}`", entry.part, entry.table),
                });
            }
            total += rows;
        }
        Ok(total)
    }

    /// Opens one part of a table with its direct identifiers, as a load would hold it: these are marked, whether or not the
    /// part was written before there were marks.
    pub(crate) fn read_plain(
        &self,
        table: &Table,
        entry: &PartEntry,
        each: &mut dyn FnMut(RecordBatch) -> Result<(), VaultRefused>,
    ) -> Result<(), VaultRefused> {
        let tampered = || tampered_part(entry);
        let (schema, sealer) = (plain_schema(table), self.identifier_key.sealer());
        let place = entry.place(self.catalogue().dataset());
        let mut first_row = 0;
        self.read_entry(entry, None, &mut |batch| {
            let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
            for field in schema.fields() {
                let stored = batch.column_by_name(field.name()).ok_or_else(tampered)?;
                let column = table.column(field.name()).filter(|column| column.direct_identifier);
                columns.push(match column {
                    None => Arc::clone(stored),
                    Some(column) => {
                        let opened = open_column(&sealer, stored, &place, first_row, &column.name)
                            .ok_or_else(tampered)?;
                        if entry.marked {
                            opened
                        } else {
                            mark(&opened, column.identifier_kind()).ok_or_else(tampered)?.0
                        }
                    }
                });
            }
            first_row += batch.num_rows() as u64;
            each(RecordBatch::try_new(Arc::clone(&schema), columns).map_err(|_| tampered())?)
        })
    }

    /// Opens the direct identifiers of one column and hands out shopper and text, one at a time. Empty ones are skipped.
    ///
    /// This and [`Vault::identifiers`] are the only ways to a direct identifier.
    pub fn open_identifiers(
        &self,
        table: &str,
        column: &str,
        each: &mut dyn FnMut(UnitIx, &str),
    ) -> Result<(), VaultRefused> {
        let known = self.catalogue().table(table).and_then(|table| table.column(column));
        if !known.is_some_and(|column| column.direct_identifier) {
            return Err(VaultRefused::Internal { act: "opening a column that is no direct identifier" });
        }
        for entry in self.manifest.parts_of(table) {
            self.open_fields(entry, column, &|_| true, &mut |unit, held| {
                if let Some(held) = held {
                    each(UnitIx(unit), held.text());
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Opens the fields of one direct identifier in one part, for the shoppers that are wanted, row by row; `None` where the
    /// field is empty.
    pub(crate) fn open_fields(
        &self,
        entry: &PartEntry,
        column: &str,
        wanted: &dyn Fn(u32) -> bool,
        each: &mut EachField<'_>,
    ) -> Result<(), VaultRefused> {
        let tampered = || tampered_part(entry);
        let sealer = self.identifier_key.sealer();
        let place = entry.place(self.catalogue().dataset());
        let mut row = 0;
        self.read_entry(entry, Some(&[UNIT_IX, column]), &mut |batch| {
            let units =
                batch.column_by_name(UNIT_IX).and_then(|units| units.as_primitive_opt::<UInt32Type>());
            let sealed = batch.column_by_name(column).and_then(|sealed| sealed.as_binary_opt::<i32>());
            let (Some(units), Some(sealed)) = (units, sealed) else { return Err(tampered()) };
            for (&unit, sealed) in units.values().iter().zip(sealed) {
                if wanted(unit) {
                    let text = sealed.map(|sealed| open_field(&sealer, sealed, &place, row, column));
                    let text = text.map_or(Some(None), |text| text.map(Some)).ok_or_else(tampered)?;
                    let text = text.as_ref().map(|text| std::str::from_utf8(text)).transpose();
                    let text = text.map_err(|_| tampered())?;
                    let held = |text| if entry.marked { Held::of_marked(text) } else { Held::AsItCame(text) };
                    each(unit, text.map(held))?;
                }
                row += 1;
            }
            Ok(())
        })
    }
}

/// Takes the field of one shopper's row.
pub(crate) type EachField<'a> = dyn FnMut(u32, Option<Held<'_>>) -> Result<(), VaultRefused> + 'a;

fn tampered_part(entry: &PartEntry) -> VaultRefused {
    VaultRefused::Tampered { what: format!("part `{}` of table `{}`", entry.part, entry.table) }
}

fn open_field(
    sealer: &Sealer,
    sealed: &[u8],
    place: &str,
    row: u64,
    column: &str,
) -> Option<Zeroizing<Vec<u8>>> {
    sealer.open(sealed, identifier_place(place, row, column).as_bytes()).ok()
}

/// A column of sealed fields as texts; `None` if one of them does not open.
fn open_column(
    sealer: &Sealer,
    sealed: &ArrayRef,
    place: &str,
    first_row: u64,
    column: &str,
) -> Option<ArrayRef> {
    let mut opened = StringBuilder::new();
    for (row, sealed) in (first_row..).zip(sealed.as_binary_opt::<i32>()?) {
        match sealed {
            None => opened.append_null(),
            Some(sealed) => {
                let text = open_field(sealer, sealed, place, row, column)?;
                opened.append_value(std::str::from_utf8(&text).ok()?);
            }
        }
    }
    Some(Arc::new(opened.finish()))
}
