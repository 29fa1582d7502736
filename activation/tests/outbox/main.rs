//! The outbox against destinations, stores and logs that fail in every way.

mod crashes;
mod order;
mod poison;
mod random;
mod secrecy;
mod sqlite;
mod world;
