//! The numbering plans of all countries, as libphonenumber's metadata state them.
//!
//! The metadata come with the crate `phonenumber`; its own parser and validator are not used, because they disagree with
//! libphonenumber where it matters here: a pattern may match a beginning of the number only, the national prefix `8`
//! is stripped from numbers that already have their country code, letters become digits, and all patterns share one
//! small cache behind a lock, so that a mixed list of numbers compiles expressions all the time.

use std::collections::HashMap;
use std::sync::OnceLock;

use phonenumber::metadata::{DATABASE, Descriptor, Metadata};
use regex::{Regex, RegexBuilder};

/// Version of libphonenumber's metadata that decide what is valid; numbers that a country assigns later are refused
/// until this moves on. It belongs into the record of every load.
pub const NUMBERING_PLAN_VERSION: &str = "9.0.33";

/// What a number is for, as its numbering plan says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PhoneKind {
    /// A mobile subscriber.
    Mobile,
    /// A fixed line.
    Fixed,
    /// One of these two; the plan does not tell.
    FixedOrMobile,
    /// Follows a person to whatever line they use.
    Personal,
    /// Internet telephony.
    Voip,
    /// Free for the caller.
    TollFree,
    /// Dear for the caller.
    Premium,
    /// Caller and called share the cost.
    SharedCost,
    /// A pager.
    Pager,
    /// A company's universal access number.
    Company,
    /// A mailbox for voice.
    Voicemail,
}

impl PhoneKind {
    /// The kind in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mobile => "mobile",
            Self::Fixed => "fixed-line",
            Self::FixedOrMobile => "fixed-line or mobile",
            Self::Personal => "personal",
            Self::Voip => "internet telephony",
            Self::TollFree => "toll-free",
            Self::Premium => "premium-rate",
            Self::SharedCost => "shared-cost",
            Self::Pager => "pager",
            Self::Company => "company",
            Self::Voicemail => "voicemail",
        }
    }

    /// Whether such a number can be a person's own, and so stand for a shopper. All others are answered by somebody
    /// else, or by nobody: two shoppers who give the same hotline would become one.
    pub const fn is_personal(self) -> bool {
        match self {
            Self::Mobile | Self::Fixed | Self::FixedOrMobile | Self::Personal | Self::Voip => true,
            Self::TollFree
            | Self::Premium
            | Self::SharedCost
            | Self::Pager
            | Self::Company
            | Self::Voicemail => false,
        }
    }
}

/// Country codes have one to three digits (E.164).
const COUNTRY_CODE_MAX: u16 = 999;

/// How a number of digits compares with those that a plan allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    Possible,
    LocalOnly,
    TooShort,
    TooLong,
    Between,
}

/// A pattern, compiled when it is first needed: most of the 2,000 never are. One that did not compile would match
/// nothing; a test compiles them all.
#[derive(Debug)]
struct Pattern {
    source: String,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    /// Matches from the first digit on.
    fn start(source: &str) -> Self {
        Self { source: format!("^(?:{source})"), compiled: OnceLock::new() }
    }

    /// Matches all digits.
    fn whole(source: &str) -> Self {
        Self { source: format!("^(?:{source})$"), compiled: OnceLock::new() }
    }

    fn regex(&self) -> Option<&Regex> {
        let compile = || RegexBuilder::new(&self.source).ignore_whitespace(true).unicode(false).build().ok();
        self.compiled.get_or_init(compile).as_ref()
    }

    fn is_match(&self, digits: &str) -> bool {
        self.regex().is_some_and(|regex| regex.is_match(digits))
    }
}

/// The numbers of one kind.
#[derive(Debug)]
struct Range {
    pattern: Pattern,
    lengths: Vec<u16>,
}

impl Range {
    fn of(descriptor: &Descriptor) -> Self {
        Self {
            pattern: Pattern::whole(descriptor.national_number().as_str()),
            lengths: descriptor.possible_length().to_vec(),
        }
    }

    fn contains(&self, national: &str) -> bool {
        self.lengths.iter().any(|&length| usize::from(length) == national.len())
            && self.pattern.is_match(national)
    }
}

/// One country's plan, or that of a country code without a country.
#[derive(Debug)]
pub(super) struct Plan {
    /// ISO 3166 region, or `001`.
    pub region: String,
    international_prefix: Option<Pattern>,
    national_prefix: Option<Pattern>,
    /// What the national prefix is replaced by where not simply dropped, in the notation of `regex`.
    transform: Option<String>,
    leading_digits: Option<Pattern>,
    general: Pattern,
    /// Of all kinds together, ascending.
    lengths: Vec<u16>,
    /// Lengths that only work within an area, and are none of the above.
    local_lengths: Vec<u16>,
    /// In libphonenumber's order of precedence; fixed and mobile are compared by themselves.
    services: Vec<(PhoneKind, Range)>,
    fixed: Option<Range>,
    mobile: Option<Range>,
}

impl Plan {
    fn of(metadata: &Metadata) -> Self {
        let all = metadata.descriptors();
        let services = [
            (PhoneKind::Premium, all.premium_rate()),
            (PhoneKind::TollFree, all.toll_free()),
            (PhoneKind::SharedCost, all.shared_cost()),
            (PhoneKind::Voip, all.voip()),
            (PhoneKind::Personal, all.personal_number()),
            (PhoneKind::Pager, all.pager()),
            (PhoneKind::Company, all.uan()),
            (PhoneKind::Voicemail, all.voicemail()),
        ];
        let ranges =
            || services.iter().filter_map(|(_, found)| *found).chain(all.fixed_line()).chain(all.mobile());
        let mut lengths: Vec<u16> = ranges().flat_map(|range| range.possible_length()).copied().collect();
        let mut local_lengths: Vec<u16> =
            ranges().flat_map(|range| range.possible_local_length()).copied().collect();
        for list in [&mut lengths, &mut local_lengths] {
            list.sort_unstable();
            list.dedup();
        }
        local_lengths.retain(|length| !lengths.contains(length));
        // The metadata leave out what is the same as the prefix that people dial.
        let national_prefix = metadata.national_prefix_for_parsing().map(|regex| regex.as_str());
        Self {
            region: metadata.id().to_owned(),
            international_prefix: metadata.international_prefix().map(|regex| Pattern::start(regex.as_str())),
            national_prefix: national_prefix.or(metadata.national_prefix()).map(Pattern::start),
            transform: metadata.national_prefix_transform_rule().map(replacement),
            leading_digits: metadata.leading_digits().map(|regex| Pattern::start(regex.as_str())),
            general: Pattern::whole(all.general().national_number().as_str()),
            lengths,
            local_lengths,
            services: services
                .iter()
                .filter_map(|(kind, found)| found.map(|found| (*kind, Range::of(found))))
                .collect(),
            fixed: all.fixed_line().map(Range::of),
            mobile: all.mobile().map(Range::of),
        }
    }

    /// What the number is for; `None` if it is in no range, which is to say invalid.
    pub(super) fn kind(&self, national: &str) -> Option<PhoneKind> {
        if !self.general.is_match(national) {
            return None;
        }
        if let Some((kind, _)) = self.services.iter().find(|(_, range)| range.contains(national)) {
            return Some(*kind);
        }
        let within = |range: &Option<Range>| range.as_ref().is_some_and(|range| range.contains(national));
        match (within(&self.fixed), within(&self.mobile)) {
            (true, true) => Some(PhoneKind::FixedOrMobile),
            (true, false) => Some(PhoneKind::Fixed),
            (false, true) => Some(PhoneKind::Mobile),
            (false, false) => None,
        }
    }

    /// Whether the number looks like one of this country, valid or not.
    pub(super) fn is_plausible(&self, national: &str) -> bool {
        self.general.is_match(national)
    }

    /// Whether the number belongs to this country among those that share its code.
    fn claims(&self, national: &str) -> bool {
        match &self.leading_digits {
            Some(leading) => leading.is_match(national),
            None => self.kind(national).is_some(),
        }
    }

    /// How the number's length compares.
    pub(super) fn length(&self, national: &str) -> Length {
        let length = u16::try_from(national.len()).unwrap_or(u16::MAX);
        let (Some(&shortest), Some(&longest)) = (self.lengths.first(), self.lengths.last()) else {
            return Length::Between;
        };
        if self.local_lengths.contains(&length) {
            Length::LocalOnly
        } else if self.lengths.contains(&length) {
            Length::Possible
        } else if length < shortest {
            Length::TooShort
        } else if length > longest {
            Length::TooLong
        } else {
            Length::Between
        }
    }

    /// What is left after the prefix for calls abroad, if the digits begin with it.
    pub(super) fn without_international_prefix<'a>(&self, digits: &'a str) -> Option<&'a str> {
        let found = self.international_prefix.as_ref()?.regex()?.find(digits)?;
        let rest = digits.get(found.end()..)?;
        // No country code begins with 0.
        if rest.starts_with('0') { None } else { Some(rest) }
    }

    /// The number without the prefix for calls within the country. Where the number is plausible only with those digits,
    /// they are not a prefix.
    pub(super) fn without_national_prefix(&self, national: &str) -> String {
        let stripped = || -> Option<String> {
            let regex = self.national_prefix.as_ref()?.regex()?;
            let captures = regex.captures(national)?;
            let last = captures.get(captures.len().saturating_sub(1));
            let has_groups = captures.len() > 1;
            Some(match &self.transform {
                Some(transform) if has_groups && last.is_some() => {
                    regex.replace(national, transform.as_str()).into_owned()
                }
                _ => national.get(captures.get(0)?.end()..)?.to_owned(),
            })
        };
        match stripped() {
            Some(rest) if !self.is_plausible(national) || self.is_plausible(&rest) => rest,
            _ => national.to_owned(),
        }
    }
}

/// `$1` of the metadata as `${1}`, so that a digit behind it does not become part of the group's name.
fn replacement(rule: &str) -> String {
    let mut out = String::with_capacity(rule.len() + 8);
    let mut chars = rule.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('$', Some(&group)) if group.is_ascii_digit() => {
                chars.next();
                out.push_str(&format!("${{{group}}}"));
            }
            _ => out.push(c),
        }
    }
    out
}

/// All plans by country code, the main country of a shared code first.
#[derive(Debug)]
pub(super) struct Plans(HashMap<u16, Vec<Plan>>);

impl Plans {
    /// The plans, read once per process.
    pub(super) fn get() -> &'static Self {
        static PLANS: OnceLock<Plans> = OnceLock::new();
        PLANS.get_or_init(|| {
            // Not over the database's own list: it keeps one plan per region, and all codes without a country are `001`.
            let plans = |code: u16| {
                let found = DATABASE.by_code(&code)?;
                Some((code, found.into_iter().map(Plan::of).collect()))
            };
            Self((1..=COUNTRY_CODE_MAX).filter_map(plans).collect())
        })
    }

    /// The countries that share a code; empty for a code that does not exist.
    pub(super) fn sharing(&self, code: u16) -> &[Plan] {
        self.0.get(&code).map(Vec::as_slice).unwrap_or_default()
    }

    /// The plan of a region of that code.
    pub(super) fn of_region(&self, code: u16, region: &str) -> Option<&Plan> {
        self.sharing(code).iter().find(|plan| plan.region == region)
    }

    /// The country that the number belongs to, among those that share its code.
    pub(super) fn owner(&self, code: u16, national: &str) -> Option<&Plan> {
        match self.sharing(code) {
            [only] => Some(only),
            several => several.iter().find(|plan| plan.claims(national)),
        }
    }

    /// Country code and the rest, if the digits begin with one that exists.
    pub(super) fn split_country<'a>(&self, digits: &'a str) -> Option<(u16, &'a str)> {
        if digits.starts_with('0') {
            return None;
        }
        (1..=3).find_map(|length| {
            let code = digits.get(..length)?.parse().ok()?;
            self.0.contains_key(&code).then_some((code, digits.get(length..)?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_of_every_plan_compiles() {
        let plans: Vec<&Plan> = Plans::get().0.values().flatten().collect();
        assert!(plans.len() > 240, "{}", plans.len());
        for plan in plans {
            let ranges = plan.services.iter().map(|(_, range)| range).chain(&plan.fixed).chain(&plan.mobile);
            let optional = [&plan.international_prefix, &plan.national_prefix, &plan.leading_digits];
            let patterns = ranges.map(|range| &range.pattern).chain(optional.into_iter().flatten());
            for pattern in patterns.chain([&plan.general]) {
                assert!(pattern.regex().is_some(), "{} {}", plan.region, pattern.source);
            }
        }
    }

    #[test]
    fn the_version_is_that_of_the_locked_crate() {
        let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock")).unwrap();
        let at = lock.find("name = \"phonenumber\"").unwrap();
        let version = lock.get(at..).unwrap().lines().nth(1).unwrap();
        assert!(version.ends_with(&format!("+{NUMBERING_PLAN_VERSION}\"")), "{version}");
    }

    #[test]
    fn groups_of_a_rule_do_not_swallow_the_digits_behind_them() {
        assert_eq!(replacement("9$1"), "9${1}");
        assert_eq!(replacement("$12"), "${1}2");
    }
}
