//! OpenDP's sampler against exact probabilities, drawn exactly as releases draw it. Releases before 0.14.2 failed this
//! kind of test (opendp#2639). Every alarm is false with probability < 10⁻⁷; there are fewer than 20.

#![expect(clippy::indexing_slicing, reason = "test code")]

mod support;

use std::num::NonZeroUsize;

use privacy::{Bound, NoiseReport, NoiseSource, OpenDpNoise, Scale};

/// Pearson's statistic over the bins that expect at least 25 draws, the tails pooled; and its degrees of freedom.
fn chi_square(draws: &[i128], scale: &Scale) -> (f64, f64) {
    let (pmf, reach) = support::pmf(scale.sigma());
    let expected = |k: i64| pmf[(k + reach) as usize] * draws.len() as f64;
    let edge = (0..reach).take_while(|&k| expected(k) >= 25.0).last().unwrap_or(0);
    let mut observed = vec![0.0; 2 * edge as usize + 1];
    let mut tails = (0.0, 0.0);
    for &draw in draws {
        match usize::try_from(draw + i128::from(edge)).ok().and_then(|bin| observed.get_mut(bin)) {
            Some(count) => *count += 1.0,
            None if draw < 0 => tails.0 += 1.0,
            None => tails.1 += 1.0,
        }
    }
    let mut statistic = 0.0;
    for (k, count) in (-edge..=edge).zip(&observed) {
        statistic += (count - expected(k)).powi(2) / expected(k);
    }
    let tail: f64 = (edge + 1..=reach).map(expected).sum();
    let mut bins = observed.len() as f64;
    if tail >= 5.0 {
        statistic += ((tails.0 - tail).powi(2) + (tails.1 - tail).powi(2)) / tail;
        bins += 2.0;
    }
    (statistic, bins - 1.0)
}

#[test]
fn draws_follow_the_exact_probabilities() {
    let noise = OpenDpNoise::with_threads(NonZeroUsize::new(2).unwrap());
    for (sigma, draws) in
        [(0.4, 40_000), (0.87, 40_000), (1.0, 100_000), (2.37, 60_000), (7.76, 60_000), (33.3, 60_000)]
    {
        let scale = support::scale_near(sigma).unwrap();
        let drawn = noise.discrete_gaussian(draws, &scale).unwrap();
        assert_eq!(drawn.len(), draws);
        let (statistic, df) = chi_square(&drawn, &scale);
        let alarm = support::chi_square_alarm(df);
        assert!(
            statistic < alarm,
            "sigma {sigma}: chi-square {statistic} with {df} degrees, alarm at {alarm}"
        );
    }
}

/// The test above can fail: it tells neighbouring scales and a wrong centre apart.
#[test]
fn the_chi_square_alarm_rings() {
    let noise = OpenDpNoise::default();
    let (right, wrong) = (support::scale_near(2.37).unwrap(), support::scale_near(2.5).unwrap());
    let drawn = noise.discrete_gaussian(40_000, &right).unwrap();
    let (statistic, df) = chi_square(&drawn, &wrong);
    assert!(statistic > support::chi_square_alarm(df));
    let shifted: Vec<i128> = drawn.iter().map(|z| if z % 10 == 0 { z + 1 } else { *z }).collect();
    let (statistic, df) = chi_square(&shifted, &right);
    assert!(statistic > support::chi_square_alarm(df));
}

#[test]
fn threads_and_calls_share_no_noise() {
    let scale = support::scale(1_000_000_000, 100).unwrap();
    let noise = OpenDpNoise::with_threads(NonZeroUsize::new(4).unwrap());
    for draws in [0, 1, 63, 64, 65, 257] {
        assert_eq!(noise.discrete_gaussian(draws, &scale).unwrap().len(), draws);
    }
    let mut drawn = noise.discrete_gaussian(512, &scale).unwrap();
    drawn.extend(noise.discrete_gaussian(512, &scale).unwrap());
    drawn.sort_unstable();
    // At σ ≈ 7 · 10¹⁰ two of 1024 draws agree by chance with probability about 2 · 10⁻⁶; three pairs never.
    let same = drawn.windows(2).filter(|pair| pair[0] == pair[1]).count();
    assert!(same < 3, "{same} equal draws");
}

#[test]
fn intervals_cover_the_truth() {
    const RELEASES: usize = 20_000;
    let noise = OpenDpNoise::default();
    for sigma in [0.3, 0.6, 2.37, 60.0] {
        let scale = support::scale_near(sigma).unwrap();
        let report = NoiseReport::without_histogram(&scale, Bound::Groups(1), false);
        let draws = noise.discrete_gaussian(RELEASES, &scale).unwrap();
        let missed = draws.iter().filter(|&z| !report.interval(1000 + z).contains(1000)).count() as u64;
        assert!(!support::too_many(missed, RELEASES as u64, 0.05), "sigma {sigma}: {missed} missed");
    }
}
