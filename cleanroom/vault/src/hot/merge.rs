//! Merging runs of batches, each ascending in `unit_ix`, into one.

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::UInt32Type;

use crate::part::BATCH_ROWS;
use crate::refusal::VaultRefused;

const INTERNAL: VaultRefused = VaultRefused::Internal { act: "merging parts" };

/// One run: the batch that is being used up, and what follows.
struct Run<I> {
    rest: I,
    batch: Option<RecordBatch>,
}

impl<I: Iterator<Item = Result<RecordBatch, VaultRefused>>> Run<I> {
    /// Makes sure there is a batch with rows, unless the run has ended.
    fn advance(&mut self) -> Result<(), VaultRefused> {
        while self.batch.as_ref().is_none_or(|batch| batch.num_rows() == 0) {
            match self.rest.next() {
                Some(batch) => self.batch = Some(batch?),
                None => {
                    self.batch = None;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Cuts off the rows up to and including `unit`.
    fn cut(&mut self, unit: u32) -> Result<Option<RecordBatch>, VaultRefused> {
        let Some(batch) = &self.batch else { return Ok(None) };
        let rows = units(batch)?.values().partition_point(|&ix| ix <= unit);
        let head = batch.slice(0, rows);
        self.batch = Some(batch.slice(rows, batch.num_rows() - rows));
        Ok((rows > 0).then_some(head))
    }
}

/// Hands out the rows of all runs in ascending `unit_ix`; rows of one shopper come in the order of the runs.
///
/// Of every run a batch is at hand. The smallest of their last shoppers bounds what is complete for all runs: up to there
/// the batches are cut and put together, except that this very shopper may go on in the next batch of its run; then its
/// later rows follow in the next round, and nothing comes between because no other run has a smaller shopper left.
pub(super) fn merge<I: Iterator<Item = Result<RecordBatch, VaultRefused>>>(
    runs: Vec<I>,
    each: &mut dyn FnMut(RecordBatch) -> Result<(), VaultRefused>,
) -> Result<(), VaultRefused> {
    let mut runs: Vec<Run<I>> = runs.into_iter().map(|rest| Run { rest, batch: None }).collect();
    loop {
        let mut bound: Option<u32> = None;
        for run in &mut runs {
            run.advance()?;
            if let Some(batch) = &run.batch {
                let last = *units(batch)?.values().last().ok_or(INTERNAL)?;
                bound = Some(bound.map_or(last, |bound| bound.min(last)));
            }
        }
        let Some(bound) = bound else { return Ok(()) };
        let mut heads = Vec::new();
        for run in &mut runs {
            heads.extend(run.cut(bound)?);
        }
        put_together(&heads, each)?;
    }
}

fn put_together(
    heads: &[RecordBatch],
    each: &mut dyn FnMut(RecordBatch) -> Result<(), VaultRefused>,
) -> Result<(), VaultRefused> {
    let mut order: Vec<(u32, usize, usize)> = Vec::new();
    for (run, head) in heads.iter().enumerate() {
        order.extend(units(head)?.values().iter().enumerate().map(|(row, &unit)| (unit, run, row)));
    }
    order.sort_unstable();
    let sources: Vec<&RecordBatch> = heads.iter().collect();
    for slice in order.chunks(BATCH_ROWS) {
        let indices: Vec<(usize, usize)> = slice.iter().map(|&(_, run, row)| (run, row)).collect();
        each(interleave_record_batch(&sources, &indices).map_err(|_| INTERNAL)?)?;
    }
    Ok(())
}

fn units(batch: &RecordBatch) -> Result<&UInt32Array, VaultRefused> {
    batch.columns().first().and_then(|units| units.as_primitive_opt::<UInt32Type>()).ok_or(INTERNAL)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use arrow::array::{ArrayRef, Int64Array};
    use arrow::datatypes::{DataType, Field, Schema};
    use proptest::prelude::*;

    fn batch(rows: &[(u32, i64)]) -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("unit_ix", DataType::UInt32, false),
            Field::new("v", DataType::Int64, false),
        ]);
        let units: ArrayRef = Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.0)));
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1)));
        RecordBatch::try_new(Arc::new(schema), vec![units, values]).unwrap()
    }

    proptest! {
        #[test]
        fn merging_is_sorting(runs in prop::collection::vec(prop::collection::vec(0_u32..20, 0..60), 0..5), size in 1_usize..9) {
            let mut expected = Vec::new();
            let mut tagged: Vec<Vec<(u32, i64)>> = Vec::new();
            for (r, run) in runs.iter().enumerate() {
                let mut run = run.clone();
                run.sort_unstable();
                let rows: Vec<_> = run.iter().enumerate().map(|(i, &u)| (u, (r * 1000 + i) as i64)).collect();
                expected.extend(rows.clone());
                tagged.push(rows);
            }
            expected.sort_by_key(|row| row.0);
            let sources = tagged.iter().map(|rows| rows.chunks(size).map(|rows| Ok(batch(rows))).collect::<Vec<_>>().into_iter());
            let mut merged = Vec::new();
            merge(sources.collect(), &mut |batch| {
                let values = batch.column(1).as_primitive::<arrow::datatypes::Int64Type>();
                merged.extend(units(&batch)?.values().iter().copied().zip(values.values().iter().copied()));
                Ok(())
            }).unwrap();
            prop_assert!(merged.is_sorted_by_key(|row| row.0));
            let (mut merged_rows, mut expected_rows) = (merged.clone(), expected.clone());
            merged_rows.sort_unstable();
            expected_rows.sort_unstable();
            prop_assert_eq!(merged_rows, expected_rows);
        }
    }
}
