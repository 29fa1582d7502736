//! Bound → sensitivity → noise scale.

use dashu::base::{Sign, SquareRoot};
use dashu::integer::{IBig, UBig};
use dashu::rational::RBig;
use ids::MicroRho;
use serde::Serialize;

use crate::noise::gaussian;

/// How much one shopper may contribute to one measure, over all groups together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// At most this many groups, one in each: for distinct shoppers.
    Groups(u64),
    /// At most this L2 norm, in the measure's smallest unit: for rows and sums.
    Norm(u64),
}

impl Bound {
    /// The L2 distance that one shopper within this bound can cause.
    ///
    /// # Guarantee
    /// A vector of k ones has norm √k; a clipped vector has at most the norm it was clipped to.
    pub const fn sensitivity(self) -> Sensitivity {
        match self {
            Self::Groups(groups) => Sensitivity { squared: groups as u128 },
            Self::Norm(norm) => Sensitivity { squared: norm as u128 * norm as u128 },
        }
    }
}

/// The largest L2 distance between the exact vectors of neighbours, kept as its exact square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sensitivity {
    squared: u128,
}

impl Sensitivity {
    /// One bucket of a histogram changes by one.
    pub const ONE: Self = Self { squared: 1 };

    /// Its exact square.
    pub const fn squared(self) -> u128 {
        self.squared
    }

    /// A rational number that is not below it, and not above it by more than a relative 2⁻⁶⁴; exact for whole norms.
    pub(crate) fn upper(self) -> RBig {
        const BITS: usize = 64;
        let root = self.squared.isqrt();
        if root * root == self.squared {
            return RBig::from(UBig::from(root));
        }
        let numerator = (UBig::from(self.squared) << (2 * BITS)).sqrt() + UBig::ONE;
        RBig::from_parts(IBig::from_parts(Sign::Positive, numerator), UBig::ONE << BITS)
    }
}

/// Why there is no noise scale for a question; all of it is known before any data is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScaleRefused {
    /// The bound is zero: there is nothing to release.
    #[error("the bound is zero, so nothing could be released: give a bound of at least 1")]
    NoSensitivity,
    /// No budget.
    #[error("the measure has no budget: ask for a larger epsilon or for fewer measures")]
    NoRho,
    /// OpenDP did not confirm the scale.
    #[error("the noise for this bound could not be confirmed by the noise library")]
    Unconfirmed,
}

impl ScaleRefused {
    /// Stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoSensitivity => "privacy.no_sensitivity",
            Self::NoRho => "privacy.no_rho",
            Self::Unconfirmed => "privacy.scale_unconfirmed",
        }
    }
}

/// Binary digits of σ: σ is larger than needed by at most a relative 2⁻³⁸, and well inside what f64 holds exactly.
const SIGMA_BITS: i32 = 40;

/// The standard deviation parameter σ of a discrete Gaussian, together with what it was made for.
///
/// # Guarantee
/// A vector whose neighbours differ by at most [`Scale::sensitivity`] in L2, plus independent noise of this scale on
/// every coordinate, is ρ-zCDP with [`Scale::rho`] (Canonne, Kamath & Steinke 2020, Theorem 14: Δ²/(2σ²)-zCDP). σ is a
/// binary fraction that f64 holds exactly, and OpenDP's own privacy map, in rational arithmetic, has confirmed it. There
/// is no other way to make one, so σ is never zero and never a guess.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    sigma: f64,
    sensitivity: Sensitivity,
    rho: MicroRho,
}

impl Scale {
    /// The smallest σ of 40 binary digits with Δ²/(2σ²) ≤ ρ.
    pub fn calibrated(sensitivity: Sensitivity, rho: MicroRho) -> Result<Self, ScaleRefused> {
        if sensitivity.squared == 0 {
            return Err(ScaleRefused::NoSensitivity);
        }
        if rho == MicroRho::ZERO {
            return Err(ScaleRefused::NoRho);
        }
        let ideal = (sensitivity.squared as f64 / (2.0 * rho.as_f64())).sqrt();
        let step = 2_f64.powi(ideal.log2().floor() as i32 + 1 - SIGMA_BITS);
        // Starts one step below the floating-point estimate, so that no smaller σ is passed over.
        let first = (ideal / step).floor() - 1.0;
        for steps in 0..4_u32 {
            let scale = Self { sigma: (first + f64::from(steps)) * step, sensitivity, rho };
            if scale.is_confirmed() {
                return Ok(scale);
            }
        }
        Err(ScaleRefused::Unconfirmed)
    }

    /// σ. The standard deviation of the noise is not above it (CKS 2020, Corollary 9).
    pub const fn sigma(&self) -> f64 {
        self.sigma
    }

    /// The sensitivity it was made for.
    pub const fn sensitivity(&self) -> Sensitivity {
        self.sensitivity
    }

    /// The cost that it keeps to.
    pub const fn rho(&self) -> MicroRho {
        self.rho
    }

    /// Whether OpenDP's privacy map puts the cost of this σ at or below ρ.
    pub(crate) fn is_confirmed(&self) -> bool {
        // The division rounds to nearest; one step down is certainly not above the true ρ.
        let rho = self.rho.as_f64().next_down();
        self.sigma > 0.0
            && gaussian(self.sigma)
                .and_then(|mechanism| mechanism.check(&self.sensitivity.upper(), &rho))
                .unwrap_or(false)
    }
}
