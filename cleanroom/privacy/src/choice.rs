//! The clip bound that costs the least error, out of a noisy histogram of norms.

use ids::MicroRho;

use crate::{Bound, NoisyHistogram};

/// A bucket this many σ above zero is taken as it is.
const STRONG: f64 = 6.0;
/// Beyond the strong buckets, one is believed if what is seen from it on is this many σ above zero.
const VISIBLE: f64 = 3.0;
/// How fast the tail is assumed to fall from bucket to bucket when its first bucket is estimated out of several.
const WINDOW_DECAY: f64 = 0.5;
const WINDOW: usize = 4;
/// The tail beyond the visible buckets begins to fall by a factor in this range per bucket. The upper end is below
/// 1/√2, beyond which unseen shoppers would weigh more the farther they are.
const DECAY: std::ops::RangeInclusive<f64> = 0.1..=0.6;
/// The fall gets steeper by this factor from bucket to bucket, as that of every log-concave tail does: real norms are
/// nearer to log-normal than to a power law. (Chosen with the populations of `tests/choice.rs`.)
const STEEPENING: f64 = 0.8;
/// What is assumed where the last visible buckets do not fall.
const DECAY_UNKNOWN: f64 = 0.4;
/// Each bucket (a factor of √2 in the norm) is cut into this many slices.
const SLICES: usize = 8;
/// Standard deviations allowed for in the upper estimate of the bias.
const ALLOWANCE: f64 = 2.0;

/// What a bound is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoundQuestion {
    /// The answer is not above this; its variant says what a bound is.
    pub largest: Bound,
    /// What the release will cost.
    pub rho: MicroRho,
    /// How many numbers the release has.
    pub cells: u64,
}

/// A bound and what is known about it. All of it is computed from the noisy histogram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BoundChoice {
    /// The bound.
    pub bound: Bound,
    /// Noisy share of shoppers above it, 0 to 1.
    pub clipped_share: f64,
    /// Estimate of what clipping takes away: the sum over shoppers of the L2 norm of what each loses. By the triangle
    /// inequality no single number, and not the L2 norm of all of them, moves by more than that sum.
    pub bias_estimate: f64,
    /// The same with two standard deviations of the histogram's noise, and as many unseen shoppers one bucket beyond
    /// the last visible one. An estimate too: a single shopper far beyond cannot be seen.
    pub bias_upper: f64,
}

/// Chooses the bound that minimises an upper estimate of the total squared error of all numbers together, bias² +
/// cells · σ(bound)².
///
/// The bias is bounded by the triangle inequality (see [`BoundChoice::bias_estimate`]), so that the choice errs towards
/// clipping less. For sums and rows a shopper of norm n loses n − bound; for distinct shoppers one of k groups keeps
/// `bound` of them and loses a share 1 − bound/k of a vector of norm √k.
///
/// The noise in the histogram is kept from being mistaken for shoppers of enormous norm: strong buckets are taken as
/// they are; the buckets behind them are believed one after the other, each out of a window of four, only as far as the
/// window stands out of the noise, and fall monotonically; what follows is an ever steeper tail between what the slope
/// promises and what the noisy counts show. Shoppers are spread within a bucket along the local slope.
///
/// # Guarantee
/// A deterministic function of the noisy histogram and of public numbers: post-processing, free of charge. The answer
/// is between 1 and the largest bound.
pub fn choose_bound(histogram: &NoisyHistogram, question: &BoundQuestion) -> BoundChoice {
    let tail = Tail::fit(histogram);
    let noise_factor = question.cells as f64 / (2.0 * question.rho.as_f64().max(f64::MIN_POSITIVE));
    let error = |bound: Bound| {
        let bias = tail.bias(bound);
        bias * bias + noise_factor * bound.sensitivity().squared() as f64
    };
    let slices = (histogram.counts().len() * SLICES) as u32;
    let best = (0..=slices)
        .map(|slice| bound_at(question.largest, slice))
        .chain([question.largest])
        .map(|bound| (error(bound), bound))
        .min_by(|(left, _), (right, _)| left.total_cmp(right))
        .map_or(question.largest, |(_, bound)| bound);
    tail.judge(best)
}

/// The bound at a slice's lower edge, 2^(slice / 16), between 1 and `largest`.
fn bound_at(largest: Bound, slice: u32) -> Bound {
    let edge = 2_f64.powf(f64::from(slice) / (2 * SLICES) as f64);
    match largest {
        Bound::Norm(most) => Bound::Norm((edge.ceil() as u64).clamp(1, most.max(1))),
        Bound::Groups(most) => Bound::Groups(((edge * edge).ceil() as u64).clamp(1, most.max(1))),
    }
}

/// What a shopper of norm `norm` loses, in L2.
fn lost(norm: f64, bound: Bound) -> f64 {
    match bound {
        Bound::Norm(most) => (norm - most as f64).max(0.0),
        Bound::Groups(most) => (norm - most as f64 / norm).max(0.0),
    }
}

/// Whether a shopper of norm `norm` is above the bound.
fn is_above(norm: f64, bound: Bound) -> bool {
    lost(norm, bound) > 0.0
}

/// A model of the shoppers' norms.
struct Tail {
    /// Norm and number of shoppers, slice by slice.
    slices: Vec<(f64, f64)>,
    /// Shoppers altogether, those of norm zero included; at least 1.
    total: f64,
    /// The last visible bucket.
    visible: usize,
    /// σ of one bucket's noise.
    sigma: f64,
}

impl Tail {
    fn fit(histogram: &NoisyHistogram) -> Self {
        let sigma = histogram.scale().sigma();
        let counts: Vec<f64> = histogram.counts().iter().map(|&count| count as f64).collect();
        let (smooth, visible) = smoothed(&counts, sigma);
        let at = |bucket: usize| smooth.get(bucket).copied().unwrap_or(0.0);
        let mut slices = Vec::with_capacity(smooth.len() * SLICES);
        for bucket in 1..smooth.len() {
            let lower = NoisyHistogram::upper_edge(bucket - 1);
            // The slope of the counts at this bucket, per bucket.
            let before = if bucket > 1 { at(bucket - 1) } else { 0.0 };
            let slope = ((at(bucket + 1) + 1.0) / (before + 1.0)).sqrt().clamp(0.25, 4.0);
            let weight = |slice: usize| slope.powf((slice as f64 + 0.5) / SLICES as f64);
            let whole: f64 = (0..SLICES).map(weight).sum();
            slices.extend((0..SLICES).map(|slice| {
                let middle = (slice as f64 + 0.5) / (2 * SLICES) as f64;
                (lower * middle.exp2(), at(bucket) * weight(slice) / whole)
            }));
        }
        let total = smooth.iter().sum::<f64>().max(1.0);
        Self { slices, total, visible, sigma }
    }

    /// Σ over shoppers of what each loses.
    fn bias(&self, bound: Bound) -> f64 {
        self.slices.iter().map(|&(norm, count)| count * lost(norm, bound)).sum()
    }

    fn judge(&self, bound: Bound) -> BoundChoice {
        let above: f64 =
            self.slices.iter().filter(|(norm, _)| is_above(*norm, bound)).map(|(_, count)| count).sum();
        let bias_estimate = self.bias(bound);
        let variance: f64 = (1..=self.visible)
            .map(|bucket| lost(NoisyHistogram::upper_edge(bucket), bound) * self.sigma)
            .map(|error| error * error)
            .sum();
        let unseen = ALLOWANCE * self.sigma * lost(NoisyHistogram::upper_edge(self.visible + 1), bound);
        BoundChoice {
            bound,
            clipped_share: (above / self.total).clamp(0.0, 1.0),
            bias_estimate,
            bias_upper: bias_estimate + ALLOWANCE * variance.sqrt() + unseen,
        }
    }
}

/// Counts that are not negative, fall monotonically beyond the last strong bucket and ever faster beyond the last
/// visible one; and the number of that one.
fn smoothed(counts: &[f64], sigma: f64) -> (Vec<f64>, usize) {
    let strong = last_strong(counts, sigma);
    let mut smooth: Vec<f64> = counts.iter().take(strong + 1).map(|count| count.max(0.0)).collect();
    let last = |smooth: &[f64]| smooth.last().copied().unwrap_or(0.0);
    while smooth.len() < counts.len() {
        let seen = first_of_window(counts.get(smooth.len()..).unwrap_or_default());
        if seen <= VISIBLE * sigma {
            break;
        }
        smooth.push(seen.min(last(&smooth)));
    }
    let visible = smooth.len() - 1;
    let edge = last(&smooth);
    let before = if visible > 1 { smooth.get(visible - 1).copied().unwrap_or(0.0) } else { 0.0 };
    let decay =
        if before > edge { (edge / before).clamp(*DECAY.start(), *DECAY.end()) } else { DECAY_UNKNOWN };
    // What the slope promises for the next bucket, known to about itself, against what is seen, known to about σ.
    let promised = edge * decay;
    let seen = first_of_window(counts.get(smooth.len()..).unwrap_or_default());
    let trust = promised * promised / (promised * promised + sigma * sigma);
    let next = (trust * seen + (1.0 - trust) * promised).clamp(0.0, edge);
    let falls = std::iter::successors(Some(decay * STEEPENING), |fall| Some(fall * STEEPENING));
    let hidden = falls.scan(next, |count, fall| Some(std::mem::replace(count, *count * fall)));
    let missing = counts.len() - smooth.len();
    smooth.extend(hidden.take(missing));
    (smooth, visible)
}

/// The least-squares estimate of the first of these counts, if they fall by [`WINDOW_DECAY`] each.
fn first_of_window(counts: &[f64]) -> f64 {
    let weights = std::iter::successors(Some(1.0), |weight| Some(weight * WINDOW_DECAY));
    let (sum, squares) =
        counts.iter().take(WINDOW).zip(weights).fold((0.0, 0.0), |(sum, squares), (count, weight)| {
            (sum + count * weight, squares + weight * weight)
        });
    if squares > 0.0 { sum / squares } else { 0.0 }
}

/// The last bucket of norms above zero that stands out of the noise; without one, the largest.
fn last_strong(counts: &[f64], sigma: f64) -> usize {
    let buckets = || counts.iter().enumerate().skip(1);
    let largest = || buckets().max_by(|(_, left), (_, right)| left.total_cmp(right));
    buckets().rfind(|(_, count)| **count > STRONG * sigma).or_else(largest).map_or(0, |(bucket, _)| bucket)
}
