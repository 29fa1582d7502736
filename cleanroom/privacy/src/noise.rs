//! The only door to noise: OpenDP's discrete Gaussian over big integers.

use std::num::NonZeroUsize;
use std::thread;

use dashu::integer::IBig;
use dashu::rational::RBig;
use opendp::core::Measurement;
use opendp::domains::{AtomDomain, VectorDomain};
use opendp::error::Fallible;
use opendp::measurements::make_gaussian;
use opendp::measures::ZeroConcentratedDivergence;
use opendp::metrics::L2Distance;

use crate::Scale;

/// Below this many draws a second thread costs more than it saves (a draw takes some ten microseconds).
const DRAWS_PER_THREAD_MIN: usize = 64;

/// Noise could not be drawn or added. Nothing in it depends on data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoiseFailed {
    /// The generator or a worker failed.
    #[error("the noise could not be drawn")]
    Drawing,
    /// OpenDP's privacy map does not confirm the scale.
    #[error("the noise library does not confirm the cost of this scale")]
    Unconfirmed,
    /// There are not as many draws as numbers.
    #[error("the noise has another length than the numbers it is for")]
    Length,
}

impl NoiseFailed {
    /// Stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Drawing => "privacy.noise_failed",
            Self::Unconfirmed => "privacy.scale_unconfirmed",
            Self::Length => "privacy.noise_length",
        }
    }
}

/// A source of exact discrete Gaussian noise.
pub trait NoiseSource: Send + Sync {
    /// Independent draws, each from the discrete Gaussian of parameter σ = `scale.sigma()` on the whole integers.
    fn discrete_gaussian(&self, draws: usize, scale: &Scale) -> Result<Vec<i128>, NoiseFailed>;
}

impl<N: NoiseSource + ?Sized> NoiseSource for std::sync::Arc<N> {
    fn discrete_gaussian(&self, draws: usize, scale: &Scale) -> Result<Vec<i128>, NoiseFailed> {
        (**self).discrete_gaussian(draws, scale)
    }
}

pub(crate) type Gaussian =
    Measurement<VectorDomain<AtomDomain<IBig>>, L2Distance<RBig>, ZeroConcentratedDivergence, Vec<IBig>>;

/// OpenDP's mechanism on vectors of unbounded integers. σ is an exact rational inside, as f64 is.
pub(crate) fn gaussian(sigma: f64) -> Fallible<Gaussian> {
    make_gaussian(VectorDomain::new(AtomDomain::<IBig>::default()), L2Distance::default(), sigma, None)
}

/// OpenDP with the operating system's secure generator (OpenSSL's private stream).
///
/// # Guarantee
/// Draws come from `make_gaussian` invoked on zeros, an exact sampler (Canonne, Kamath & Steinke 2020, Algorithm 3).
/// Before the first draw the mechanism's privacy map must put `scale.sensitivity()` at or below `scale.rho()`. There is
/// no seed and no state: two calls are independent. How long a call takes depends on the values drawn, so noise is
/// drawn before the data is read.
#[derive(Debug, Clone, Copy)]
pub struct OpenDpNoise {
    threads: NonZeroUsize,
}

impl OpenDpNoise {
    /// Large vectors are drawn by up to `threads` threads.
    pub const fn with_threads(threads: NonZeroUsize) -> Self {
        Self { threads }
    }
}

impl Default for OpenDpNoise {
    /// As many threads as the machine offers, at most eight.
    fn default() -> Self {
        let offered = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self { threads: offered.min(NonZeroUsize::MIN.saturating_add(7)) }
    }
}

impl NoiseSource for OpenDpNoise {
    fn discrete_gaussian(&self, draws: usize, scale: &Scale) -> Result<Vec<i128>, NoiseFailed> {
        if !scale.is_confirmed() {
            return Err(NoiseFailed::Unconfirmed);
        }
        let threads = self.threads.get().min(draws.div_ceil(DRAWS_PER_THREAD_MIN)).max(1);
        let share = draws.div_ceil(threads);
        let sigma = scale.sigma();
        thread::scope(|scope| {
            let workers: Vec<_> = (1..threads)
                .map(|worker| share.min(draws.saturating_sub(worker * share)))
                .map(|count| scope.spawn(move || draw_here(count, sigma)))
                .collect();
            let mut drawn = draw_here(share.min(draws), sigma)?;
            for worker in workers {
                drawn.extend(worker.join().map_err(|_| NoiseFailed::Drawing)??);
            }
            Ok(drawn)
        })
    }
}

/// `draws` draws on this thread.
fn draw_here(draws: usize, sigma: f64) -> Result<Vec<i128>, NoiseFailed> {
    let mechanism = gaussian(sigma).map_err(|_| NoiseFailed::Drawing)?;
    let zeros = vec![IBig::ZERO; draws];
    let noise = mechanism.invoke(&zeros).map_err(|_| NoiseFailed::Drawing)?;
    noise.into_iter().map(|draw| i128::try_from(draw).map_err(|_| NoiseFailed::Drawing)).collect()
}

/// Noise for one vector, drawn before the data is read, to be used once.
///
/// # Guarantee
/// It cannot be copied or looked at, and [`Drawn::add_to`] consumes it: no two vectors share noise.
pub struct Drawn {
    noise: Vec<i128>,
    scale: Scale,
}

/// Draws noise for a vector of `length` numbers.
pub fn draw(source: &dyn NoiseSource, scale: &Scale, length: usize) -> Result<Drawn, NoiseFailed> {
    let noise = source.discrete_gaussian(length, scale)?;
    if noise.len() == length { Ok(Drawn { noise, scale: *scale }) } else { Err(NoiseFailed::Length) }
}

impl Drawn {
    /// The exact numbers plus the noise. A sum beyond 128 bits saturates, which is a function of the noisy value.
    ///
    /// # Guarantee
    /// If neighbours' `exact` differ by at most `self.scale().sensitivity()` in L2, the result is
    /// `self.scale().rho()`-zCDP.
    pub fn add_to(self, exact: &[i128]) -> Result<Vec<i128>, NoiseFailed> {
        if exact.len() != self.noise.len() {
            return Err(NoiseFailed::Length);
        }
        Ok(exact.iter().zip(self.noise).map(|(value, noise)| value.saturating_add(noise)).collect())
    }

    /// Its scale.
    pub const fn scale(&self) -> &Scale {
        &self.scale
    }

    /// For how many numbers it is.
    pub fn len(&self) -> usize {
        self.noise.len()
    }

    /// Whether it is for no number at all.
    pub fn is_empty(&self) -> bool {
        self.noise.is_empty()
    }
}

impl std::fmt::Debug for Drawn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Drawn")
            .field("len", &self.noise.len())
            .field("scale", &self.scale)
            .finish_non_exhaustive()
    }
}
