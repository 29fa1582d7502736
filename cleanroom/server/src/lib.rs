//! The composition root of the clean room: the one crate that knows all rooms and holds the vault's keys.
//!
//! It builds an [`app::App`] from a [`home::Home`] folder and shows it to people ([`cli`]), to programs ([`http`]), to
//! newcomers ([`demo`]) and to the stopwatch ([`bench`]). It owns no rule of its own: what is allowed is `policy`, what
//! it costs is `privacy`, what happens is `engine`.
//!
//! ```
//! use server::output::money;
//! assert_eq!(money(123_456, 2), "1,234.56");
//! ```

pub mod app;
pub mod bench;
pub mod catalogue;
pub mod cli;
pub mod config;
pub mod demo;
pub mod failure;
pub mod home;
pub mod http;
pub mod init;
mod keys;
pub mod output;
mod refusals;
mod render;
mod samples;
pub mod subject;
