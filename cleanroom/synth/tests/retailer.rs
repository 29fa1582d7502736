//! The written folder: repeatable, exact in its truth, and of the promised shape.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Date32Type, Decimal128Type, Int64Type};
use ids::Date;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use synth::{Cell, Format, Options, Retailer, Truth};

const TABLES: [&str; 8] =
    ["products", "stores", "campaigns", "shoppers", "baskets", "lines", "exposures", "consents"];

fn write(folder: &Path, options: Options, format: Format) -> Truth {
    let retailer = Retailer::generate(options).unwrap();
    let (mut last, mut calls) = (0, 0);
    let truth = retailer.write_folder(folder, format, &mut |progress| {
        assert!(progress.lines >= last && progress.shoppers <= progress.shoppers_total);
        (last, calls) = (progress.lines, calls + 1);
    });
    let truth = truth.unwrap();
    assert!(calls > 0 && last == truth.lines);
    truth
}

fn rows(folder: &Path, table: &str) -> Vec<RecordBatch> {
    let file = File::open(folder.join(format!("{table}.parquet"))).unwrap();
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(file).unwrap().with_batch_size(1 << 16).build().unwrap();
    reader.map(Result::unwrap).collect()
}

fn text<'a>(batch: &'a RecordBatch, column: &str, row: usize) -> &'a str {
    batch.column_by_name(column).unwrap().as_string::<i32>().value(row)
}

fn int(batch: &RecordBatch, column: &str, row: usize) -> i64 {
    batch.column_by_name(column).unwrap().as_primitive::<Int64Type>().value(row)
}

/// Each row of a table as a map would be slow: this hands out batch and row.
fn each(batches: &[RecordBatch]) -> impl Iterator<Item = (&RecordBatch, usize)> {
    batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| (batch, row)))
}

fn within(value: f64, expected: f64, tolerance: f64, what: &str) {
    assert!((value - expected).abs() <= tolerance, "{what}: {value}, expected {expected} ± {tolerance}");
}

fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

#[test]
fn the_same_options_give_the_same_bytes_whatever_the_threads() {
    let home = tempfile::tempdir().unwrap();
    let options = |seed, threads| Options {
        shoppers: 700,
        seed,
        threads,
        lines_per_shopper: 900.0,
        ..Options::default()
    };
    for format in [Format::Parquet, Format::Csv] {
        let name = |run: &str| home.path().join(format!("{format:?}-{run}"));
        let one = write(&name("one"), options(3, 1), format);
        let three = write(&name("three"), options(3, 3), format);
        let other = write(&name("other"), options(4, 1), format);
        assert_eq!(one, three);
        assert_ne!(one, other);
        let mut files: Vec<_> =
            std::fs::read_dir(name("one")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        files.sort();
        assert_eq!(files.len(), TABLES.len() + 2);
        for file in files {
            let bytes = |run: &str| std::fs::read(name(run).join(&file)).unwrap();
            assert!(bytes("one") == bytes("three"), "{file:?} depends on threads");
            let fixed = ["stores.", "campaigns.", "catalogue."]
                .iter()
                .any(|name| file.to_str().unwrap().starts_with(name));
            assert_eq!(bytes("one") == bytes("other"), fixed, "{file:?} and the seed");
        }
    }
}

/// The truth, counted again from the written files by other means: maps and sets over whole tables.
#[test]
fn the_truth_is_what_the_files_say() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("data");
    let truth = write(&folder, Options { shoppers: 1_500, seed: 9, ..Options::default() }, Format::Parquet);

    let departments: BTreeMap<i64, String> = each(&rows(&folder, "products"))
        .map(|(batch, row)| (int(batch, "product_id", row), text(batch, "department", row).to_owned()))
        .collect();
    let brands: BTreeMap<i64, String> = each(&rows(&folder, "products"))
        .map(|(batch, row)| (int(batch, "product_id", row), text(batch, "brand", row).to_owned()))
        .collect();
    let cards: BTreeSet<String> =
        each(&rows(&folder, "shoppers")).map(|(batch, row)| text(batch, "card_id", row).to_owned()).collect();
    assert_eq!(cards.len(), 1_500);
    let mut card_of: BTreeMap<i64, Option<String>> = BTreeMap::new();
    for (batch, row) in each(&rows(&folder, "baskets")) {
        let card = batch.column_by_name("card_id").unwrap();
        let card = (!card.is_null(row)).then(|| card.as_string::<i32>().value(row).to_owned());
        assert!(card.as_ref().is_none_or(|card| cards.contains(card)));
        assert!(card_of.insert(int(batch, "basket_id", row), card).is_none(), "a basket id twice");
    }
    assert_eq!(card_of.len() as u64, truth.baskets);
    assert_eq!(card_of.values().filter(|card| card.is_none()).count() as u64, truth.guest_baskets);

    let mut state: BTreeMap<(String, String), (i64, bool)> = BTreeMap::new();
    for (batch, row) in each(&rows(&folder, "consents")) {
        let key = (text(batch, "card_id", row).to_owned(), text(batch, "purpose", row).to_owned());
        let at = batch
            .column_by_name("at")
            .unwrap()
            .as_primitive::<arrow::datatypes::TimestampMicrosecondType>()
            .value(row);
        let given = text(batch, "state", row) == "given";
        if state.get(&key).is_none_or(|known| at > known.0) {
            state.insert(key, (at, given));
        }
    }
    let allowed =
        |purpose: &str, card: &str| state.get(&(card.to_owned(), purpose.to_owned())).is_some_and(|s| s.1);

    let exposures = rows(&folder, "exposures");
    let arms: BTreeMap<String, &str> = each(&exposures)
        .map(|(batch, row)| (text(batch, "card_id", row).to_owned(), text(batch, "arm", row)))
        .collect();

    type Group = (BTreeSet<String>, u64, i64);
    let mut groups: BTreeMap<(String, String), Group> = BTreeMap::new();
    let (mut lines, mut guest_sales) = (0_u64, 0_i64);
    let mut arm_sales: BTreeMap<&str, Group> = BTreeMap::new();
    for (batch, row) in each(&rows(&folder, "lines")) {
        lines += 1;
        let amount =
            batch.column_by_name("amount").unwrap().as_primitive::<Decimal128Type>().value(row) as i64;
        let product = int(batch, "product_id", row);
        let Some(card) = &card_of[&int(batch, "basket_id", row)] else {
            guest_sales += amount;
            continue;
        };
        let day = Date::from_days(
            batch.column_by_name("bought_on").unwrap().as_primitive::<Date32Type>().value(row),
        );
        let monday = day.plus_days(-(day.as_days() + 3).rem_euclid(7));
        let mut add = |what: &str, key: &str| {
            let group = groups.entry((what.to_owned(), key.to_owned())).or_default();
            group.0.insert(card.clone());
            group.1 += 1;
            group.2 += amount;
        };
        add("all", "");
        add("department", &departments[&product]);
        add("channel", text(batch, "channel", row));
        add("month", &day.to_string().chars().take(7).collect::<String>());
        add("week", &monday.to_string());
        if allowed("measurement", card) {
            add("measured", &departments[&product]);
        }
        let campaign = &truth.campaign;
        if brands[&product] == campaign.brand
            && (campaign.starts..=campaign.ends).contains(&day)
            && let Some(arm) = arms.get(card)
        {
            let group = arm_sales.entry(arm).or_default();
            group.0.insert(card.clone());
            group.1 += 1;
            group.2 += amount;
        }
    }
    assert_eq!((lines, guest_sales), (truth.lines, truth.guest_sales_minor));
    let check = |what: &str, cells: &BTreeMap<String, Cell>| {
        for (name, cell) in cells {
            let group = groups.get(&(what.to_owned(), name.clone())).cloned().unwrap_or_default();
            let counted = Cell { shoppers: group.0.len() as u64, lines: group.1, sales_minor: group.2 };
            assert_eq!(&counted, cell, "{what} {name}");
        }
        assert!(groups.keys().filter(|key| key.0 == what).all(|key| cells.contains_key(&key.1)), "{what}");
    };
    check("all", &BTreeMap::from([(String::new(), truth.loyalty.all)]));
    check("department", &truth.loyalty.by_department);
    check("channel", &truth.loyalty.by_channel);
    check("month", &truth.loyalty.by_month);
    check("week", &truth.loyalty.by_week);
    check("measured", &truth.consenting["measurement"].by_department);
    for (purpose, consent) in &truth.consents {
        let counted = cards.iter().filter(|card| allowed(purpose, card)).count() as u64;
        assert_eq!((consent.allowed, truth.consenting[purpose].shoppers), (counted, counted), "{purpose}");
    }
    for (arm, told) in [("treatment", truth.campaign.treatment), ("control", truth.campaign.control)] {
        let group = &arm_sales[arm];
        assert_eq!(arms.values().filter(|name| **name == arm).count() as u64, told.shoppers, "{arm}");
        assert_eq!(
            (group.0.len() as u64, group.1, group.2),
            (told.buyers, told.lines, told.sales_minor),
            "{arm}"
        );
    }
}

/// Tolerances are six standard deviations or more of what chance does at this size; the seed is fixed besides.
#[test]
fn shoppers_seasons_and_consents_are_distributed_as_promised() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("data");
    let truth = write(&folder, Options { shoppers: 20_000, seed: 5, ..Options::default() }, Format::Parquet);
    let loyalty = &truth.loyalty;
    within(share(loyalty.all.lines, loyalty.shoppers), 40.0, 2.0, "lines per shopper");
    within(share(truth.guest_baskets, loyalty.baskets), 0.06, 0.001, "guest baskets");
    within(share(loyalty.by_channel["online"].lines, loyalty.all.lines), 0.15, 0.01, "online lines");

    // Skew: the most active tenth has about a third of the lines (a tenth, if all were alike).
    let mut per_card: BTreeMap<String, u64> = BTreeMap::new();
    for (batch, row) in each(&rows(&folder, "baskets")) {
        if !batch.column_by_name("card_id").unwrap().is_null(row) {
            *per_card.entry(text(batch, "card_id", row).to_owned()).or_default() += 1;
        }
    }
    let mut baskets: Vec<u64> = per_card.into_values().collect();
    baskets.sort_unstable();
    let top: u64 = baskets.iter().rev().take(2_000).sum();
    within(share(top, loyalty.baskets), 0.33, 0.04, "share of the most active tenth");
    assert!(baskets.last().unwrap() > &(10 * loyalty.baskets / loyalty.shoppers / 2), "no long tail");

    // Year: December against July by day, 1.32 to 0.88, give or take the seasons of what is sold.
    let daily = |month: &str| loyalty.by_month[month].lines as f64 / 31.0;
    within(daily("2024-12") / daily("2024-07"), 1.32 / 0.88, 0.1, "December to July");
    // Week: Saturday against Tuesday, 1.35 to 0.85.
    let mut weekdays = [0_u64; 7];
    for (batch, row) in each(&rows(&folder, "lines")) {
        let day = batch.column_by_name("bought_on").unwrap().as_primitive::<Date32Type>().value(row);
        weekdays[(day + 3).rem_euclid(7) as usize] += 1;
    }
    within(share(weekdays[5], weekdays[1]), 1.35 / 0.85, 0.1, "Saturday to Tuesday");

    for (purpose, given) in [("measurement", 0.92), ("activation", 0.70), ("personalisation", 0.60)] {
        let consent = truth.consents[purpose];
        within(share(consent.given, loyalty.shoppers), given, 0.021, purpose);
        within(share(consent.withdrawn, consent.given), 0.03, 0.011, purpose);
        assert_eq!(consent.allowed, consent.given - consent.withdrawn);
    }
}

#[test]
fn the_campaign_adds_a_tenth_in_the_treatment_arm_and_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let truth = write(
        &home.path().join("data"),
        Options { shoppers: 20_000, seed: 6, lines_per_shopper: 100.0, ..Options::default() },
        Format::Parquet,
    );
    let campaign = &truth.campaign;
    let (treatment, control) = (campaign.treatment, campaign.control);
    // Holdout of 30 %, six standard deviations at some 11,000 shoppers: 0.027.
    let shoppers = treatment.shoppers + control.shoppers;
    within(share(control.shoppers, shoppers), 0.30, 0.027, "control share");
    // A binomial share of a tenth at more than 5,000 lines: six standard deviations are below 0.026.
    assert!(campaign.affected_lines > 5_000, "{}", campaign.affected_lines);
    within(share(campaign.added_lines, campaign.affected_lines), 0.10, 0.026, "true effect on lines");
    let sales = campaign.added_sales_minor as f64 / campaign.affected_sales_minor as f64;
    within(sales, 0.10, 0.04, "true effect on sales");
    // Take the added lines away, and the arms buy alike: 40 lines or so per hundred shoppers, within chance.
    let before = (treatment.lines - campaign.added_lines) as f64 / treatment.shoppers as f64;
    let alike = before / share(control.lines, control.shoppers);
    within(alike, 1.0, 0.15, "arms without the campaign");
}

#[test]
fn csv_and_parquet_say_the_same() {
    let home = tempfile::tempdir().unwrap();
    let options = || Options { shoppers: 300, ..Options::default() };
    let (csv, parquet) = (home.path().join("csv"), home.path().join("parquet"));
    assert_eq!(write(&csv, options(), Format::Csv), write(&parquet, options(), Format::Parquet));
    for table in TABLES {
        let mut reader = csv::Reader::from_path(csv.join(format!("{table}.csv"))).unwrap();
        let batches = rows(&parquet, table);
        let names: Vec<String> =
            batches[0].schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(reader.headers().unwrap().iter().collect::<Vec<_>>(), names, "{table}");
        let records: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!(records.len(), batches.iter().map(RecordBatch::num_rows).sum::<usize>(), "{table}");
        if table == "lines" {
            for (record, (batch, row)) in records.iter().zip(each(&batches)) {
                let amount = batch
                    .column_by_name("amount")
                    .unwrap()
                    .as_primitive::<Decimal128Type>()
                    .value_as_string(row);
                assert_eq!(
                    (&record[6], &record[0]),
                    (amount.as_str(), int(batch, "basket_id", row).to_string().as_str())
                );
                assert_eq!(record[3].parse::<Date>().unwrap().to_string(), record[3]);
            }
        }
        if table == "baskets" {
            assert!(records.iter().any(|record| record[1].is_empty()), "guests have no card");
            assert!(records.iter().all(|record| record[3].len() == 19), "moments to the second");
        }
    }
}

#[test]
fn refusals_name_the_option_and_touch_no_foreign_folder() {
    let refused = |options: Options| Retailer::generate(options).unwrap_err();
    let day = Date::from_days(19_723);
    for (options, name) in [
        (Options { shoppers: 0, ..Options::default() }, "shoppers"),
        (Options { shoppers: 5_000_001, ..Options::default() }, "shoppers"),
        (Options { first_day: day, last_day: day.plus_days(26), ..Options::default() }, "last_day"),
        (Options { first_day: day, last_day: day.plus_days(-1), ..Options::default() }, "last_day"),
        (Options { lines_per_shopper: f64::NAN, ..Options::default() }, "lines_per_shopper"),
        (Options { lines_per_shopper: 0.5, ..Options::default() }, "lines_per_shopper"),
        (Options { threads: 0, ..Options::default() }, "threads"),
    ] {
        let refused = refused(options);
        assert_eq!(refused.code(), "synth_option");
        assert!(
            refused.to_string().starts_with(&format!("`{name}` is out of range: expected ")),
            "{refused}"
        );
    }
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("mine.txt"), "mine").unwrap();
    let retailer = Retailer::generate(Options { shoppers: 10, ..Options::default() }).unwrap();
    let refused = retailer.write_folder(home.path(), Format::Csv, &mut |_| {}).unwrap_err();
    assert_eq!(refused.code(), "synth_folder_not_empty");
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1);
}

#[test]
fn the_shortest_period_and_the_smallest_size_work() {
    let home = tempfile::tempdir().unwrap();
    let day = Date::from_days(19_723);
    let options = Options {
        shoppers: 1,
        first_day: day,
        last_day: day.plus_days(27),
        lines_per_shopper: 1.0,
        ..Options::default()
    };
    let truth = write(&home.path().join("data"), options, Format::Parquet);
    assert_eq!(truth.loyalty.shoppers, 1);
    assert!(truth.campaign.starts >= truth.first_day && truth.campaign.ends <= truth.last_day);
}
