//! The bound found from a noisy histogram costs little more error than the best bound would.

#![expect(clippy::unwrap_used, reason = "test code")]

mod support;

use ids::MicroRho;
use privacy::{
    Bound, BoundChoice, BoundSource, Design, DesignRequest, GroupSpace, MeasureDesign, MeasureKind,
    MeasurePlan, Norm, NormHistogram, draw,
};

/// Shoppers' norms, reproducible and smooth: quantiles of exp(mu + spread · normal), or a Pareto tail.
fn log_normal(shoppers: u32, mu: f64, spread: f64) -> Vec<u64> {
    let quantile = |p: f64| {
        // Tukey's lambda distribution is close to the normal one and has a quantile in one line.
        (p.powf(0.14) - (1.0 - p).powf(0.14)) / 0.197_5
    };
    (0..shoppers)
        .map(|i| (mu + spread * quantile((f64::from(i) + 0.5) / f64::from(shoppers))).exp().round() as u64)
        .collect()
}

fn pareto(shoppers: u32, least: f64, exponent: f64) -> Vec<u64> {
    (0..shoppers)
        .map(|i| (least * ((f64::from(i) + 0.5) / f64::from(shoppers)).powf(-1.0 / exponent)).round() as u64)
        .collect()
}

fn plan(kind: MeasureKind, max: u64, rho: u64, cells: u64) -> MeasurePlan {
    let measures = vec![MeasureDesign { kind, bound: BoundSource::Search { max } }];
    let groups = GroupSpace::Public { cells };
    let design = Design::new(DesignRequest { groups, measures, rho: MicroRho::from_units(rho) });
    *design.unwrap().measures().first().unwrap()
}

fn choose(plan: &MeasurePlan, norms: &[u64], cells: u64, seed: u64) -> BoundChoice {
    let mut histogram = NormHistogram::up_to(plan.largest_bound());
    for &norm in norms {
        let squared = match plan.kind() {
            MeasureKind::Units => u128::from(norm),
            MeasureKind::Rows | MeasureKind::Sum => u128::from(norm).pow(2),
        };
        histogram.add(Norm::Squared(squared));
    }
    let noise = draw(&support::Replay(seed), plan.search_scale().unwrap(), histogram.buckets()).unwrap();
    plan.choose(&histogram.with_noise(noise).unwrap(), cells)
}

/// Root of bias² + cells · σ², with the triangle inequality's bias, from the true norms.
fn error(plan: &MeasurePlan, norms: &[u64], cells: u64, bound: Bound) -> f64 {
    let bias: f64 = match bound {
        Bound::Norm(most) => norms.iter().map(|&norm| norm.saturating_sub(most) as f64).sum(),
        Bound::Groups(most) => norms
            .iter()
            .map(|&groups| (groups as f64).sqrt() * (1.0 - most as f64 / groups.max(most) as f64))
            .sum(),
    };
    let sigma = plan.scale(bound).unwrap().sigma();
    (bias * bias + cells as f64 * sigma * sigma).sqrt()
}

fn best_error(plan: &MeasurePlan, norms: &[u64], cells: u64) -> f64 {
    let candidates = (0..400).map(|step| 1.07_f64.powi(step)).take_while(|bound| *bound < 1e11);
    let bound = |candidate: f64| match plan.largest_bound() {
        Bound::Norm(most) => Bound::Norm((candidate as u64).clamp(1, most)),
        Bound::Groups(most) => Bound::Groups((candidate as u64).clamp(1, most)),
    };
    candidates.map(|candidate| error(plan, norms, cells, bound(candidate))).fold(f64::INFINITY, f64::min)
}

/// 200 runs for each population: the error (noise and the worst bias that the norms allow) against that of the best
/// bound found with full knowledge. The noise is replayed, so the figures are the same in every run.
#[test]
fn the_found_bound_costs_little_more_than_the_best() {
    const SHARE: u64 = 16_800; // ε = 1 at δ = 10⁻⁶
    for (name, kind, norms, max, cells) in [
        ("2 469 households, one sum", MeasureKind::Sum, log_normal(2469, 12.3, 1.0), 100_000_000, 1),
        ("2 469 households, 25 departments", MeasureKind::Sum, log_normal(2469, 12.3, 1.0), 100_000_000, 25),
        ("20 000 shoppers, one sum", MeasureKind::Sum, log_normal(20_000, 10.0, 0.7), 100_000_000, 1),
        ("20 000 shoppers, 1 000 cells", MeasureKind::Sum, log_normal(20_000, 10.0, 0.7), 100_000_000, 1000),
        ("500 000 shoppers, 40 cells", MeasureKind::Sum, log_normal(500_000, 12.0, 1.2), 10_000_000_000, 40),
        ("a power law", MeasureKind::Rows, pareto(20_000, 30.0, 2.5), 10_000_000, 10),
        ("300 shoppers", MeasureKind::Rows, log_normal(300, 4.0, 0.5), 100_000, 1),
        ("products bought by households", MeasureKind::Units, log_normal(2469, 5.0, 0.8), 90_000, 90_000),
        ("everybody equal", MeasureKind::Rows, vec![1000; 5000], 1_000_000, 4),
    ] {
        let plan = plan(kind, max, SHARE, cells);
        let best = best_error(&plan, &norms, cells);
        let mut ratios: Vec<f64> = (1..=200)
            .map(|seed| error(&plan, &norms, cells, choose(&plan, &norms, cells, seed).bound) / best)
            .collect();
        ratios.sort_by(f64::total_cmp);
        let (median, most, worst) = (ratios[100], ratios[180], ratios[199]);
        println!(
            "{name}: {median:.3} times the best error in the median, {most:.3} in 9 of 10, at worst {worst:.3}"
        );
        assert!(median < 1.2 && most < 1.6 && worst < 4.0, "{name}: {median} {most} {worst}");
    }
}

#[test]
fn the_share_of_clipped_shoppers_is_near_the_truth() {
    let norms = log_normal(20_000, 10.0, 0.7);
    let plan = plan(MeasureKind::Sum, 100_000_000, 16_800, 1000);
    for seed in 1..=50 {
        let choice = choose(&plan, &norms, 1000, seed);
        let Bound::Norm(bound) = choice.bound else { panic!("a norm") };
        let truth = norms.iter().filter(|&&norm| norm > bound).count() as f64 / norms.len() as f64;
        assert!((choice.clipped_share - truth).abs() < 0.005, "{choice:?} {truth}");
        assert!(choice.bias_estimate <= choice.bias_upper);
    }
}

/// Nobody there, or only noise: the answer is still a bound that the release can use.
#[test]
fn any_histogram_gives_a_usable_bound() {
    for kind in [MeasureKind::Units, MeasureKind::Rows] {
        for (max, cells) in [(1, 1), (2, 7), (u64::MAX, 3), (u64::MAX, u64::MAX)] {
            for seed in 0..20 {
                let plan = plan(kind, max, 100, cells);
                let choice = choose(&plan, &[], cells, seed);
                let (Bound::Groups(bound) | Bound::Norm(bound)) = choice.bound;
                assert!((1..=max).contains(&bound), "{choice:?}");
                assert!(
                    (0.0..=1.0).contains(&choice.clipped_share) && choice.bias_estimate.is_finite(),
                    "{choice:?}"
                );
                assert!(plan.scale(choice.bound).is_ok());
            }
        }
    }
}
