//! Every limit of the language, each with its reason. A statement beyond one is refused with the code `limit`.

/// Longest statement, in bytes: what a person or a tool writes; more is an attack on the parser.
pub const TEXT_BYTES_MAX: usize = 16 * 1024;
/// Most operators in one statement: the parser builds a tree as deep as a chain of operators is long.
pub const OPERATORS_MAX: usize = 400;
/// Deepest nesting the parser follows, in its own counting.
pub const PARSER_DEPTH_MAX: usize = 40;
/// Deepest nesting of one expression or of subqueries after parsing.
pub const DEPTH_MAX: usize = 40;
/// Most relations (tables and subqueries) in one statement, subqueries included.
pub const RELATIONS_MAX: usize = 12;
/// Most columns in one SELECT list.
pub const COLUMNS_MAX: usize = 64;
/// Most keys in one GROUP BY.
pub const KEYS_MAX: usize = 8;
/// Most base measures after AVG is split into a sum and a count: each one costs budget.
pub const MEASURES_MAX: usize = 32;
/// Most cells of the public group space (the product of the keys' domains).
pub const CELLS_MAX: u64 = 100_000;
/// Longest range of days a date key may span: 400 years of the calendar.
pub const KEY_DAYS_MAX: i64 = 146_097;
/// Largest magnitude of an intermediate value: DuckDB's HUGEINT holds 1.7 × 10³⁸, so nothing below can overflow.
pub const MAGNITUDE_MAX: i128 = 100_000_000_000_000_000_000_000_000_000_000_000_000;
/// Most rows a sum inside a per-shopper subquery is taken to add up: 2³². More do not fit into memory.
pub const ROWS_MAX: i128 = 1 << 32;
/// Most rows of one shopper that bounds assume; a larger number is clipped, it does not fail.
pub const ROWS_ASSUMED: i128 = 1 << 20;
/// Decimals of a quotient computed below the private aggregate.
pub const QUOTIENT_SCALE: u8 = 4;
/// Assumed magnitude of a whole number without declared bounds.
pub const INT_BOUND_DEFAULT: i64 = 1 << 31;
/// Assumed magnitude of an amount without declared bounds, in minor units.
pub const MONEY_BOUND_DEFAULT: i64 = 1_000_000_000;
/// Most decimals of a number.
pub const SCALE_MAX: u8 = 12;
/// Largest number of days or months a date may be moved by.
pub const DATE_SHIFT_MAX: i64 = 100_000;
/// Largest number in LIMIT and OFFSET.
pub const LIMIT_MAX: u64 = 1_000_000;
/// Longest excerpt shown in a refusal, in characters.
pub const EXCERPT_CHARS_MAX: usize = 60;
