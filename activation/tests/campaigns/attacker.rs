//! An attacker who wants to know one bit: is the victim in the segment?
//!
//! They choose predicates, know every other shopper, own as many cards as they like, and see what the house answers. Each
//! game is played over fresh keys, with the bit drawn by a seeded generator; the attacker guesses by the likelihood of what
//! they saw, which is the best rule there is (Neyman–Pearson). Their success must not exceed ½ + bound/2, where the bound is
//! the documented one, derived in `audience/guard.rs`:
//!
//! ```text
//! advantage ≤ √(n·ε·tanh(ε/2)/2) + n·δ     for n decisions        ε = 1/20, δ = α^180/(1 + α), α = e^−ε
//! ```
//!
//! A game fails if so many right guesses would come up with probability < 10⁻⁶ at a success probability of exactly
//! ½ + bound/2: the exact binomial tail, so a sound house fails a game less than once in a million runs (the runs are
//! seeded, so it is once and for all). That the harness notices a broken guard is itself tested: a fixed threshold loses.

use std::sync::Arc;

use crate::support::*;
use activation::Secrets;
use activation::arms::{Arm, Arms, ArmsKey};
use activation::audience::{
    ATTEMPTS_MAX, Asking, Audience, AudienceRules, Floor, GuardKey, NoisySize, NotAdmitted, Other, Outcome,
    Regular, Roll, Terms, advantage_bound, judge, plan, size_divergence,
};
use activation::store::{Admission, CampaignStore, CampaignStoreFailed};
use identity::{MasterKey, PseudonymEpoch, Role};
use ids::{Digest, SystemEntropy};
use rand::{RngExt as _, SeedableRng};
use rand_chacha::ChaCha20Rng;
use roaring::RoaringBitmap;

const TRIALS: u64 = 4_000;
/// The middle of the threshold: where an answer tells most.
const MIDDLE: i64 = 230;
const VICTIM: u32 = 1_000_000;

fn keys(trial: u64) -> Secrets {
    let seed = Digest::of_parts(&[b"trial", &trial.to_be_bytes()]);
    Secrets::new(MasterKey::from_bytes(*seed.as_bytes()), party("retailer"))
}

/// Pr[T ≤ d]: what the attacker knows of the threshold, from the document.
fn admitted_probability(difference: i64) -> f64 {
    if difference < 50 {
        return 0.0;
    }
    let (alpha, k) = ((-0.05_f64).exp(), difference - MIDDLE);
    if k < 0 { alpha.powi(-k as i32) / (1.0 + alpha) } else { 1.0 - alpha.powi(k as i32 + 1) / (1.0 + alpha) }
}

/// ln Pr[seen | in] − ln Pr[seen | out] of one answer, if the victim's being in makes the difference `inn` and not `out`.
fn evidence(admitted: bool, inn: i64, out: i64) -> f64 {
    let of = |d: i64| if admitted { admitted_probability(d) } else { 1.0 - admitted_probability(d) };
    of(inn).max(1e-12).ln() - of(out).max(1e-12).ln()
}

/// Pr[Bin(n, p) ≥ x], summed exactly in logarithms.
fn tail(n: u64, p: f64, x: u64) -> f64 {
    let mut ln_choose = 0.0;
    let mut sum = 0.0;
    for k in 0..=n {
        if k > 0 {
            ln_choose += ((n - k + 1) as f64).ln() - (k as f64).ln();
        }
        if k >= x {
            sum += (ln_choose + k as f64 * p.ln() + (n - k) as f64 * (1.0 - p).ln()).exp();
        }
    }
    sum
}

/// Plays a game; `guess(trial, bit)` must not look at the bit but through the house. Gives the number of right guesses.
fn play(seed: u64, mut guess: impl FnMut(u64, bool) -> f64) -> u64 {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut right = 0;
    for trial in 0..TRIALS {
        let bit: bool = rng.random();
        let evidence = guess(seed * 1_000_000 + trial, bit);
        let says = if evidence == 0.0 { rng.random() } else { evidence > 0.0 };
        right += u64::from(says == bit);
    }
    right
}

fn exceeds(right: u64, bound: f64) -> bool {
    tail(TRIALS, 0.5 + bound / 2.0, right) < 1e-6
}

#[track_caller]
fn within(game: &str, right: u64, bound: f64) {
    let advantage = 2.0 * right as f64 / TRIALS as f64 - 1.0;
    println!("{game}: advantage {advantage:.3}, bound {bound:.3}");
    assert!(!exceeds(right, bound), "{game}: advantage {advantage} is beyond the bound {bound}");
}

fn asking(segment: Digest) -> Asking {
    Asking {
        buyer: party("brand-nord"),
        segment,
        size: NoisySize::from_release(1_500),
        floor: Floor::default(),
        share_bp: 1_000,
        at: day(0),
    }
}

/// The predicate number `n` of a trial.
fn predicate(n: u64) -> Digest {
    Digest::of_parts(&[b"predicate", &n.to_be_bytes()])
}

fn with_victim(mut units: RoaringBitmap, is_in: bool) -> RoaringBitmap {
    if is_in {
        units.insert(VICTIM);
    }
    units
}

/// Asks for a segment that holds `own` cards beyond the 1,000 of the old audience, and perhaps the victim.
fn probe(key: &GuardKey, others: &[Other], n: u64, own: i64, bit: bool) -> bool {
    let eligible = with_victim((0..1_000 + own as u32).collect(), bit);
    judge(&asking(predicate(n)), &eligible, others, key) == Outcome::Admitted
}

fn old_audience() -> Vec<Other> {
    vec![Other { segment: Digest::of(b"old"), basis: (0..1_000).collect() }]
}

#[test]
fn add_one_stays_below_the_bound() {
    let others = old_audience();
    let right = play(1, |trial, bit| {
        let key = GuardKey::derive(&keys(trial));
        evidence(probe(&key, &others, 0, MIDDLE - 1, bit), MIDDLE, MIDDLE - 1)
    });
    within("add one", right, advantage_bound(1));
}

#[test]
fn remove_one_stays_below_the_bound() {
    let right = play(2, |trial, bit| {
        let key = GuardKey::derive(&keys(trial));
        // The old audience had the victim if they were in; the new predicate shuts them out by name.
        let basis = with_victim((0..1_000).collect(), bit);
        let others = [Other { segment: Digest::of(b"old"), basis }];
        let eligible = (0..1_000 + (MIDDLE - 1) as u32).collect();
        let admitted = judge(&asking(predicate(0)), &eligible, &others, &key) == Outcome::Admitted;
        evidence(admitted, MIDDLE, MIDDLE - 1)
    });
    within("remove one", right, advantage_bound(1));
}

#[test]
fn probing_the_threshold_with_every_attempt_stays_below_the_bound() {
    let others = old_audience();
    let right = play(3, |trial, bit| {
        let key = GuardKey::derive(&keys(trial));
        let mut sum = 0.0;
        for n in 0..u64::from(ATTEMPTS_MAX) {
            let own = MIDDLE - 1 + (n as i64 % 3 - 1);
            sum += evidence(probe(&key, &others, n, own, bit), own + 1, own);
        }
        sum
    });
    within("threshold probe", right, advantage_bound(ATTEMPTS_MAX));
}

#[test]
fn intersecting_many_audiences_in_one_attempt_is_one_decision() {
    // Ten old audiences, each at the same distance from the new one: if each were a decision of its own, the bound for ten
    // would be needed; the least of ten distances needs the bound for one.
    let right = play(4, |trial, bit| {
        let key = GuardKey::derive(&keys(trial));
        let others: Vec<Other> = (0..10_u32)
            .map(|n| {
                let mut basis: RoaringBitmap = (0..1_000).collect();
                basis.insert_range(10_000 + n * 100..10_000 + n * 100 + 50);
                Other { segment: predicate(u64::from(100 + n)), basis }
            })
            .collect();
        let own = MIDDLE - 1 - 50;
        evidence(probe(&key, &others, 0, own, bit), MIDDLE, MIDDLE - 1)
    });
    within("intersection", right, advantage_bound(1));
}

#[test]
fn recreating_the_same_audience_teaches_nothing_more() {
    let others = old_audience();
    let right = play(5, |trial, bit| {
        let key = GuardKey::derive(&keys(trial));
        let ask = || probe(&key, &others, 0, MIDDLE - 1, bit);
        let first = ask();
        // Averaging over a hundred askings: all are the first one.
        assert!((0..100).all(|_| ask() == first));
        evidence(first, MIDDLE, MIDDLE - 1)
    });
    within("re-create", right, advantage_bound(1));
}

#[test]
fn whether_a_tick_tells_its_changes_stays_below_the_bound() {
    // Five periods of an epoch, each with 229 joining cards of the attacker and perhaps the victim; who watches the
    // destination sees whether the tick came.
    const TICKS: i64 = 5;
    let content = content("butter");
    let vault = MemoryVault::of(1_000);
    let right = play(6, |trial, bit| {
        let keys = keys(trial);
        let guard = GuardKey::derive(&keys);
        let key = ArmsKey::derive(&keys, &content.campaign, &[1; 32]);
        // A draw without controls: the attacker knows exactly who joins.
        let arms = Arms::new(&key, content.campaign.clone(), 0, None, None);
        let mut sum = 0.0;
        for tick in 0..TICKS {
            let mut vault = vault.clone();
            let joining = with_victim((0..(MIDDLE - 1) as u32).collect(), bit);
            vault.segment = joining.clone();
            vault.consented = joining;
            let audience = Audience {
                id: format!("aud-{trial}").parse().unwrap(),
                campaign: content.campaign.clone(),
                destination: "gateway".parse().unwrap(),
                buyer: content.advertiser.clone(),
                segment: content.segment.digest,
                opened: day(0),
                closed: None,
                period: None,
                basis: RoaringBitmap::new(),
                terms: Terms::default(),
                owed: RoaringBitmap::new(),
            };
            let now = day(7 * tick);
            let roll = Roll::take(&content, &arms, &RoaringBitmap::new(), day(99), &vault).unwrap();
            let epoch = u64::from(PseudonymEpoch::at(now).number());
            let told = Default::default();
            let plan = plan(&audience, &roll, &told, &AudienceRules::default(), &guard, (epoch, now));
            sum += evidence(plan.regular == Regular::Told, MIDDLE, MIDDLE - 1);
        }
        sum
    });
    within("tick", right, advantage_bound(TICKS as u32));
}

#[test]
fn the_secret_holdout_hides_a_member_in_the_size() {
    // The destination itself counts the tokens and knows everybody but the victim: 1,000 households and perhaps one more, a
    // tenth of which is left out under a key it does not have. The likelihood ratio of x tokens is
    // (N + 1)·s / (N + 1 − x).
    let (households, share) = (1_000_u64, 1_000_u16);
    let bound = (size_divergence(households, share) / 2.0).sqrt();
    let content = content("butter");
    let vault = MemoryVault::of(1_001);
    let shoppers: Vec<_> = (0..=1_000).map(|unit| vault.household(unit)).collect();
    let right = play(7, |trial, bit| {
        let key = ArmsKey::derive(&keys(trial), &content.campaign, &[1; 32]);
        let arms = Arms::new(&key, content.campaign.clone(), share, None, None);
        let present = shoppers.iter().take(1_000 + usize::from(bit));
        let tokens = present.filter(|household| arms.of(household) == Arm::Treatment).count();
        let left = (households + 1) as f64 - tokens as f64;
        if left < 0.5 { f64::MAX } else { ((households + 1) as f64 * 0.1 / left).ln() }
    });
    within("size", right, bound);
}

#[test]
fn the_harness_notices_a_guard_that_tells() {
    // A fixed threshold of 50, as platforms that only count have it: one question tells all.
    let right = play(8, |_, bit| {
        let difference = 49 + i64::from(bit);
        if difference >= 50 { 1.0 } else { -1.0 }
    });
    assert_eq!(right, TRIALS);
    assert!(exceeds(right, advantage_bound(ATTEMPTS_MAX)));
    // A threshold that is drawn anew on each of forty askings: averaging finds it, too.
    let others = old_audience();
    let right = play(9, |trial, bit| {
        let fresh = |again: u64| GuardKey::derive(&keys(trial * 1_000 + again));
        let ask = |again| evidence(probe(&fresh(again), &others, 0, MIDDLE - 1, bit), MIDDLE, MIDDLE - 1);
        (0..40).map(ask).sum()
    });
    assert!(exceeds(right, advantage_bound(1)), "{right} of {TRIALS}");
}

#[tokio::test]
async fn attempts_are_counted_and_a_refusal_stands() {
    let (home, log) = (tempfile::tempdir().unwrap(), MemoryLog::shared());
    let path = home.path().join("campaigns.sqlite");
    let open = async || {
        let entropy = Arc::new(SystemEntropy::new());
        CampaignStore::open(&path, &secrets(), log.clone(), entropy).await.unwrap()
    };
    let store = open().await;
    let guard = GuardKey::derive(&secrets());
    let analyst = principal("brand-nord", Role::Analyst);
    let retailer = signer("retailer", 1);
    let approvers = approvers(&[("retailer", &retailer)]);
    let approved = async |name: &str, predicate: Digest| {
        let mut content = content(name);
        content.segment.digest = predicate;
        approve(&store, content, &retailer, &approvers).await
    };
    let ask = async |campaign: &activation::campaign::Campaign<_>, vault: &MemoryVault| {
        let size = NoisySize::from_release(1_500);
        let admission = Admission { size, floor: Floor::default(), guard: &guard, by: &analyst, at: day(2) };
        store.admit(campaign, &admission, vault).await
    };
    let base = MemoryVault::of(1_000);
    let first = approved("first", predicate(0)).await;
    let names = ask(&first, &base).await.unwrap();
    assert_eq!(names, ask(&first, &base).await.unwrap(), "asking again gave other audiences");
    // Nine more attempts of predicates that differ by 49: all are refused, whatever the key.
    let mut close_by = base.clone();
    close_by.segment.remove_range(0..49);
    for n in 1..u64::from(ATTEMPTS_MAX) {
        let campaign = approved(&format!("probe-{n}"), predicate(n)).await;
        for _ in 0..3 {
            let refused = ask(&campaign, &close_by).await;
            assert!(
                matches!(refused, Err(CampaignStoreFailed::NotAdmitted(NotAdmitted::TooSimilar))),
                "{refused:?}"
            );
        }
        // The segment changes until it differs clearly: the refusal of this window stands.
        let mut far = base.clone();
        far.segment.remove_range(0..900);
        let refused = ask(&campaign, &far).await;
        assert!(
            matches!(refused, Err(CampaignStoreFailed::NotAdmitted(NotAdmitted::TooSimilar))),
            "{refused:?}"
        );
    }
    let campaign = approved("eleventh", predicate(11)).await;
    let refused = ask(&campaign, &base).await;
    assert!(
        matches!(refused, Err(CampaignStoreFailed::NotAdmitted(NotAdmitted::Attempts { .. }))),
        "{refused:?}"
    );
    // The same predicate as an admitted one would show one more size, and costs an attempt, too.
    let again = approved("again", predicate(0)).await;
    let refused = ask(&again, &base).await;
    assert!(
        matches!(refused, Err(CampaignStoreFailed::NotAdmitted(NotAdmitted::Attempts { .. }))),
        "{refused:?}"
    );
    // Every verdict is in the log, once, and says nothing about members.
    let entries = log.entries.lock().unwrap();
    let refused = entries.iter().filter(|entry| entry.kind == audits::Kind::AudienceRefused).count();
    assert_eq!(refused, ATTEMPTS_MAX as usize - 1);
}

async fn approve(
    store: &CampaignStore,
    content: activation::campaign::Content,
    retailer: &Signer,
    approvers: &activation::approval::Approvers,
) -> activation::campaign::Campaign<activation::campaign::Approved> {
    use activation::campaign::{Approving, Campaign};
    let analyst = principal("brand-nord", Role::Analyst);
    let required =
        activation::approval::Required { retailer: party("retailer"), partners: Default::default() };
    let draft = store.save(Campaign::draft(content, &analyst, day(0)).unwrap()).await.unwrap();
    let submitted = store.save(draft.submit(required, &analyst, day(0)).unwrap()).await.unwrap();
    let note =
        submitted.submission().statement(&party("retailer")).sign(&retailer.name, &retailer.key).unwrap();
    match submitted.approve(&note, approvers, &analyst, day(1)).unwrap() {
        Approving::Complete(moved) => store.save(moved).await.unwrap(),
        Approving::Waiting(_) => panic!("one approval is not enough where one is needed"),
    }
}

#[tokio::test]
async fn floors_look_at_the_noisy_size_alone() {
    // 999, 1,000 and 1,001 shoppers with the same released size have the same answer, and the released size decides.
    for members in [10, 999, 1_000, 1_001] {
        for (size, admitted) in [(999, false), (1_000, true), (1_001, true), (-5, false)] {
            let (home, log) = (tempfile::tempdir().unwrap(), MemoryLog::shared());
            let entropy = Arc::new(SystemEntropy::new());
            let path = home.path().join("campaigns.sqlite");
            let store = CampaignStore::open(&path, &secrets(), log, entropy).await.unwrap();
            let retailer = signer("retailer", 1);
            let approvers = approvers(&[("retailer", &retailer)]);
            let campaign = approve(&store, content("butter"), &retailer, &approvers).await;
            let (guard, by) = (GuardKey::derive(&secrets()), principal("brand-nord", Role::Analyst));
            let size = NoisySize::from_release(size);
            let admission = Admission { size, floor: Floor::default(), guard: &guard, by: &by, at: day(2) };
            let outcome = store.admit(&campaign, &admission, &MemoryVault::of(members)).await;
            assert_eq!(outcome.is_ok(), admitted, "{members} members, {size:?}: {outcome:?}");
        }
    }
    assert!(Floor::new(99).is_err() && Floor::new(100).is_ok());
    let few = Asking { share_bp: 600, ..asking(predicate(0)) };
    assert!(matches!(few.of_size(), Err(NotAdmitted::Controls { least_bp: 667, .. })));
}
