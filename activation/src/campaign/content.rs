//! What a campaign is, as a file that people read and sign: TOML or JSON in, one canonical form and one digest out.
//!
//! ```toml
//! campaign   = "butter-spring"
//! title      = "Butter, spring"
//! advertiser = "brand-nord"
//! dataset    = "loyalty"
//! purpose    = "activation"
//! segment    = { id = "butter-lapsed", digest = "sha256:…" }
//! channels   = ["push", "scale"]
//! stores     = ["almaty-01", "almaty-02"]            # leave out: all stores
//! caps       = { per_day = 2, per_campaign = 8 }
//! starts     = "2026-12-01"                          # first day, UTC
//! ends       = "2026-12-28"                          # last day, inclusive
//! price      = { model = "cpm", currency = "KZT", rate_minor = 150000, cost_minor = 90000000 }
//! holdout    = { share_bp = 1000 }                   # 10 % of households
//!
//! [[daypart]]                                        # leave out: the whole day
//! days = ["mon", "tue"]
//! from = "08:00"                                     # store's local time
//! to   = "12:00"
//!
//! [[creative]]
//! channel = "push"
//! sha256  = "sha256:…"
//!
//! [[destination]]
//! id      = "gateway"
//! class   = "scoped"                                 # or "open": names that others can join
//! reached = ["phone", "card"]                        # by what, best first
//!
//! [hypothesis]
//! statement    = "Lapsed buyers come back"
//! metric       = "sales"
//! threshold_bp = 0                                   # relative lift in hundredths of a per cent; iROAS: 10000 = 1
//! pre_days     = 56
//! post_days    = 14
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use identity::IdentifierKind;
use ids::{CampaignId, DatasetId, Date, DestinationId, Digest, PartyId, PurposeId, SegmentId, Timestamp};
use serde::{Deserialize, Serialize};

use super::check::{self, ContentRefused};

/// Milliseconds of a day.
const DAY_MILLIS: i64 = 86_400_000;

/// Everything that is approved. The fields are public to read; what is not checked and canonical has no digest, because
/// only [`super::Campaign`] gives one, and it takes [`Content::from_toml`], [`Content::from_json`] or a checked value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// The campaign's name; never used twice.
    pub campaign: CampaignId,
    /// For people.
    pub title: String,
    /// Who pays and learns the result.
    pub advertiser: PartyId,
    /// Whose shoppers.
    pub dataset: DatasetId,
    /// What their consent must cover.
    pub purpose: PurposeId,
    /// Who is to be reached.
    pub segment: SegmentRef,
    /// By what.
    pub channels: BTreeSet<Channel>,
    /// Where; none means in all stores.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub stores: BTreeSet<Place>,
    /// When within the day; none means always.
    #[serde(default, rename = "daypart", skip_serializing_if = "Vec::is_empty")]
    pub dayparts: Vec<Daypart>,
    /// With what, by content.
    #[serde(rename = "creative")]
    pub creatives: Vec<Creative>,
    /// How often at most.
    pub caps: Caps,
    /// First day, UTC.
    pub starts: Date,
    /// Last day, inclusive, UTC.
    pub ends: Date,
    /// What it costs.
    pub price: Price,
    /// Who is left out, to measure against.
    pub holdout: Holdout,
    /// What is claimed before anybody sees a result.
    pub hypothesis: Hypothesis,
    /// Where audiences are sent; none for screens alone, which need no identifier.
    #[serde(default, rename = "destination", skip_serializing_if = "Vec::is_empty")]
    pub destinations: Vec<DestinationRef>,
}

/// A version of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentRef {
    /// Its name.
    pub id: SegmentId,
    /// Digest of its predicate.
    pub digest: Digest,
}

/// How a shopper is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// A screen in a store: place and time, nobody in particular.
    Screen,
    /// A smart scale, while a card is presented.
    Scale,
    /// The checkout, while a card is presented.
    Checkout,
    /// The retailer's app, when it is opened.
    App,
    /// A push message.
    Push,
    /// A platform of somebody else.
    Offsite,
}

impl Channel {
    /// Every channel.
    pub const ALL: [Self; 6] =
        [Self::Screen, Self::Scale, Self::Checkout, Self::App, Self::Push, Self::Offsite];

    /// The word in files and policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Screen => "screen",
            Self::Scale => "scale",
            Self::Checkout => "checkout",
            Self::App => "app",
            Self::Push => "push",
            Self::Offsite => "offsite",
        }
    }

    /// Whether it reaches somebody in particular, and so needs an audience.
    pub const fn is_addressable(self) -> bool {
        !matches!(self, Self::Screen)
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The retailer's name of a store, as the catalogue has it: 1 to 64 printable characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Place(pub String);

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the days of the week")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// A part of some days, in the store's local time; it does not cross midnight.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Daypart {
    /// On which days.
    pub days: BTreeSet<Day>,
    /// From when, inclusive.
    pub from: Minute,
    /// To when, exclusive; `24:00` is the end of the day.
    pub to: Minute,
}

/// Minutes since the day began, 0 to 1440.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Minute(u16);

impl Minute {
    /// As a number, 0 to 1440.
    pub const fn of_day(self) -> u16 {
        self.0
    }
}

/// Why a text is no time of day.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is no time of day: expected `HH:MM` from 00:00 to 24:00")]
pub struct MinuteRefused {
    text: String,
}

impl FromStr for Minute {
    type Err = MinuteRefused;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || MinuteRefused { text: text.chars().take(16).collect() };
        let (hours, minutes) = text.split_once(':').ok_or_else(refused)?;
        let number = |part: &str| -> Result<u16, MinuteRefused> {
            let two_digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
            if two_digits { part.parse().map_err(|_| refused()) } else { Err(refused()) }
        };
        let (hours, minutes) = (number(hours)?, number(minutes)?);
        let all = hours * 60 + minutes;
        if minutes < 60 && all <= 1440 { Ok(Self(all)) } else { Err(refused()) }
    }
}

impl From<Minute> for String {
    fn from(minute: Minute) -> Self {
        format!("{:02}:{:02}", minute.0 / 60, minute.0 % 60)
    }
}

impl TryFrom<String> for Minute {
    type Error = MinuteRefused;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// A picture, film or text, by its content.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Creative {
    /// Where it is shown.
    pub channel: Channel,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// How long a play must last to count, in seconds; for screens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u32>,
}

/// How often one shopper is reached at most, over all channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Caps {
    /// Per day.
    pub per_day: u32,
    /// Over the campaign.
    pub per_campaign: u32,
}

/// What is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PriceModel {
    /// Per thousand impressions.
    Cpm,
    /// Per action: a redemption, a click.
    Cpa,
    /// Per sale.
    Cps,
}

/// What a campaign costs, in minor units (hundredths of the currency, as the catalogue's money).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// What is paid for.
    pub model: PriceModel,
    /// Three capital letters (ISO 4217).
    pub currency: String,
    /// Minor units per thousand impressions, per action or per sale.
    pub rate_minor: u64,
    /// The most that is paid altogether, minor units: the cost of ROAS and its kin.
    pub cost_minor: u64,
}

/// Who is left out at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holdout {
    /// Households that are never addressed, in hundredths of a per cent.
    pub share_bp: u16,
    /// Whether stores are drawn in matched pairs, one of each pair left out. Screens need it: they cannot tell households
    /// apart.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub store_pairs: bool,
}

/// What is measured (defined in `docs/metrics.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Share of households with a purchase.
    Conversion,
    /// Trips.
    Visits,
    /// Net sales.
    Sales,
    /// Units sold.
    Units,
    /// Incremental sales over cost.
    Iroas,
    /// Households new to the brand.
    NewToBrand,
}

impl Metric {
    /// The word in files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Conversion => "conversion",
            Self::Visits => "visits",
            Self::Sales => "sales",
            Self::Units => "units",
            Self::Iroas => "iroas",
            Self::NewToBrand => "new-to-brand",
        }
    }
}

/// What is claimed before the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hypothesis {
    /// In words.
    pub statement: String,
    /// The one metric that decides.
    pub metric: Metric,
    /// What it must exceed: relative lift in hundredths of a per cent of the control's mean; for iROAS 10,000 is 1.
    pub threshold_bp: i64,
    /// Days before the start that serve as pre-period.
    pub pre_days: u16,
    /// Days after the end that still count.
    pub post_days: u16,
}

/// Whether others can join a destination's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Names of this destination and epoch only.
    Scoped,
    /// Names that a platform demands in the form everybody computes.
    Open,
}

/// Where an audience is sent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DestinationRef {
    /// Its name in the settings.
    pub id: DestinationId,
    /// What kind of names it gets.
    pub class: Class,
    /// By which identifiers, best first; a member with none of them is not sent.
    #[serde(with = "kinds")]
    pub reached: Vec<IdentifierKind>,
}

impl Content {
    /// Reads and checks a TOML file.
    ///
    /// # Errors
    /// With the place in the file, or with every rule that it breaks.
    pub fn from_toml(text: &str) -> Result<Self, ContentRefused> {
        let content: Self = toml::from_str(text).map_err(|error| check::unreadable_toml(text, &error))?;
        content.checked()
    }

    /// Reads and checks a JSON document.
    ///
    /// # Errors
    /// With the place in the document, or with every rule that it breaks.
    pub fn from_json(text: &str) -> Result<Self, ContentRefused> {
        let content: Self = serde_json::from_str(text).map_err(|error| check::unreadable_json(&error))?;
        content.checked()
    }

    /// Checks every rule and brings lists whose order means nothing into one order.
    ///
    /// # Errors
    /// With every rule that it breaks.
    pub fn checked(mut self) -> Result<Self, ContentRefused> {
        self.dayparts.sort();
        self.creatives.sort();
        self.destinations.sort();
        check::content(&self)?;
        Ok(self)
    }

    /// The canonical form (RFC 8785, JCS): what the digest is made over.
    ///
    /// # Errors
    /// When a number has no exact form; checked content has none such.
    pub fn canonical(&self) -> Result<String, ContentRefused> {
        let value = serde_json::to_value(self).map_err(|error| check::unreadable_json(&error))?;
        audits::canonical_json(&value).map_err(|refused| check::number(&refused))
    }

    /// SHA-256 of the canonical form.
    ///
    /// # Errors
    /// As [`Content::canonical`].
    pub fn digest(&self) -> Result<Digest, ContentRefused> {
        Ok(Digest::of(self.canonical()?.as_bytes()))
    }

    /// The first moment.
    pub const fn starts_at(&self) -> Timestamp {
        Timestamp::from_millis(self.starts.as_days() as i64 * DAY_MILLIS)
    }

    /// The first moment after the last day.
    pub const fn ends_at(&self) -> Timestamp {
        Timestamp::from_millis((self.ends.as_days() as i64 + 1) * DAY_MILLIS)
    }

    /// The first moment after the days that still count.
    pub const fn measured_from(&self) -> Timestamp {
        let days = self.ends.as_days() as i64 + 1 + self.hypothesis.post_days as i64;
        Timestamp::from_millis(days * DAY_MILLIS)
    }

    /// A destination of the campaign.
    pub fn destination(&self, id: &DestinationId) -> Option<&DestinationRef> {
        self.destinations.iter().find(|destination| destination.id == *id)
    }
}

/// Kinds of identifiers as their words.
mod kinds {
    use identity::IdentifierKind;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(kinds: &[IdentifierKind], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(kinds.iter().map(|kind| kind.as_str()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IdentifierKind>, D::Error> {
        let words = Vec::<String>::deserialize(from)?;
        words.iter().map(|word| word.parse().map_err(D::Error::custom)).collect()
    }
}
