//! Cells of rows, each checked: the file may have been in other hands.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::CampaignStoreFailed;

/// SQL's integers are signed.
pub(super) fn stored(number: u64) -> Result<i64, CampaignStoreFailed> {
    i64::try_from(number).map_err(|_| CampaignStoreFailed::Unreadable("a number is too large to be stored"))
}

pub(super) fn text(row: &SqliteRow, column: &'static str) -> Result<String, CampaignStoreFailed> {
    Ok(row.try_get(column)?)
}

pub(super) fn number(row: &SqliteRow, column: &'static str) -> Result<u64, CampaignStoreFailed> {
    u64::try_from(row.try_get::<i64, _>(column)?).map_err(|_| CampaignStoreFailed::Unreadable(column))
}

pub(super) fn optional(row: &SqliteRow, column: &'static str) -> Result<Option<u64>, CampaignStoreFailed> {
    let value: Option<i64> = row.try_get(column)?;
    value.map(|value| u64::try_from(value).map_err(|_| CampaignStoreFailed::Unreadable(column))).transpose()
}
