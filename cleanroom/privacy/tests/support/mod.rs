//! What several test files need: exact probabilities, alarms with a stated false-alarm rate, reference tables.

#![expect(dead_code, reason = "every test file uses another part of it")]

use ids::MicroRho;
use privacy::{NoiseFailed, NoiseSource, Scale, ScaleRefused, Sensitivity};

/// ln of one over the false-alarm rate of every single alarm: 10⁻⁷.
const LOG_ALARM: f64 = 16.118_095_650_958_32;

/// Probability of each integer in −reach..=reach under the discrete Gaussian, and reach; beyond lie less than 10⁻³⁰.
pub(crate) fn pmf(sigma: f64) -> (Vec<f64>, i64) {
    let reach = (12.0 * sigma).ceil() as i64 + 2;
    let weight = |k: i64| (-(k as f64 / sigma).powi(2) / 2.0).exp();
    let total: f64 = (-reach..=reach).map(weight).sum();
    ((-reach..=reach).map(|k| weight(k) / total).collect(), reach)
}

/// True if `hits` of `trials` is too many for a probability of at most `p`, wrongly so with probability < 10⁻⁷
/// (Chernoff: Pr[X ≥ k] ≤ exp(−n · KL(k/n ‖ p)); wider than Clopper & Pearson's interval, so never more alarms).
pub(crate) fn too_many(hits: u64, trials: u64, p: f64) -> bool {
    let share = hits as f64 / trials as f64;
    let part = |q: f64, p: f64| if q == 0.0 { 0.0 } else { q * (q / p).ln() };
    share > p && trials as f64 * (part(share, p) + part(1.0 - share, 1.0 - p)) > LOG_ALARM
}

/// The value that chi-square with `df` degrees of freedom exceeds with probability < 10⁻⁷ (Wilson & Hilferty 1931).
pub(crate) fn chi_square_alarm(df: f64) -> f64 {
    const Z: f64 = 5.3;
    df * (1.0 - 2.0 / (9.0 * df) + Z * (2.0 / (9.0 * df)).sqrt()).powi(3)
}

/// A scale for a whole-number sensitivity.
pub(crate) fn scale(sensitivity: u64, rho_micro: u64) -> Result<Scale, ScaleRefused> {
    Scale::calibrated(privacy::Bound::Norm(sensitivity).sensitivity(), MicroRho::from_units(rho_micro))
}

/// A scale whose σ is as near to `sigma` as whole µρ allow (relative error below 1 % for σ up to 5).
pub(crate) fn scale_near(sigma: f64) -> Result<Scale, ScaleRefused> {
    Scale::calibrated(Sensitivity::ONE, MicroRho::at_least(0.5 / (sigma * sigma)).unwrap_or(MicroRho::ZERO))
}

/// Rows of a committed reference table, without its head.
pub(crate) fn rows(table: &str) -> impl Iterator<Item = Vec<&str>> {
    table.lines().skip(1).map(|line| line.split(',').collect())
}

/// Reproducible noise for tests of what is done with noise: rounded sums of twelve uniform numbers.
#[derive(Debug)]
pub(crate) struct Replay(pub(crate) u64);

impl NoiseSource for Replay {
    fn discrete_gaussian(&self, draws: usize, scale: &Scale) -> Result<Vec<i128>, NoiseFailed> {
        let mut state = self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let mut normal = || (0..12).map(|_| uniform()).sum::<f64>() - 6.0;
        Ok((0..draws).map(|_| (normal() * scale.sigma()).round() as i128).collect())
    }
}
