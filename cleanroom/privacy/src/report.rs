//! What is said about the error of a released number.

use serde::Serialize;

use crate::{Bound, BoundChoice, Scale, half_width_95};

/// Where the exact number lies with a probability of at least 95 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Interval {
    /// Lower end, included.
    pub low: i128,
    /// Upper end, included.
    pub high: i128,
}

impl Interval {
    /// Whether `value` lies in it.
    pub const fn contains(&self, value: i128) -> bool {
        self.low <= value && value <= self.high
    }
}

/// What clipping may have done to a number beside the noise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Clipping {
    /// No shopper can exceed the bound, whatever the data.
    Impossible,
    /// A shopper may exceed the bound, so clipping may move a number out of its interval.
    MayExceed {
        /// Estimate of how far any number, or all together in L2, are moved; in the measure's unit. Only where a private
        /// histogram was taken.
        bias_estimate: Option<f64>,
        /// The same, with the histogram's noise allowed for.
        bias_upper: Option<f64>,
    },
}

/// Error of every number of one measure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct NoiseReport {
    /// Standard deviation of the noise, in the measure's unit (rounded up).
    pub std: f64,
    /// Half of the interval's width.
    pub half_width: u64,
    /// The bound that was used.
    pub bound: Bound,
    /// Noisy share of shoppers that exceeded it, 0 to 1, where a histogram was taken.
    pub clipped_share: Option<f64>,
    /// What clipping may have done.
    pub clipping: Clipping,
}

impl NoiseReport {
    /// For a measure whose bound follows from the groups (`can_clip` false, see [`crate::MeasurePlan::can_clip`]) or
    /// was given.
    pub fn without_histogram(scale: &Scale, bound: Bound, can_clip: bool) -> Self {
        let clipping = if can_clip {
            Clipping::MayExceed { bias_estimate: None, bias_upper: None }
        } else {
            Clipping::Impossible
        };
        Self { std: scale.sigma(), half_width: half_width_95(scale), bound, clipped_share: None, clipping }
    }

    /// For a measure whose bound was found by [`crate::choose_bound`].
    pub fn with_choice(scale: &Scale, choice: &BoundChoice, can_clip: bool) -> Self {
        let clipping = if can_clip {
            Clipping::MayExceed {
                bias_estimate: Some(choice.bias_estimate),
                bias_upper: Some(choice.bias_upper),
            }
        } else {
            Clipping::Impossible
        };
        Self {
            std: scale.sigma(),
            half_width: half_width_95(scale),
            bound: choice.bound,
            clipped_share: Some(choice.clipped_share),
            clipping,
        }
    }

    /// The 95 % interval around one noisy number.
    ///
    /// # Guarantee
    /// It covers the number before noise with probability at least 0.95; a function of the noisy number only.
    pub const fn interval(&self, noisy: i128) -> Interval {
        let half = self.half_width as i128;
        Interval { low: noisy.saturating_sub(half), high: noisy.saturating_add(half) }
    }
}
