//! Text to syntax tree.
use crate::{Refusal, ResolvedQuery, Schema};
/// A statement that is one SELECT, within the limits, not yet checked against a catalogue.
#[derive(Debug, Clone)]
pub struct ParsedQuery {
    text: String,
}
impl ParsedQuery {
    /// Parses one statement.
    ///
    /// # Errors
    /// The text is not SQL, not one SELECT, or beyond a limit.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        Ok(Self { text: text.to_owned() })
    }
    /// The text as it was given.
    pub fn text(&self) -> &str {
        &self.text
    }
    /// Checks it against a catalogue.
    ///
    /// # Errors
    /// Everything that is not on the allow-list.
    pub fn resolve(&self, schema: &Schema) -> Result<ResolvedQuery, Refusal> {
        let _ = schema;
        todo!()
    }
}
