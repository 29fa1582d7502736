//! Stores in matched pairs: screens cannot tell households apart, so of each pair of like stores one shows the campaign.

use std::collections::BTreeMap;

use ids::Digest;
use serde::{Deserialize, Serialize};

use crate::campaign::{Place, STORES_MIN};

const LABEL: &[u8] = b"cleanroom/holdout/pairing/v1";

/// A store before the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorePeriod {
    /// Which store.
    pub store: Place,
    /// Only stores of the same kind are paired: a region, a format.
    pub stratum: String,
    /// What it sold of the metric in the pre-period, as released (noisy), in minor units or counts.
    pub pre: i64,
}

/// Two like stores, `a` before `b` by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// One.
    pub a: Place,
    /// The other.
    pub b: Place,
}

/// All pairs, and the stores without a like one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pairing {
    /// The pairs, by stratum and size.
    pub pairs: Vec<Pair>,
    /// Stores in no pair: they do not show the campaign and do not count.
    pub single: Vec<Place>,
}

/// Why stores cannot be paired.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum PairingRefused {
    /// A store is there twice.
    #[error("the store `{store}` is there twice: join its figures")]
    Twice {
        /// Which.
        store: String,
    },
    /// Too few pairs for any verdict.
    #[error(
        "{stores} stores make {pairs} pairs, and at least {} are needed: name more stores, or join strata",
        STORES_MIN / 2
    )]
    TooFew {
        /// Stores given.
        stores: usize,
        /// Pairs that they make.
        pairs: usize,
    },
}

impl Pairing {
    /// What a commitment binds: the pairs in their order.
    pub fn digest(&self) -> Digest {
        let names = self.pairs.iter().flat_map(|pair| [&pair.a, &pair.b]);
        let mut parts = vec![LABEL];
        parts.extend(names.map(|store| store.0.as_bytes()));
        Digest::of_parts(&parts)
    }
}

/// Pairs stores of one stratum that are next to each other in size. In one dimension this has the least sum of
/// differences; of an odd number the one is left out that makes the rest fit best. Ties go by name, so the order of the
/// input means nothing.
///
/// # Errors
/// When a store is there twice, or fewer than five pairs come out.
pub fn pair_stores(stores: &[StorePeriod]) -> Result<Pairing, PairingRefused> {
    let mut strata: BTreeMap<&str, Vec<(i64, &Place)>> = BTreeMap::new();
    let mut names: Vec<&Place> = stores.iter().map(|store| &store.store).collect();
    names.sort();
    if let Some((twice, _)) = names.iter().zip(names.iter().skip(1)).find(|(one, next)| one == next) {
        return Err(PairingRefused::Twice { store: twice.0.clone() });
    }
    for store in stores {
        strata.entry(&store.stratum).or_default().push((store.pre, &store.store));
    }
    let mut pairing = Pairing { pairs: Vec::new(), single: Vec::new() };
    for (_, mut group) in strata {
        group.sort();
        if group.len() % 2 == 1 {
            let odd = loneliest(&group);
            pairing.single.push(group.remove(odd).1.clone());
        }
        pairing.pairs.extend(group.chunks_exact(2).filter_map(|two| match two {
            [(_, one), (_, other)] => {
                let (a, b) = if one < other { (one, other) } else { (other, one) };
                Some(Pair { a: (*a).clone(), b: (*b).clone() })
            }
            _ => None,
        }));
    }
    if pairing.pairs.len() < STORES_MIN / 2 {
        return Err(PairingRefused::TooFew { stores: stores.len(), pairs: pairing.pairs.len() });
    }
    Ok(pairing)
}

/// Of an odd number of sorted stores, the position whose absence leaves the least sum of differences between neighbours;
/// the first such. Only even positions come into question: any other would pair across the gap.
fn loneliest(group: &[(i64, &Place)]) -> usize {
    let sizes: Vec<i128> = group.iter().map(|(pre, _)| i128::from(*pre)).collect();
    let gaps = |sizes: &[i128]| -> i128 {
        sizes.chunks_exact(2).map(|two| two.iter().max().unwrap_or(&0) - two.iter().min().unwrap_or(&0)).sum()
    };
    let cost = |odd: usize| {
        let (before, after) = (sizes.get(..odd).unwrap_or(&[]), sizes.get(odd + 1..).unwrap_or(&[]));
        gaps(before) + gaps(after)
    };
    (0..group.len()).step_by(2).min_by_key(|&odd| cost(odd)).unwrap_or(0)
}
