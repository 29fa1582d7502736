//! Who agreed to what, from the snapshot's consent table or as the catalogue assumes.

use arrow::array::AsArray;
use arrow::datatypes::{TimestampMicrosecondType, UInt32Type};
use identity::{ConsentEvent, Consents};
use ids::{PurposeId, Timestamp, UnitIx};

use crate::catalogue::{ConsentSource, UNIT_IX};
use crate::refusal::VaultRefused;
use crate::store::Vault;

const MICROS_PER_MILLI: i64 = 1000;

/// The state of consent at the current snapshot.
pub(super) fn read(vault: &Vault) -> Result<Consents, VaultRefused> {
    let mut consents = Consents::builder(vault.manifest.consent_epoch);
    match vault.catalogue().consent() {
        ConsentSource::Assumed { purposes, .. } => {
            let erased = vault.erased_shoppers();
            for purpose in purposes {
                for unit in (0..vault.units()).filter(|unit| !erased.contains(*unit)) {
                    consents.record(UnitIx(unit), purpose, ConsentEvent::Given, Timestamp::from_millis(0));
                }
            }
        }
        ConsentSource::Table { table, purpose, state, at } => {
            let columns = [UNIT_IX, purpose.as_str(), state.as_str(), at.as_str()];
            for part in vault.manifest.parts_of(table) {
                let broken =
                    || VaultRefused::Tampered { what: format!("part `{}` of table `{table}`", part.part) };
                vault.read_entry(part, Some(&columns), &mut |batch| {
                    let units =
                        batch.column_by_name(UNIT_IX).and_then(|a| a.as_primitive_opt::<UInt32Type>());
                    let purposes = batch.column_by_name(purpose).and_then(|a| a.as_string_opt::<i32>());
                    let states = batch.column_by_name(state).and_then(|a| a.as_string_opt::<i32>());
                    let times = batch
                        .column_by_name(at)
                        .and_then(|a| a.as_primitive_opt::<TimestampMicrosecondType>());
                    let (Some(units), Some(purposes), Some(states), Some(times)) =
                        (units, purposes, states, times)
                    else {
                        return Err(broken());
                    };
                    let rows = units.values().iter().zip(purposes).zip(states).zip(times.values());
                    for (((&unit, purpose), state), &micros) in rows {
                        let purpose: PurposeId =
                            purpose.and_then(|purpose| purpose.parse().ok()).ok_or_else(broken)?;
                        let event = state.and_then(event).ok_or_else(broken)?;
                        let at = Timestamp::from_millis(micros.div_euclid(MICROS_PER_MILLI));
                        consents.record(UnitIx(unit), &purpose, event, at);
                    }
                    Ok(())
                })?;
            }
        }
    }
    Ok(consents.build())
}

fn event(state: &str) -> Option<ConsentEvent> {
    match state {
        "given" => Some(ConsentEvent::Given),
        "withdrawn" => Some(ConsentEvent::Withdrawn),
        "expired" => Some(ConsentEvent::Expired),
        _ => None,
    }
}
