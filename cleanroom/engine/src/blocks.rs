//! Budget blocks: a dataset's accounts, one per quarter of event time and one for what has no time.

use ids::Date;

/// The block of rows without event time.
pub(crate) const UNDATED: &str = "undated";
/// Most quarters a dataset may span: their names have to fit into one log entry.
pub(crate) const QUARTERS_MAX: usize = 100;

/// The quarter that contains a day, such as `2017-Q1`.
fn quarter_of(day: Date) -> (i32, u32) {
    let (year, month, _) = day.ymd();
    (year, (month - 1) / 3)
}

/// The names of all quarters from one day to another, both included.
pub(crate) fn quarters(first: Date, last: Date) -> Vec<String> {
    let (mut year, mut quarter) = quarter_of(first);
    let end = quarter_of(last);
    let mut names = Vec::new();
    while (year, quarter) <= end {
        names.push(format!("{year:04}-Q{}", quarter + 1));
        (year, quarter) = if quarter == 3 { (year + 1, 0) } else { (year, quarter + 1) };
    }
    names
}

/// Every block of a dataset whose event times were declared to lie in `span`; one block where nothing was declared.
pub(crate) fn all(span: Option<(Date, Date)>) -> Vec<String> {
    let mut names = span.map(|(first, last)| quarters(first, last)).unwrap_or_default();
    names.push(UNDATED.to_owned());
    names
}

/// The blocks that a query over these days touches; `None`: it reads a table without event time, which belongs to every
/// block. Never empty.
pub(crate) fn touched(days: Option<(Date, Date)>, span: Option<(Date, Date)>) -> Vec<String> {
    match (days, span) {
        (Some((from, to)), Some((first, last))) => {
            // A range beyond the data touches the nearest block: asking for nothing is not free.
            let from = from.clamp(first, last);
            quarters(from, to.clamp(from, last))
        }
        _ => all(span),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    #[test]
    fn a_query_touches_the_quarters_of_its_days() {
        let span = Some((day("2017-01-01"), day("2018-01-01")));
        let on = |from, to| touched(Some((day(from), day(to))), span);
        assert_eq!(on("2017-03-31", "2017-04-01"), ["2017-Q1", "2017-Q2"]);
        assert_eq!(on("2017-12-31", "2030-01-01"), ["2017-Q4", "2018-Q1"]);
        assert_eq!(on("1990-01-01", "1990-02-01"), ["2017-Q1"]);
        assert_eq!(on("2030-01-01", "2030-02-01"), ["2018-Q1"]);
        assert_eq!(on("2017-06-01", "2017-05-01"), ["2017-Q2"], "an empty range costs as much as a day");
    }

    #[test]
    fn what_has_no_time_belongs_to_every_block() {
        let span = Some((day("2017-01-01"), day("2017-09-30")));
        assert_eq!(touched(None, span), ["2017-Q1", "2017-Q2", "2017-Q3", "undated"]);
        assert_eq!(touched(Some((day("2017-01-01"), day("2017-01-02"))), None), ["undated"]);
    }
}
