//! Campaigns, arms and audiences: the promises of `docs/activation.md`, each as a test.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "test code"
)]

mod arms;
mod attacker;
mod content;
mod lifecycle;
mod support;
mod ticks;
mod whole;
