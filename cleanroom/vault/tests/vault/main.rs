//! The vault from outside: its promises as tests.
#![cfg(test)]

mod append;
mod catalogue;
mod complete_journey;
mod erase;
mod hot;
mod identifiers;
mod ingest;
mod keys;
mod pyarrow;
mod secrecy;
mod support;
