//! The real dataset, against the facts published with it. Needs the folder; says so when it is absent.

use std::time::Instant;

use super::support::*;
use vault::{COMPLETE_JOURNEY, Catalogue, HotStore, HotStoreConfig, IngestOptions, Quiet};

#[test]
fn complete_journey_is_ingested_whole_and_its_sums_are_exact() {
    let Some(data) = data_folder("complete_journey") else { return };
    let facts: serde_json::Value =
        serde_json::from_slice(&std::fs::read(data.join("facts.json")).unwrap()).unwrap();
    let totals = &facts["totals"][0];
    let home = tempfile::tempdir().unwrap();
    let mut vault = new_vault(home.path(), Catalogue::parse(COMPLETE_JOURNEY).unwrap());
    let begun = Instant::now();
    let report = vault.ingest(&data, &IngestOptions::default(), &Quiet).unwrap();
    println!("ingested in {:?}: {report:?}", begun.elapsed());
    assert_eq!(vault.rows("transactions"), totals["line_items"].as_u64().unwrap());
    assert_eq!(u64::from(vault.units()), totals["households"].as_u64().unwrap());

    let begun = Instant::now();
    let hot = HotStore::unseal(&vault, HotStoreConfig::default()).unwrap();
    println!("unsealed in {:?}", begun.elapsed());
    let cents = |name: &str| (totals[name].as_f64().unwrap() * 100.0).round() as i64;
    let all = "SELECT count(*), count(DISTINCT unit_ix), sum(sales_value)::BIGINT, sum(retail_disc)::BIGINT, \
               sum(coupon_disc)::BIGINT, sum(coupon_match_disc)::BIGINT, sum(quantity)::BIGINT, min(week), max(week) \
               FROM transactions";
    assert_eq!(
        rows(&hot, all),
        [vec![
            totals["line_items"].as_i64(),
            totals["households"].as_i64(),
            Some(cents("sales")),
            Some(cents("retail_disc")),
            Some(cents("coupon_disc")),
            Some(cents("cmd")),
            totals["units"].as_f64().map(|units| units as i64),
            Some(1),
            Some(53),
        ]]
    );

    let departments = hot.catalogue().table("products").unwrap().column("department").unwrap();
    let Some(vault::Domain::Values(departments)) = &departments.domain else {
        panic!("the domain was learned")
    };
    let by_code = rows(
        &hot,
        "SELECT \"department#code\", count(*), count(DISTINCT unit_ix), sum(sales_value)::BIGINT \
         FROM transactions JOIN products USING (product_id) GROUP BY 1 ORDER BY 1",
    );
    let mut named: Vec<_> = by_code
        .iter()
        .map(|row| (departments[row[0].unwrap() as usize].clone(), row[1..].to_vec()))
        .collect();
    let mut expected: Vec<_> = facts["dept"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|fact| {
            let sales = (fact["sales"].as_f64().unwrap() * 100.0).round() as i64;
            Some((
                fact["department"].as_str()?.to_owned(),
                vec![fact["n"].as_i64(), fact["hh"].as_i64(), Some(sales)],
            ))
        })
        .collect();
    named.sort();
    expected.sort();
    assert!(expected.len() > 20);
    assert_eq!(named, expected);

    assert!(is_clustered(&hot, "transactions"));
    let purpose = "measurement".parse().unwrap();
    assert_eq!(hot.consents().bitmap(&purpose).unwrap().len(), u64::from(hot.units()));

    let again = vault.ingest(&data, &IngestOptions::default(), &Quiet).unwrap();
    assert!(again.unchanged && again.snapshot == report.snapshot, "the same files load once");
}
