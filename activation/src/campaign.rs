//! A campaign: its content, which is what people sign, and its lifecycle, which is a type per state.

mod check;
mod content;
mod lifecycle;
mod states;

pub(crate) use check::STORES_MIN;
pub use check::{ContentRefused, Problem};
pub use content::{
    Caps, Channel, Class, Content, Creative, Day, Daypart, DestinationRef, Holdout, Hypothesis, Metric,
    Minute, MinuteRefused, Place, Price, PriceModel, SegmentRef,
};
pub(crate) use lifecycle::Loaded;
pub use lifecycle::{AnyCampaign, Approving, Armed, Campaign, Kept, Moved, TransitionRefused};
pub use states::{
    Approved, By, Cancelled, Draft, Ended, Measured, Refused, Running, Scheduled, State, Submitted, Verdict,
};
