//! Tail of the discrete Gaussian, bounded from above, and what follows from it: thresholds and interval widths.

use ids::Delta;

use crate::Scale;

/// Terms of the tail that are added one by one before the rest is bounded by an integral.
const TERMS: u64 = 64;
/// Covers the rounding of at most 70 additions and exponentials, each good to a few units in the last place of an
/// exponent that is at most 745.
const ROUNDING: f64 = 1.0 + 1e-10;
/// Half of the 5 % that a 95 % interval may miss.
const MISS_ONE_SIDE: f64 = 0.025;
/// √(2π).
const ROOT_TAU: f64 = 2.506_628_274_631_000_5;

/// An upper bound of Pr[Z ≥ m] for Z from the discrete Gaussian of parameter σ, and m ≥ 1.
///
/// # Guarantee
/// Never below the true probability. With f(t) = e^(−t²/2σ²): the numerator Σ_{k≥m} f(k) is 64 terms plus a rest that
/// is at most ∫ f from half a unit before its first term, because f is convex beyond σ; that integral is σ·f·R with
/// Mills' ratio R(x) < 4 / (3x + √(x² + 8)) (Sampford 1953). The denominator Σ_k f(k) is at least √(2π)σ (Poisson
/// summation: every term of the dual sum is positive; as Canonne, Kamath & Steinke 2020 show) and at least any partial
/// sum. Below one standard deviation, where f is not convex, the answer is 1.
pub fn upper_tail(scale: &Scale, m: u64) -> f64 {
    tail_of(scale.sigma(), m)
}

fn tail_of(sigma: f64, m: u64) -> f64 {
    let density = |t: f64| (-(t / sigma) * (t / sigma) / 2.0).exp();
    let last = m.saturating_add(TERMS);
    let x = (last as f64 - 0.5) / sigma;
    if m == 0 || x < 1.0 {
        return 1.0;
    }
    let head: f64 = (m..last).map(|k| density(k as f64)).sum();
    let rest = sigma * (-x * x / 2.0).exp() * 4.0 / (3.0 * x + (x * x + 8.0).sqrt());
    let partial = 1.0 + 2.0 * (density(1.0) + density(2.0) + density(3.0));
    ((head + rest) / (ROOT_TAU * sigma).max(partial) * ROUNDING).min(1.0)
}

/// The threshold T for private keys: a group is released if its noisy number of distinct shoppers is **greater** than
/// T. `None` if δ is zero or no countable threshold reaches it.
///
/// # Guarantee
/// Theorem. Let every shopper be counted at most once in each of at most κ groups, and let independent noise Z of this
/// scale be added to the number of shoppers of every group that has any. Then the groups that exist only because of one
/// shopper are all suppressed with probability at least 1 − δ: such a group counts 1, is released only if 1 + Z > T,
/// that is Z ≥ T on integers, and there are at most κ of them, so that the probability that any is released is at most
/// κ · Pr[Z ≥ T] ≤ δ (union bound; `upper_tail` bounds the tail from above). The shopper's other groups exist without
/// them and are covered by the noise: release of keys and values together is δ-approximate ρ-zCDP (`DERIVATION.md` §6;
/// the argument is that of Korolova et al. 2009 and of Google's 2020 note on partition selection). T is the smallest
/// integer for which the bound shows it. OpenDP 0.16's own threshold measurement compares with `>=` and under-reports δ
/// (opendp#2922), so it is not used.
pub fn threshold(scale: &Scale, kappa: u32, delta: Delta) -> Option<u64> {
    if delta == Delta::ZERO || kappa == 0 {
        return None;
    }
    let per_group = delta.as_f64() / f64::from(kappa) * (1.0 - 1e-12);
    smallest_with_tail_within(scale.sigma(), per_group)
}

/// The half-width h of the 95 % interval `noisy ± h` for the exact number before noise: the smallest h for which the
/// noise is certain to lie within ±h with probability at least 0.95. About 1.96 σ for large σ, 0 for tiny ones.
pub fn half_width_95(scale: &Scale) -> u64 {
    smallest_with_tail_within(scale.sigma(), MISS_ONE_SIDE).map_or(u64::MAX, |m| m - 1)
}

/// The smallest m ≥ 1 whose tail bound is at most `probability`.
fn smallest_with_tail_within(sigma: f64, probability: f64) -> Option<u64> {
    // INVARIANT (bracket): the tail at `low` is too heavy, that at `high` is not.
    let (mut low, mut high) = (0, 1_u64);
    while tail_of(sigma, high) > probability {
        low = high;
        high = high.checked_mul(2).filter(|high| *high < 1 << 62)?;
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if tail_of(sigma, middle) > probability { low = middle } else { high = middle }
    }
    Some(high)
}
