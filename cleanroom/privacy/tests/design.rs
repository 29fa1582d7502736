//! The division of a budget: exact, never more than asked for, refused where it makes no sense.

#![expect(clippy::unwrap_used, reason = "test code")]

mod support;

use dashu::integer::{IBig, UBig};
use dashu::rational::RBig;
use ids::{Delta, MicroRho};
use privacy::{
    Bound, BoundSource, Design, DesignRefused, DesignRequest, GroupSpace, MeasureDesign, MeasureKind,
    NoiseFailed, Norm, NormHistogram, Scale, ScaleRefused, Sensitivity, draw,
};
use proptest::prelude::*;

const UNITS: MeasureDesign = MeasureDesign { kind: MeasureKind::Units, bound: BoundSource::Inherent };

fn sum(bound: BoundSource) -> MeasureDesign {
    MeasureDesign { kind: MeasureKind::Sum, bound }
}

fn private(kappa: u32, delta: Delta, floor: u64) -> GroupSpace {
    GroupSpace::Private { public_cells: 1, kappa, delta, floor }
}

fn design(groups: GroupSpace, measures: &[MeasureDesign], rho: u64) -> Result<Design, DesignRefused> {
    Design::new(DesignRequest { groups, measures: measures.to_vec(), rho: MicroRho::from_units(rho) })
}

/// Δ² / (2σ²) in exact rational arithmetic, not through OpenDP.
fn exact_cost(scale: &Scale) -> RBig {
    let sigma = RBig::try_from(scale.sigma()).unwrap();
    RBig::from(UBig::from(scale.sensitivity().squared())) / (RBig::from(2_u8) * &sigma * &sigma)
}

fn micro(rho: MicroRho) -> RBig {
    RBig::from_parts(IBig::from(rho.units()), UBig::from(1_000_000_u32))
}

#[test]
fn a_tenth_of_a_searched_measure_goes_to_the_search() {
    let plan =
        design(GroupSpace::Public { cells: 4 }, &[UNITS, sum(BoundSource::Search { max: 10_000 })], 1000)
            .unwrap();
    let [units, sum] = plan.measures() else { panic!("two measures") };
    assert_eq!((units.rho_release().units(), units.rho_search().units()), (500, 0));
    assert_eq!((sum.rho_release().units(), sum.rho_search().units()), (450, 50));
    assert_eq!(units.fixed_bound(), Some(Bound::Groups(4)));
    assert_eq!((sum.fixed_bound(), sum.largest_bound()), (None, Bound::Norm(10_000)));
    assert_eq!(plan.cost().rho.units(), 1000);
    assert_eq!((plan.cost().delta, plan.threshold(), plan.key_selection()), (Delta::ZERO, None, None));
    assert!(
        !units.can_clip(Bound::Groups(4))
            && units.can_clip(Bound::Groups(3))
            && sum.can_clip(Bound::Norm(10_000))
    );
}

#[test]
fn private_groups_are_selected_by_shoppers() {
    let delta = Delta::at_least(1e-6).unwrap();
    let plan = design(private(5, delta, 50), &[sum(BoundSource::Given(100))], 20_000).unwrap();
    assert_eq!((plan.measures().len(), plan.key_selection()), (2, Some(1)));
    assert_eq!(plan.measures()[1].fixed_bound(), Some(Bound::Groups(5)));
    assert!(plan.measures()[1].can_clip(Bound::Groups(5)));
    assert_eq!(plan.cost().delta, delta);
    let by_delta = plan.threshold().unwrap();
    assert!(by_delta > 60, "{by_delta}");
    // A floor above the threshold for δ rules; "at least 500" is "greater than 499".
    let plan = design(private(5, delta, 500), &[UNITS], 20_000).unwrap();
    assert_eq!((plan.threshold(), plan.key_selection()), (Some(499), Some(0)));
}

#[test]
fn nothing_without_bound_budget_or_delta() {
    let cells = GroupSpace::Public { cells: 2 };
    for (result, code) in [
        (design(cells, &[], 100), "privacy.no_measure"),
        (design(cells, &[UNITS; 65], 1000), "privacy.too_many_measures"),
        (design(cells, &[sum(BoundSource::Inherent)], 100), "privacy.no_bound"),
        (design(cells, &[sum(BoundSource::Given(0))], 100), "privacy.zero"),
        (design(cells, &[sum(BoundSource::Search { max: 0 })], 100), "privacy.zero"),
        (design(GroupSpace::Public { cells: 0 }, &[UNITS], 100), "privacy.zero"),
        (design(private(0, Delta::from_units(1), 1), &[UNITS], 100), "privacy.zero"),
        (design(private(1, Delta::ZERO, 1), &[UNITS], 100), "privacy.no_delta"),
        (design(cells, &[UNITS], 0), "privacy.budget_too_small"),
        (design(cells, &[UNITS, UNITS], 1), "privacy.budget_too_small"),
        (design(cells, &[sum(BoundSource::Search { max: 5 })], 1), "privacy.budget_too_small"),
    ] {
        let refused = result.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(!refused.to_string().contains('\n'));
    }
    assert_eq!(support::scale(0, 1), Err(ScaleRefused::NoSensitivity));
    assert_eq!(support::scale(1, 0), Err(ScaleRefused::NoRho));
}

#[test]
fn noise_is_for_one_vector_of_its_length() {
    let scale = support::scale(3, 500_000).unwrap();
    let noise = draw(&support::Replay(1), &scale, 2).unwrap();
    assert_eq!(noise.add_to(&[1, 2, 3]), Err(NoiseFailed::Length));
    let noise = draw(&support::Replay(1), &scale, 2).unwrap();
    assert_eq!(noise.len(), 2);
    assert_eq!(noise.add_to(&[i128::MAX, i128::MIN]).unwrap().len(), 2);
    let histogram = NormHistogram::up_to(Bound::Norm(1000));
    let noise = draw(&support::Replay(1), &scale, histogram.buckets() + 1).unwrap();
    assert_eq!(histogram.with_noise(noise).unwrap_err(), NoiseFailed::Length);
}

#[test]
fn neighbours_histograms_differ_by_one_in_one_bucket() {
    // Noise of σ ≈ 0.001 is zero but for one draw in 10²⁰⁰⁰⁰⁰, so that the counts show.
    let scale = Scale::calibrated(Sensitivity::ONE, MicroRho::from_units(500_000_000_000)).unwrap();
    let counts = |norms: &[Norm]| {
        let (mut left, mut right) =
            (NormHistogram::up_to(Bound::Norm(1000)), NormHistogram::up_to(Bound::Norm(1000)));
        for (position, norm) in norms.iter().enumerate() {
            if position % 2 == 0 { left.add(*norm) } else { right.add(*norm) }
        }
        left.merge(&right);
        let noise = draw(&support::Replay(7), &scale, left.buckets()).unwrap();
        left.with_noise(noise).unwrap().counts().to_vec()
    };
    let norms = [0, 1, 2, 3, 4, 1023, 1024, 999_999, 1_000_000, u128::MAX].map(Norm::Squared);
    let all = counts(&norms);
    assert_eq!(all.len(), 21);
    assert_eq!((all[0], all[1], all[2], all[3], all[10], all[11], all[20]), (1, 1, 2, 1, 1, 1, 3));
    for left_out in 0..norms.len() {
        let mut fewer = norms.to_vec();
        fewer.remove(left_out);
        let distance: i128 = all.iter().zip(counts(&fewer)).map(|(a, b)| (a - b).abs()).sum();
        assert_eq!(distance, 1);
    }
    assert_eq!(counts(&[Norm::Beyond])[20], 1);
}

fn measure() -> impl Strategy<Value = MeasureDesign> {
    let bound = prop_oneof![
        (1_u64..1_000_000_000).prop_map(BoundSource::Given),
        (1_u64..1_000_000_000).prop_map(|max| BoundSource::Search { max }),
    ];
    let kind = prop_oneof![Just(MeasureKind::Units), Just(MeasureKind::Rows), Just(MeasureKind::Sum)];
    (kind, bound).prop_map(|(kind, bound)| MeasureDesign { kind, bound })
}

fn groups() -> impl Strategy<Value = GroupSpace> {
    prop_oneof![
        (1_u64..100_000).prop_map(|cells| GroupSpace::Public { cells }),
        (1_u32..1000, 1_u64..1_000_000_000_000).prop_map(|(kappa, delta)| private(
            kappa,
            Delta::from_units(delta),
            50
        )),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// In exact rational arithmetic: whatever bounds come out, all mechanisms together cost no more than was asked for.
    #[test]
    fn the_cost_never_exceeds_the_request(groups in groups(), measures in proptest::collection::vec(measure(), 1..6), rho in 1_u64..1_000_000_000, found in 1_u64..1_000_000_000) {
        let Ok(design) = design(groups, &measures, rho) else { return Ok(()) };
        prop_assert!(design.cost().rho.units() <= rho);
        let mut total = RBig::ZERO;
        for plan in design.measures() {
            let bound = plan.fixed_bound().unwrap_or(match plan.largest_bound() {
                Bound::Norm(most) => Bound::Norm(found.min(most)),
                Bound::Groups(most) => Bound::Groups(found.min(most)),
            });
            let scale = plan.scale(bound).unwrap();
            prop_assert_eq!(scale.sensitivity(), bound.sensitivity());
            prop_assert!(exact_cost(&scale) <= micro(plan.rho_release()));
            total += exact_cost(&scale);
            if let Some(search) = plan.search_scale() {
                prop_assert!(search.sensitivity() == Sensitivity::ONE && exact_cost(search) <= micro(plan.rho_search()));
                total += exact_cost(search);
            }
        }
        prop_assert!(total <= micro(design.cost().rho));
        // Nothing worth having is left unspent.
        prop_assert!(design.cost().rho.units() + 6 >= rho);
    }

    #[test]
    fn no_smaller_scale_would_do(bound in 1_u64..u64::MAX, rho in 1_u64..1_000_000_000_000, groups in any::<bool>()) {
        let sensitivity = if groups { Bound::Groups(bound) } else { Bound::Norm(bound) }.sensitivity();
        let scale = Scale::calibrated(sensitivity, MicroRho::from_units(rho)).unwrap();
        let ratio = exact_cost(&scale) / micro(scale.rho());
        prop_assert!(ratio <= RBig::ONE);
        prop_assert!(ratio >= RBig::try_from(1.0 - 2.0_f64.powi(-36)).unwrap());
    }
}
