//! From ρ to ε at a given δ and back, always rounded towards more loss.

use ids::{Delta, MicroEpsilon, MicroRho};

/// Steps of the grid of orders α per factor e in α − 1. The optimum lies within half a step of a grid point, which
/// costs at most a relative 5 · 10⁻⁷ of ε.
const STEPS_PER_E: f64 = 512.0;
/// The grid of α − 1 runs from e⁻¹⁴ to e²⁴; outside it ε is rounded up to the end point's value, still an upper bound.
const LOG_ORDER_MIN: f64 = -14.0;
const LOG_ORDER_MAX: f64 = 24.0;
/// Floating-point evaluation of one order errs by less than this, relatively and absolutely; it is added before rounding
/// up. (The terms are a handful of elementary functions, each good to a few units in the last place, and large only where ε
/// itself is.)
const EVALUATION_ERROR: f64 = 1e-11;
/// Shown when no finite ε exists: more than any cap can be.
const UNBOUNDED: MicroEpsilon = MicroEpsilon::from_units(u64::MAX);

/// The ε at which ρ-zCDP implies (ε, δ)-DP, rounded up to a whole µε. With δ = 0 and ρ > 0 no ε does; the answer is
/// then the largest countable one, which no cap admits.
///
/// # Guarantee
/// Any mechanism that is ρ-zCDP is (ε, δ)-DP for the returned ε, under the same adjacency. Source: Canonne, Kamath &
/// Steinke 2020, Proposition 12 and Corollary 13: for every order α > 1,
/// ε = αρ + ln(1 − 1/α) − (ln δ + ln α) / (α − 1) is valid; the minimum over a fixed grid of orders is taken, so the
/// answer is an upper bound for every grid, and is monotone in ρ and in δ to the last bit.
pub fn epsilon_of(rho: MicroRho, delta: Delta) -> MicroEpsilon {
    Conversion::at(delta).epsilon(rho)
}

/// The largest whole µρ with `epsilon_of(ρ, δ) ≤ ε`: what a question for ε may spend. Zero where nothing fits, in
/// particular for δ = 0.
///
/// # Guarantee
/// A ρ-zCDP mechanism with the returned ρ is (ε, δ)-DP; see [`epsilon_of`], whose answer for it never exceeds ε.
pub fn rho_within(epsilon: MicroEpsilon, delta: Delta) -> MicroRho {
    let conversion = Conversion::at(delta);
    let fits = |units: u64| conversion.epsilon(MicroRho::from_units(units)) <= epsilon;
    // INVARIANT (bracket): `fits(low)` holds and `fits(high)` does not, or `high` is beyond what f64 counts exactly.
    let (mut low, mut high) = (0, 1);
    while high < 1 << 52 && fits(high) {
        (low, high) = (high, high * 2);
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if fits(middle) { low = middle } else { high = middle }
    }
    MicroRho::from_units(low)
}

/// The conversion at one δ: α − 1 and ε − αρ for every order α of the grid. The grid is the same for every ρ and δ,
/// which is what makes the conversion monotone.
struct Conversion {
    delta: Delta,
    orders: Vec<(f64, f64)>,
}

impl Conversion {
    fn at(delta: Delta) -> Self {
        let log_inverse_delta = -delta.as_f64().ln();
        let steps = ((LOG_ORDER_MAX - LOG_ORDER_MIN) * STEPS_PER_E) as u32;
        let orders = (0..=steps).map(|step| {
            // Kept as α − 1, so that orders near one lose no digits.
            let above_one = (LOG_ORDER_MIN + f64::from(step) / STEPS_PER_E).exp();
            let log_order = above_one.ln_1p();
            (above_one, above_one.ln() - log_order + (log_inverse_delta - log_order) / above_one)
        });
        Self { delta, orders: orders.collect() }
    }

    fn epsilon(&self, rho: MicroRho) -> MicroEpsilon {
        if rho == MicroRho::ZERO || self.delta.units() >= Delta::ONE as u64 {
            return MicroEpsilon::ZERO;
        }
        if self.delta == Delta::ZERO {
            return UNBOUNDED;
        }
        let rho = rho.as_f64();
        let epsilon = self.orders.iter().map(|(above_one, rest)| above_one * rho + rho + rest);
        let least = epsilon.fold(f64::INFINITY, f64::min).max(0.0);
        MicroEpsilon::at_least(least * (1.0 + EVALUATION_ERROR) + EVALUATION_ERROR).unwrap_or(UNBOUNDED)
    }
}

/// An agreement's δ, divided between the conversion from ρ to ε and the thresholds of private keys.
///
/// # Guarantee
/// A mechanism that is δ′-approximate ρ-zCDP is (ε, δ + δ′)-DP where ρ-zCDP gives (ε, δ) (Bun & Steinke 2016,
/// Lemma 8.8); the two parts add up to no more than the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeltaSplit {
    /// For [`epsilon_of`] and [`rho_within`].
    pub conversion: Delta,
    /// For all thresholds of the period together.
    pub thresholds: Delta,
}

impl DeltaSplit {
    /// Half for each side; the odd unit goes to the conversion.
    pub const fn halves(whole: Delta) -> Self {
        let thresholds = Delta::from_units(whole.units() / 2);
        Self { conversion: whole.minus(thresholds), thresholds }
    }
}
