//! Tail bound, threshold and interval against exact summation in 60 digits.

#![expect(clippy::unwrap_used, reason = "test code")]

mod support;

use ids::{Delta, MicroRho};
use privacy::{Bound, NoiseSource, OpenDpNoise, Scale, half_width_95, threshold, upper_tail};

const TAILS: &str = include_str!("vectors/tail.csv");
const THRESHOLDS: &str = include_str!("vectors/threshold.csv");

/// A scale with exactly this σ, which must be a short binary fraction.
fn exactly(sigma: f64) -> Scale {
    // Δ² = 2ρσ² with ρ = 500 000 µρ makes σ = Δ / √(2ρ) = Δ for whole Δ; fractions take ρ = 0.5 / σ² if that is whole.
    let scale = if sigma.fract() == 0.0 {
        support::scale(sigma as u64, 500_000).unwrap()
    } else {
        let (numerator, denominator) = (sigma * 32.0, 32.0);
        let rho = 500_000.0 * denominator * denominator;
        support::scale(numerator as u64, rho as u64).unwrap()
    };
    assert!((scale.sigma() / sigma - 1.0).abs() < 1e-10, "{sigma}: {scale:?}");
    scale
}

#[test]
fn the_tail_bound_is_above_the_truth_and_close() {
    for row in support::rows(TAILS) {
        let (sigma, m, exact): (f64, u64, f64) =
            (row[0].parse().unwrap(), row[1].parse().unwrap(), row[2].parse().unwrap());
        let scale = exactly(sigma);
        let bound = upper_tail(&scale, m);
        assert!(bound >= exact, "{row:?}: {bound}");
        if (m + 64) as f64 > sigma * 2.0 {
            assert!(bound <= exact * 1.005, "{row:?}: {bound}");
        }
    }
}

#[test]
fn the_threshold_is_the_smallest_that_keeps_delta() {
    for row in support::rows(THRESHOLDS) {
        let (sigma, kappa): (f64, u32) = (row[0].parse().unwrap(), row[1].parse().unwrap());
        let (delta, smallest): (u64, u64) = (row[2].parse().unwrap(), row[3].parse().unwrap());
        let ours = threshold(&exactly(sigma), kappa, Delta::from_units(delta)).unwrap();
        assert!(ours >= smallest, "{row:?}: {ours}");
        assert!(ours as f64 <= smallest as f64 + 1.0 + sigma * 5e-4, "{row:?}: {ours}");
    }
}

#[test]
fn the_threshold_moves_the_right_way() {
    let scale = exactly(17.25);
    let at = |kappa, delta| threshold(&scale, kappa, Delta::from_units(delta)).unwrap();
    assert!(at(1, 1_000_000) <= at(2, 1_000_000));
    assert!(at(1000, 1_000_000) < at(1000, 1000));
    assert_eq!(threshold(&scale, 1, Delta::ZERO), None);
    assert_eq!(threshold(&scale, 0, Delta::from_units(1)), None);
}

/// δ so large that it can be measured: one shopper alone in κ groups, 30 000 times.
#[test]
fn a_group_of_one_shopper_alone_shows_no_more_often_than_delta() {
    const KAPPA: u32 = 4;
    const TRIALS: u64 = 30_000;
    let (delta, noise) = (Delta::at_least(0.05).unwrap(), OpenDpNoise::default());
    let scale =
        Scale::calibrated(Bound::Groups(KAPPA.into()).sensitivity(), MicroRho::from_units(200_000)).unwrap();
    let limit = i128::from(threshold(&scale, KAPPA, delta).unwrap());
    let draws = noise.discrete_gaussian(TRIALS as usize * KAPPA as usize, &scale).unwrap();
    let shown = |limit: i128| {
        draws.chunks(KAPPA as usize).filter(|groups| groups.iter().any(|z| 1 + z > limit)).count() as u64
    };
    assert!(!support::too_many(shown(limit), TRIALS, 0.05), "{}", shown(limit));
    // The same rule with `>=`, as in opendp#2922, is caught by this very test.
    assert!(support::too_many(shown(limit - 1), TRIALS, 0.05), "{}", shown(limit - 1));
}

#[test]
fn the_interval_covers_95_percent_by_exact_probabilities() {
    for sigma in [0.25, 0.5, 0.75, 1.0, 1.5, 2.40625, 5.4375, 17.25, 60.5, 300.0, 2000.0] {
        let scale = exactly(sigma);
        let half = half_width_95(&scale) as i64;
        let (pmf, reach) = support::pmf(scale.sigma());
        let covered = |half: i64| -> f64 { (-half..=half).map(|k| pmf[(k + reach) as usize]).sum() };
        assert!(covered(half) >= 0.95, "{sigma}: {half}");
        assert!(half == 0 || covered(half - 1) < 0.95 + 2e-4, "{sigma}: {half} is too wide");
    }
    // For large σ it is the normal quantile.
    let wide = support::scale(1_000_000_000, 500_000).unwrap();
    let half = half_width_95(&wide) as f64 / wide.sigma();
    assert!((1.959_96..1.965).contains(&half), "{half}");
}

#[test]
fn the_tail_bound_falls() {
    for sigma in [0.5, 3.0, 1000.0] {
        let scale = exactly(sigma);
        let tails: Vec<f64> =
            (0..400).map(|step| upper_tail(&scale, 1 + step * sigma.ceil() as u64 / 20)).collect();
        assert!(tails.windows(2).all(|pair| pair[1] <= pair[0] * (1.0 + 1e-9)), "{sigma}");
    }
}
