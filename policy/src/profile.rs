//! The reviewable profile: the small part of Cedar that a lawyer can read and a machine can enumerate.
//!
//! It works on Cedar's own JSON syntax tree, and lists what is allowed; everything else is refused. Two traps of the full
//! language are closed here: `context.x in […]` is not set membership and fails at run time, and a rule that fails is
//! skipped, which for a `forbid` means that it forbids nothing.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::Action;
use crate::facts::Facts;
use crate::refusal::BundleRefused;
use crate::rules::{Clause, Place};
use crate::vocabulary;

/// More conditions than this in one rule are two rules.
pub(crate) const CONJUNCTS_MAX: usize = 5;

/// Refuses a rule outside the profile; returns its text constants.
pub(crate) fn check(
    place: &Place,
    clause: &Clause,
    json: &Value,
    facts: &Facts,
) -> Result<BTreeSet<String>, BundleRefused> {
    let checker = Checker { place, clause, facts };
    checker.effect()?;
    let acts = checker.scope(json)?;
    let (when, unless) = checker.conditions(json)?;
    let mut constants = BTreeSet::new();
    for conjunct in when.iter().chain(&unless) {
        checker.conjunct(conjunct, &mut constants)?;
    }
    if clause.permits {
        checker.states_every_limit(&acts, &when)?;
    }
    Ok(constants)
}

struct Checker<'a> {
    place: &'a Place,
    clause: &'a Clause,
    facts: &'a Facts,
}

impl Checker<'_> {
    fn refuse(&self, reason: impl Into<String>, advice: impl Into<String>) -> BundleRefused {
        self.place.refuse(format!("clause `{}` {}", self.clause.id, reason.into()), advice)
    }

    fn effect(&self) -> Result<(), BundleRefused> {
        if self.clause.promise && self.clause.permits {
            return Err(
                self.refuse("is a promise that permits", "a promise says what must never be: use forbid")
            );
        }
        if !self.clause.permits && !self.clause.obligations.is_empty() {
            return Err(self.refuse("forbids and has an @obligation", "only a permit carries obligations"));
        }
        match self.clause.obligations.iter().find(|name| !self.facts.obligations.contains_key(*name)) {
            Some(name) => Err(self.refuse(
                format!("has the obligation `{name}`, which facts/obligations.toml does not define"),
                "define it there or correct the name",
            )),
            None => Ok(()),
        }
    }

    /// Who, what, on what; returns the acts.
    fn scope(&self, json: &Value) -> Result<Vec<Action>, BundleRefused> {
        for part in ["principal", "action", "resource"] {
            let scope = json.get(part).unwrap_or(&Value::Null);
            let op = scope.get("op").and_then(Value::as_str).unwrap_or_default();
            if !["All", "==", "in"].contains(&op) {
                return Err(self.refuse(
                    format!("limits its {part} by `{op}`"),
                    "use nothing, `==` or `in` with an entity",
                ));
            }
            for entity in entities(scope) {
                self.entity(entity)?;
            }
        }
        let acts: Vec<&str> =
            json.get("action").into_iter().flat_map(entities).filter_map(entity_id).collect();
        if self.clause.permits && acts.is_empty() {
            return Err(self.refuse("permits every action", "name the actions, so that a new one is denied"));
        }
        Ok(Action::ALL.into_iter().filter(|action| acts.contains(&action.cedar_name())).collect())
    }

    /// A name that nothing has would make a permit dead and a forbid toothless.
    fn entity(&self, entity: &Value) -> Result<(), BundleRefused> {
        let kind = entity.get("type").and_then(Value::as_str).unwrap_or_default();
        let id = entity_id(entity).unwrap_or_default();
        if vocabulary::exists(self.facts, kind, id) {
            Ok(())
        } else {
            Err(self.refuse(
                format!("names {kind}::\"{id}\", which the facts do not know"),
                "correct the name or add the fact",
            ))
        }
    }

    fn conditions<'j>(&self, json: &'j Value) -> Result<(Vec<&'j Value>, Vec<&'j Value>), BundleRefused> {
        let (mut when, mut unless) = (Vec::new(), Vec::new());
        let (mut whens, mut unlesses) = (0, 0);
        for condition in json.get("conditions").and_then(Value::as_array).into_iter().flatten() {
            let body = condition.get("body").unwrap_or(&Value::Null);
            if condition.get("kind").and_then(Value::as_str) == Some("when") {
                whens += 1;
                flatten(body, &mut when);
            } else {
                unlesses += 1;
                flatten(body, &mut unless);
            }
        }
        if whens > 1 || unlesses > 1 || unless.len() > 1 {
            return Err(self.refuse(
                "has several `when` or `unless`, or an `unless` with `&&`",
                "write one `when`, and one `unless` with a single condition",
            ));
        }
        if when.len() > CONJUNCTS_MAX {
            let reason = format!("has {} conditions, more than {CONJUNCTS_MAX}", when.len());
            return Err(self.refuse(reason, "split it into two clauses"));
        }
        Ok((when, unless))
    }

    /// One condition: a comparison of attributes and constants, or its plain negation.
    fn conjunct(&self, conjunct: &Value, constants: &mut BTreeSet<String>) -> Result<(), BundleRefused> {
        let (op, args) = node(conjunct);
        match op {
            "!" => {
                let inner = args.get("arg").unwrap_or(&Value::Null);
                if node(inner).0 == "!" {
                    return Err(self.refuse("negates a negation", "drop both `!`"));
                }
                self.conjunct(inner, constants)
            }
            "==" | "<" | "<=" | ">" | ">=" | "contains" | "containsAll" | "containsAny" => {
                let (left, right) = sides(args);
                for side in [left, right] {
                    self.operand(side)?;
                }
                self.constants(left, right, constants)?;
                self.constants(right, left, constants)
            }
            "in" => self.membership(args),
            "has" => self.operand(args.get("left").unwrap_or(&Value::Null)),
            other => Err(self.refuse(
                format!("uses `{other}`"),
                "the profile has == < <= > >= contains containsAll containsAny in has and a single !",
            )),
        }
    }

    /// `principal in Party::"x"`; never `context.x in [...]`.
    fn membership(&self, args: &Value) -> Result<(), BundleRefused> {
        let (left, right) = sides(args);
        let entity = right.get("Value").and_then(|value| value.get("__entity"));
        match (node(left), entity) {
            (("Var", Value::String(var)), Some(entity)) if var != "context" => self.entity(entity),
            _ => Err(self.refuse(
                "uses `in` on something else than an entity",
                "write membership of text as [\"a\", \"b\"].contains(context.x)",
            )),
        }
    }

    /// An attribute of context, principal or resource, or a constant.
    fn operand(&self, operand: &Value) -> Result<(), BundleRefused> {
        let refused = || {
            self.refuse(
                "computes inside a condition",
                "compare an attribute such as context.purpose with a text, whole number or set of texts",
            )
        };
        match node(operand) {
            ("Var", _) => Ok(()),
            (".", access) if node(access.get("left").unwrap_or(&Value::Null)).0 == "Var" => {
                let attribute = access.get("attr").and_then(Value::as_str).unwrap_or_default();
                if self.clause.permits && attribute == "obligations" {
                    return Err(self.refuse(
                        "permits depending on the obligations that permits bring",
                        "forbid `unless { context.obligations.contains(…) }` in a clause of its own",
                    ));
                }
                Ok(())
            }
            ("Value", Value::String(_) | Value::Number(_) | Value::Bool(_)) => Ok(()),
            ("Set", Value::Array(items)) => {
                let text = |item: &Value| matches!(node(item), ("Value", Value::String(_)));
                if items.iter().all(text) { Ok(()) } else { Err(refused()) }
            }
            _ => Err(refused()),
        }
    }

    /// A text compared with an attribute of the context has to be one that can occur.
    fn constants(
        &self,
        constant: &Value,
        other: &Value,
        found: &mut BTreeSet<String>,
    ) -> Result<(), BundleRefused> {
        let attribute = match node(other) {
            (".", access) => access.get("attr").and_then(Value::as_str).unwrap_or_default(),
            _ => "",
        };
        let texts: Vec<&str> = match node(constant) {
            ("Value", Value::String(text)) => vec![text],
            ("Set", Value::Array(items)) => {
                items.iter().filter_map(|item| item.get("Value")?.as_str()).collect()
            }
            _ => vec![],
        };
        for text in texts {
            if !vocabulary::can_occur(self.facts, attribute, text) {
                return Err(self.refuse(
                    format!("compares context.{attribute} with `{text}`, which never occurs"),
                    "correct the text or add it to the facts",
                ));
            }
            found.insert(text.to_owned());
        }
        Ok(())
    }

    /// Cedar skips a forbid that fails; so whatever limits a question or a campaign stands in the permit itself.
    fn states_every_limit(&self, acts: &[Action], when: &[&Value]) -> Result<(), BundleRefused> {
        for limit in LIMITS {
            let bound = acts.iter().find(|act| (limit.acts)(**act));
            if let Some(act) = bound.filter(|_| !when.iter().any(|conjunct| limit.is_stated_by(conjunct))) {
                return Err(self.refuse(
                    format!("permits `{act}` without its own limit on context.{}", limit.attribute),
                    format!("state {} in `when`", limit.form),
                ));
            }
        }
        Ok(())
    }
}

/// What a permit has to state itself, for which acts.
struct Limit {
    attribute: &'static str,
    acts: fn(Action) -> bool,
    form: &'static str,
    stated: fn(&str, &Value, &Value) -> bool,
}

impl Limit {
    fn is_stated_by(&self, conjunct: &Value) -> bool {
        let (op, args) = node(conjunct);
        let (left, right) = sides(args);
        match op {
            // The only negation that is a limit: not the author.
            "!" => {
                let (op, args) = node(args.get("arg").unwrap_or(&Value::Null));
                let (left, right) = sides(args);
                (self.stated)(if op == "contains" { "!contains" } else { "" }, left, right)
            }
            op => (self.stated)(op, left, right),
        }
    }
}

fn is(value: &Value, name: &str) -> bool {
    match node(value) {
        (".", access) => access.get("attr").and_then(Value::as_str) == Some(name),
        _ => false,
    }
}

fn constant(value: &Value) -> bool {
    matches!(node(value).0, "Value" | "Set")
}

fn advances(action: Action) -> bool {
    action.advances_campaign()
}

const LIMITS: [Limit; 10] = [
    Limit {
        attribute: "purpose",
        acts: |act| act.is_question() || act.advances_campaign(),
        form: "purpose == or [purposes].contains(purpose)",
        stated: |op, left, right| match op {
            "==" => is(left, "purpose") && constant(right),
            "contains" => is(right, "purpose") && constant(left),
            _ => false,
        },
    },
    Limit {
        attribute: "levels",
        acts: Action::is_question,
        form: "[levels].containsAll(levels)",
        stated: |op, left, right| op == "containsAll" && is(right, "levels") && constant(left),
    },
    Limit {
        attribute: "keys",
        acts: Action::is_question,
        form: "[levels].containsAll(keys)",
        stated: |op, left, right| op == "containsAll" && is(right, "keys") && constant(left),
    },
    Limit {
        attribute: "epsilonMicro",
        acts: Action::is_question,
        form: "epsilonMicro <= a number",
        stated: |op, left, right| ["<", "<="].contains(&op) && is(left, "epsilonMicro") && constant(right),
    },
    Limit {
        attribute: "cohortMin",
        acts: Action::is_question,
        form: "cohortMin >= a number",
        stated: |op, left, right| [">", ">="].contains(&op) && is(left, "cohortMin") && constant(right),
    },
    Limit {
        attribute: "channels",
        acts: advances,
        form: "[channels].containsAll(channels)",
        stated: |op, left, right| op == "containsAll" && is(right, "channels") && constant(left),
    },
    Limit {
        attribute: "destinations",
        acts: advances,
        form: "[classes].containsAll(destinations)",
        stated: |op, left, right| op == "containsAll" && is(right, "destinations") && constant(left),
    },
    Limit {
        attribute: "audienceFloor",
        acts: Action::addresses_shoppers,
        form: "audienceFloor >= a number",
        stated: |op, left, right| [">", ">="].contains(&op) && is(left, "audienceFloor") && constant(right),
    },
    Limit {
        attribute: "approvals",
        acts: Action::needs_approvals,
        form: "approvals.containsAll(approvalsNeeded)",
        stated: |op, left, right| {
            op == "containsAll" && is(left, "approvals") && is(right, "approvalsNeeded")
        },
    },
    Limit {
        attribute: "relations",
        acts: |act| act == Action::ApproveCampaign,
        form: "!relations.contains(\"author\")",
        stated: |op, left, right| {
            let author = right.get("Value").and_then(Value::as_str) == Some(vocabulary::AUTHOR);
            op == "!contains" && is(left, "relations") && author
        },
    },
];

/// A syntax node: its operator and arguments.
fn node(value: &Value) -> (&str, &Value) {
    match value.as_object().and_then(|object| object.iter().next()) {
        Some((op, args)) => (op, args),
        None => ("", &Value::Null),
    }
}

fn sides(args: &Value) -> (&Value, &Value) {
    (args.get("left").unwrap_or(&Value::Null), args.get("right").unwrap_or(&Value::Null))
}

fn flatten<'j>(body: &'j Value, into: &mut Vec<&'j Value>) {
    match node(body) {
        ("&&", args) => {
            let (left, right) = sides(args);
            flatten(left, into);
            flatten(right, into);
        }
        _ => into.push(body),
    }
}

/// The entities a scope names.
fn entities(scope: &Value) -> impl Iterator<Item = &Value> {
    let several = scope.get("entities").and_then(Value::as_array).into_iter().flatten();
    scope.get("entity").into_iter().chain(several)
}

fn entity_id(entity: &Value) -> Option<&str> {
    entity.get("id").and_then(Value::as_str)
}
