//! Text to syntax tree, within the limits that keep the parser safe.

use sqlparser::ast::{Query, Spanned, Statement};
use sqlparser::dialect::DuckDbDialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer, Whitespace};

use crate::limits::{OPERATORS_MAX, PARSER_DEPTH_MAX, TEXT_BYTES_MAX};
use crate::refusal::{Code, Fault, Pass, fault};
use crate::{Refusal, ResolvedQuery, Schema};

/// A statement that is one SELECT, within the limits, not yet checked against a catalogue.
#[derive(Debug, Clone)]
pub struct ParsedQuery {
    text: String,
    query: Box<Query>,
}

impl ParsedQuery {
    /// Parses one statement.
    ///
    /// # Errors
    /// The text is not SQL, not one SELECT, or beyond a limit.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        match parse(text) {
            Ok(query) => Ok(Self { text: text.to_owned(), query }),
            Err(fault) => Err(fault.into_refusal(text)),
        }
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
        let place = self.query.body.span();
        ResolvedQuery::new(schema, &self.query).map_err(|fault| fault.or_at(place).into_refusal(&self.text))
    }
}

fn parse(text: &str) -> Pass<Box<Query>> {
    let whole = Span::empty();
    if text.len() > TEXT_BYTES_MAX {
        return Err(fault(
            whole,
            Code::Limit,
            format!("the statement is longer than {TEXT_BYTES_MAX} bytes"),
        )
        .try_instead("shorten it"));
    }
    let dialect = DuckDbDialect {};
    let tokens = Tokenizer::new(&dialect, text).tokenize_with_location().map_err(|error| {
        let place = Span::new(error.location, error.location);
        fault(place, Code::Syntax, lowered(&error.message)).try_instead("close every quote and comment")
    })?;
    check_operators(&tokens)?;
    let end = tokens.last().map_or(whole, |token| token.span);
    let statements = Parser::new(&dialect)
        .with_recursion_limit(PARSER_DEPTH_MAX)
        .with_tokens_with_locations(tokens)
        .parse_statements()
        .map_err(|error| syntax(&error, end))?;
    let mut statements = statements.into_iter();
    match (statements.next(), statements.next()) {
        (Some(Statement::Query(query)), None) => Ok(query),
        (Some(_), Some(second)) => {
            Err(fault(second.span(), Code::Statement, "only one statement is allowed")
                .try_instead("send the statements one by one"))
        }
        (Some(_), None) => Err(fault(first_place(text), Code::Statement, "only SELECT is allowed")
            .try_instead("write `SELECT aggregates FROM tables`")),
        (None, _) => {
            Err(fault(whole, Code::Statement, "the statement is empty").try_instead("write a SELECT"))
        }
    }
}

/// A chain of operators makes a tree as deep as it is long: bounded before the parser runs.
fn check_operators(tokens: &[TokenWithSpan]) -> Pass<()> {
    let mut operators = 0;
    for token in tokens {
        let counts = match &token.token {
            Token::Word(word) => !matches!(word.keyword, Keyword::NoKeyword),
            Token::Whitespace(Whitespace::Space | Whitespace::Newline | Whitespace::Tab) => false,
            Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::Comma
            | Token::Period
            | Token::RParen => false,
            _ => true,
        };
        operators += usize::from(counts);
        if operators > OPERATORS_MAX {
            return Err(fault(
                token.span,
                Code::Limit,
                format!("more than {OPERATORS_MAX} operators and keywords"),
            )
            .try_instead("use IN (list) for long lists of values, or ask in two statements"));
        }
    }
    Ok(())
}

/// A parser error with the place that its message names.
fn syntax(error: &ParserError, end: Span) -> Fault {
    match error {
        ParserError::RecursionLimitExceeded => fault(end, Code::Limit, "the statement is nested too deep")
            .try_instead("use fewer parentheses and subqueries"),
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => {
            let (message, place) = match message.rsplit_once(" at Line: ") {
                Some((message, place)) => (message, location(place)),
                None => (message.as_str(), None),
            };
            let place = place.unwrap_or(end);
            fault(place, Code::Syntax, lowered(message)).try_instead("check the spelling near this place")
        }
    }
}

/// `3, Column: 14`.
fn location(text: &str) -> Option<Span> {
    let (line, column) = text.split_once(", Column: ")?;
    let digits: String = column.chars().take_while(char::is_ascii_digit).collect();
    let place = Location::new(line.parse().ok()?, digits.parse().ok()?);
    Some(Span::new(place, place))
}

/// One line, beginning in lower case unless it begins with a keyword.
fn lowered(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let mut chars = line.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).take(200).collect(),
        None => "the statement is not SQL".to_owned(),
    }
}

/// The first word of a text.
fn first_place(text: &str) -> Span {
    let (mut line, mut column) = (1, 1);
    for c in text.chars() {
        if !c.is_whitespace() {
            break;
        }
        if c == '\n' {
            (line, column) = (line + 1, 1);
        } else {
            column += 1;
        }
    }
    let width = text.trim_start().chars().take_while(|c| c.is_alphanumeric()).count() as u64;
    Span::new(Location::new(line, column), Location::new(line, column + width))
}
