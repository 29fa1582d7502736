//! Campaign, approval, holdout, audience, outbox, destinations.

pub mod batch;
pub mod destination;
pub mod exposure;
pub mod journal;
pub mod outbox;
