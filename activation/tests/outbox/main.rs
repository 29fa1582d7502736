//! The outbox against destinations, stores and logs that fail in every way.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

mod crashes;
mod order;
mod poison;
mod random;
mod secrecy;
mod sqlite;
mod world;
