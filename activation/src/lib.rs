//! Campaign, approval, holdout, audience, outbox, destinations.
