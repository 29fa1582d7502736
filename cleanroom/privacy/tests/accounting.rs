//! ρ ↔ ε against independent references, and the directions of rounding.

mod support;

use ids::{Delta, MicroEpsilon, MicroRho};
use privacy::{DeltaSplit, epsilon_of, rho_within};
use proptest::prelude::*;

const VECTORS: &str = include_str!("vectors/zcdp.csv");

#[test]
fn epsilon_is_never_below_the_reference_and_hardly_above_it() {
    let mut checked = 0;
    for row in support::rows(VECTORS) {
        let rho = MicroRho::from_units(row[0].parse().unwrap());
        let delta = Delta::from_units(row[1].parse().unwrap());
        let (exact, library): (f64, f64) = (row[2].parse().unwrap(), row[3].parse().unwrap());
        let ours = epsilon_of(rho, delta).as_f64();
        assert!(ours >= exact * (1.0 - 1e-12), "{row:?}: {ours}");
        assert!(ours <= exact * (1.0 + 1e-6) + 2.1e-6, "{row:?}: {ours}");
        // dp-accounting searches fewer orders, so it may only be a little worse.
        assert!(ours <= library * (1.0 + 1e-6) + 2.1e-6, "{row:?}: {ours}");
        assert!(ours >= library * (1.0 - 1e-4) - 1e-6, "{row:?}: {ours}");
        checked += 1;
    }
    assert_eq!(checked, 67);
}

#[test]
fn rho_within_is_the_largest_that_fits() {
    for row in support::rows(VECTORS) {
        let delta = Delta::from_units(row[1].parse().unwrap());
        for epsilon in [1, 1000, 500_000, 1_000_000, 10_000_000].map(MicroEpsilon::from_units) {
            let rho = rho_within(epsilon, delta);
            assert!(epsilon_of(rho, delta) <= epsilon);
            assert!(epsilon_of(rho.plus(MicroRho::from_units(1)).unwrap(), delta) > epsilon);
        }
    }
}

#[test]
fn nothing_is_spent_where_no_delta_is_granted() {
    let one = MicroRho::from_units(1);
    assert_eq!(epsilon_of(one, Delta::ZERO).units(), u64::MAX);
    assert_eq!(rho_within(MicroEpsilon::from_units(1_000_000), Delta::ZERO), MicroRho::ZERO);
    assert_eq!(epsilon_of(MicroRho::ZERO, Delta::ZERO), MicroEpsilon::ZERO);
    // A cost beyond what can be counted is unbounded, not small.
    assert_eq!(epsilon_of(MicroRho::from_units(u64::MAX), Delta::from_units(1)).units(), u64::MAX);
}

#[test]
fn half_a_delta_and_half_a_delta_are_the_delta() {
    for units in [0, 1, 2, 999, 1_000_000_001] {
        let DeltaSplit { conversion, thresholds } = DeltaSplit::halves(Delta::from_units(units));
        assert_eq!(conversion.plus(thresholds), Ok(Delta::from_units(units)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn more_rho_is_never_less_epsilon(rho in 0_u64..50_000_000, more in 1_u64..1000, delta in 1_u64..1_000_000_000_000_000) {
        let delta = Delta::from_units(delta);
        prop_assert!(epsilon_of(MicroRho::from_units(rho), delta) <= epsilon_of(MicroRho::from_units(rho + more), delta));
    }

    #[test]
    fn more_delta_is_never_more_epsilon(rho in 1_u64..50_000_000, delta in 1_u64..1_000_000_000_000, more in 1_u64..1000) {
        let rho = MicroRho::from_units(rho);
        prop_assert!(epsilon_of(rho, Delta::from_units(delta)) >= epsilon_of(rho, Delta::from_units(delta + more)));
    }

    /// Any order gives a valid bound, so none drawn at random may beat the answer by more than its rounding.
    #[test]
    fn no_order_beats_the_answer(rho in 1_u64..10_000_000, delta in 1_u64..100_000_000_000_000, log_above in -8.0_f64..12.0) {
        let answer = epsilon_of(MicroRho::from_units(rho), Delta::from_units(delta)).as_f64();
        let (rho, delta, above) = (rho as f64 / 1e6, delta as f64 / 1e15, log_above.exp());
        let alpha = above + 1.0;
        let other = (alpha * rho + (above / alpha).ln() - (delta.ln() + alpha.ln()) / above).max(0.0);
        prop_assert!(answer <= other * (1.0 + 1e-6) + 2e-6, "{answer} {other}");
    }
}
