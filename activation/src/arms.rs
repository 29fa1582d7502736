//! Who is addressed and who is the control: drawn at random, by household or by matched store, under a key that the
//! retailer committed to in the log before the start, and checked afterwards.

mod checks;
mod draw;
mod stores;

pub use checks::{ALPHA, CONTAMINATION_MAX_BP, Contamination, SampleRatio, contamination, sample_ratio};
pub use draw::{Arm, Arms, ArmsKey, Commitment, Design, GlobalHoldout, Opening, OpeningRefused};
pub use stores::{Pair, Pairing, PairingRefused, StorePeriod, pair_stores};
