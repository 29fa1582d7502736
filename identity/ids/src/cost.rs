//! Privacy loss as whole numbers. Every conversion into these units rounds towards more loss.
//!
//! ρ of zero-concentrated differential privacy (Bun & Steinke 2016) adds up under adaptive composition, and so does δ;
//! that is why the ledger keeps exactly these two.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Two costs do not fit together into 64 bits: far beyond any grant, so it is refused instead of saturated.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("the privacy cost is too large to be counted")]
pub struct CostOverflow;

macro_rules! cost {
    ($(#[$doc:meta])* $name:ident, $unit:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// Nothing.
            pub const ZERO: Self = Self(0);
            /// How many units make one.
            pub const ONE: f64 = $unit;

            /// From the whole number of units.
            pub const fn from_units(units: u64) -> Self {
                Self(units)
            }

            /// The whole number of units.
            pub const fn units(self) -> u64 {
                self.0
            }

            /// The smallest number of units that is not less than `value`; `None` unless it is finite, not negative and
            /// countable.
            pub fn at_least(value: f64) -> Option<Self> {
                let units = (value * Self::ONE).ceil();
                (value.is_finite() && value >= 0.0 && units < 9.0e18).then_some(Self(units as u64))
            }

            /// As a plain number, for showing to people and for computing scales.
            pub fn as_f64(self) -> f64 {
                self.0 as f64 / Self::ONE
            }

            /// The sum, or a refusal.
            pub fn plus(self, other: Self) -> Result<Self, CostOverflow> {
                self.0.checked_add(other.0).map(Self).ok_or(CostOverflow)
            }

            /// What is left after `other`, not below zero.
            pub const fn minus(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.as_f64())
            }
        }
    };
}

cost!(
    /// ρ in millionths (µρ).
    MicroRho, 1e6
);
cost!(
    /// ε in millionths (µε). Shown to people and written in agreements; never added up.
    MicroEpsilon, 1e6
);
cost!(
    /// δ in units of 10⁻¹⁵.
    Delta, 1e15
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_round_towards_more_loss() {
        assert_eq!(MicroRho::at_least(0.0083).unwrap().units(), 8300);
        assert_eq!(MicroRho::at_least(1e-9).unwrap().units(), 1);
        assert_eq!(Delta::at_least(1e-6).unwrap().units(), 1_000_000_000);
        for bad in [-1.0, f64::NAN, f64::INFINITY, 1e13] {
            assert_eq!(MicroRho::at_least(bad), None, "{bad}");
        }
    }

    #[test]
    fn sums_are_checked() {
        assert_eq!(MicroRho::from_units(u64::MAX).plus(MicroRho::from_units(1)), Err(CostOverflow));
        assert_eq!(MicroRho::from_units(1).minus(MicroRho::from_units(2)), MicroRho::ZERO);
    }
}
