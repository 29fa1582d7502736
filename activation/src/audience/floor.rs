//! The smallest audience. The test sees the noisy, charged size that came with the segment and never counts members.

use serde::{Deserialize, Serialize};

/// Smallest audience unless the agreement sets a higher one.
pub const FLOOR_DEFAULT: u64 = 1_000;
/// Below this no agreement can set it.
pub const FLOOR_MIN: u64 = 100;
/// Fewest expected controls: what lift is measured against, and what hides a member in the size of an audience
/// ([`super::size_divergence`]).
pub const CONTROLS_MIN: u64 = 100;

/// A segment's size as it was released: differentially private, paid for. It may be off in either direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NoisySize(u64);

impl NoisySize {
    /// From the released value; a negative one counts as zero.
    pub fn from_release(value: i64) -> Self {
        Self(u64::try_from(value).unwrap_or(0))
    }

    /// The released value.
    pub const fn value(self) -> u64 {
        self.0
    }
}

/// The smallest noisy size of an audience.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Floor(u64);

/// A floor is too low.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error(
    "{asked} is below the lowest floor of an audience: set {FLOOR_MIN} or more ({FLOOR_DEFAULT} by default)"
)]
pub struct FloorRefused {
    asked: u64,
}

impl Floor {
    /// A floor of at least [`FLOOR_MIN`].
    ///
    /// # Errors
    /// Below it.
    pub fn new(shoppers: u64) -> Result<Self, FloorRefused> {
        if shoppers >= FLOOR_MIN { Ok(Self(shoppers)) } else { Err(FloorRefused { asked: shoppers }) }
    }

    /// The number.
    pub const fn shoppers(self) -> u64 {
        self.0
    }

    /// Whether a segment is large enough.
    pub fn admits(self, size: NoisySize) -> bool {
        size.0 >= self.0
    }
}

impl Default for Floor {
    fn default() -> Self {
        Self(FLOOR_DEFAULT)
    }
}

impl<'de> Deserialize<'de> for Floor {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::new(u64::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}
