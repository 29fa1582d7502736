//! The rules that a campaign's content must keep: each broken one with its place, the reason and a way out.

use std::collections::BTreeSet;
use std::fmt;

use super::content::{Channel, Class, Content, Day};

/// Most characters of a title or statement.
const TEXT_CHARS_MAX: usize = 500;
/// Longest campaign, days.
const DAYS_MAX: i32 = 366;
/// Largest count, rate or cost: canonical JSON keeps whole numbers up to 2⁵³ − 1.
const NUMBER_MAX: u64 = (1 << 53) - 1;
/// Smallest and largest share of households that is left out.
const SHARE_BP: std::ops::RangeInclusive<u16> = 100..=9_000;
/// Fewest stores for matched pairs: with 5 pairs the smallest p-value of a permutation is 2⁻⁵ = 3.1 %, with 4 it is 6.3 %.
pub(crate) const STORES_MIN: usize = 10;
/// Most stores, creatives, dayparts and destinations: what a person can still read before signing.
const LIST_MAX: usize = 5_000;

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where: a field such as `price.rate_minor`, or a line.
    pub place: String,
    /// What is wrong.
    pub reason: String,
    /// What would be right.
    pub way_out: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.place, self.reason, self.way_out)
    }
}

/// Why a content is not a campaign: every broken rule, at least one.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("the campaign is refused: {}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | "))]
pub struct ContentRefused {
    /// The broken rules, in the order of the fields.
    pub problems: Vec<Problem>,
}

impl ContentRefused {
    fn one(place: impl Into<String>, reason: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self {
            problems: vec![Problem { place: place.into(), reason: reason.into(), way_out: way_out.into() }],
        }
    }
}

pub(super) fn unreadable_toml(text: &str, error: &toml::de::Error) -> ContentRefused {
    let line =
        error.span().map_or(1, |span| text.bytes().take(span.start).filter(|&b| b == b'\n').count() + 1);
    let reason = error.message().replace('\n', " ");
    ContentRefused::one(format!("line {line}"), reason, "see the documented form of a campaign file")
}

pub(super) fn unreadable_json(error: &serde_json::Error) -> ContentRefused {
    let place = format!("line {}, column {}", error.line(), error.column());
    ContentRefused::one(place, error.to_string(), "see the documented form of a campaign file")
}

pub(super) fn number(refused: &audits::NumberRefused) -> ContentRefused {
    ContentRefused::one("a number", refused.to_string(), "use whole numbers up to 2^53 - 1")
}

/// Collects what is broken.
#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn unless(&mut self, holds: bool, place: &str, reason: impl Into<String>, way_out: &str) {
        if !holds {
            let (place, way_out) = (place.to_owned(), way_out.to_owned());
            self.0.push(Problem { place, reason: reason.into(), way_out });
        }
    }

    fn text(&mut self, place: &str, text: &str) {
        let plain = !text.trim().is_empty() && text.trim() == text && !text.chars().any(char::is_control);
        self.unless(
            plain && text.chars().count() <= TEXT_CHARS_MAX,
            place,
            "it is empty, too long, or has control characters or outer spaces",
            &format!("write 1 to {TEXT_CHARS_MAX} characters on one line"),
        );
    }

    fn length(&mut self, place: &str, length: usize) {
        self.unless(
            length <= LIST_MAX,
            place,
            format!("{length} are more than {LIST_MAX}"),
            "split the campaign",
        );
    }
}

/// Every rule.
pub(super) fn content(content: &Content) -> Result<(), ContentRefused> {
    let mut problems = Problems::default();
    problems.text("title", &content.title);
    channels(content, &mut problems);
    stores(content, &mut problems);
    dayparts(content, &mut problems);
    creatives(content, &mut problems);
    numbers(content, &mut problems);
    dates(content, &mut problems);
    holdout(content, &mut problems);
    hypothesis(content, &mut problems);
    destinations(content, &mut problems);
    if problems.0.is_empty() { Ok(()) } else { Err(ContentRefused { problems: problems.0 }) }
}

fn channels(content: &Content, problems: &mut Problems) {
    problems.unless(!content.channels.is_empty(), "channels", "no channel is named", "name at least one");
}

fn stores(content: &Content, problems: &mut Problems) {
    problems.length("stores", content.stores.len());
    for store in &content.stores {
        let fits = (1..=64).contains(&store.0.chars().count())
            && store.0.trim() == store.0
            && !store.0.chars().any(char::is_control);
        problems.unless(
            fits,
            "stores",
            format!("`{}` is no store", store.0.chars().take(64).collect::<String>().escape_debug()),
            "write 1 to 64 printable characters, as the catalogue names the store",
        );
    }
}

fn dayparts(content: &Content, problems: &mut Problems) {
    problems.length("daypart", content.dayparts.len());
    let mut taken: Vec<(Day, u16, u16)> = Vec::new();
    for (position, part) in content.dayparts.iter().enumerate() {
        let place = format!("daypart[{position}]");
        problems.unless(!part.days.is_empty(), &place, "no day is named", "name days such as `mon`");
        let (from, to) = (part.from.of_day(), part.to.of_day());
        problems.unless(
            from < to,
            &place,
            "it ends before it begins",
            "split a part that crosses midnight in two",
        );
        for &day in &part.days {
            let overlaps = taken.iter().any(|&(other, start, end)| other == day && from < end && start < to);
            problems.unless(!overlaps, &place, "it overlaps another one", "join the two");
            taken.push((day, from, to));
        }
    }
}

fn creatives(content: &Content, problems: &mut Problems) {
    problems.length("creative", content.creatives.len());
    for &channel in &content.channels {
        let any = content.creatives.iter().any(|creative| creative.channel == channel);
        problems.unless(any, "creative", format!("`{channel}` has none"), "add one for each channel");
    }
    let mut seen = BTreeSet::new();
    for (position, creative) in content.creatives.iter().enumerate() {
        let place = format!("creative[{position}]");
        let known = content.channels.contains(&creative.channel);
        problems.unless(
            known,
            &place,
            format!("`{}` is no channel of the campaign", creative.channel),
            "add the channel or drop the creative",
        );
        problems.unless(
            seen.insert((creative.channel, creative.sha256)),
            &place,
            "it is there twice",
            "drop one",
        );
        let timed = creative.seconds.is_none_or(|seconds| (1..=3_600).contains(&seconds));
        problems.unless(timed, &place, "its length is out of range", "write 1 to 3600 seconds");
        problems.unless(
            creative.channel != Channel::Screen || creative.seconds.is_some(),
            &place,
            "a play on a screen counts after a number of seconds, and none is given",
            "add `seconds`",
        );
    }
}

fn numbers(content: &Content, problems: &mut Problems) {
    let caps = &content.caps;
    problems.unless(
        (1..=1_000).contains(&caps.per_day),
        "caps.per_day",
        "it is out of range",
        "write 1 to 1000",
    );
    problems.unless(
        caps.per_campaign >= caps.per_day && caps.per_campaign <= 100_000,
        "caps.per_campaign",
        "it is less than a day's cap, or above 100000",
        "write at least `per_day`",
    );
    let price = &content.price;
    problems.unless(
        price.currency.len() == 3 && price.currency.bytes().all(|b| b.is_ascii_uppercase()),
        "price.currency",
        "it is no currency",
        "write three capital letters such as `KZT`",
    );
    for (place, number) in [("price.rate_minor", price.rate_minor), ("price.cost_minor", price.cost_minor)] {
        problems.unless(
            (1..=NUMBER_MAX).contains(&number),
            place,
            "it is zero or too large",
            "write the amount in minor units, such as 150000 for 1,500.00",
        );
    }
}

fn dates(content: &Content, problems: &mut Problems) {
    let days = i64::from(content.ends.as_days()) - i64::from(content.starts.as_days()) + 1;
    problems.unless(
        (1..=i64::from(DAYS_MAX)).contains(&days),
        "ends",
        format!("the campaign has {days} days"),
        &format!("choose a last day that makes 1 to {DAYS_MAX} days"),
    );
}

fn holdout(content: &Content, problems: &mut Problems) {
    let addressable = content.channels.iter().any(|channel| channel.is_addressable());
    let (share, pairs) = (content.holdout.share_bp, content.holdout.store_pairs);
    if addressable {
        problems.unless(
            SHARE_BP.contains(&share),
            "holdout.share_bp",
            format!("{share} is out of range"),
            "leave out 1 % to 90 % of households (100 to 9000): it is what lift is measured against, and what hides members",
        );
    } else {
        problems.unless(
            share == 0,
            "holdout.share_bp",
            "screens cannot leave out households",
            "write 0 and draw stores with `store_pairs = true`",
        );
    }
    if content.channels.contains(&Channel::Screen) {
        problems.unless(
            pairs && content.stores.len() >= STORES_MIN,
            "holdout.store_pairs",
            "screens are measured by stores drawn in matched pairs",
            &format!("write `store_pairs = true` and name at least {STORES_MIN} stores"),
        );
    } else {
        problems.unless(
            !pairs,
            "holdout.store_pairs",
            "only screens are drawn by store",
            "leave it out, or add the channel `screen`",
        );
    }
}

fn hypothesis(content: &Content, problems: &mut Problems) {
    let claim = &content.hypothesis;
    problems.text("hypothesis.statement", &claim.statement);
    problems.unless(
        (-10_000..=1_000_000).contains(&claim.threshold_bp),
        "hypothesis.threshold_bp",
        "it is out of range",
        "write -10000 to 1000000 hundredths of a per cent",
    );
    problems.unless(
        claim.pre_days <= 366,
        "hypothesis.pre_days",
        "it is longer than a year",
        "write at most 366",
    );
    problems.unless(claim.post_days <= 90, "hypothesis.post_days", "it is too long", "write at most 90");
}

fn destinations(content: &Content, problems: &mut Problems) {
    problems.length("destination", content.destinations.len());
    let addressable = content.channels.iter().any(|channel| channel.is_addressable());
    problems.unless(
        addressable != content.destinations.is_empty(),
        "destination",
        if addressable { "no destination is named" } else { "screens get no audience" },
        "name where addressable channels are served from, and only then",
    );
    let mut seen = BTreeSet::new();
    for (position, destination) in content.destinations.iter().enumerate() {
        let place = format!("destination[{position}]");
        problems.unless(
            seen.insert(&destination.id),
            &place,
            format!("`{}` is there twice", destination.id),
            "join the two",
        );
        let kinds: BTreeSet<_> = destination.reached.iter().collect();
        problems.unless(
            !kinds.is_empty() && kinds.len() == destination.reached.len(),
            &place,
            "`reached` is empty or names a kind twice",
            "name `phone`, `email` or `card`, best first",
        );
        problems.unless(
            destination.class == Class::Scoped || content.channels.contains(&Channel::Offsite),
            &place,
            "open names leave the retailer's own channels",
            "add the channel `offsite`, or make it `scoped`",
        );
    }
}
