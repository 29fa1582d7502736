//! Which groups a shopper counts in, when they are in too many.

use std::fmt;

use ids::{Entropy, EntropyFailed};
use ring::hmac;
use sql::KeyValue;

use super::GroupKey;

/// A key drawn for one query. It orders a shopper's groups at random, so that the choice favours no group and no
/// asker can foresee it.
///
/// # Guarantee
/// The choice for one shopper depends on the key, the shopper and the shopper's own groups only, never on other rows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SelectionKey([u8; 32]);

impl SelectionKey {
    /// A new key.
    pub fn draw(entropy: &dyn Entropy) -> Result<Self, EntropyFailed> {
        let mut bytes = [0; 32];
        entropy.fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// A number for a group with private keys that any two workers agree on.
    pub(super) fn tag(&self, group: &GroupKey) -> u64 {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let mut context = hmac::Context::with_key(&key);
        context.update(&group.code.to_be_bytes());
        for value in &group.values {
            feed(&mut context, value);
        }
        head(context.sign().as_ref())
    }

    /// The order of one shopper's groups.
    pub(super) fn order(&self) -> Order {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let (one, two) = (hmac::sign(&key, b"order-1"), hmac::sign(&key, b"order-2"));
        Order { one: head(one.as_ref()), two: head(two.as_ref()) }
    }
}

impl fmt::Debug for SelectionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SelectionKey(redacted)")
    }
}

/// Appends one value so that no two sequences of values look alike.
fn feed(context: &mut hmac::Context, value: &KeyValue) {
    match value {
        KeyValue::Null => context.update(&[0]),
        KeyValue::Bool(value) => context.update(&[1, u8::from(*value)]),
        KeyValue::Int(value) => {
            context.update(&[2]);
            context.update(&value.to_be_bytes());
        }
        KeyValue::Date(value) => {
            context.update(&[3]);
            context.update(&value.as_days().to_be_bytes());
        }
        KeyValue::Text(value) => {
            context.update(&[4]);
            context.update(&(value.len() as u64).to_be_bytes());
            context.update(value.as_bytes());
        }
    }
}

/// The first eight bytes.
fn head(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// Puts a shopper's groups into an order of their own. Two rounds of a 64-bit mixer under two secret words: enough to
/// favour no group; nothing rests on it being hard to invert, because the order never leaves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order {
    one: u64,
    two: u64,
}

impl Order {
    /// The rank of a group for a shopper; smaller comes first.
    pub(super) fn rank(self, unit: u32, tag: u64) -> u64 {
        mix(mix(u64::from(unit) ^ self.one).wrapping_add(tag) ^ self.two)
    }

    /// Keeps the `keep` groups that come first for this shopper.
    pub(super) fn limit(self, unit: u32, groups: &mut Vec<u32>, keep: usize, tag: impl Fn(u32) -> u64) {
        if groups.len() > keep {
            groups.sort_unstable_by_key(|&group| self.rank(unit, tag(group)));
            groups.truncate(keep);
        }
    }
}

/// The finaliser of SplitMix64 (Steele, Lea & Flood 2014): a bijection with full avalanche.
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_is_kept_about_equally_often() {
        let order = SelectionKey([7; 32]).order();
        let mut kept = [0_u32; 10];
        for unit in 0..20_000 {
            let mut groups: Vec<u32> = (0..10).collect();
            order.limit(unit, &mut groups, 3, u64::from);
            assert_eq!(groups.len(), 3);
            for group in groups {
                kept[group as usize] += 1;
            }
        }
        // Each count is binomial(20000, 0.3): 6000 ± 65. Six standard deviations, ten counts: alarm rate below 1e-7.
        assert!(kept.iter().all(|&count| count.abs_diff(6000) < 390), "{kept:?}");
    }

    #[test]
    fn tags_tell_values_apart_and_agree_between_copies() {
        let key = SelectionKey([1; 32]);
        let group = |values| GroupKey { code: 0, values };
        let text = |t: &str| KeyValue::Text(t.to_owned());
        let one = group(vec![text("ab"), text("c")]);
        assert_eq!(key.tag(&one), key.clone().tag(&one.clone()));
        assert_ne!(key.tag(&one), key.tag(&group(vec![text("a"), text("bc")])));
        assert_ne!(key.tag(&group(vec![KeyValue::Null])), key.tag(&group(vec![text("")])));
    }
}
