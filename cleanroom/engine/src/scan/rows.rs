//! Arrow batches as plain slices: the shape the fold works on.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, Int64Type, UInt32Type};
use sql::{KeyType, KeyValue, StreamColumn};

use super::fold::FoldFailed;
use super::{GroupKey, Groups, ScanPlan, SelectionKey};

/// Most private groups one range may show before the scan is given up: they are kept in memory.
const GROUPS_MAX: usize = 4 << 20;

/// Some rows of the stream.
pub(super) struct Rows<'a> {
    /// The shopper of each row.
    pub units: &'a [u32],
    /// The group of each row; negative: none.
    pub codes: &'a [i32],
    /// Per measure its values; `None`: every row counts.
    pub values: Vec<Option<Values<'a>>>,
}

/// The values of one measure.
pub(super) struct Values<'a> {
    pub numbers: &'a [i64],
    pub nulls: Option<&'a NullBuffer>,
}

/// Reads batches of one plan, and numbers the private groups of one range as they appear.
pub(super) struct Reader<'a> {
    plan: &'a ScanPlan,
    numbered: HashMap<Box<[u8]>, i32>,
    groups: Vec<GroupKey>,
    tags: Vec<u64>,
    bytes: Vec<u8>,
}

/// A batch whose columns have the types the fold works on.
pub(super) struct Block {
    units: arrow::array::ArrayRef,
    codes: Codes,
    values: Vec<Option<arrow::array::ArrayRef>>,
}

/// Where the groups of a batch stand.
enum Codes {
    Column(arrow::array::ArrayRef),
    Made(Vec<i32>),
}

impl<'a> Reader<'a> {
    /// A reader for one range.
    pub(super) fn new(plan: &'a ScanPlan) -> Self {
        Self { plan, numbered: HashMap::new(), groups: Vec::new(), tags: Vec::new(), bytes: Vec::new() }
    }

    /// The private groups found so far, and their keyed hashes.
    pub(super) fn tags(&self) -> &[u64] {
        &self.tags
    }

    /// The private groups, by number.
    pub(super) fn into_groups(self) -> Vec<GroupKey> {
        self.groups
    }

    /// Brings a batch into shape.
    pub(super) fn read(&mut self, batch: &RecordBatch) -> Result<Block, FoldFailed> {
        let column = |wanted: StreamColumn| {
            self.plan.columns.iter().position(|column| *column == wanted).map(|at| batch.column(at))
        };
        let units = column(StreamColumn::Unit).ok_or(FoldFailed::Broken)?;
        let units = as_type(units, &DataType::UInt32)?;
        if units.null_count() > 0 {
            return Err(FoldFailed::Broken);
        }
        let mut values = Vec::with_capacity(self.plan.measures.len());
        for measure in &self.plan.measures {
            values.push(match measure.column {
                None => None,
                Some(at) => {
                    let found = column(StreamColumn::Measure(at)).ok_or(FoldFailed::Broken)?;
                    Some(as_type(found, &DataType::Int64)?)
                }
            });
        }
        let public = column(StreamColumn::Group).map(|codes| as_type(codes, &DataType::Int32)).transpose()?;
        let codes = match &self.plan.groups {
            Groups::Public { .. } => public_codes(public, batch.num_rows()),
            Groups::Private { keys, .. } => {
                let mut columns = Vec::with_capacity(keys.len());
                for (at, ty) in keys.iter().enumerate() {
                    let found = column(StreamColumn::Private(at)).ok_or(FoldFailed::Broken)?;
                    columns.push(as_type(found, &arrow_type(*ty))?);
                }
                let public = public_codes(public, batch.num_rows());
                Codes::Made(self.number(public.as_slice(), &columns)?)
            }
        };
        Ok(Block { units, codes, values })
    }

    /// Numbers the private groups of a batch.
    fn number(&mut self, public: &[i32], keys: &[arrow::array::ArrayRef]) -> Result<Vec<i32>, FoldFailed> {
        let mut codes = Vec::with_capacity(public.len());
        for (row, &code) in public.iter().enumerate() {
            let Ok(code) = u32::try_from(code) else {
                codes.push(-1);
                continue;
            };
            self.bytes.clear();
            self.bytes.extend_from_slice(&code.to_be_bytes());
            for key in keys {
                encode(key, row, &mut self.bytes);
            }
            if let Some(&number) = self.numbered.get(self.bytes.as_slice()) {
                codes.push(number);
                continue;
            }
            if self.groups.len() >= GROUPS_MAX {
                return Err(FoldFailed::Broken);
            }
            let number = i32::try_from(self.groups.len()).map_err(|_| FoldFailed::Broken)?;
            let group = GroupKey { code, values: keys.iter().map(|key| value_of(key, row)).collect() };
            let selection: &SelectionKey = &self.plan.selection;
            self.tags.push(selection.tag(&group));
            self.groups.push(group);
            self.numbered.insert(self.bytes.as_slice().into(), number);
            codes.push(number);
        }
        Ok(codes)
    }
}

impl Codes {
    fn as_slice(&self) -> &[i32] {
        match self {
            Self::Column(column) => column.as_primitive::<Int32Type>().values(),
            Self::Made(codes) => codes,
        }
    }
}

impl Block {
    /// Its rows.
    pub(super) fn rows(&self) -> Rows<'_> {
        let values = self.values.iter().map(|column| {
            column.as_ref().map(|column| Values {
                numbers: column.as_primitive::<Int64Type>().values(),
                nulls: column.nulls().filter(|nulls| nulls.null_count() > 0),
            })
        });
        Rows {
            units: self.units.as_primitive::<UInt32Type>().values(),
            codes: self.codes.as_slice(),
            values: values.collect(),
        }
    }
}

/// The column itself, or a cast of it; what does not fit becomes NULL, which contributes nothing.
fn as_type(column: &arrow::array::ArrayRef, ty: &DataType) -> Result<arrow::array::ArrayRef, FoldFailed> {
    if column.data_type() == ty {
        Ok(column.clone())
    } else {
        cast(column, ty).map_err(|_| FoldFailed::Broken)
    }
}

/// The codes of public keys: NULL becomes negative, no column means one group.
fn public_codes(column: Option<arrow::array::ArrayRef>, rows: usize) -> Codes {
    match column {
        None => Codes::Made(vec![0; rows]),
        Some(column) if column.null_count() == 0 => Codes::Column(column),
        Some(column) => {
            let codes = column.as_primitive::<Int32Type>();
            Codes::Made(codes.iter().map(|code| code.unwrap_or(-1)).collect())
        }
    }
}

/// How private keys arrive.
const fn arrow_type(ty: KeyType) -> DataType {
    match ty {
        KeyType::Text => DataType::Utf8,
        KeyType::Int { .. } => DataType::Int64,
    }
}

/// Appends a key so that no two sequences of keys look alike.
fn encode(column: &arrow::array::ArrayRef, row: usize, bytes: &mut Vec<u8>) {
    if column.is_null(row) {
        bytes.push(0);
    } else if let Some(numbers) = column.as_primitive_opt::<Int64Type>() {
        bytes.push(1);
        bytes.extend_from_slice(&numbers.value(row).to_be_bytes());
    } else if let Some(texts) = column.as_string_opt::<i32>() {
        let text = texts.value(row);
        bytes.push(2);
        bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
}

/// A key as a value.
fn value_of(column: &arrow::array::ArrayRef, row: usize) -> KeyValue {
    if column.is_null(row) {
        KeyValue::Null
    } else if let Some(numbers) = column.as_primitive_opt::<Int64Type>() {
        KeyValue::Int(numbers.value(row))
    } else {
        column
            .as_string_opt::<i32>()
            .map_or(KeyValue::Null, |texts| KeyValue::Text(texts.value(row).to_owned()))
    }
}

/// All rows of a range that did not come in order, to be sorted by shopper.
#[derive(Default)]
pub(super) struct Gathered {
    units: Vec<u32>,
    codes: Vec<i32>,
    values: Vec<Option<Gathering>>,
}

/// One measure's values.
#[derive(Default)]
struct Gathering {
    numbers: Vec<i64>,
    valid: Vec<bool>,
}

impl Gathered {
    /// Takes the next rows, in whatever order.
    pub(super) fn take(&mut self, rows: &Rows<'_>) {
        self.units.extend_from_slice(rows.units);
        self.codes.extend_from_slice(rows.codes);
        if self.values.is_empty() {
            self.values
                .extend(rows.values.iter().map(|values| values.as_ref().map(|_| Gathering::default())));
        }
        for (kept, values) in self.values.iter_mut().zip(&rows.values) {
            if let (Some(kept), Some(values)) = (kept, values) {
                kept.numbers.extend_from_slice(values.numbers);
                kept.valid.extend(
                    (0..values.numbers.len()).map(|row| values.nulls.is_none_or(|nulls| nulls.is_valid(row))),
                );
            }
        }
    }

    /// The rows of each shopper together; rows of one shopper keep their order.
    pub(super) fn sorted(self) -> Sorted {
        let mut order: Vec<usize> = (0..self.units.len()).collect();
        order.sort_by_key(|&row| self.units.get(row));
        let pick = |kept: Gathering| {
            let valid: Vec<bool> = order.iter().filter_map(|&row| kept.valid.get(row).copied()).collect();
            let numbers = order.iter().filter_map(|&row| kept.numbers.get(row).copied()).collect();
            (numbers, NullBuffer::from(valid))
        };
        Sorted {
            units: order.iter().filter_map(|&row| self.units.get(row).copied()).collect(),
            codes: order.iter().filter_map(|&row| self.codes.get(row).copied()).collect(),
            values: self.values.into_iter().map(|kept| kept.map(pick)).collect(),
        }
    }
}

/// Rows in order of shoppers.
pub(super) struct Sorted {
    units: Vec<u32>,
    codes: Vec<i32>,
    values: Vec<Option<(Vec<i64>, NullBuffer)>>,
}

impl Sorted {
    /// All of them.
    pub(super) fn rows(&self) -> Rows<'_> {
        let values = self
            .values
            .iter()
            .map(|kept| kept.as_ref().map(|(numbers, nulls)| Values { numbers, nulls: Some(nulls) }));
        Rows { units: &self.units, codes: &self.codes, values: values.collect() }
    }
}
