//! Direct identifiers on the way in: phones and e-mail addresses are brought into the one form that pseudonyms are made
//! of, so that one shopper is one identifier at every destination.
//!
//! A text that has no such form never fails a load. The shopper behind it bought what they bought, and their rows count;
//! they only cannot be addressed by it. It is kept as it came, for the shopper's own export, and its place is reported.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use identity::{Canonical, IdentifierKind, IdentifierRefused};

use super::source::{BadCell, Chunk};
use crate::catalogue::Table;
use crate::refusal::VaultRefused;

/// Begins a text that is in canonical form.
const CANONICAL: char = '\u{1}';

/// Begins a text that is as it came.
const AS_IT_CAME: char = '\u{2}';

/// The direct identifiers of one table.
pub(crate) struct Identifiers {
    /// Position among the table's columns, and what it is.
    columns: Vec<(usize, Option<IdentifierKind>)>,
}

/// A direct identifier as it lies in a part, without its mark.
#[derive(Clone, Copy)]
pub(crate) enum Held<'a> {
    /// In canonical form.
    Canonical(&'a str),
    /// As it came in.
    AsItCame(&'a str),
}

impl<'a> Held<'a> {
    /// Reads a marked text.
    pub(crate) fn of_marked(text: &'a str) -> Self {
        match text.strip_prefix(CANONICAL) {
            Some(text) => Self::Canonical(text),
            None => Self::AsItCame(text.strip_prefix(AS_IT_CAME).unwrap_or(text)),
        }
    }

    /// The text for people.
    pub(crate) const fn text(self) -> &'a str {
        match self {
            Self::Canonical(text) | Self::AsItCame(text) => text,
        }
    }

    /// The identifier, if it is one. What came before the vault kept canonical forms, or had none by the rules of its time,
    /// is looked at anew.
    pub(crate) fn canonical(self, kind: IdentifierKind) -> Result<Canonical, IdentifierRefused> {
        match self {
            Self::Canonical(text) => Canonical::restored(kind, text),
            Self::AsItCame(text) => canonical(kind, text),
        }
    }
}

impl Identifiers {
    pub(crate) fn of(table: &Table) -> Self {
        let columns = table.columns.iter().enumerate().filter(|(_, column)| column.direct_identifier);
        Self { columns: columns.map(|(at, column)| (at, column.identifier_kind())).collect() }
    }

    /// Marks every direct identifier of the chunk, in canonical form where it has one, and notes those that should have one
    /// and do not.
    pub(super) fn canonicalise(&self, chunk: &mut Chunk) -> Result<(), VaultRefused> {
        let internal = || VaultRefused::Internal { act: "reading direct identifiers" };
        for &(at, kind) in &self.columns {
            let slot = chunk.columns.get_mut(at).ok_or_else(internal)?;
            let (marked, odd) = mark(slot, kind).ok_or_else(internal)?;
            *slot = marked;
            let odd = odd.into_iter().map(|(row, refused)| BadCell {
                row,
                column: Some(at),
                reason: refused.to_string(),
            });
            chunk.odd.extend(odd);
        }
        Ok(())
    }
}

/// Marks a column of texts; names the rows whose text has no canonical form. `None` if it holds no texts.
pub(crate) fn mark(
    texts: &ArrayRef,
    kind: Option<IdentifierKind>,
) -> Option<(ArrayRef, Vec<(usize, IdentifierRefused)>)> {
    let texts = texts.as_string_opt::<i32>()?;
    let mut marked = StringBuilder::with_capacity(texts.len(), texts.values().len() + texts.len());
    let mut odd = Vec::new();
    let mut text = String::new();
    for (row, given) in texts.iter().enumerate() {
        let Some(given) = given else {
            marked.append_null();
            continue;
        };
        text.clear();
        match kind.map(|kind| canonical(kind, given)) {
            Some(Ok(canonical)) => {
                text.push(CANONICAL);
                text.push_str(canonical.as_str());
            }
            other => {
                text.push(AS_IT_CAME);
                text.push_str(given);
                odd.extend(other.and_then(Result::err).map(|refused| (row, refused)));
            }
        }
        marked.append_value(&text);
    }
    Some((Arc::new(marked.finish()), odd))
}

fn canonical(kind: IdentifierKind, text: &str) -> Result<Canonical, IdentifierRefused> {
    match kind {
        IdentifierKind::Phone => Canonical::phone(text),
        IdentifierKind::Email => Canonical::email(text),
        IdentifierKind::Card => Err(IdentifierRefused::NotCanonical),
    }
}
