//! The draw, its commitment and the checks after it, against Python, SciPy and brute force.

use crate::support::secrets;
use activation::arms::{
    Arm, Arms, ArmsKey, Commitment, GlobalHoldout, Opening, OpeningRefused, Pairing, PairingRefused,
    StorePeriod, contamination, pair_stores, sample_ratio,
};
use activation::campaign::Place;
use activation::members::HouseholdKey;
use ids::{CampaignId, Digest};
use proptest::prelude::*;

fn household(n: u64) -> HouseholdKey {
    HouseholdKey::from_bytes(*Digest::of_parts(&[b"h", &n.to_be_bytes()]).as_bytes())
}

fn id(name: &str) -> CampaignId {
    name.parse().unwrap()
}

fn key(name: &str, salt: u8) -> ArmsKey {
    ArmsKey::derive(&secrets(), &id(name), &[salt; 32])
}

fn arms(name: &str, salt: u8, share_bp: u16) -> Arms {
    Arms::new(&key(name, salt), id(name), share_bp, None, None)
}

/// The largest distance of a binomial count from its mean that has probability ≤ 10⁻⁶ by Chernoff's bound,
/// Pr[|X − np| ≥ t] ≤ 2·exp(−n·KL(p ± t/n ‖ p)): a bound, not an approximation.
fn binomial_bound(n: f64, p: f64) -> f64 {
    let divergence = |q: f64| {
        let part = |a: f64, b: f64| if a > 0.0 { a * (a / b).ln() } else { 0.0 };
        part(q, p) + part(1.0 - q, 1.0 - p)
    };
    let fits = |t: f64| {
        let tail = |q: f64| if (0.0..=1.0).contains(&q) { (-n * divergence(q)).exp() } else { 0.0 };
        tail(p + t / n) + tail(p - t / n) <= 1e-6
    };
    let (mut low, mut high) = (0.0, n);
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        if fits(middle) { high = middle } else { low = middle }
    }
    high
}

#[test]
fn the_share_lies_within_binomial_bounds() {
    // False alarm < 10⁻⁶ per case for a random key; the keys here are fixed, so the outcome is, too.
    let n = 200_000;
    for (salt, share) in [(1, 100), (2, 1_000), (3, 5_000), (4, 9_000), (5, 3_333)] {
        let arms = arms("butter", salt, share);
        let controls = (0..n).filter(|h| arms.of(&household(*h)) == Arm::Control).count() as f64;
        let p = f64::from(share) / 10_000.0;
        let bound = binomial_bound(n as f64, p);
        assert!((controls - n as f64 * p).abs() < bound, "{share} bp: {controls}, bound {bound}");
    }
    for (share, arm) in [(0, Arm::Treatment), (10_000, Arm::Control)] {
        assert!((0..1_000).all(|h| arms("butter", 9, share).of(&household(h)) == arm));
    }
}

#[test]
fn an_arm_is_the_hmac_that_the_document_says() {
    // python3, hmac/hashlib, with HKDF-SHA256 written out: see the constants' comment below.
    let arms = arms("butter", 1, 5_000);
    let drawn: String =
        (0..32).map(|h| if arms.of(&household(h)) == Arm::Control { 'c' } else { 't' }).collect();
    assert_eq!(drawn, ORACLE_ARMS);
    assert_eq!(arms.commitment().to_string(), ORACLE_COMMITMENT);
}

/// master = 03…03, tenant `retailer`, campaign `butter`, salt = 01…01, households = sha256 of length-prefixed parts.
const ORACLE_ARMS: &str = "tcccctcttctttctttctctttctcccctct";
const ORACLE_COMMITMENT: &str = "sha256:f5002165b0385daef553a413c3ae7c59f1bd0338193ca98b619df6fb42572edf";

#[test]
fn campaigns_draw_independently() {
    // Two campaigns: the four cells of 100,000 households, each expected 25,000; χ² with 1 degree of freedom for
    // independence below 23.9 (p = 10⁻⁶). Fixed keys.
    let (one, other) = (arms("butter", 1, 5_000), arms("cheese", 1, 5_000));
    let mut cells = [[0.0_f64; 2]; 2];
    for h in 0..100_000 {
        let bit = |arms: &Arms| usize::from(arms.of(&household(h)) == Arm::Control);
        cells[bit(&one)][bit(&other)] += 1.0;
    }
    let row = |i: usize| cells[i][0] + cells[i][1];
    let column = |j: usize| cells[0][j] + cells[1][j];
    let chi: f64 = (0..4)
        .map(|c| {
            let expected = row(c / 2) * column(c % 2) / 100_000.0;
            (cells[c / 2][c % 2] - expected).powi(2) / expected
        })
        .sum();
    assert!(chi < 23.9, "{chi} {cells:?}");
}

#[test]
fn the_global_group_is_in_no_campaigns_arms() {
    let secrets = secrets();
    let global = GlobalHoldout::derive(&secrets, "2026-H2", 500);
    let with = |name: &str| Arms::new(&key(name, 1), id(name), 1_000, Some(&global), None);
    let (one, other) = (with("butter"), with("cheese"));
    let of =
        |arms: &Arms, arm: Arm| (0..50_000).filter(|h| arms.of(&household(*h)) == arm).collect::<Vec<_>>();
    let group = of(&one, Arm::Global);
    assert_eq!(group, of(&other, Arm::Global));
    assert!((group.len() as f64 - 2_500.0).abs() < binomial_bound(50_000.0, 0.05));
    assert_ne!(of(&one, Arm::Control), of(&other, Arm::Control));
    assert_ne!(global.commitment(), GlobalHoldout::derive(&secrets, "2027-H1", 500).commitment());
    assert_eq!(one.design().global, Some(global.commitment()));
    // The auditor of a campaign checks both arms and passes the global group over.
    let opening = Opening::new(&key("butter", 1), &one);
    let rows = (0..1_000).map(|h| (household(h), one.of(&household(h))));
    let globals = (0..1_000).filter(|h| one.of(&household(*h)) == Arm::Global).count();
    assert_eq!(opening.verify(one.commitment(), rows), Ok(1_000 - globals));
}

#[test]
fn a_commitment_opens_to_what_was_committed_to_and_to_nothing_else() {
    let drawn = arms("butter", 1, 1_000);
    let opening = Opening::new(&key("butter", 1), &drawn);
    let again = opening.open(drawn.commitment()).unwrap();
    assert!((0..1_000).all(|h| again.of(&household(h)) == drawn.of(&household(h))));
    // Round trip through the file that an auditor gets.
    let text = serde_json::to_string(&opening).unwrap();
    let read: Opening = serde_json::from_str(&text).unwrap();
    assert!(read.open(drawn.commitment()).is_ok());
    assert_eq!(format!("{opening:?}"), "Opening(butter, key redacted)");
    // Another key, share, campaign or pairing.
    let others = [
        Opening::new(&key("butter", 2), &arms("butter", 2, 1_000)),
        Opening::new(&key("butter", 1), &arms("butter", 1, 1_001)),
        Opening::new(&key("butter", 1), &Arms::new(&key("butter", 1), id("cheese"), 1_000, None, None)),
    ];
    for other in others {
        assert!(
            matches!(other.open(drawn.commitment()), Err(OpeningRefused::Commitment { .. })),
            "{other:?}"
        );
    }
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let key_text = value["key"].as_str().unwrap().to_owned();
    for other in [key_text.to_uppercase(), key_text[2..].to_owned(), String::new()] {
        assert_ne!(other, key_text);
        value["key"] = other.into();
        let changed: Opening = serde_json::from_value(value.clone()).unwrap();
        assert!(changed.open(drawn.commitment()).is_err());
    }
    // One household in the wrong arm.
    let flipped = (0..100).map(|h| {
        let arm = drawn.of(&household(h));
        let other = if arm == Arm::Control { Arm::Treatment } else { Arm::Control };
        (household(h), if h == 57 { other } else { arm })
    });
    assert!(matches!(
        opening.verify(drawn.commitment(), flipped),
        Err(OpeningRefused::Assignment { row: 57, .. })
    ));
    assert!(opening.verify(Commitment(Digest::of(b"another")), []).is_err());
}

#[test]
fn the_sample_ratio_agrees_with_scipy() {
    // scipy.stats.chisquare([t, c], [n(1 − s), ns])
    for (treatment, control, share, statistic, p_value) in [
        (90_000.0, 10_000.0, 1_000, 0.0, 1.0),
        (90_200.0, 9_800.0, 1_000, 4.444_444_444_444_445, 0.035_014_981_019_662_45),
        (899_000.0, 101_000.0, 1_000, 11.111_111_111_111_11, 0.000_858_120_666_393_675_8),
        (500.0, 480.0, 5_000, 0.408_163_265_306_122_46, 0.522_903_234_512_670_5),
        (45_010.0, 4_990.0, 1_000, 0.022_222_222_222_222_223, 0.881_497_452_191_013_5),
        (950.0, 10.0, 200, 4.498_299_319_727_891_5, 0.033_928_581_448_287_72),
    ] {
        let found = sample_ratio(treatment, control, share, 0.0).unwrap();
        assert!((found.chi_square - statistic).abs() < 1e-9, "{found:?}");
        assert!((found.p_value - p_value).abs() < 1e-12, "{found:?}");
        assert_eq!(found.alarm, p_value < 0.001);
    }
    // The noise of the counts makes the test milder, never stricter.
    let exact = sample_ratio(899_000.0, 101_000.0, 1_000, 0.0).unwrap();
    let noisy = sample_ratio(899_000.0, 101_000.0, 1_000, 200.0).unwrap();
    assert!(noisy.p_value > exact.p_value && !noisy.alarm);
    // variance 90,000 + 200² · (0.81 + 0.01) = 122,800; 1000² / 122,800
    assert!((noisy.chi_square - 8.143_322_475_570_033).abs() < 1e-9);
    for nothing in [(0.0, 0.0, 1_000), (10.0, 10.0, 0), (10.0, 10.0, 10_000), (f64::NAN, 1.0, 1_000)] {
        assert_eq!(sample_ratio(nothing.0, nothing.1, nothing.2, 0.0), None);
    }
}

#[test]
fn a_leak_of_two_per_cent_is_noticed_and_a_sound_draw_is_not_called_unsound() {
    let n = 2_000_000;
    let drawn = arms("butter", 1, 1_000);
    let (mut treatment, mut control, mut leaked) = (0.0, 0.0, 0.0);
    for h in 0..n {
        match drawn.of(&household(h)) {
            Arm::Control => {
                control += 1.0;
                // A seeded leak: every fiftieth control is addressed after all and counted as treated.
                if h % 50 == 7 {
                    leaked += 1.0;
                }
            }
            _ => treatment += 1.0,
        }
    }
    assert!(!sample_ratio(treatment, control, 1_000, 0.0).unwrap().alarm);
    // 2 % of 200,000 controls are 4,000, and the standard deviation of the split is 424.
    let leaky = sample_ratio(treatment + leaked, control - leaked, 1_000, 0.0).unwrap();
    assert!(leaky.alarm && leaky.p_value < 1e-12, "{leaky:?}");
    // The same leak seen as exposures of controls.
    assert!(!contamination(0.019 * control, control).unwrap().exceeded);
    assert!(contamination(0.021 * control, control).unwrap().exceeded);
}

#[test]
fn contamination_is_a_share() {
    assert_eq!(contamination(2.0, 100.0).map(|c| (c.share, c.exceeded)), Some((0.02, false)));
    assert_eq!(contamination(2.1, 100.0).map(|c| c.exceeded), Some(true));
    assert_eq!(contamination(-3.0, 100.0).map(|c| c.share), Some(0.0));
    assert_eq!(contamination(300.0, 100.0).map(|c| c.share), Some(1.0));
    assert_eq!(contamination(1.0, 0.0), None);
    assert_eq!(contamination(1.0, f64::NAN), None);
}

fn stores(sizes: &[(i64, u8)]) -> Vec<StorePeriod> {
    let store = |(n, (pre, stratum)): (usize, &(i64, u8))| StorePeriod {
        store: Place(format!("s-{n:03}")),
        stratum: format!("region-{stratum}"),
        pre: *pre,
    };
    sizes.iter().enumerate().map(store).collect()
}

fn cost(pairing: &Pairing, stores: &[StorePeriod]) -> i64 {
    let pre = |place: &Place| stores.iter().find(|s| s.store == *place).unwrap().pre;
    pairing.pairs.iter().map(|pair| (pre(&pair.a) - pre(&pair.b)).abs()).sum()
}

/// The least sum of differences over all ways to pair, and to leave one out where the number is odd.
fn brute(sizes: &[i64]) -> i64 {
    let Some((first, rest)) = sizes.split_first() else { return 0 };
    let without = (sizes.len() % 2 == 1).then(|| brute(rest));
    let paired = (0..rest.len()).map(|i| {
        let mut left = rest.to_vec();
        let other = left.remove(i);
        (first - other).abs() + brute(&left)
    });
    paired.chain(without).min().unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn stores_are_paired_as_well_as_any_pairing_does(sizes in prop::collection::vec(0_i64..100, 10..12)) {
        let stores = stores(&sizes.iter().map(|size| (*size, 0)).collect::<Vec<_>>());
        let pairing = pair_stores(&stores).unwrap();
        prop_assert_eq!(cost(&pairing, &stores), brute(&sizes));
        prop_assert_eq!(pairing.single.len(), sizes.len() % 2);
        let mut turned = stores.clone();
        turned.reverse();
        prop_assert_eq!(pair_stores(&turned).unwrap(), pairing);
    }

    #[test]
    fn pairs_stay_within_their_stratum(sizes in prop::collection::vec((0_i64..1_000, 0_u8..3), 16..40)) {
        let stores = stores(&sizes);
        let stratum = |place: &Place| &stores.iter().find(|s| s.store == *place).unwrap().stratum;
        let pairing = pair_stores(&stores).unwrap();
        prop_assert!(pairing.pairs.iter().all(|pair| stratum(&pair.a) == stratum(&pair.b)));
        prop_assert_eq!(pairing.pairs.len() * 2 + pairing.single.len(), stores.len());
    }

    #[test]
    fn a_household_has_one_arm(units in prop::collection::vec(0_u64..1_000, 1..50), salt in 0_u8..5, share in 0_u16..=10_000) {
        let drawn = arms("butter", salt, share);
        for unit in units {
            let (one, again) = (drawn.of(&household(unit / 3)), drawn.of(&household(unit / 3)));
            prop_assert_eq!(one, again);
        }
    }
}

#[test]
fn of_each_pair_a_fair_coin_shows_the_campaign_in_one() {
    let sizes: Vec<(i64, u8)> = (0..4_000).map(|n| (n, 0)).collect();
    let pairing = pair_stores(&stores(&sizes)).unwrap();
    let drawn = Arms::new(&key("screens", 1), id("screens"), 0, None, Some(&pairing));
    let split = drawn.stores(&pairing).unwrap();
    assert_eq!(split, drawn.stores(&pairing).unwrap());
    let heads = split.iter().zip(&pairing.pairs).filter(|((shown, _), pair)| **shown == pair.a).count();
    assert!((heads as f64 - 1_000.0).abs() < binomial_bound(2_000.0, 0.5), "{heads}");
    assert!(split.iter().zip(&pairing.pairs).all(|((shown, not), pair)| {
        (**shown == pair.a && **not == pair.b) || (**shown == pair.b && **not == pair.a)
    }));
    // Other pairs than those that were committed to are not drawn.
    let mut other = pairing.clone();
    other.pairs.swap(0, 1);
    assert_eq!(drawn.stores(&other), Err(OpeningRefused::Pairing));
    let mut sizes = stores(&sizes[..10]);
    sizes[1].store = sizes[0].store.clone();
    assert!(matches!(pair_stores(&sizes), Err(PairingRefused::Twice { .. })));
    assert!(matches!(pair_stores(&sizes[2..]), Err(PairingRefused::TooFew { .. })));
}
