//! Thresholds that do not become oracles.
//!
//! Two decisions depend on exact bitmaps: whether a new audience is too similar to another one of the same buyer, and whether
//! enough changes have gathered to tell them. With a fixed threshold of 50 each is an exact question about one shopper:
//! bring 49 cards of your own, and the answer says whether the fiftieth is there (Venkatadri et al. 2018 did so to
//! platforms that rounded). So the threshold is
//!
//! ```text
//! T = max(50, 230 + G),   Pr[G = k] = (1 − α)/(1 + α) · α^|k|,   α = e^(−1/20)
//! ```
//!
//! where `G` is drawn by HMAC under a secret key from what the decision is about (buyer, predicate and window; audience and
//! period). The same question has the same `G`, so asking again teaches nothing and nothing can be averaged; another
//! question costs one of [`ATTEMPTS_MAX`] attempts per buyer and window.
//!
//! # Guarantee
//! One shopper changes the compared count by at most one. So one decision is a bit whose probabilities change by a factor
//! of at most e^ε, ε = 1/20, but for the event that the 50 itself decides, which has probability δ = α^180/(1 + α) < 7·10⁻⁵.
//! Per bit the divergence is KL ≤ ε·tanh(ε/2); over `n` adaptive decisions it adds up (chain rule), and by Pinsker
//!
//! ```text
//! advantage = |Pr[guess | in] − Pr[guess | out]| ≤ √(n·ε·tanh(ε/2)/2) + n·δ
//! ```
//!
//! whatever the attacker knows of all other shoppers. The least over several compared audiences changes by at most one,
//! too, so that many comparisons in one attempt are one decision. It is a bound per window; it does not cover what a
//! destination learns from the tokens themselves (that is [`size_divergence`]), nor buyers who pool their attempts,
//! whose `n` adds up.

use std::fmt;

use ids::{AudienceId, Digest, PartyId};
use ring::hmac;

use crate::keys::{Secrets, keyed_u64};

/// Fewest changes that are ever told together, and fewest shoppers in which two audiences of a buyer differ (as PAIR).
pub const CHANGES_MIN: u64 = 50;
/// How far the middle of the threshold lies above the least.
const MARGIN: i64 = 180;
/// ε of one decision, in hundredths.
const EPSILON_CENTI: u32 = 5;
/// Attempts at an audience per buyer and window: admitted or refused by the guard.
pub const ATTEMPTS_MAX: u32 = 10;
/// Length of a window: audiences of one buyer are compared within it, and attempts are counted.
pub const WINDOW_DAYS: i64 = 30;

const PAIR: &[u8] = b"pair";
const TICK: &[u8] = b"tick";

fn epsilon() -> f64 {
    f64::from(EPSILON_CENTI) / 100.0
}

/// The key behind the thresholds.
pub struct GuardKey(hmac::Key);

impl GuardKey {
    /// The retailer's.
    pub fn derive(secrets: &Secrets) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secrets.guard().as_ref()))
    }

    /// How many shoppers a new audience of this predicate must differ by in this window.
    pub(crate) fn difference(&self, buyer: &PartyId, segment: &Digest, window: u64) -> u64 {
        self.threshold(PAIR, &[buyer.as_str().as_bytes(), segment.as_bytes(), &window.to_be_bytes()])
    }

    /// How many changes must have gathered for this audience to be told in this period.
    pub(crate) fn changes(&self, audience: &AudienceId, period: u64) -> u64 {
        self.threshold(TICK, &[audience.as_str().as_bytes(), &period.to_be_bytes()])
    }

    fn threshold(&self, what: &[u8], about: &[&[u8]]) -> u64 {
        let geometric = |part: &[u8]| {
            let parts: Vec<&[u8]> = [what, part].into_iter().chain(about.iter().copied()).collect();
            geometric(keyed_u64(&self.0, &parts))
        };
        let noise = geometric(b"up") - geometric(b"down");
        u64::try_from(MARGIN + noise).unwrap_or(0) + CHANGES_MIN
    }
}

impl fmt::Debug for GuardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GuardKey(redacted)")
    }
}

/// A geometric number, Pr[k] = (1 − α)·α^k, out of a uniform one (by inversion; the difference of two is two-sided).
fn geometric(uniform: u64) -> i64 {
    // 53 bits, within (0, 1].
    let unit = ((uniform >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    (-unit.ln() / epsilon()).floor() as i64
}

/// The most that `decisions` of the guard, seen by one attacker, add to their guess whether one shopper is in.
pub fn advantage_bound(decisions: u32) -> f64 {
    let (n, epsilon) = (f64::from(decisions), epsilon());
    let alpha = (-epsilon).exp();
    let delta = alpha.powf(MARGIN as f64) / (1.0 + alpha);
    ((n * epsilon * (epsilon / 2.0).tanh() / 2.0).sqrt() + n * delta).min(1.0)
}

/// What the exact number of tokens tells about one shopper: the divergence between "of `n` households each is left out with
/// probability s" and "of n + 1", KL ≤ ln(1 + (1 − s)/((n + 1)·s)) ≤ (1 − s)/((n + 1)·s) by Jensen's inequality. It is the
/// secret holdout that hides the member: without one the number would be exact. With Pinsker √(KL/2) bounds the advantage
/// of a destination that knows everybody else; several audiences add up before the root is taken.
pub fn size_divergence(households: u64, share_bp: u16) -> f64 {
    let share = f64::from(share_bp) / 10_000.0;
    if share > 0.0 { (1.0 - share) / ((households as f64 + 1.0) * share) } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use ids::PartyId;

    use super::*;

    fn key() -> GuardKey {
        GuardKey(hmac::Key::new(hmac::HMAC_SHA256, &[9; 32]))
    }

    #[test]
    fn a_threshold_is_a_function_of_what_it_decides() {
        let (nord, ost): (PartyId, PartyId) = ("nord".parse().unwrap(), "ost".parse().unwrap());
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let one = key().difference(&nord, &a, 7);
        assert_eq!(one, key().difference(&nord, &a, 7));
        let others =
            [key().difference(&ost, &a, 7), key().difference(&nord, &b, 7), key().difference(&nord, &a, 8)];
        assert!(others.iter().any(|other| *other != one), "{one} {others:?}");
    }

    #[test]
    fn thresholds_follow_the_two_sided_geometric_law_and_are_never_below_fifty() {
        // 40,000 draws; deterministic, because the key is fixed. Mean 230, standard deviation sqrt(2α)/(1 − α) = 28.28.
        let party: PartyId = "nord".parse().unwrap();
        let draws: Vec<u64> = (0..40_000).map(|n| key().difference(&party, &Digest::of(b"x"), n)).collect();
        let mean = draws.iter().sum::<u64>() as f64 / 40_000.0;
        let variance = draws.iter().map(|d| (*d as f64 - mean).powi(2)).sum::<f64>() / 40_000.0;
        // 5 standard errors of the mean are 0.71; the spread has a relative standard error of 0.6 %.
        assert!((mean - 230.0).abs() < 0.75, "{mean}");
        assert!((variance.sqrt() - 28.28).abs() < 0.85, "{}", variance.sqrt());
        assert!(draws.iter().all(|d| *d >= CHANGES_MIN));
        // The law itself: Pr[T ≤ 210] = α^20/(1 + α) = 0.18853, 5 standard errors are 0.0098.
        let share = draws.iter().filter(|d| **d <= 210).count() as f64 / 40_000.0;
        assert!((share - 0.188_53).abs() < 0.009_8, "{share}");
    }

    #[test]
    fn the_bound_is_the_number_that_the_document_states() {
        // python3: n=1: 0.02507, n=10: 0.07966, n=60: 0.19740
        for (n, stated) in [(1, 0.025_07), (10, 0.079_7), (60, 0.197_4)] {
            assert!((advantage_bound(n) - stated).abs() < 2e-4, "{n}: {}", advantage_bound(n));
        }
        assert_eq!(advantage_bound(u32::MAX), 1.0);
        assert!((size_divergence(999, 1_000) - 0.009).abs() < 1e-12);
    }
}
