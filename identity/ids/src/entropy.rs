//! Randomness for keys, identifiers and nonces. Noise does not come from here: it is drawn by OpenDP's own generator.

use ring::rand::{SecureRandom, SystemRandom};

/// The operating system gave no randomness. Whoever sees this stops: there is no weaker source to fall back to.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("the operating system gave no randomness")]
pub struct EntropyFailed;

/// A source of cryptographic randomness.
pub trait Entropy: Send + Sync {
    /// Fills `bytes` entirely, or fails.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyFailed>;
}

/// The operating system's generator, through `ring`.
#[derive(Debug, Clone)]
pub struct SystemEntropy(SystemRandom);

impl SystemEntropy {
    /// The one constructor; hands out nothing by itself.
    #[expect(clippy::disallowed_methods, reason = "this is the place that reads the system's randomness")]
    pub fn new() -> Self {
        Self(SystemRandom::new())
    }
}

impl Default for SystemEntropy {
    fn default() -> Self {
        Self::new()
    }
}

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyFailed> {
        self.0.fill(bytes).map_err(|_| EntropyFailed)
    }
}

impl<E: Entropy + ?Sized> Entropy for std::sync::Arc<E> {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyFailed> {
        (**self).fill(bytes)
    }
}
