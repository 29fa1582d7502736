//! The integer clip keeps its promise on every vector.

use dashu::integer::UBig;
use privacy::{Norm, clip_l2, sum_of_squares};
use proptest::prelude::*;

fn exact_squares(values: &[i64]) -> UBig {
    values.iter().map(|value| UBig::from(value.unsigned_abs())).map(|x| &x * &x).sum()
}

/// The documented rule in unbounded integers, for sums of squares below 2¹²⁸.
fn by_the_book(values: &[i64], bound: u64) -> Vec<i64> {
    let squares: u128 = values.iter().map(|value| u128::from(value.unsigned_abs()).pow(2)).sum();
    let mut norm = (squares as f64).sqrt() as u128;
    while norm * norm > squares {
        norm -= 1;
    }
    while norm * norm < squares {
        norm += 1;
    }
    let shrink = |x: i64| (i128::from(x) * i128::from(bound) / norm.max(1) as i128) as i64;
    if norm > u128::from(bound) { values.iter().map(|&x| shrink(x)).collect() } else { values.to_vec() }
}

#[test]
fn clips_as_documented() {
    for (values, bound, expected, clipped) in [
        (vec![3, 4], 5, vec![3, 4], false),
        (vec![3, 4], 4, vec![2, 3], true),
        (vec![-3, 4], 4, vec![-2, 3], true),
        (vec![1, 1, 1], 1, vec![0, 0, 0], true),
        (vec![7], 0, vec![0], true),
        (vec![0, 0], 0, vec![0, 0], false),
        (vec![], 3, vec![], false),
        (vec![i64::MAX], 10, vec![10], true),
        (vec![i64::MIN], i64::MAX as u64, vec![-i64::MAX], true),
    ] {
        let mut values = values;
        assert_eq!(clip_l2(&mut values, bound), clipped, "{values:?}");
        assert_eq!(values, expected);
    }
}

#[test]
fn vectors_beyond_128_bits_are_clipped_too() {
    let mut values = vec![i64::MIN; 9];
    assert_eq!(sum_of_squares(&values), Norm::Beyond);
    assert!(clip_l2(&mut values, 1_000));
    assert!(values.iter().all(|&x| x == -333), "{values:?}");
    // Even a bound larger than any counted norm is kept.
    let mut values = vec![i64::MAX; 100];
    assert!(clip_l2(&mut values, u64::MAX));
    assert!(exact_squares(&values) <= UBig::from(u64::MAX).pow(2));
}

fn vectors() -> impl Strategy<Value = Vec<i64>> {
    let value = prop_oneof![
        -3_i64..=3,
        -100_000_i64..=100_000,
        any::<i64>(),
        Just(i64::MIN),
        Just(i64::MAX),
        Just(1_i64 << 32)
    ];
    proptest::collection::vec(value, 0..40)
}

fn bounds() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..20, 0_u64..1_000_000, any::<u64>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn the_norm_is_within_the_bound(values in vectors(), bound in bounds()) {
        let mut clipped = values.clone();
        let changed = clip_l2(&mut clipped, bound);
        prop_assert!(exact_squares(&clipped) <= UBig::from(bound).pow(2));
        prop_assert_eq!(changed, exact_squares(&values) > UBig::from(bound).pow(2));
        for (before, after) in values.iter().zip(&clipped) {
            prop_assert!(after.unsigned_abs() <= before.unsigned_abs());
            prop_assert!(*after == 0 || after.signum() == before.signum());
        }
        if !changed {
            prop_assert_eq!(values, clipped);
        }
    }

    #[test]
    fn it_is_the_documented_rule(values in proptest::collection::vec(-50_000_000_i64..50_000_000, 0..40), bound in 0_u64..200_000_000) {
        let mut clipped = values.clone();
        clip_l2(&mut clipped, bound);
        prop_assert_eq!(clipped, by_the_book(&values, bound));
    }

    #[test]
    fn what_is_lost_is_little_more_than_needed(values in proptest::collection::vec(-50_000_000_i64..50_000_000, 1..40), bound in 1_u64..200_000_000) {
        let mut clipped = values.clone();
        if clip_l2(&mut clipped, bound) {
            let norm = clipped.iter().map(|&x| (x as f64).powi(2)).sum::<f64>().sqrt();
            // Rounding towards zero costs less than 1 per number, and n exceeds the norm by less than 1.
            let slack = (values.len() as f64).sqrt() + 2.0;
            prop_assert!(norm >= bound as f64 - slack, "{norm} {bound}");
        }
    }

    #[test]
    fn squares_add_up(values in vectors()) {
        match sum_of_squares(&values) {
            Norm::Squared(sum) => prop_assert_eq!(UBig::from(sum), exact_squares(&values)),
            Norm::Beyond => prop_assert!(exact_squares(&values) > UBig::from(u128::MAX)),
        }
    }
}
