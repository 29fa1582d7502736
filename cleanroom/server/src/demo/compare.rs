//! Answers beside the exact figures, for the owner's eyes.

use engine::{BoundFrom, NoisyValue, Release};
use serde_json::{Value, json};

use super::owner::Exact;
use super::script::{Asked, Measure};
use crate::output::{Align, Grid, number, share};

/// How an answer compares with the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// The truth lies in the interval.
    Inside,
    /// It lies above, and the answer says that clipping may exceed its interval.
    Clipped,
    /// It lies outside, as one interval in twenty may.
    Outside,
}

/// One answer beside its truth.
pub(super) struct Comparison {
    pub(super) grid: Grid,
    pub(super) json: Value,
    pub(super) inside: usize,
    pub(super) clipped: usize,
    pub(super) outside: usize,
}

impl Comparison {
    /// Figures that were compared.
    pub(super) const fn total(&self) -> usize {
        self.inside + self.clipped + self.outside
    }
}

/// Puts an answer and its truth side by side.
pub(super) fn compare(asked: &Asked, release: &Release, exact: &Exact) -> Comparison {
    let mut columns: Vec<(String, Align)> = Vec::new();
    if let Some((_, column)) = &asked.truth.key {
        columns.push((column.clone(), Align::Left));
    }
    for (column, _) in &asked.truth.measures {
        columns.push((column.clone(), Align::Right));
        columns.push(("95 % interval".to_owned(), Align::Right));
        columns.push(("exact (owner)".to_owned(), Align::Right));
        columns.push((String::new(), Align::Left));
    }
    let mut made =
        Comparison { grid: Grid::of(columns), json: Value::Null, inside: 0, clipped: 0, outside: 0 };
    let mut rows = Vec::new();
    for row in &release.rows {
        let key = match &asked.truth.key {
            None => String::new(),
            Some((_, column)) => row.key(column).map_or_else(|| "NULL".to_owned(), ToString::to_string),
        };
        let mut cells = Vec::new();
        if asked.truth.key.is_some() {
            cells.push(key.clone());
        }
        for (at, (column, measure)) in asked.truth.measures.iter().enumerate() {
            let truth = exact.get(&key).and_then(|figures| figures.get(at)).copied().unwrap_or(0.0);
            let Some(value) = row.value(column) else { continue };
            let verdict = verdict(release, column, measure, value, truth);
            match verdict {
                Verdict::Inside => made.inside += 1,
                Verdict::Clipped => made.clipped += 1,
                Verdict::Outside => made.outside += 1,
            }
            let shown =
                |figure: Option<engine::Figure>| figure.map_or_else(|| "—".to_owned(), |f| number(f.0, 0));
            cells.push(shown(value.value));
            cells.push(format!("{} … {}", shown(value.low), shown(value.high)));
            cells.push(number(truth, 0));
            cells.push(mark(verdict).to_owned());
            rows.push(json!({
                "key": key, "column": column, "value": value, "exact": truth,
                "verdict": match verdict {
                    Verdict::Inside => "inside",
                    Verdict::Clipped => "clipped",
                    Verdict::Outside => "outside",
                },
            }));
        }
        made.grid.row(cells);
    }
    made.json = Value::Array(rows);
    made
}

fn verdict(release: &Release, column: &str, measure: &Measure, value: &NoisyValue, truth: f64) -> Verdict {
    let low = value.low.map_or(f64::NEG_INFINITY, |low| low.0);
    let high = value.high.map_or(f64::INFINITY, |high| high.0);
    if (low..=high).contains(&truth) {
        return Verdict::Inside;
    }
    // Bounding only takes away from what is not negative: it explains a truth above the interval, never one below.
    if truth > high && !matches!(measure, Measure::Units) && says_clipping(release, column) {
        return Verdict::Clipped;
    }
    Verdict::Outside
}

/// Whether the answer itself says that shoppers were cut.
fn says_clipping(release: &Release, _column: &str) -> bool {
    release.bounds.iter().any(|bound| bound.source != BoundFrom::Inherent && bound.clipped_share.is_some())
}

const fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Inside => "✓",
        Verdict::Outside => "✗",
        Verdict::Clipped => "clipped",
    }
}

/// The largest noisy share of shoppers that were cut, if the answer says so.
pub(super) fn clipped_share(release: &Release) -> String {
    let cut =
        release.bounds.iter().filter_map(|bound| bound.clipped_share).map(|cut| cut.0).fold(0.0, f64::max);
    share(cut.clamp(0.0, 1.0))
}

/// The most figures out of `total` that may lie outside a correct 95 % interval: the binomial tail beyond it is below
/// one in a million.
pub(super) fn outside_max(total: usize) -> usize {
    let mut tail = 1.0;
    // P(X = 0) of Binomial(total, 1/20), then upwards.
    let mut probability = 0.95_f64.powi(i32::try_from(total).unwrap_or(i32::MAX));
    for outside in 0..total {
        tail -= probability;
        if tail < 1e-6 {
            return outside;
        }
        probability *= (total - outside) as f64 / (outside + 1) as f64 * (0.05 / 0.95);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_on_misses_is_the_binomial_one() {
        // Reference: scipy.stats.binom.isf(1e-6, n, 0.05).
        assert_eq!(outside_max(1), 1);
        assert_eq!(outside_max(20), 8);
        assert_eq!(outside_max(100), 18);
    }
}
