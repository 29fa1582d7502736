//! The agreement as files that legal reads and the machine enforces.
//!
//! A [`Bundle`] is a folder: Cedar rules (one clause, one rule, in a small reviewable profile), promises, facts, and
//! examples. [`Bundle::decide`] turns a [`Request`] into a [`Permit`] with [`Obligations`], or into a [`Denied`] that
//! names its clause and the nearest allowed form. What is not allowed is denied; what fails is denied.
//!
//! It never reads data, never asks the network, never reads the clock, and knows no SQL: it sees a question as its
//! [`Footprint`].
//!
//! ```
//! use ids::{Digest, MicroEpsilon, Timestamp};
//! use identity::{Principal, Role};
//! use policy::{Action, Bundle, Decision, Footprint, JV_NORTH, Request};
//!
//! let home = tempfile::tempdir()?;
//! JV_NORTH.write_to(home.path())?;
//! let bundle = Bundle::load(home.path())?;
//! let decision = bundle.decide(
//!     &Request {
//!         principal: Principal::local("ada".parse()?, "brand-nord".parse()?, Role::Analyst),
//!         action: Action::RunQuery,
//!         dataset: "loyalty".parse()?,
//!         purpose: "activation".parse()?,
//!         footprint: Footprint { tables: ["lines".to_owned()].into(), ..Footprint::default() },
//!         epsilon: MicroEpsilon::from_units(500_000),
//!         campaign: None,
//!         fingerprint: Digest::of(b"the question"),
//!     },
//!     Timestamp::from_millis(1_780_000_000_000),
//! );
//! let Decision::Denied(denied) = decision else { unreachable!() };
//! assert_eq!(denied.clauses[0].as_str(), "JV-4.1");
//! assert!(denied.nearest.unwrap().starts_with("ask for the purpose `measurement`"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod builtin;
mod bundle;
mod cases;
mod decide;
mod decision;
mod facts;
mod lock;
mod nearest;
mod profile;
#[cfg(test)]
mod promise;
mod refusal;
mod request;
mod rules;
mod samples;
mod vocabulary;

pub use builtin::BuiltIn;
pub use bundle::Bundle;
pub use cases::{CaseFailure, TestReport};
pub use decision::{Decision, Denied, Obligations, Permit, RowFilter};
pub use facts::{ActivationTerms, Approver, Budgets, Party, PartyKind, Purpose};
pub use refusal::BundleRefused;
pub use request::{Action, ActionRefused, CampaignAsk, DestinationClass, Footprint, Request};
pub use rules::{Clause, Lang};
pub use samples::{COMPLETE_JOURNEY, JV_NORTH, SampleBundle};
