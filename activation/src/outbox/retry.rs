//! When to try again: full jitter, and never before the destination said.

use ids::{Entropy, EntropyFailed, Timestamp};

/// Longest wait that a destination may ask for: one day. Beyond it a person has to look.
const RETRY_AFTER_SECS_MAX: u32 = 86_400;

/// Exponential back-off with full jitter: a random time between nothing and a ceiling that doubles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first ceiling, in milliseconds.
    pub base_ms: u32,
    /// The highest ceiling, in milliseconds.
    pub cap_ms: u32,
}

impl Default for Backoff {
    /// One second, doubling up to a quarter of an hour, which is also the longest a removal may go unsent.
    fn default() -> Self {
        Self { base_ms: 1_000, cap_ms: 900_000 }
    }
}

impl Backoff {
    /// The next time after `attempts` attempts, of which the last was at `now`.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn next(
        &self,
        now: Timestamp,
        attempts: u32,
        retry_after_secs: Option<u32>,
        entropy: &dyn Entropy,
    ) -> Result<Timestamp, EntropyFailed> {
        let doubled = u64::from(self.base_ms) << attempts.saturating_sub(1).min(31);
        let ceiling = doubled.min(u64::from(self.cap_ms));
        let mut bytes = [0; 8];
        entropy.fill(&mut bytes)?;
        // The high word of a 64 × 64 bit product is uniform over 0..=ceiling up to 2⁻⁶⁴ · ceiling.
        let jitter = (u128::from(u64::from_be_bytes(bytes)) * (u128::from(ceiling) + 1)) >> 64;
        let asked = u64::from(retry_after_secs.unwrap_or(0).min(RETRY_AFTER_SECS_MAX)) * 1000;
        let wait = asked.saturating_add(u64::try_from(jitter).unwrap_or(ceiling));
        Ok(Timestamp::from_millis(now.as_millis().saturating_add(i64::try_from(wait).unwrap_or(i64::MAX))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(u8);
    impl Entropy for Fixed {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyFailed> {
            bytes.fill(self.0);
            Ok(())
        }
    }

    fn wait(attempts: u32, retry_after: Option<u32>, byte: u8) -> i64 {
        let start = Timestamp::from_millis(0);
        Backoff::default().next(start, attempts, retry_after, &Fixed(byte)).unwrap().as_millis()
    }

    #[test]
    fn the_jitter_is_full_and_its_ceiling_doubles_up_to_the_cap() {
        let ceilings: Vec<i64> = [1, 2, 3, 10, 11, 40, u32::MAX].map(|n| wait(n, None, 0xff)).to_vec();
        assert_eq!(ceilings, [1_000, 2_000, 4_000, 512_000, 900_000, 900_000, 900_000]);
        assert_eq!(wait(5, None, 0), 0);
    }

    #[test]
    fn never_before_the_destination_said() {
        assert_eq!(wait(1, Some(30), 0), 30_000);
        assert_eq!(wait(1, Some(30), 0xff), 31_000);
        assert_eq!(wait(1, Some(u32::MAX), 0), 86_400_000);
    }
}
