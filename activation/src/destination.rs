//! Places that audiences are sent to, behind one trait.
//!
//! A destination is told a batch until it gives a final word on it. "Accepted" is not final: the outbox asks again. What
//! a destination says comes back as closed enumerations only, because free text of a peer could repeat a token.
//!
//! Three kinds: the [`Gateway`] of devices (gRPC, `audience.v1`), a [`Folder`] of files, an HTTP [`Webhook`]. What the
//! other end of the gRPC line does is in [`receiver`].

mod document;
mod folder;
mod gateway;
pub mod receiver;
mod webhook;
pub mod wire;

use std::future::Future;
use std::pin::Pin;

use ids::DestinationId;
use serde::{Deserialize, Serialize};

use crate::batch::{Batch, Header};

pub use folder::{Acknowledge, Folder};
pub use gateway::{DestinationRefused, Gateway, GatewayTls};
pub use webhook::{SIGNATURE_HEADER, TIMESTAMP_HEADER, Webhook, WebhookSecret, signature};

/// What every operation of a destination returns.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A place that audiences are sent to.
///
/// # Guarantee it must give
/// One batch id has one effect, however often it is sent; removing somebody who is not there succeeds.
pub trait Destination: Send + Sync {
    /// Its name.
    fn id(&self) -> &DestinationId;
    /// Sends a batch, perhaps again.
    fn submit<'a>(&'a self, batch: &'a Batch) -> Later<'a, Result<Answer, SendFailed>>;
    /// Asks what became of a batch that was accepted.
    fn status<'a>(&'a self, batch: &'a Header) -> Later<'a, Result<Answer, SendFailed>>;
}

/// What a destination says of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is done with it.
    Final(Verdict),
    /// It has it but is not done.
    Accepted {
        /// When to ask again, in seconds, if it said so.
        poll_after_secs: Option<u32>,
    },
    /// It does not know it: send it again.
    Unknown,
}

/// The final word on a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every member was taken.
    Applied,
    /// All but these were taken.
    Partial(Vec<Rejection>),
    /// None was taken, and sending the same again is no use.
    Refused(Reason),
}

/// A member that was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejection {
    /// Position in the batch, from 0.
    pub position: u32,
    /// Why.
    pub reason: Reason,
}

/// Why a member or a batch was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Not in the form that the destination expects.
    Malformed,
    /// The destination will not hold this member.
    Blocked,
    /// The batch is too large for it.
    TooLarge,
    /// It did not say.
    #[serde(other)]
    Unspecified,
}

impl Reason {
    /// A stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Blocked => "blocked",
            Self::TooLarge => "too-large",
            Self::Unspecified => "unspecified",
        }
    }

    /// From its stable name; anything else is unspecified.
    pub fn named(name: &str) -> Self {
        match name {
            "malformed" => Self::Malformed,
            "blocked" => Self::Blocked,
            "too-large" => Self::TooLarge,
            _ => Self::Unspecified,
        }
    }
}

/// A batch could not be sent, or no answer came. It will be sent again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("destination `{destination}` {fault}")]
pub struct SendFailed {
    /// Which destination.
    pub destination: DestinationId,
    /// What went wrong.
    pub fault: Fault,
    /// Not before so many seconds, if the destination said so.
    pub retry_after_secs: Option<u32>,
}

/// What went wrong. Nothing in it comes from the text of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No connection.
    #[error("cannot be reached: check its address and that it runs")]
    Unreachable,
    /// No answer in time.
    #[error("did not answer in time")]
    Timeout,
    /// It asks to wait.
    #[error("asks to wait")]
    Busy,
    /// It failed.
    #[error("failed on its side")]
    Broken,
    /// It does not let us in.
    #[error("refuses our credentials: check the secret or certificate that it was given")]
    Credentials,
    /// There is nothing of this kind there.
    #[error("has no such service: check its address")]
    NotThere,
    /// Its answer cannot be read.
    #[error("gave an answer that cannot be read")]
    Protocol,
    /// A file operation failed.
    #[error("cannot be written to: {0}")]
    Storage(std::io::ErrorKind),
    /// It is registered under another name, or not at all.
    #[error("is not configured here: add it, or its batches stay where they are")]
    NotConfigured,
    /// It refuses one batch after the other; splitting goes no further until one is taken.
    #[error("refuses everything it is sent: check that both sides mean the same format")]
    RefusesAll,
}

impl Fault {
    /// A stable name.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Busy => "busy",
            Self::Broken => "broken",
            Self::Credentials => "credentials",
            Self::NotThere => "not-there",
            Self::Protocol => "protocol",
            Self::Storage(_) => "storage",
            Self::NotConfigured => "not-configured",
            Self::RefusesAll => "refuses-all",
        }
    }

    /// Whether the destination may have acted all the same.
    pub const fn in_doubt(self) -> bool {
        !matches!(self, Self::Unreachable | Self::NotConfigured | Self::RefusesAll)
    }
}
