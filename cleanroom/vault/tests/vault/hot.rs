//! The hot store: what is in it, what it refuses, and how it streams.

use std::fs;

use super::support::*;
use arrow::array::AsArray;
use arrow::datatypes::UInt32Type;
use vault::{HotStore, HotStoreConfig, IngestOptions, Quiet, StreamFailed, measure};

/// A vault of many lines, in the order of time rather than of shoppers.
fn large(home: &std::path::Path, lines: u64, options: &IngestOptions) -> vault::Vault {
    let input = home.join("in");
    shop_files(&input);
    let baskets = 5000;
    let mut text = "basket_id,card,sold_at\n".to_owned();
    (0..baskets).for_each(|b| text.push_str(&format!("{b},C{},2026-01-01 00:00:00\n", b % 997)));
    fs::write(input.join("baskets.csv"), text).unwrap();
    let mut text = "till,basket_id,product_id,paid,pieces\n".to_owned();
    (0..lines).for_each(|l| {
        text.push_str(&format!(
            "1,{},{},{}.{:02},{}\n",
            l * 7919 % baskets,
            100 + l % 2,
            l % 900,
            l % 100,
            l % 9
        ))
    });
    fs::write(input.join("lines.csv"), text).unwrap();
    let mut vault = new_vault(home, shop_catalogue());
    vault.ingest(&input, options, &Quiet).unwrap();
    vault
}

#[test]
fn many_parts_sealed_in_parallel_come_back_whole_and_clustered() {
    let home = tempfile::tempdir().unwrap();
    let options = IngestOptions { part_rows: 7001, ..IngestOptions::default() };
    let vault = large(home.path(), 120_000, &options);
    assert!(vault.parts().filter(|(table, _)| *table == "lines").count() > 15);
    assert_eq!(
        vault.verify().unwrap(),
        vault
            .parts()
            .map(|(table, _)| table)
            .collect::<std::collections::BTreeSet<_>>()
            .iter()
            .map(|table| vault.rows(table))
            .sum::<u64>()
    );
    let hot = unseal(&vault);
    assert!(is_clustered(&hot, "lines"));
    let cents: i64 = (0..120_000_i64).map(|l| l % 900 * 100 + l % 100).sum();
    let units =
        rows(&hot, "SELECT count(*), sum(paid)::BIGINT, count(DISTINCT unit_ix), max(unit_ix) FROM lines");
    assert_eq!(units[0][..3], [Some(120_000), Some(cents), Some(997)]);
    let measured = measure(&vault, "lines", &HotStoreConfig::default(), home.path()).unwrap();
    assert_eq!(measured.rows, 120_000);
    println!("{measured:?}");
}

#[test]
fn ranges_of_shoppers_are_streamed_and_add_up() {
    let home = tempfile::tempdir().unwrap();
    let vault = large(home.path(), 30_000, &IngestOptions::default());
    let hot = unseal(&vault);
    let mut worker = hot.worker().unwrap();
    let mut total = 0;
    for lo in (0..hot.units()).step_by(100) {
        let hi = lo + 100;
        for sql in [
            "SELECT unit_ix FROM lines WHERE unit_ix >= $1 AND unit_ix < $2",
            "SELECT l.unit_ix FROM (SELECT * FROM lines WHERE unit_ix >= ? AND unit_ix < ?) l \
             SEMI JOIN (SELECT * FROM baskets WHERE unit_ix >= ? AND unit_ix < ?) b ON l.unit_ix = b.unit_ix",
        ] {
            worker
                .stream::<StreamFailed>(sql, lo, hi, &mut |batch| {
                    let units = batch.column(0).as_primitive::<UInt32Type>().values();
                    assert!(units.iter().all(|unit| (lo..hi).contains(unit)));
                    total += batch.num_rows();
                    Ok(())
                })
                .unwrap();
        }
    }
    assert_eq!(total, 60_000);

    let mut batches = 0;
    let stopped = worker.stream("SELECT unit_ix FROM lines", 0, 0, &mut |batch| {
        batches += 1;
        assert!(batch.num_rows() <= 2048, "a result is never in memory as a whole");
        Err(StreamFailed::Run)
    });
    assert_eq!((stopped, batches), (Err(StreamFailed::Run), 1), "the first error ends it");
    assert_eq!(
        worker.stream::<StreamFailed>("SELECT 1 WHERE 1 > $1", 0, 1, &mut |_| Ok(())),
        Err(StreamFailed::Parameters)
    );
    assert_eq!(
        worker.stream::<StreamFailed>("SELECT nothing", 0, 1, &mut |_| Ok(())),
        Err(StreamFailed::Prepare)
    );
}

#[test]
fn workers_of_several_threads_read_at_once() {
    let home = tempfile::tempdir().unwrap();
    let vault = large(home.path(), 30_000, &IngestOptions::default());
    let hot = unseal(&vault);
    let counts: Vec<usize> = std::thread::scope(|scope| {
        let spawned: Vec<_> = [(0, 500), (500, hot.units())]
            .into_iter()
            .map(|(lo, hi)| {
                let mut worker = hot.worker().unwrap();
                scope.spawn(move || {
                    let mut rows = 0;
                    worker
                        .stream::<StreamFailed>(
                            "SELECT unit_ix FROM lines WHERE unit_ix >= $1 AND unit_ix < $2",
                            lo,
                            hi,
                            &mut |batch| {
                                rows += batch.num_rows();
                                Ok(())
                            },
                        )
                        .unwrap();
                    rows
                })
            })
            .collect();
        spawned.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(counts.iter().all(|&count| count > 0));
    assert_eq!(counts.iter().sum::<usize>(), 30_000);
}

#[test]
fn what_does_not_fit_into_memory_is_refused_with_a_way_out() {
    let home = tempfile::tempdir().unwrap();
    let vault = large(home.path(), 400_000, &IngestOptions::default());
    let config = HotStoreConfig { memory_bytes_max: 8 << 20, ..HotStoreConfig::default() };
    let refused = HotStore::unseal(&vault, config).unwrap_err();
    assert_eq!(refused.code(), "out-of-memory");
    assert!(
        refused.to_string().contains("8 MiB") && refused.to_string().contains("raise the limit"),
        "{refused}"
    );
}

#[test]
fn an_empty_vault_has_every_table_and_no_rows() {
    let home = tempfile::tempdir().unwrap();
    let vault = new_vault(home.path(), shop_catalogue());
    let hot = unseal(&vault);
    assert_eq!(hot.units(), 0);
    for table in hot.catalogue().tables() {
        assert_eq!(rows(&hot, &format!("SELECT count(*) FROM {}", table.name)), [[Some(0)]]);
    }
    assert_eq!(vault.snapshot(), hot.snapshot());
}

#[test]
fn the_configuration_is_locked_and_nothing_outside_is_reached() {
    let home = tempfile::tempdir().unwrap();
    let hot = unseal(&shop(home.path()));
    let settings = rows(
        &hot,
        "SELECT count(*) FROM duckdb_settings() WHERE (name, value) IN (('threads', '1'), ('enable_external_access', 'false'), \
         ('autoload_known_extensions', 'false'), ('autoinstall_known_extensions', 'false'), ('temp_directory', ''), \
         ('lock_configuration', 'true'))",
    );
    assert_eq!(settings, [[Some(6)]]);
    let mut worker = hot.worker().unwrap();
    for sql in [
        "SET threads = 4",
        "SET enable_external_access = true",
        "SELECT * FROM read_csv('/etc/hosts')",
        "LOAD httpfs",
    ] {
        assert!(worker.stream::<StreamFailed>(sql, 0, 0, &mut |_| Ok(())).is_err(), "{sql}");
    }
}
