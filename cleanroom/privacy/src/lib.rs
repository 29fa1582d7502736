//! From bounds to noise: contribution bounds, sensitivity, the discrete Gaussian mechanism, its cost and its error.
//!
//! One adjacency holds everywhere: **one shopper with all their rows in all private tables is added or removed**.
//! The whole argument is in `DERIVATION.md` beside this crate; every item that carries a piece of it has a
//! *Guarantee* heading.
//!
//! The crate is pure but for the noise: it reads no data, no clock and no configuration. It never draws noise other
//! than through OpenDP, and has no seed, no zero scale and no switch that leaves noise out: a [`Scale`] exists only as
//! the answer to "which noise does this sensitivity need for this ρ?".
//!
//! ```
//! use ids::{Delta, MicroEpsilon};
//! use privacy::{BoundSource, Design, DesignRequest, GroupSpace, MeasureDesign, MeasureKind, OpenDpNoise, draw};
//!
//! let rho = privacy::rho_within(MicroEpsilon::from_units(500_000), Delta::at_least(1e-6).unwrap_or_default());
//! let design = Design::new(DesignRequest {
//!     groups: GroupSpace::Public { cells: 3 },
//!     measures: vec![MeasureDesign { kind: MeasureKind::Units, bound: BoundSource::Inherent }],
//!     rho,
//! })?;
//! for plan in design.measures() {
//!     if let Some(bound) = plan.fixed_bound() {
//!         let scale = plan.scale(bound)?;
//!         let noise = draw(&OpenDpNoise::default(), &scale, 3)?; // before the data is read
//!         let noisy = noise.add_to(&[120, 0, 43])?;
//!         assert_eq!(noisy.len(), 3);
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod accounting;
mod bounding;
mod choice;
mod design;
mod histogram;
mod noise;
mod report;
mod scale;
mod tail;

pub use accounting::{DeltaSplit, epsilon_of, rho_within};
pub use bounding::{Norm, clip_l2, sum_of_squares};
pub use choice::{BoundChoice, BoundQuestion, choose_bound};
pub use design::{
    BoundSource, Cost, Design, DesignRefused, DesignRequest, GroupSpace, MeasureDesign, MeasureKind,
    MeasurePlan,
};
pub use histogram::{NoisyHistogram, NormHistogram};
pub use noise::{Drawn, NoiseFailed, NoiseSource, OpenDpNoise, draw};
pub use report::{Clipping, Interval, NoiseReport};
pub use scale::{Bound, Scale, ScaleRefused, Sensitivity};
pub use tail::{half_width_95, threshold, upper_tail};
