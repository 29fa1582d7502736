//! What an analyst asks for, before anything is checked.

use std::collections::BTreeMap;

use ids::{MicroEpsilon, PurposeId, RequestId};

/// Most bounds one question may name: more than a statement can have measures is a mistake.
pub(crate) const BOUNDS_MAX: usize = 64;

/// A question in SQL, with what the asker wants to spend on it.
///
/// ```
/// use engine::Question;
/// let question = Question::new("SELECT COUNT(*) FROM lines", "measurement".parse()?);
/// assert!(question.epsilon.is_none());
/// # Ok::<(), ids::NameRefused>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// One SELECT statement.
    pub sql: String,
    /// What the answer is for; only shoppers who agreed to this purpose take part.
    pub purpose: PurposeId,
    /// The most privacy loss to spend, at the agreement's δ; the agreement's default where it lacks.
    pub epsilon: Option<MicroEpsilon>,
    /// Most that one shopper may contribute (the L2 norm over all groups), by measure or column, in natural units as a
    /// decimal text such as `5712.00`. A measure is named as in the answer's `bounds`, or by a column it adds up. What
    /// is not named follows from the groups or is found by a private search.
    pub bounds: BTreeMap<String, String>,
    /// Most private groups (groups whose keys come from private rows) that one shopper is counted in; the room's
    /// default where it lacks, never above its maximum.
    pub groups_max: Option<u32>,
    /// The idempotency key: asked twice with the same key, the same question is charged once. Drawn where it lacks.
    pub request_id: Option<RequestId>,
}

impl Question {
    /// A question with the agreement's default price and no bounds of its own.
    pub fn new(sql: impl Into<String>, purpose: PurposeId) -> Self {
        Self {
            sql: sql.into(),
            purpose,
            epsilon: None,
            bounds: BTreeMap::new(),
            groups_max: None,
            request_id: None,
        }
    }
}
