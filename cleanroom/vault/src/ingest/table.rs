//! One table's way in: every row finds its shopper, bad rows are noted, good rows are kept for sealing.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt32Type};
use arrow::row::{OwnedRow, RowConverter, SortField};

use super::links::{Links, Owner};
use super::source::{BadCell, Chunk, Given, Source};
use super::units::{UnitDirectory, Who};
use super::{BadRow, RowFaults, Unaddressable};
use crate::catalogue::domain::Seen;
use crate::catalogue::{EmptyUnit, Table, TableKind, UNIT_IX, UnitSource};
use crate::part::{plain_type, stored_columns};
use crate::refusal::VaultRefused;

const INTERNAL: VaultRefused = VaultRefused::Internal { act: "loading a table" };

/// What becomes of a row.
enum Fate {
    Kept(u32),
    LeftOut,
    Erased,
    Bad(Option<usize>, &'static str),
}

/// What is collected of one table during a load.
pub(super) struct TableIntake<'a> {
    table: &'a Table,
    schema: SchemaRef,
    pub(super) batches: Vec<RecordBatch>,
    pub(super) rows: u64,
    pub(super) left_out: u64,
    /// Rows of erased shoppers.
    pub(super) erased: u64,
    pub(super) unaddressable: Vec<Unaddressable>,
    shown_max: usize,
    pub(super) seen: Vec<(String, Seen)>,
    keys: Option<PublicKeys>,
}

/// The keys of a public table's rows in this load.
pub(super) struct PublicKeys {
    converter: RowConverter,
    columns: Vec<usize>,
    pub(super) seen: HashSet<OwnedRow>,
}

/// The columns of a table before its direct identifiers are sealed.
pub(crate) fn plain_schema(table: &Table) -> SchemaRef {
    let unit = table.is_private().then(|| Field::new(UNIT_IX, DataType::UInt32, false));
    let columns =
        stored_columns(table).map(|column| Field::new(&column.name, plain_type(column.ty), column.nullable));
    Arc::new(Schema::new(unit.into_iter().chain(columns).collect::<Vec<_>>()))
}

impl<'a> TableIntake<'a> {
    pub(super) fn new(table: &'a Table, shown_max: usize) -> Result<Self, VaultRefused> {
        let seen = table
            .columns
            .iter()
            .filter_map(|column| Some((column.name.clone(), Seen::of(column)?)))
            .collect();
        let keys = match &table.kind {
            TableKind::Private { .. } => None,
            TableKind::Public { key } => Some(PublicKeys::new(table, key)?),
        };
        Ok(Self {
            table,
            schema: plain_schema(table),
            batches: Vec::new(),
            rows: 0,
            left_out: 0,
            erased: 0,
            unaddressable: Vec::new(),
            shown_max,
            seen,
            keys,
        })
    }

    /// Takes one chunk of a file.
    pub(super) fn take(
        &mut self,
        source: &Source,
        chunk: &Chunk,
        units: &mut UnitDirectory<'_>,
        links: &mut Links,
        faults: &mut RowFaults,
    ) -> Result<(), VaultRefused> {
        let mut keep = vec![true; chunk.rows];
        for cell in &chunk.bad {
            if let Some(keep) = keep.get_mut(cell.row).filter(|keep| **keep) {
                *keep = false;
                faults.add(self.bad_row(source, chunk, cell.row, cell.column, &cell.reason));
            }
        }
        let unit_ix = if self.table.is_private() {
            Some(self.find_units(source, chunk, units, links, faults, &mut keep)?)
        } else {
            self.check_keys(source, chunk, faults, &mut keep)?;
            None
        };
        for cell in &chunk.odd {
            if keep.get(cell.row).is_some_and(|keep| *keep) {
                self.note_unaddressable(source, chunk, cell);
            }
        }
        let unit = unit_ix.map(|units| Arc::new(UInt32Array::from(units)) as ArrayRef);
        let stored = self
            .table
            .columns
            .iter()
            .zip(&chunk.columns)
            .filter(|(column, _)| !self.table.is_unit_column(column));
        let columns = unit.into_iter().chain(stored.map(|(_, array)| Arc::clone(array))).collect();
        // Rows that are not kept may have empty cells where none are allowed, so the strict schema comes after the filter.
        let loose = Schema::new(
            self.schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect::<Vec<_>>(),
        );
        let mut batch = RecordBatch::try_new(Arc::new(loose), columns).map_err(|_| INTERNAL)?;
        if keep.contains(&false) {
            batch = filter_record_batch(&batch, &BooleanArray::from(keep)).map_err(|_| INTERNAL)?;
        }
        self.learn(&batch);
        let batch =
            RecordBatch::try_new(Arc::clone(&self.schema), batch.columns().to_vec()).map_err(|_| INTERNAL)?;
        self.rows += batch.num_rows() as u64;
        // After a fault that refuses the load nothing will be sealed: only the counting goes on.
        if batch.num_rows() > 0 && !faults.refuses() {
            self.batches.push(batch);
        }
        Ok(())
    }

    fn find_units(
        &mut self,
        source: &Source,
        chunk: &Chunk,
        units: &mut UnitDirectory<'_>,
        links: &mut Links,
        faults: &mut RowFaults,
        keep: &mut [bool],
    ) -> Result<Vec<u32>, VaultRefused> {
        let parents = links.columns_of(&self.table.name);
        let mut found = Vec::with_capacity(chunk.rows);
        for (row, keep) in keep.iter_mut().enumerate() {
            let mut fate = match *keep {
                true => self.fate(source, chunk, row, units, links)?,
                false => Fate::Bad(None, ""),
            };
            let owner = match fate {
                Fate::Kept(unit) => Some(Some(unit)),
                Fate::LeftOut | Fate::Erased => Some(None),
                Fate::Bad(..) => None,
            };
            for column in parents.iter().filter(|_| owner.is_some()) {
                let at = self.table.columns.iter().position(|c| c.name == *column);
                let keys = at.and_then(|at| chunk.columns.get(at)).ok_or(INTERNAL)?;
                let owners = links.owners_mut(&self.table.name, column).ok_or(INTERNAL)?;
                if !owners.insert(keys, row, owner.flatten()) {
                    fate = Fate::Bad(at, "is the key of a row of another shopper too");
                }
            }
            match fate {
                Fate::Kept(unit) => found.push(unit),
                Fate::LeftOut => {
                    found.push(0);
                    self.left_out += 1;
                    *keep = false;
                }
                Fate::Erased => {
                    found.push(0);
                    self.erased += 1;
                    *keep = false;
                }
                Fate::Bad(column, reason) => {
                    found.push(0);
                    if *keep {
                        *keep = false;
                        faults.add(self.bad_row(source, chunk, row, column, reason));
                    }
                }
            }
        }
        Ok(found)
    }

    fn fate(
        &self,
        source: &Source,
        chunk: &Chunk,
        row: usize,
        units: &mut UnitDirectory<'_>,
        links: &Links,
    ) -> Result<Fate, VaultRefused> {
        let TableKind::Private { unit, empty_unit } = &self.table.kind else { return Err(INTERNAL) };
        let (UnitSource::Column(name) | UnitSource::Via(name)) = unit;
        let at = self.table.columns.iter().position(|column| column.name == *name).ok_or(INTERNAL)?;
        let keys = chunk.columns.get(at).ok_or(INTERNAL)?;
        let who = match (unit, &chunk.given) {
            (_, Some(given)) => given_shopper(given, row, units)?,
            (UnitSource::Column(_), None) if keys.is_null(row) => Who::Nobody,
            (UnitSource::Column(_), None) => match keys.data_type() {
                DataType::Int64 => units.id(keys.as_primitive::<Int64Type>().value(row))?,
                DataType::Utf8 => units.text(keys.as_string::<i32>().value(row))?,
                _ => return Err(INTERNAL),
            },
            (UnitSource::Via(_), None) => {
                let fk = self.table.parent().ok_or(INTERNAL)?;
                match links.owners(&fk.table, &fk.key).ok_or(INTERNAL)?.find(keys, row) {
                    Some(Owner::Unit(unit)) => Who::Shopper(unit),
                    Some(Owner::LeftOut) => return Ok(Fate::LeftOut),
                    Some(Owner::Unknown) => return Ok(Fate::Bad(Some(at), "leads to no row of its table")),
                    None => Who::Nobody,
                }
            }
        };
        let own = |units: &mut UnitDirectory<'_>| units.own(&source.digest, chunk.places.of(row));
        Ok(match (who, empty_unit) {
            (Who::Shopper(unit), _) => Fate::Kept(unit),
            (Who::Erased, _) => Fate::Erased,
            (Who::Stranger, _) => Fate::Bad(None, "is about no shopper of this vault"),
            (Who::Nobody, EmptyUnit::Refuse) => {
                Fate::Bad(Some(at), "is empty, so the row belongs to no shopper")
            }
            (Who::Nobody, EmptyUnit::Drop) => Fate::LeftOut,
            (Who::Nobody, EmptyUnit::OwnUnit) => match own(units)? {
                Who::Shopper(unit) => Fate::Kept(unit),
                Who::Erased => Fate::Erased,
                Who::Nobody | Who::Stranger => return Err(INTERNAL),
            },
        })
    }

    fn check_keys(
        &mut self,
        source: &Source,
        chunk: &Chunk,
        faults: &mut RowFaults,
        keep: &mut [bool],
    ) -> Result<(), VaultRefused> {
        let Some(mut keys) = self.keys.take() else { return Err(INTERNAL) };
        let arrays: Vec<ArrayRef> =
            keys.columns.iter().filter_map(|&at| chunk.columns.get(at).cloned()).collect();
        let rows = keys.converter.convert_columns(&arrays).map_err(|_| INTERNAL)?;
        for (row, keep) in keep.iter_mut().enumerate().filter(|(_, keep)| **keep) {
            if !keys.seen.insert(rows.row(row).owned()) {
                *keep = false;
                let column = keys.columns.first().copied();
                faults.add(self.bad_row(source, chunk, row, column, "is the key of an earlier row too"));
            }
        }
        self.keys = Some(keys);
        Ok(())
    }

    /// Keeps the rows of earlier snapshots whose key is not in this load: a public table is updated key by key.
    pub(super) fn keep_older(&mut self, older: &RecordBatch) -> Result<(), VaultRefused> {
        let Some(keys) = &mut self.keys else { return Ok(()) };
        let TableKind::Public { key } = &self.table.kind else { return Ok(()) };
        let arrays: Vec<ArrayRef> =
            key.iter().filter_map(|name| older.column_by_name(name).cloned()).collect();
        let rows = keys.converter.convert_columns(&arrays).map_err(|_| INTERNAL)?;
        let keep: BooleanArray = rows.iter().map(|row| Some(!keys.seen.contains(&row.owned()))).collect();
        let kept = filter_record_batch(older, &keep).map_err(|_| INTERNAL)?;
        let kept =
            RecordBatch::try_new(Arc::clone(&self.schema), kept.columns().to_vec()).map_err(|_| INTERNAL)?;
        if kept.num_rows() > 0 {
            self.batches.push(kept);
        }
        Ok(())
    }

    fn learn(&mut self, batch: &RecordBatch) {
        for (name, seen) in &mut self.seen {
            let Some(array) = batch.column_by_name(name) else { continue };
            match array.data_type() {
                DataType::Utf8 => array.as_string::<i32>().iter().flatten().for_each(|text| seen.text(text)),
                DataType::Int64 => {
                    array.as_primitive::<Int64Type>().iter().flatten().for_each(|n| seen.number(n))
                }
                DataType::Date32 => {
                    let days = array.as_primitive::<arrow::datatypes::Date32Type>();
                    days.iter().flatten().for_each(|day| seen.number(i64::from(day)));
                }
                _ => {}
            }
        }
    }

    fn note_unaddressable(&mut self, source: &Source, chunk: &Chunk, cell: &BadCell) {
        let Some(column) = cell.column.and_then(|at| self.table.columns.get(at)) else { return };
        let row = self.bad_row(source, chunk, cell.row, cell.column, &cell.reason);
        let at = self.unaddressable.iter().position(|known| known.column == column.name);
        let at = at.unwrap_or_else(|| {
            let (column, shown) = (column.name.clone(), Vec::new());
            self.unaddressable.push(Unaddressable { column, total: 0, shown });
            self.unaddressable.len() - 1
        });
        if let Some(known) = self.unaddressable.get_mut(at) {
            known.total += 1;
            if known.shown.len() < self.shown_max {
                known.shown.push(row);
            }
        }
    }

    fn bad_row(
        &self,
        source: &Source,
        chunk: &Chunk,
        row: usize,
        column: Option<usize>,
        reason: &str,
    ) -> BadRow {
        BadRow {
            file: source.name.clone(),
            place: chunk.places.word(),
            row: chunk.places.of(row),
            column: column.and_then(|at| self.table.columns.get(at)).map(|column| column.source.clone()),
            reason: reason.to_owned(),
        }
    }
}

/// Whom a row is about that names its shopper in the vault's own terms.
fn given_shopper(given: &Given, row: usize, units: &UnitDirectory<'_>) -> Result<Who, VaultRefused> {
    match given {
        Given::Units(array) | Given::Pseudonyms(array) if array.is_null(row) => Ok(Who::Nobody),
        Given::Units(array) => {
            let array = array.as_primitive_opt::<UInt32Type>().ok_or(INTERNAL)?;
            Ok(units.at(array.value(row)))
        }
        Given::Pseudonyms(array) => {
            let array = array.as_fixed_size_binary_opt().ok_or(INTERNAL)?;
            Ok(units.pseudonym(array.value(row)))
        }
    }
}

impl PublicKeys {
    fn new(table: &Table, key: &[String]) -> Result<Self, VaultRefused> {
        let columns: Vec<usize> = key
            .iter()
            .filter_map(|name| table.columns.iter().position(|column| column.name == *name))
            .collect();
        let fields = columns.iter().filter_map(|&at| table.columns.get(at));
        let fields = fields.map(|column| SortField::new(plain_type(column.ty))).collect();
        Ok(Self {
            converter: RowConverter::new(fields).map_err(|_| INTERNAL)?,
            columns,
            seen: HashSet::new(),
        })
    }
}
