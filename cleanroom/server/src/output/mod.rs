//! The one place that prints. A result is a [`Document`]; the reader chooses table, JSON or CSV.

mod numbers;
mod progress;

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};

pub use numbers::{grouped, money, number, share};
pub use progress::Progress;

use crate::failure::Failure;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// Tables and sentences for people.
    #[default]
    Table,
    /// One JSON value.
    Json,
    /// The table as comma-separated values (RFC 4180).
    Csv,
}

/// How a column of a [`Grid`] is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// One line under the header and none elsewhere: easy to read, easy to copy.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::new('─', '─', '─', '─'));

/// A table of texts.
#[derive(Debug, Clone, Default)]
pub struct Grid {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Grid {
    /// A table without rows.
    pub fn new<const N: usize>(columns: [(&str, Align); N]) -> Self {
        Self::of(columns.into_iter().map(|(name, align)| (name.to_owned(), align)).collect())
    }

    /// A table without rows, for columns known only at run time.
    pub const fn of(columns: Vec<(String, Align)>) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row; cells beyond the columns are not shown.
    pub fn row<I: IntoIterator<Item = S>, S: Into<String>>(&mut self, cells: I) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// As people read it; at most `rows_max` rows, the rest counted.
    fn to_text(&self, rows_max: usize) -> String {
        let mut table = Table::new();
        table.load_style(STYLE).set_content_arrangement(ContentArrangement::Dynamic);
        if !io::stdout().is_terminal() {
            table.set_width(160);
        }
        table.set_header(
            self.columns.iter().map(|(name, align)| cell(name, *align).add_attribute(Attribute::Bold)),
        );
        for row in self.rows.iter().take(rows_max) {
            table.add_row(row.iter().zip(&self.columns).map(|(text, (_, align))| cell(text, *align)));
        }
        let mut text = table.to_string();
        if self.rows.len() > rows_max {
            text.push_str(&format!("\n… and {} more", self.rows.len() - rows_max));
        }
        text
    }

    fn to_csv(&self) -> io::Result<Vec<u8>> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(self.columns.iter().map(|(name, _)| name))?;
        for row in &self.rows {
            writer.write_record(row)?;
        }
        writer.into_inner().map_err(|error| io::Error::other(error.to_string()))
    }
}

fn cell(text: &str, align: Align) -> Cell {
    Cell::new(text).set_alignment(match align {
        Align::Left => CellAlignment::Left,
        Align::Right => CellAlignment::Right,
    })
}

/// One result in all three forms.
#[derive(Debug, Clone, Default)]
pub struct Document {
    /// What `--format json` prints.
    pub json: serde_json::Value,
    /// What `--format csv` prints, and the middle of the human form.
    pub grid: Grid,
    /// Lines above the table.
    pub before: Vec<String>,
    /// Lines below the table.
    pub after: Vec<String>,
}

/// Where results go: standard output, through this one type.
pub struct Screen {
    format: Format,
    out: Box<dyn Write + Send>,
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screen").field("format", &self.format).finish_non_exhaustive()
    }
}

impl Screen {
    /// Rows a person is shown of one table.
    const ROWS_MAX: usize = 60;

    /// Standard output.
    pub fn stdout(format: Format) -> Self {
        Self { format, out: Box::new(io::stdout()) }
    }

    /// Any other sink.
    pub fn to(format: Format, out: Box<dyn Write + Send>) -> Self {
        Self { format, out }
    }

    /// The chosen form.
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Prints a result.
    ///
    /// # Errors
    ///
    /// The sink failed; a reader that went away (closed pipe) is no error.
    pub fn show(&mut self, document: &Document) -> Result<(), Failure> {
        let bytes = match self.format {
            Format::Json => pretty(&document.json).into_bytes(),
            Format::Csv => document.grid.to_csv().map_err(unprintable)?,
            Format::Table => {
                let mut lines = document.before.clone();
                if !document.grid.is_empty() {
                    lines.push(document.grid.to_text(Self::ROWS_MAX));
                }
                lines.extend(document.after.iter().cloned());
                (lines.join("\n") + "\n").into_bytes()
            }
        };
        self.write(&bytes)
    }

    /// A line for people; nothing in the other forms.
    ///
    /// # Errors
    ///
    /// As [`Screen::show`].
    pub fn say(&mut self, line: &str) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.write(format!("{line}\n").as_bytes()),
            Format::Json | Format::Csv => Ok(()),
        }
    }

    /// Raw bytes, such as a token or a file.
    ///
    /// # Errors
    ///
    /// As [`Screen::show`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self.out.write_all(bytes).and_then(|()| self.out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(unprintable),
        }
    }
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

fn unprintable(error: io::Error) -> Failure {
    Failure::failed("output", "cannot print the result", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_quotes_what_needs_it() {
        let mut grid = Grid::new([("name", Align::Left), ("n", Align::Right)]);
        grid.row(["a,\"b\"", "1"]);
        assert_eq!(String::from_utf8(grid.to_csv().unwrap()).unwrap(), "name,n\n\"a,\"\"b\"\"\",1\n");
    }

    #[test]
    fn long_tables_say_how_much_is_missing() {
        let mut grid = Grid::new([("n", Align::Right)]);
        for n in 0..5 {
            grid.row([n.to_string()]);
        }
        assert!(grid.to_text(3).ends_with("… and 2 more"));
    }
}
