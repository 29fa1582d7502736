//! A segment on its way out: campaign → approval → arms → audience → outbox → destinations.
//!
//! * [`campaign`]: a lifecycle of types. What is not approved by everybody who must cannot be scheduled, what is not
//!   scheduled cannot run, and each step is durable and logged before its type exists ([`store`], [`approval`]).
//! * [`arms`]: the control group, drawn by household under a key that is committed to in the log before the start.
//! * [`audience`]: what one campaign has at one destination, `segment ∧ consent ∧ ¬suppressed ∧ ¬holdout ∧ ¬expired`, told
//!   as changes.
//! * [`tick`]: what is told when, in the one order that a crash cannot break.
//! * [`outbox`]: what is to leave is durable first, leaves at least once, and arrives as one exact set at a
//!   [`destination`].
//! * [`members`]: the port to the vault. This room sees positions and, for an instant, canonical identifiers, never rows.
//!
//! It never opens the vault, never reads the clock or the system's randomness by itself, and keeps no identifier.

pub mod approval;
pub mod arms;
pub mod audience;
pub mod batch;
pub mod campaign;
pub mod destination;
pub mod exposure;
pub mod journal;
mod keys;
pub mod members;
pub mod outbox;
pub mod store;
pub mod tick;

pub use keys::Secrets;
