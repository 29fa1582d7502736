//! Segments, lift and media metrics.
