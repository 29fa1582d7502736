//! Releases, previews, budgets and catalogues as people read them.

use engine::{BoundFrom, BudgetStatement, Cell, Explanation, Figure, NoisyValue, Release, Role};
use serde_json::json;

use crate::output::{Align, Document, Grid, number, share};

/// An answer: one line per row, every number with its 95 % interval.
pub(crate) fn release(release: &Release) -> Document {
    Document {
        json: serde_json::to_value(release).unwrap_or_default(),
        grid: release_grid(release),
        before: Vec::new(),
        after: release_footer(release),
    }
}

fn release_grid(release: &Release) -> Grid {
    let mut columns = Vec::new();
    for column in &release.columns {
        match column.role {
            Role::Key => columns.push((column.name.clone(), Align::Left)),
            Role::Value => {
                columns.push((column.name.clone(), Align::Right));
                columns.push((format!("{} low", column.name), Align::Right));
                columns.push((format!("{} high", column.name), Align::Right));
            }
        }
    }
    let mut grid = Grid::of(columns);
    for row in &release.rows {
        let mut cells = Vec::new();
        for column in &release.columns {
            match (column.role, row.get(&column.name)) {
                (Role::Value, Some(Cell::Value(value))) => cells.extend(value_cells(value)),
                (Role::Value, _) => cells.extend(["—", "—", "—"].map(str::to_owned)),
                (Role::Key, Some(Cell::Key(key))) => cells.push(key.to_string()),
                (Role::Key, _) => cells.push("—".to_owned()),
            }
        }
        grid.row(cells);
    }
    grid
}

fn value_cells(value: &NoisyValue) -> [String; 3] {
    let decimals = decimals_for(value.std);
    [value.value, value.low, value.high].map(|figure| shown(figure, decimals))
}

/// As many decimals as the noise leaves meaningful: none above 2, two at most elsewhere, four for small shares.
fn decimals_for(std: Option<Figure>) -> usize {
    match std.map(|std| std.0) {
        Some(std) if std >= 2.0 => 0,
        Some(std) if std >= 0.02 => 2,
        Some(std) if std > 0.0 => 4,
        _ => 2,
    }
}

fn shown(figure: Option<Figure>, decimals: usize) -> String {
    figure.map_or_else(|| "—".to_owned(), |figure| number(figure.0, decimals))
}

fn release_footer(release: &Release) -> Vec<String> {
    let charge = &release.charge;
    let mut lines = Vec::new();
    for bound in &release.bounds {
        lines.push(format!("  bound    {}", bound_text(bound)));
    }
    for note in &release.notes {
        lines.push(format!("  note     {note}"));
    }
    if release.suppressed.groups {
        lines
            .push(format!("  groups   fewer than {} noisy shoppers are not shown", release.suppressed.floor));
    }
    let price = match &release.reused_from {
        Some(earlier) => format!("free: the noise of {earlier} is used again"),
        None => format!(
            "ε {} at δ {:e} (ρ {}) on {}",
            charge.epsilon.0,
            charge.delta.0,
            charge.rho.0,
            blocks_text(&charge.blocks)
        ),
    };
    lines.push(format!("  charge   {price}"));
    lines.push(format!(
        "  budget   ε {} left, {} more answers like this",
        number(release.budget.epsilon_remaining.0, 3),
        release.budget.answers_like_this
    ));
    let clauses: Vec<&str> = release.policy.clauses.iter().map(ids::ClauseId::as_str).collect();
    lines.push(format!("  allowed  by {} of {}", clauses.join(", "), release.policy.bundle));
    lines.push(format!(
        "  receipt  {} is entry {} of {} in the log",
        release.release_id, release.receipt.index, release.receipt.tree_size
    ));
    lines
}

/// Where a bound comes from and what it cut, in one line.
pub(crate) fn bound_text(bound: &engine::BoundShown) -> String {
    let clip = number(bound.clip.0, 2);
    let clip = clip.trim_end_matches('0').trim_end_matches('.');
    let source = match bound.source {
        BoundFrom::Question => "named by the asker",
        BoundFrom::Inherent => "follows from the question",
        BoundFrom::PrivateHistogram => "found privately",
    };
    let cut = bound
        .clipped_share
        .map(|cut| format!("; about {} of shoppers were cut", share(cut.0.clamp(0.0, 1.0))));
    format!("{}: one shopper counts up to {clip}, {source}{}", bound.column, cut.unwrap_or_default())
}

/// A few blocks by name, many as a range.
pub(crate) fn blocks_text(blocks: &[String]) -> String {
    match blocks {
        [] => "no block".to_owned(),
        [one] => one.clone(),
        [first, .., last] => format!("{} blocks, {first} to {last}", blocks.len()),
    }
}

/// An explanation: what each pass found and decided.
pub(crate) fn explanation(explanation: &Explanation) -> Document {
    let preview = &explanation.preview;
    let mut grid = Grid::new([
        ("measure", Align::Left),
        ("one shopper counts up to", Align::Right),
        ("std of noise", Align::Right),
        ("± (95 %)", Align::Right),
        ("bound", Align::Left),
    ]);
    for expected in &preview.expected {
        let known = |source: &str| {
            let figures =
                [expected.bound, expected.std, expected.half_width].map(|figure| number(figure.0, 2));
            (figures, source.to_owned())
        };
        let ([bound, std, half_width], source) = match expected.source {
            BoundFrom::Question => known("named by the asker"),
            BoundFrom::Inherent => known("follows from the question"),
            BoundFrom::PrivateHistogram => {
                let times = |figure: f64| format!("{} × bound", number(figure / expected.bound.0, 1));
                let figures = ["?".to_owned(), times(expected.std.0), times(expected.half_width.0)];
                (figures, "will be found privately".to_owned())
            }
        };
        grid.row([expected.measure.clone(), bound, std, half_width, source]);
    }
    let mut before = Vec::new();
    for (position, pass) in explanation.passes.iter().enumerate() {
        before.push(format!("{}. {}", position + 1, pass.step));
        before.extend(pass.says.iter().map(|line| format!("     {line}")));
    }
    let price = if preview.free {
        "free: a stored release answers it".to_owned()
    } else {
        format!(
            "ε {} at δ {:e} (ρ {}) on {}",
            preview.epsilon.0,
            preview.delta.0,
            preview.rho.0,
            blocks_text(&preview.blocks)
        )
    };
    let after = vec![
        format!("  price    {price}"),
        format!(
            "  budget   ε {} left afterwards; {} answers like this fit now",
            number(preview.epsilon_remaining.0, 3),
            preview.answers_like_this
        ),
        "  no data was read and nothing was charged".to_owned(),
    ];
    Document { json: serde_json::to_value(explanation).unwrap_or_default(), grid, before, after }
}

/// What a party has left.
pub(crate) fn budget(statement: &BudgetStatement) -> Document {
    let mut grid = Grid::new([
        ("block", Align::Left),
        ("quota ε", Align::Right),
        ("spent ε", Align::Right),
        ("left ε", Align::Right),
        ("left ρ", Align::Right),
        ("answers at the default price", Align::Right),
    ]);
    for block in &statement.blocks {
        grid.row([
            block.block.clone(),
            number(block.quota_epsilon.0, 3),
            number(block.spent_epsilon.0, 3),
            number(block.left_epsilon.0, 3),
            number(block.left_rho.0, 6),
            block.default_answers_left.to_string(),
        ]);
    }
    Document {
        json: serde_json::to_value(statement).unwrap_or_default(),
        grid,
        before: vec![format!(
            "Budget of {} on {} (ε at δ {:e}; ρ adds up, ε does not)",
            statement.party, statement.dataset, statement.delta.0
        )],
        after: Vec::new(),
    }
}

/// What may be known about the tables: never how many rows they have.
pub(crate) fn catalogue(catalogue: &crate::catalogue::CatalogueView) -> Document {
    let mut grid = Grid::new([
        ("table", Align::Left),
        ("column", Align::Left),
        ("type", Align::Left),
        ("group key", Align::Left),
        ("bounds", Align::Left),
        ("leads to", Align::Left),
    ]);
    for table in &catalogue.tables {
        for column in &table.columns {
            grid.row([
                format!("{} ({})", table.name, table.kind),
                column.name.clone(),
                column.ty.clone(),
                column.keys_text(),
                column.bounds.as_ref().map(|(low, high)| format!("{low} to {high}")).unwrap_or_default(),
                column.leads_to.clone().unwrap_or_default(),
            ]);
        }
    }
    Document {
        json: json!(catalogue),
        grid,
        before: vec![format!("Dataset {} — {}", catalogue.dataset, catalogue.time_zone)],
        after: vec![
            "  private tables are about shoppers; COUNT(DISTINCT unit key) counts them".to_owned(),
            "  `public` group keys are answered in full; `noisy` ones only above the threshold".to_owned(),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_follow_the_noise() {
        for (std, decimals) in [(Some(4.1), 0), (Some(0.5), 2), (Some(0.001), 4), (None, 2)] {
            assert_eq!(decimals_for(std.map(Figure)), decimals, "{std:?}");
        }
    }

    #[test]
    fn many_blocks_are_a_range() {
        let blocks = ["2017-Q1", "2017-Q2", "2017-Q3"].map(str::to_owned);
        assert_eq!(blocks_text(&blocks), "3 blocks, 2017-Q1 to 2017-Q3");
        assert_eq!(blocks_text(&blocks[..1]), "2017-Q1");
        assert_eq!(blocks_text(&[]), "no block");
    }
}
