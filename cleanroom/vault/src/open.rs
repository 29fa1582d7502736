//! Opening sealed parts: a file is read whole, compared with the manifest's digest, and only then decrypted, so that what
//! is checked is what is used.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::UInt32Type;
use ids::{Digest, UnitIx};
use zeroize::Zeroizing;

use crate::catalogue::UNIT_IX;
use crate::ingest::seal::identifier_place;
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
        let tampered =
            || VaultRefused::Tampered { what: format!("part `{}` of table `{}`", entry.part, entry.table) };
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

    /// Opens the direct identifiers of one column and hands out shopper and text, one at a time. Empty ones are skipped.
    ///
    /// This is the only way to a direct identifier; it is for the one destination that turns them into pseudonyms.
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
        let sealer = self.identifier_key.sealer();
        for entry in self.manifest.parts_of(table) {
            let tampered =
                || VaultRefused::Tampered { what: format!("part `{}` of table `{table}`", entry.part) };
            let place = entry.place(self.catalogue().dataset());
            let mut row = 0;
            self.read_entry(entry, Some(&[UNIT_IX, column]), &mut |batch| {
                let units =
                    batch.column_by_name(UNIT_IX).and_then(|units| units.as_primitive_opt::<UInt32Type>());
                let sealed = batch.column_by_name(column).and_then(|sealed| sealed.as_binary_opt::<i32>());
                let (Some(units), Some(sealed)) = (units, sealed) else { return Err(tampered()) };
                for (&unit, sealed) in units.values().iter().zip(sealed) {
                    if let Some(sealed) = sealed {
                        let text = sealer.open(sealed, identifier_place(&place, row, column).as_bytes());
                        let text: Zeroizing<Vec<u8>> = text.map_err(|_| tampered())?;
                        each(UnitIx(unit), std::str::from_utf8(&text).map_err(|_| tampered())?);
                    }
                    row += 1;
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}
