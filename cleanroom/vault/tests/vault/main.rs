//! The vault from outside: its promises as tests.
#![cfg(test)]

mod catalogue;
mod complete_journey;
mod hot;
mod ingest;
mod keys;
mod pyarrow;
mod secrecy;
mod support;
