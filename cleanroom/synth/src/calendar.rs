//! When things happen: the days of the period with their weight, the hours of a day, and the weeks.

use ids::Date;

use crate::draw::{Alias, below};

/// Monday to Sunday: people shop before the weekend.
const WEEKDAY: [f64; 7] = [0.90, 0.85, 0.90, 0.95, 1.15, 1.35, 1.10];
/// January to December: quiet summers, Nauryz in March, the end of the year.
const MONTH: [f64; 12] = [0.92, 0.92, 1.08, 1.0, 1.0, 0.94, 0.88, 0.92, 1.0, 1.0, 1.02, 1.32];
/// Hours from midnight: open from 8 to 23, with a peak after work.
#[rustfmt::skip]
const HOUR: [f64; 24] = [
    0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 3.0, 4.0, 5.0, 6.0, 6.0, 5.0, 5.0, 6.0, 8.0, 10.0, 9.0, 7.0, 4.0, 2.0,
    0.0,
];

/// The period of sales.
#[derive(Debug)]
pub(crate) struct Calendar {
    first: Date,
    days: i32,
    /// Days from the Monday on or before the first day to the first day.
    lead: i32,
    by_day: Alias,
    by_hour: Alias,
}

impl Calendar {
    pub(crate) fn new(first: Date, days: i32) -> Self {
        let weights: Vec<f64> = (0..days).map(|day| day_weight(first.plus_days(day))).collect();
        let (by_day, by_hour) = (Alias::new(&weights), Alias::new(&HOUR));
        Self { first, days, lead: weekday(first), by_day, by_hour }
    }

    pub(crate) fn first(&self) -> Date {
        self.first
    }

    pub(crate) fn days(&self) -> i32 {
        self.days
    }

    /// How many weeks, Monday to Sunday, the period touches.
    pub(crate) fn weeks(&self) -> usize {
        usize::try_from((self.lead + self.days + 6) / 7).unwrap_or_default()
    }

    /// The position of a day's week.
    pub(crate) fn week_of(&self, day: Date) -> usize {
        usize::try_from((day.as_days() - self.first.as_days() + self.lead) / 7).unwrap_or_default()
    }

    /// The Monday of a week; of the first week possibly before the first day.
    pub(crate) fn week_start(&self, week: usize) -> Date {
        self.first.plus_days(7 * i32::try_from(week).unwrap_or_default() - self.lead)
    }

    /// How many calendar months the period touches.
    pub(crate) fn months(&self) -> usize {
        self.month_of(self.first.plus_days(self.days - 1)) + 1
    }

    /// The position of a day's month.
    pub(crate) fn month_of(&self, day: Date) -> usize {
        usize::try_from(month_number(day) - month_number(self.first)).unwrap_or_default()
    }

    /// Year and month, `2024-01`, of a position.
    pub(crate) fn month_name(&self, month: usize) -> String {
        let number = month_number(self.first) + i32::try_from(month).unwrap_or_default();
        format!("{:04}-{:02}", number.div_euclid(12), number.rem_euclid(12) + 1)
    }

    /// A moment of shopping: the day, and microseconds since 1970 in local time.
    pub(crate) fn draw(&self, rng: &mut impl rand::Rng) -> (Date, i64) {
        let day = self.first.plus_days(i32::try_from(self.by_day.draw(rng)).unwrap_or_default());
        let hour = self.by_hour.draw(rng) as i64;
        let second = i64::from(below(rng, 3600));
        (day, (i64::from(day.as_days()) * 86_400 + hour * 3600 + second) * 1_000_000)
    }
}

/// Months since year 0.
fn month_number(day: Date) -> i32 {
    let (year, month, _) = day.ymd();
    year * 12 + month.cast_signed() - 1
}

/// 0 for Monday to 6 for Sunday; 1970-01-01 was a Thursday.
fn weekday(day: Date) -> i32 {
    (day.as_days() + 3).rem_euclid(7)
}

fn day_weight(day: Date) -> f64 {
    let of = |weights: &[f64], index: usize| weights.get(index).copied().unwrap_or(1.0);
    of(&WEEKDAY, usize::try_from(weekday(day)).unwrap_or_default()) * of(&MONTH, day.ymd().1 as usize - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weeks_begin_on_mondays_and_months_are_named() {
        let calendar = Calendar::new("2023-12-31".parse().unwrap(), 33);
        assert_eq!((calendar.weeks(), calendar.months()), (6, 3));
        let day = |text: &str| text.parse::<Date>().unwrap();
        for (text, week, month) in
            [("2023-12-31", 0, 0), ("2024-01-01", 1, 1), ("2024-01-07", 1, 1), ("2024-02-01", 5, 2)]
        {
            assert_eq!((calendar.week_of(day(text)), calendar.month_of(day(text))), (week, month), "{text}");
        }
        assert_eq!(calendar.week_start(1), day("2024-01-01"));
        assert_eq!(calendar.week_start(0), day("2023-12-25"));
        assert_eq!([0, 1, 2].map(|month| calendar.month_name(month)), ["2023-12", "2024-01", "2024-02"]);
    }
}
