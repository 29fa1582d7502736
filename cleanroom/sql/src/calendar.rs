//! Calendar arithmetic on days: what `date_trunc` and `extract` give, as DuckDB computes it.

use ids::Date;

use crate::plan::DatePart;

/// Days since the Monday of the day's week, 0 to 6. Day 0 (1970-01-01) was a Thursday.
pub(crate) fn days_since_monday(day: Date) -> i32 {
    (day.as_days() + 3).rem_euclid(7)
}

/// The first day of the calendar unit that holds `day`.
pub(crate) fn truncate(part: DatePart, day: Date) -> Date {
    let (year, month, _) = day.ymd();
    match part {
        DatePart::Year => Date::from_ymd(year, 1, 1).unwrap_or(day),
        DatePart::Quarter => Date::from_ymd(year, (month - 1) / 3 * 3 + 1, 1).unwrap_or(day),
        DatePart::Month => Date::from_ymd(year, month, 1).unwrap_or(day),
        DatePart::Week => day.plus_days(-days_since_monday(day)),
        DatePart::Day | DatePart::Dow | DatePart::Isodow | DatePart::Doy => day,
    }
}

/// The first days of all calendar units from the one that holds `first` to the one that holds `last`.
pub(crate) fn units(part: DatePart, first: Date, last: Date) -> Vec<Date> {
    let mut out = Vec::new();
    let mut day = truncate(part, first);
    while day <= last {
        out.push(day);
        let next = match part {
            DatePart::Year => day.plus_days(366),
            DatePart::Quarter => day.plus_days(95),
            DatePart::Month => day.plus_days(31),
            DatePart::Week => day.plus_days(7),
            DatePart::Day | DatePart::Dow | DatePart::Isodow | DatePart::Doy => day.plus_days(1),
        };
        let next = truncate(part, next);
        if next <= day {
            break;
        }
        day = next;
    }
    out
}

/// EXTRACT(part FROM day).
pub(crate) fn part_of(part: DatePart, day: Date) -> i64 {
    let (year, month, of_month) = day.ymd();
    match part {
        DatePart::Year => i64::from(year),
        DatePart::Quarter => i64::from(month.div_ceil(3)),
        DatePart::Month => i64::from(month),
        DatePart::Day => i64::from(of_month),
        DatePart::Dow => i64::from((day.as_days() + 4).rem_euclid(7)),
        DatePart::Isodow => i64::from(days_since_monday(day) + 1),
        DatePart::Doy => i64::from(day.as_days() - truncate(DatePart::Year, day).as_days() + 1),
        DatePart::Week => {
            // ISO 8601: the week belongs to the year of its Thursday.
            let thursday = day.plus_days(3 - days_since_monday(day));
            i64::from((thursday.as_days() - truncate(DatePart::Year, thursday).as_days()) / 7 + 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    #[test]
    fn weeks_begin_on_monday_and_belong_to_their_thursday() {
        for (text, week, isodow) in [("2017-01-01", 52, 7), ("2017-01-02", 1, 1), ("2020-12-31", 53, 4)] {
            assert_eq!(part_of(DatePart::Week, day(text)), week, "{text}");
            assert_eq!(part_of(DatePart::Isodow, day(text)), isodow, "{text}");
        }
    }

    #[test]
    fn units_cover_the_range_without_gaps() {
        let months = units(DatePart::Month, day("2016-12-31"), day("2017-03-01"));
        assert_eq!(months, ["2016-12-01", "2017-01-01", "2017-02-01", "2017-03-01"].map(day));
        assert_eq!(units(DatePart::Week, day("2017-01-01"), day("2017-01-02")).len(), 2);
        assert_eq!(units(DatePart::Quarter, day("2016-02-10"), day("2017-12-31")).len(), 8);
    }
}
