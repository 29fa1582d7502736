//! Rules as they are written: one clause, one rule, with what it is based on and what it means in three languages.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{Effect, Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator};
use ids::{ClauseId, Date};

use crate::BuiltIn;
use crate::facts::Facts;
use crate::profile;
use crate::refusal::{BundleRefused, line_at};

/// A language the agreement is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lang {
    /// English.
    En,
    /// Russian.
    Ru,
    /// Kazakh.
    Kk,
}

impl Lang {
    /// Every language, in the order of the annotations.
    pub const ALL: [Self; 3] = [Self::En, Self::Ru, Self::Kk];

    /// The code of ISO 639-1.
    pub const fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Ru => "ru",
            Self::Kk => "kk",
        }
    }

    const fn annotation(self) -> &'static str {
        match self {
            Self::En => "text_en",
            Self::Ru => "text_ru",
            Self::Kk => "text_kk",
        }
    }
}

/// One clause of the agreement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause {
    /// Its id.
    pub id: ClauseId,
    /// Whether it allows; otherwise it forbids.
    pub permits: bool,
    /// Whether it is a promise: something that must never be, whatever the other clauses say.
    pub promise: bool,
    /// The paragraph of the contract or law it stands on.
    pub basis: String,
    /// Who answers for it.
    pub owner: String,
    /// Last day on which it may decide anything.
    pub expires: Date,
    /// What a permit demands, by the names in `facts/obligations.toml`.
    pub obligations: BTreeSet<String>,
    /// File inside the bundle.
    pub file: String,
    /// Line on which it starts, from 1.
    pub line: usize,
    texts: [String; 3],
    /// Every text constant of the rule; tells which columns a refusal is about.
    pub(crate) constants: BTreeSet<String>,
}

impl Clause {
    /// The clause's own words.
    pub fn text(&self, lang: Lang) -> &str {
        let [en, ru, kk] = &self.texts;
        match lang {
            Lang::En => en,
            Lang::Ru => ru,
            Lang::Kk => kk,
        }
    }
}

/// All rules of a bundle, checked, and the sets in which they are evaluated.
#[derive(Debug)]
pub(crate) struct Rules {
    pub clauses: BTreeMap<ClauseId, Clause>,
    /// Policies and promises: what decides.
    pub all: PolicySet,
    /// Only what permits: which obligations would come with a permit.
    pub permits: PolicySet,
    /// Policies without promises, and promises alone: to show that the policies keep the promises by themselves.
    pub policies: PolicySet,
    pub promises: PolicySet,
}

const ANNOTATIONS: [&str; 8] =
    ["clause", "basis", "owner", "expires", "text_en", "text_ru", "text_kk", "obligation"];

impl Rules {
    /// Reads every rule file, and refuses whatever a reviewer could not review.
    pub(crate) fn load(
        files: &BTreeMap<String, String>,
        schema: &Schema,
        facts: &Facts,
    ) -> Result<Self, BundleRefused> {
        let mut rules = Self {
            clauses: BTreeMap::new(),
            all: PolicySet::new(),
            permits: PolicySet::new(),
            policies: PolicySet::new(),
            promises: PolicySet::new(),
        };
        for (file, text) in files.iter().filter(|(file, _)| file.ends_with(".cedar")) {
            let promise = file.starts_with("promises/");
            for statement in statements(file, text)? {
                let (clause, policy) = read(file, &statement, promise, facts)?;
                rules.add(clause, policy)?;
            }
        }
        if rules.permits.is_empty() {
            return Err(BundleRefused::MissingFile {
                file: "policies/*.cedar (with at least one permit)".to_owned(),
            });
        }
        rules.validate(schema)?;
        Ok(rules)
    }

    fn add(&mut self, clause: Clause, policy: Policy) -> Result<(), BundleRefused> {
        let place = Place::of(&clause);
        let id = clause.id.clone();
        if let Some(first) = self.clauses.get(&id) {
            let reason = format!("clause `{id}` is also in {}:{}", first.file, first.line);
            return Err(place.refuse(reason, "give every rule its own clause id"));
        }
        let mut sets = vec![&mut self.all];
        if clause.permits {
            sets.push(&mut self.permits);
        }
        sets.push(if clause.promise { &mut self.promises } else { &mut self.policies });
        for set in sets {
            set.add(policy.clone()).map_err(|error| place.refuse(error.to_string(), "rename the clause"))?;
        }
        self.clauses.insert(id, clause);
        Ok(())
    }

    /// Cedar's own check, in strict mode; warnings count, because a rule that can never apply is not what was meant.
    fn validate(&self, schema: &Schema) -> Result<(), BundleRefused> {
        let result = Validator::new(schema.clone()).validate(&self.all, ValidationMode::Strict);
        let errors = result.validation_errors().map(|error| (error.policy_id(), error.to_string()));
        let warnings = result.validation_warnings().map(|warning| (warning.policy_id(), warning.to_string()));
        match errors.chain(warnings).next() {
            None => Ok(()),
            Some((policy, reason)) => {
                let clause =
                    self.clauses.values().find(|clause| clause.id.as_str() == AsRef::<str>::as_ref(policy));
                let place = clause.map_or_else(Place::unknown, Place::of);
                let reason = crate::refusal::one_line(&reason);
                Err(place.refuse(reason, "use the names and types of schema.cedarschema"))
            }
        }
    }
}

/// Where a rule stands.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    file: String,
    line: usize,
}

impl Place {
    pub(crate) fn new(file: &str, line: usize) -> Self {
        Self { file: file.to_owned(), line }
    }

    fn of(clause: &Clause) -> Self {
        Self::new(&clause.file, clause.line)
    }

    fn unknown() -> Self {
        Self::new("policies", 1)
    }

    pub(crate) fn refuse(&self, reason: impl Into<String>, advice: impl Into<String>) -> BundleRefused {
        BundleRefused::Rule {
            file: self.file.clone(),
            line: self.line,
            reason: reason.into(),
            advice: advice.into(),
        }
    }
}

/// One rule's text and the line on which it starts.
#[derive(Debug, PartialEq, Eq)]
struct Statement<'a> {
    line: usize,
    text: &'a str,
}

/// Splits a file at the semicolons that are neither in a string nor in a comment.
fn statements<'a>(file: &str, text: &'a str) -> Result<Vec<Statement<'a>>, BundleRefused> {
    let mut found = Vec::new();
    let mut start: Option<usize> = None;
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'/' if bytes.peek().is_some_and(|(_, next)| *next == b'/') => {
                while bytes.next_if(|(_, b)| *b != b'\n').is_some() {}
            }
            b'"' => {
                start.get_or_insert(at);
                let mut escaped = false;
                for (_, b) in bytes.by_ref() {
                    match b {
                        b'"' if !escaped => break,
                        _ => escaped = b == b'\\' && !escaped,
                    }
                }
            }
            b';' => {
                let from = start.take().unwrap_or(at);
                let text_of_rule = text.get(from..=at).unwrap_or_default();
                found.push(Statement { line: line_at(text, from), text: text_of_rule });
            }
            b if b.is_ascii_whitespace() => {}
            _ => {
                start.get_or_insert(at);
            }
        }
    }
    match start {
        Some(from) => Err(BundleRefused::malformed(file, line_at(text, from), "a rule ends with `;`")),
        None => Ok(found),
    }
}

/// One statement as a clause and its Cedar policy, inside the profile.
fn read(
    file: &str,
    statement: &Statement<'_>,
    promise: bool,
    facts: &Facts,
) -> Result<(Clause, Policy), BundleRefused> {
    let place = Place::new(file, statement.line);
    let malformed = |error: &dyn std::fmt::Display| {
        BundleRefused::malformed(file, statement.line, format_args!("{error}"))
    };
    let policy = Policy::parse(None, statement.text).map_err(|error| malformed(&error))?;
    let clause = clause(&place, &policy, promise)?;
    let policy = policy.new_id(PolicyId::new(clause.id.as_str()));
    let json = policy.to_json().map_err(|error| malformed(&error))?;
    let constants = profile::check(&place, &clause, &json, facts)?;
    Ok((Clause { constants, ..clause }, policy))
}

/// The annotations: all of them, none empty, no other.
fn clause(place: &Place, policy: &Policy, promise: bool) -> Result<Clause, BundleRefused> {
    if let Some((key, _)) = policy.annotations().find(|(key, _)| !ANNOTATIONS.contains(key)) {
        let known = ANNOTATIONS.map(|name| format!("@{name}")).join(" ");
        return Err(place.refuse(format!("unknown annotation `@{key}`"), format!("use {known}")));
    }
    let required = |key: &str| match policy.annotation(key) {
        Some(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        _ => Err(place.refuse(format!("the rule has no `@{key}`"), format!("add @{key}(\"…\")"))),
    };
    let id: ClauseId = required("clause")?
        .parse()
        .map_err(|error| place.refuse(format!("{error}"), "write it like @clause(\"JV-3.1\")"))?;
    if BuiltIn::named(&id).is_some() {
        return Err(place.refuse(format!("`{id}` is a built-in clause"), "choose another clause id"));
    }
    let expires: Date = required("expires")?
        .parse()
        .map_err(|error| place.refuse(format!("{error}"), "write it like @expires(\"2027-03-31\")"))?;
    let [en, ru, kk] = Lang::ALL.map(|lang| required(lang.annotation()));
    Ok(Clause {
        id,
        permits: policy.effect() == Effect::Permit,
        promise,
        basis: required("basis")?,
        owner: required("owner")?,
        expires,
        obligations: match policy.annotation("obligation") {
            None => BTreeSet::new(),
            Some(names) => names.split(',').map(|name| name.trim().to_owned()).collect(),
        },
        file: place.file.clone(),
        line: place.line,
        texts: [en?, ru?, kk?],
        constants: BTreeSet::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_at_semicolons_outside_strings_and_comments() {
        let text = "// a; b\n@t(\"x;\\\"y\")\npermit (principal, action, resource);\n\n  // end;\nforbid (principal, action, resource) ;\n";
        let lines: Vec<usize> = statements("f", text).unwrap().iter().map(|s| s.line).collect();
        assert_eq!(lines, [2, 6]);
        assert_eq!(statements("f", "// only a comment").unwrap(), []);
        let refused = statements("f", "\npermit (principal, action, resource)").unwrap_err();
        assert_eq!(refused.to_string(), "f:2: a rule ends with `;`");
    }
}
