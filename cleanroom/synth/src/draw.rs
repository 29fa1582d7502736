//! Drawing: independent streams of one seed, whole numbers below a bound, and weighted choice in constant time.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The streams of one seed. A shopper's stream depends on the seed and the shopper alone, so that the result does not
/// depend on threads or order.
pub(crate) enum Stream {
    /// What a shopper is and buys.
    Shopper(u32),
    /// What the campaign adds; apart, so that the baskets without the campaign stay what they were.
    Effect(u32),
    /// Guests of one chunk.
    Guests(u64),
    /// The assortment.
    Assortment,
}

pub(crate) fn stream(seed: u64, stream: Stream) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(match stream {
        Stream::Shopper(shopper) => u64::from(shopper) << 2,
        Stream::Effect(shopper) => (u64::from(shopper) << 2) | 1,
        Stream::Guests(chunk) => (chunk << 2) | 2,
        Stream::Assortment => 3,
    });
    rng
}

/// A whole number from 0 to `bound` − 1. The bias is below `bound` / 2³², which no figure here can show.
pub(crate) fn below(rng: &mut impl Rng, bound: u32) -> u32 {
    scaled(rng.next_u32(), bound)
}

/// True in `percent` of a hundred cases.
pub(crate) fn chance(rng: &mut impl Rng, percent: u32) -> bool {
    below(rng, 100) < percent
}

fn scaled(random: u32, bound: u32) -> u32 {
    ((u64::from(random) * u64::from(bound)) >> 32) as u32
}

/// Weighted choice by Vose's alias method (1991): one table look-up per draw.
#[derive(Debug, Clone)]
pub(crate) struct Alias(Vec<(u32, u16)>);

impl Alias {
    /// At most 65,536 weights, each finite and not negative, not all zero.
    pub(crate) fn new(weights: &[f64]) -> Self {
        let mean = weights.iter().sum::<f64>() / weights.len() as f64;
        let mut share: Vec<f64> = weights.iter().map(|weight| weight / mean).collect();
        let mut slots: Vec<(u32, u16)> = (0..weights.len()).map(|index| (u32::MAX, index as u16)).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..weights.len()).partition(|&index| share.get(index).is_some_and(|&share| share < 1.0));
        while let (Some(less), Some(&more)) = (small.pop(), large.last()) {
            let kept = share.get(less).copied().unwrap_or_default();
            if let Some(slot) = slots.get_mut(less) {
                *slot = ((kept * f64::from(u32::MAX)) as u32, more as u16);
            }
            if let Some(rest) = share.get_mut(more) {
                *rest -= 1.0 - kept;
                if *rest < 1.0 {
                    large.pop();
                    small.push(more);
                }
            }
        }
        Self(slots)
    }

    /// The position of one weight, out of 64 random bits.
    pub(crate) fn draw(&self, rng: &mut impl Rng) -> usize {
        let random = rng.next_u64();
        let slot = scaled(random as u32, self.0.len() as u32) as usize;
        match self.0.get(slot) {
            Some(&(kept, other)) if (random >> 32) as u32 > kept => usize::from(other),
            _ => slot,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alias_method_draws_in_proportion() {
        let weights = [1.0, 0.0, 3.0, 6.0];
        let alias = Alias::new(&weights);
        let mut rng = stream(7, Stream::Assortment);
        let mut counts = [0_u32; 4];
        for _ in 0..100_000 {
            counts[alias.draw(&mut rng)] += 1;
        }
        assert_eq!(counts[1], 0);
        for (count, weight) in counts.iter().zip(weights) {
            // Six standard deviations of a binomial with 100,000 draws are below 950.
            assert!((f64::from(*count) - weight * 10_000.0).abs() < 950.0, "{counts:?}");
        }
    }

    #[test]
    fn streams_differ_and_repeat() {
        let first = |seed, which| stream(seed, which).next_u64();
        assert_eq!(first(1, Stream::Shopper(5)), first(1, Stream::Shopper(5)));
        let all = [
            first(1, Stream::Shopper(0)),
            first(1, Stream::Effect(0)),
            first(1, Stream::Guests(0)),
            first(1, Stream::Assortment),
            first(1, Stream::Shopper(1)),
            first(2, Stream::Shopper(0)),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one), "{all:?}");
        }
    }
}
