//! The engine from outside, over its ports. What each test promises is its name; the numbers are those of the plan's §2.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

mod house;

mod budget;
mod crashes;
mod exact;
mod neighbours;
mod path;
mod statistics;
