//! Checks after the draw: did the arms come out in the declared ratio, and did controls see the campaign after all?
//! Pure functions of counts, exact or noisy.

/// False-alarm rate of the sample-ratio check: of a thousand sound campaigns one is called unsound.
pub const ALPHA: f64 = 0.001;

/// Share of exposed controls above which no verdict may be given, in hundredths of a per cent (2 %).
pub const CONTAMINATION_MAX_BP: u32 = 200;

/// The outcome of the sample-ratio check.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleRatio {
    /// Pearson's χ² with one degree of freedom (less where the counts are noisy).
    pub chi_square: f64,
    /// How often a sound draw looks at least as bad.
    pub p_value: f64,
    /// Whether `p_value` < [`ALPHA`]: the arms are not what was drawn, and no verdict may be given.
    pub alarm: bool,
}

/// Compares the sizes of both arms with the declared share.
///
/// With exact counts (`noise_std` 0) this is Pearson's test: χ² = (n_C − s·n)² / (n·s·(1 − s)). Where each count carries
/// independent noise of standard deviation σ, the variance of n_C − s·n grows by σ²·((1 − s)² + s²). `None` where nothing
/// can be compared: no households, a share of 0 or 1, or a number that is not finite.
pub fn sample_ratio(treatment: f64, control: f64, share_bp: u16, noise_std: f64) -> Option<SampleRatio> {
    let share = f64::from(share_bp) / 10_000.0;
    let all = treatment + control;
    let sound = share > 0.0 && share < 1.0 && all > 0.0 && noise_std >= 0.0;
    let off = control - share * all;
    let variance =
        all * share * (1.0 - share) + noise_std * noise_std * ((1.0 - share).powi(2) + share.powi(2));
    let chi_square = off * off / variance;
    if !sound || !chi_square.is_finite() {
        return None;
    }
    let p_value = erfc((chi_square / 2.0).sqrt());
    Some(SampleRatio { chi_square, p_value, alarm: p_value < ALPHA })
}

/// How much of the control group was reached after all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Contamination {
    /// Exposed controls over controls, within 0 and 1.
    pub share: f64,
    /// Whether it is above [`CONTAMINATION_MAX_BP`]: the verdict is UNRESOLVED whatever the numbers say.
    pub exceeded: bool,
}

/// The share of controls with at least one exposure. `None` without controls, or where a number is not finite. Noisy
/// counts may lie outside what is possible; the share is then the nearest that is.
pub fn contamination(exposed_controls: f64, controls: f64) -> Option<Contamination> {
    let share = exposed_controls / controls;
    if controls.partial_cmp(&0.0) != Some(std::cmp::Ordering::Greater) || !share.is_finite() {
        return None;
    }
    let share = share.clamp(0.0, 1.0);
    Some(Contamination { share, exceeded: share * 10_000.0 > f64::from(CONTAMINATION_MAX_BP) })
}

/// 1 − erf(x) for x ≥ 0. Below 2.5 the series of erf whose terms are all positive (Abramowitz & Stegun 7.1.6), above it the
/// continued fraction of erfc (7.1.14), evaluated from its end.
fn erfc(x: f64) -> f64 {
    let (square, root_pi) = (x * x, std::f64::consts::PI.sqrt());
    if x < 2.5 {
        let (mut term, mut sum, mut n) = (x, x, 0.0);
        while term > sum * 1e-17 {
            n += 1.0;
            term *= 2.0 * square / (2.0 * n + 1.0);
            sum += term;
        }
        1.0 - 2.0 / root_pi * (-square).exp() * sum
    } else {
        let fraction = (1..=80).rev().fold(x, |tail, k| x + f64::from(k) / 2.0 / tail);
        (-square).exp() / root_pi / fraction
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erfc_agrees_with_scipy() {
        // scipy 1.x, scipy.special.erfc
        for (x, expected) in [
            (0.0, 1.0),
            (0.1, 0.887_537_083_981_715),
            (1.0, 0.157_299_207_050_285_13),
            (2.4, 0.000_688_513_896_645_078_9),
            (2.5, 0.000_406_952_017_444_958_9),
            (5.0, 1.537_459_794_428_035e-12),
            (9.0, 4.137_031_746_513_81e-37),
        ] {
            let got = erfc(x);
            assert!((got - expected).abs() <= expected * 1e-11, "erfc({x}) = {got}, not {expected}");
        }
    }
}
