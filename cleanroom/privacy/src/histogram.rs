//! How large shoppers' norms are: a histogram in powers of √2, from which a clip bound is found privately.

use std::fmt;

use crate::{Bound, Drawn, NoiseFailed, Norm, Scale};

/// The exact histogram: each shopper in one bucket.
///
/// Bucket 0 holds Σx² = 0 and bucket b ≥ 1 holds 2^(b−1) ≤ Σx² < 2^b, so that norms grow by √2 from bucket to bucket
/// and the comparison is exact. Everything above the largest norm asked for lies in the last bucket.
///
/// # Guarantee
/// A shopper adds 1 to exactly one bucket, so neighbours' histograms differ by 1 in L2. It is not readable: the only way
/// out is [`NormHistogram::with_noise`].
pub struct NormHistogram {
    counts: Vec<u64>,
}

/// The number of the bucket of a sum of squares.
const fn bucket_of(squares: u128) -> usize {
    (u128::BITS - squares.leading_zeros()) as usize
}

impl NormHistogram {
    /// An empty histogram for norms up to `max`.
    pub fn up_to(max: Bound) -> Self {
        Self { counts: vec![0; bucket_of(max.sensitivity().squared()) + 1] }
    }

    /// Counts one shopper. For sums and rows the norm is `sum_of_squares` of the vector; for distinct shoppers it is
    /// the number of groups (`Norm::Squared(groups)`).
    pub fn add(&mut self, norm: Norm) {
        let last = self.counts.len().saturating_sub(1);
        let bucket = match norm {
            Norm::Squared(squares) => bucket_of(squares).min(last),
            Norm::Beyond => last,
        };
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
    }

    /// Adds what another worker counted over other shoppers, in a histogram made for the same maximum.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    /// How many draws of noise it needs.
    pub fn buckets(&self) -> usize {
        self.counts.len()
    }

    /// The noisy histogram. The noise must be as long as the histogram.
    ///
    /// # Guarantee
    /// ρ-zCDP with `noise.scale().rho()`, the scale having been made for [`crate::Sensitivity::ONE`] or more.
    pub fn with_noise(self, noise: Drawn) -> Result<NoisyHistogram, NoiseFailed> {
        let scale = *noise.scale();
        let exact: Vec<i128> = self.counts.iter().map(|&count| i128::from(count)).collect();
        Ok(NoisyHistogram { counts: noise.add_to(&exact)?, scale })
    }
}

impl fmt::Debug for NormHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NormHistogram").field("buckets", &self.counts.len()).finish_non_exhaustive()
    }
}

/// The histogram after noise: free to be used by anything.
#[derive(Debug, Clone)]
pub struct NoisyHistogram {
    counts: Vec<i128>,
    scale: Scale,
}

impl NoisyHistogram {
    /// The noisy counts, bucket by bucket.
    pub fn counts(&self) -> &[i128] {
        &self.counts
    }

    /// The scale of its noise.
    pub const fn scale(&self) -> &Scale {
        &self.scale
    }

    /// The norm below which all shoppers of bucket `bucket` lie: 2^(bucket / 2).
    pub(crate) fn upper_edge(bucket: usize) -> f64 {
        2_f64.powf(bucket as f64 / 2.0)
    }
}
