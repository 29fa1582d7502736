//! The consent registry: what counts, what is kept, what a crash, a bad file or an old copy can do to it.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use identity::registry::{
    Applied, ConsentRefused, Controller, ImportRefused, Method, NewEvent, Notice, Operation, Recorder,
    Registry, Terms, parse_csv,
};
use identity::{ConsentEvent, Consents, PseudonymKey, ShopperPseudonym};
use ids::{Digest, PurposeId, Timestamp, UnitIx};
use proptest::prelude::*;
use tempfile::TempDir;

struct Desk {
    folder: TempDir,
    registry: Registry,
}

impl Desk {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::open(&folder.path().join("consents.sqlite")).await.unwrap();
        Self { folder, registry }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("consents.sqlite")
    }

    /// As after a crash: whatever was not committed is gone.
    async fn again(self) -> Self {
        let Self { folder, registry } = self;
        registry.close().await;
        let registry = Registry::open(&folder.path().join("consents.sqlite")).await.unwrap();
        Self { folder, registry }
    }

    async fn states(&self, now: i64) -> BTreeMap<([u8; 32], String), (ConsentEvent, i64)> {
        let mut all = BTreeMap::new();
        self.registry
            .each_state(at(now), &mut |state| {
                let key = (*state.subject.as_bytes(), state.purpose.to_string());
                assert!(all.insert(key, (state.event, state.at.as_millis())).is_none(), "one state each");
            })
            .await
            .unwrap();
        all
    }
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn who(n: u32) -> ShopperPseudonym {
    PseudonymKey::from_bytes([3; 32]).pseudonym(&"loyalty".parse().unwrap(), &format!("C{n:09}"))
}

fn purpose(name: &str) -> PurposeId {
    name.parse().unwrap()
}

fn given(n: u32, name: &str, from: i64, until: i64) -> NewEvent {
    NewEvent {
        subject: who(n),
        purpose: purpose(name),
        event: ConsentEvent::Given,
        at: at(from),
        valid_until: Some(at(until)),
        method: Method::App,
        evidence: Some(Digest::of(b"sheet 7")),
    }
}

fn withdrawn(n: u32, name: &str, from: i64) -> NewEvent {
    NewEvent {
        event: ConsentEvent::Withdrawn,
        valid_until: None,
        evidence: None,
        ..given(n, name, from, from + 1)
    }
}

fn by(now: i64) -> Recorder {
    Recorder {
        operator: "ada".parse().unwrap(),
        party: "retailer".parse().unwrap(),
        at: at(now),
        entry: format!("entry of {now}"),
    }
}

fn terms() -> Terms {
    Terms {
        controller: Controller {
            party: "retailer".parse().unwrap(),
            name: "Dala Market LLP".to_owned(),
            bin: "123456789012".to_owned(),
        },
        joint_controllers: Vec::new(),
        notice: Notice { id: "loyalty".to_owned(), version: "2026-03".to_owned(), language: "kk".to_owned() },
        jurisdiction: "KZ".to_owned(),
        data_categories: vec!["purchases".to_owned()],
        recipients: Vec::new(),
        third_party_transfer: false,
        cross_border_transfer: false,
        public_dissemination: false,
        storage_days: 90,
    }
}

async fn record(desk: &Desk, events: Vec<NewEvent>, now: i64) -> Result<Applied, ConsentRefused> {
    desk.registry.record(events, Some(&terms()), &by(now)).await
}

#[tokio::test]
async fn consent_is_given_withdrawn_given_again_and_runs_out() {
    let desk = Desk::new().await;
    let first = record(&desk, vec![given(1, "measurement", 10, 1000), given(1, "targeting", 10, 500)], 20)
        .await
        .unwrap();
    assert_eq!((first.epoch, first.records.len(), first.events.len()), (1, 2, 2));
    let second = record(&desk, vec![withdrawn(1, "measurement", 30)], 30).await.unwrap();
    assert_eq!(second.epoch, 2);
    let now = desk.registry.current(&who(1), at(40)).await.unwrap();
    assert_eq!(now[0].event, ConsentEvent::Withdrawn);
    assert_eq!((now[1].event, now[1].valid_until), (ConsentEvent::Given, Some(at(500))));
    // What ran out has run out before anybody sweeps.
    assert_eq!(desk.registry.current(&who(1), at(500)).await.unwrap()[1].event, ConsentEvent::Expired);
    assert_eq!(desk.registry.current(&who(1), at(499)).await.unwrap()[1].event, ConsentEvent::Given);

    // A withdrawal that is told later but was earlier changes the record, not the state.
    record(&desk, vec![given(1, "measurement", 50, 2000)], 60).await.unwrap();
    record(&desk, vec![withdrawn(1, "measurement", 45)], 70).await.unwrap();
    assert_eq!(desk.registry.current(&who(1), at(80)).await.unwrap()[0].event, ConsentEvent::Given);
    assert!(desk.registry.current(&who(2), at(80)).await.unwrap().is_empty());
    assert_eq!(desk.registry.next_end().await.unwrap(), Some(at(500)));

    let swept = desk.registry.sweep(&by(600)).await.unwrap();
    assert_eq!(swept.events.len(), 1);
    let event = &swept.events[0];
    assert_eq!(
        (event.event, event.at, event.purpose.as_str()),
        (ConsentEvent::Expired, at(500), "targeting")
    );
    assert!(desk.registry.sweep(&by(600)).await.unwrap().pending.is_none(), "swept once");
    assert_eq!(desk.registry.epoch().await.unwrap(), 5);

    let records = desk.registry.records(&who(1)).await.unwrap();
    let told: Vec<_> =
        records.iter().map(|r| (r.epoch, r.event, r.at.as_millis(), r.terms.is_some())).collect();
    use ConsentEvent::{Expired, Given, Withdrawn};
    assert_eq!(
        told,
        [
            (1, Given, 10, true),
            (1, Given, 10, true),
            (2, Withdrawn, 30, false),
            (3, Given, 50, true),
            (4, Withdrawn, 45, false),
            (5, Expired, 500, false)
        ]
    );
    let json = serde_json::to_value(&records[0]).unwrap();
    assert_eq!(json["schema"], "ISO/IEC TS 27560:2023");
    assert_eq!(json["terms"]["controller"]["bin"], "123456789012");
    assert_eq!(json["at"], "1970-01-01T00:00:00.010Z");
    assert_eq!(json["operator"], "ada");
    assert!(json["record_id"].as_str().unwrap().starts_with("con_"));
}

#[tokio::test]
async fn recording_the_same_again_changes_nothing() {
    let desk = Desk::new().await;
    let event = given(1, "measurement", 10, 1000);
    let first = record(&desk, vec![event.clone(), event.clone()], 20).await.unwrap();
    assert_eq!(first.events.len(), 1, "twice in one change is once");
    let again = record(&desk, vec![event.clone()], 99).await.unwrap();
    assert_eq!((again.epoch, again.pending, again.records[0].clone()), (1, None, first.records[0].clone()));
    // Another term or another notice is another consent.
    let longer = record(&desk, vec![given(1, "measurement", 10, 2000)], 99).await.unwrap();
    let other = Terms { jurisdiction: "RU".to_owned(), ..terms() };
    let there = desk.registry.record(vec![event], Some(&other), &by(99)).await.unwrap();
    assert_eq!((longer.epoch, there.epoch), (2, 3));
    // Of two consents of one moment the one that ends first counts.
    assert_eq!(desk.registry.current(&who(1), at(20)).await.unwrap()[0].valid_until, Some(at(1000)));
}

#[tokio::test]
async fn what_cannot_be_consent_is_refused_and_leaves_nothing() {
    let desk = Desk::new().await;
    let code =
        |result: Result<Applied, ConsentRefused>| result.map_or_else(|refused| refused.code(), |_| "taken");
    let backwards = given(1, "p", 10, 10);
    let endless = NewEvent { valid_until: None, ..given(1, "p", 10, 20) };
    let termed = NewEvent { valid_until: Some(at(99)), ..withdrawn(1, "p", 10) };
    let expired = NewEvent { event: ConsentEvent::Expired, ..withdrawn(1, "p", 10) };
    let late = given(1, "p", 400_000, 900_000);
    for (event, expected) in [
        (backwards, "consent_term"),
        (endless, "consent_term"),
        (termed, "consent_term"),
        (expired, "consent_expired"),
        (late, "consent_future"),
    ] {
        // A good event beside it does not get in either.
        let both = vec![given(2, "p", 10, 20), event];
        assert_eq!(code(record(&desk, both, 50).await), expected);
    }
    assert_eq!(code(record(&desk, Vec::new(), 50).await), "consent_nothing");
    let unstated = desk.registry.record(vec![given(1, "p", 10, 20)], None, &by(50)).await;
    assert_eq!(code(unstated), "consent_terms_missing");
    let withdrawal = desk.registry.record(vec![withdrawn(1, "p", 10)], None, &by(50)).await;
    assert_eq!(code(withdrawal), "taken", "a withdrawal needs no terms: it is as easy as giving");
    assert_eq!(desk.registry.epoch().await.unwrap(), 1);

    type Change = fn(&mut Terms);
    let wrong: [(Change, &str); 11] = [
        (|t| t.controller.bin = "12345678901".to_owned(), "controller"),
        (|t| t.controller.bin = "12345678901x".to_owned(), "controller"),
        (|t| t.controller.name = " ".to_owned(), "controller"),
        (|t| t.notice.id = String::new(), "notice.id"),
        (|t| t.notice.version = "a\nb".to_owned(), "notice.version"),
        (|t| t.notice.language = "kazakhstani".to_owned(), "notice.language"),
        (|t| t.jurisdiction = "kz".to_owned(), "jurisdiction"),
        (|t| t.data_categories.clear(), "data_categories"),
        (|t| t.third_party_transfer = true, "third_party_transfer"),
        (|t| t.recipients.push("Nord LLP".to_owned()), "third_party_transfer"),
        (|t| t.joint_controllers.push(t.controller.clone()), "third_party_transfer"),
    ];
    for (change, field) in wrong {
        let mut terms = terms();
        change(&mut terms);
        match desk.registry.record(vec![given(1, "p", 10, 20)], Some(&terms), &by(50)).await {
            Err(ConsentRefused::Terms(refused)) => assert_eq!(refused.field(), field),
            other => panic!("{field}: {other:?}"),
        }
    }
}

const HEADER: &str = "subject,purpose,event,at,valid_until,method,evidence\n";

fn parsed(text: &str) -> Result<Vec<NewEvent>, ImportRefused> {
    let key = PseudonymKey::from_bytes([3; 32]);
    let dataset = "loyalty".parse().unwrap();
    parse_csv(text.as_bytes(), "2026-11-25T12:00:00Z".parse().unwrap(), &mut |card| {
        card.starts_with('C').then(|| key.pseudonym(&dataset, card))
    })
}

#[tokio::test]
async fn a_file_is_imported_as_a_whole_and_again_without_effect() {
    let digest = Digest::of(b"scan");
    let text = format!(
        "{HEADER}C000000001,measurement,given,2026-03-01T10:00:00+05:00,2028-03-01,app,{digest}\n\
         \"C000000001\", targeting ,withdrawn,2026-03-02,,web,\r\n\
         C000000002,measurement,given,2026-01-01,2026-02-01,paper,\n"
    );
    let events = parsed(&text).unwrap();
    assert_eq!(events.len(), 3);
    assert_eq!((events[0].subject, events[0].evidence), (who(1), Some(digest)));
    assert_eq!(events[0].at, "2026-03-01T05:00:00Z".parse().unwrap());
    let desk = Desk::new().await;
    let now = "2026-11-25T12:00:00Z".parse::<Timestamp>().unwrap();
    let recorder = by(now.as_millis());
    let first = desk.registry.import(events.clone(), Some(&terms()), &recorder).await.unwrap();
    assert_eq!((first.epoch, first.events.len(), first.erased), (1, 3, 0));
    assert_eq!(first.pending.unwrap().operation, Operation::Import);
    let again = desk.registry.import(events, Some(&terms()), &recorder).await.unwrap();
    assert_eq!((again.epoch, again.pending), (1, None));
    let states = desk.states(now.as_millis()).await;
    let count = |event: ConsentEvent| states.values().filter(|state| state.0 == event).count();
    assert_eq!([ConsentEvent::Given, ConsentEvent::Withdrawn, ConsentEvent::Expired].map(count), [1, 1, 1]);

    // Columns may stand in any order, and Excel's mark at the beginning is no part of a name.
    let turned = "\u{feff}event,subject,at,purpose,method,valid_until,evidence\nwithdrawn,C000000001,2026-03-02,targeting,web,,\n";
    let events = parsed(turned).unwrap();
    assert!(desk.registry.import(events, None, &recorder).await.unwrap().pending.is_none());
}

#[test]
fn bad_rows_are_named_by_line_and_column_and_never_repeated() {
    let rows = [
        ("C1,p,given,2026-03-01,2028-03-01,app,", None),
        (
            "77071234567,p,given,2026-03-01,2028-03-01,app,",
            Some(("subject", "is no unit key of the dataset")),
        ),
        ("C1,Bad Purpose,given,2026-03-01,2028-03-01,app,", Some(("purpose", "is no name of a purpose"))),
        ("C1,p,GIVEN,2026-03-01,2028-03-01,app,", Some(("event", "is neither `given` nor `withdrawn`"))),
        (
            "C1,p,expired,2026-03-01,,app,",
            Some(("event", "is `expired`, which follows from `valid_until` and is not imported")),
        ),
        (
            "C1,p,given,01.03.2026,2028-03-01,app,",
            Some(("at", "is no moment such as `2026-05-31T10:00:00Z` or day")),
        ),
        ("C1,p,given,2027-03-01,2028-03-01,app,", Some(("at", "lies in the future"))),
        (
            "C1,p,given,2026-03-01,,app,",
            Some(("valid_until", "is missing: consent has a term (94-V art. 8)")),
        ),
        ("C1,p,given,2026-03-01,2026-03-01,app,", Some(("valid_until", "is not after `at`"))),
        (
            "C1,p,withdrawn,2026-03-01,2028-03-01,app,",
            Some(("valid_until", "stands beside a withdrawal, which has no term")),
        ),
        (
            "C1,p,given,2026-03-01,2028-03-01,pigeon,",
            Some(("method", "is none of `paper till app web phone letter desk`")),
        ),
        (
            "C1,p,given,2026-03-01,2028-03-01,term,",
            Some(("method", "is none of `paper till app web phone letter desk`")),
        ),
        ("C1,p,given,2026-03-01,2028-03-01,app,abc", Some(("evidence", "is no `sha256:` digest"))),
    ];
    let text: String = HEADER.to_owned() + &rows.map(|(row, _)| format!("{row}\n")).concat();
    let Err(ImportRefused::Rows(bad)) = parsed(&text) else { panic!("bad rows are refused") };
    let expected: Vec<(u64, &str, &str)> = rows
        .iter()
        .zip(2_u64..)
        .filter_map(|((_, wrong), line)| wrong.map(|(column, reason)| (line, column, reason)))
        .collect();
    let found: Vec<_> = bad.rows.iter().map(|row| (row.line, row.column, row.reason)).collect();
    assert_eq!(found, expected);
    assert_eq!(bad.total, 12);
    assert!(
        !bad.to_string().contains("7707") && bad.to_string().contains("line 3, column `subject`"),
        "{bad}"
    );

    let many = HEADER.to_owned() + &"X,p,given,2026-03-01,2028-03-01,app,\n".repeat(250);
    let Err(ImportRefused::Rows(bad)) = parsed(&many) else { panic!("bad rows are refused") };
    assert_eq!((bad.rows.len(), bad.total), (100, 250));
    for (text, code) in [
        ("subject,purpose\nC1,p\n", "consent_header"),
        ("subject,subject,purpose,event,at,valid_until,method,evidence\n", "consent_header"),
        ("subject,purpose,event,at,valid_until,method,evidence,note\n", "consent_column_unknown"),
        ("", "consent_header"),
        ("subject,purpose,event,at,valid_until,method,evidence\nC1,p\n", "consent_file_unreadable"),
    ] {
        assert_eq!(parsed(text).unwrap_err().code(), code, "{text:?}");
    }
    let latin = [HEADER.as_bytes(), b"C1,p\xff,given,2026-03-01,2028-03-01,app,\n"].concat();
    let refused = parse_csv(latin.as_slice(), at(0), &mut |_| Some(who(1))).unwrap_err();
    assert_eq!(refused.code(), "consent_file_unreadable");
}

#[tokio::test]
async fn an_erased_shopper_leaves_a_tombstone_that_no_old_file_lifts() {
    let desk = Desk::new().await;
    record(&desk, vec![given(1, "measurement", 10, 10_000), given(1, "targeting", 20, 10_000)], 30)
        .await
        .unwrap();
    record(&desk, vec![given(2, "measurement", 10, 10_000)], 30).await.unwrap();
    let erased = desk.registry.erase(&who(1), &by(100)).await.unwrap();
    let ended: Vec<_> = erased.events.iter().map(|e| (e.event, e.at, e.purpose.to_string())).collect();
    let expected =
        ["measurement", "targeting"].map(|name| (ConsentEvent::Withdrawn, at(100), name.to_owned()));
    assert_eq!(ended, expected);
    assert!(desk.registry.records(&who(1)).await.unwrap().is_empty());
    assert!(desk.registry.current(&who(1), at(100)).await.unwrap().is_empty());
    assert_eq!(desk.registry.records(&who(2)).await.unwrap().len(), 1);
    let erasures = desk.registry.erasures().await.unwrap();
    assert_eq!((erasures.of(&who(1)), erasures.of(&who(2))), (Some(at(100)), None));

    // Not a byte of the pseudonym is left, in no file of the database.
    let other_is_found = files(desk.folder.path()).iter().any(|bytes| holds(bytes, who(2).as_bytes()));
    assert!(other_is_found, "the search finds what is there");
    for bytes in files(desk.folder.path()) {
        assert!(!holds(&bytes, who(1).as_bytes()), "the pseudonym is still in a file");
    }

    // An old file, a late record, a second erasure: nothing comes back.
    let old = vec![given(1, "measurement", 10, 10_000), given(3, "measurement", 10, 10_000)];
    let import = desk.registry.import(old, Some(&terms()), &by(200)).await.unwrap();
    assert_eq!((import.erased, import.events.len()), (1, 1));
    let late = record(&desk, vec![given(1, "measurement", 100, 10_000)], 200).await.unwrap_err();
    assert_eq!(late.code(), "consent_erased");
    assert!(desk.registry.erase(&who(1), &by(200)).await.unwrap().pending.is_none());
    assert_eq!(desk.states(200).await.len(), 2);
    // Who comes back after it is a shopper again, and can go again.
    record(&desk, vec![given(1, "measurement", 101, 10_000)], 200).await.unwrap();
    assert_eq!(desk.registry.current(&who(1), at(200)).await.unwrap()[0].event, ConsentEvent::Given);
    assert!(desk.registry.erase(&who(1), &by(300)).await.unwrap().pending.is_some());
    assert_eq!(desk.registry.erasures().await.unwrap().of(&who(1)), Some(at(300)));
    // Erasing a stranger is on record too: their data may come with the next load.
    let stranger = desk.registry.erase(&who(9), &by(300)).await.unwrap();
    assert!(stranger.pending.is_some() && stranger.events.is_empty());
}

fn files(folder: &Path) -> Vec<Vec<u8>> {
    std::fs::read_dir(folder).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn a_crash_between_change_and_log_leaves_a_change_that_is_named_until_it_is_logged() {
    let desk = Desk::new().await;
    let first = record(&desk, vec![given(1, "p", 10, 1000)], 20).await.unwrap();
    desk.registry.logged(1, 7).await.unwrap();
    let second = record(&desk, vec![withdrawn(1, "p", 30)], 30).await.unwrap().pending.unwrap();
    let desk = desk.again().await;
    let third = desk.registry.erase(&who(1), &by(40)).await.unwrap().pending.unwrap();
    let desk = desk.again().await;
    assert_eq!(desk.registry.pending().await.unwrap(), [second.clone(), third.clone()]);
    assert_eq!((second.entry.as_str(), second.events), ("entry of 30", 1));
    assert_eq!(desk.registry.log_index_known().await.unwrap(), Some(7));
    desk.registry.logged(second.epoch, 8).await.unwrap();
    desk.registry.logged(second.epoch, 99).await.unwrap();
    assert_eq!(desk.registry.log_index_known().await.unwrap(), Some(8), "said once");
    assert_eq!(desk.registry.pending().await.unwrap(), [third]);
    let all = [first.pending.unwrap().digest, second.digest];
    assert_ne!(all[0], all[1]);
    for digest in all {
        assert!(desk.registry.knows(&digest).await.unwrap());
    }
}

#[tokio::test]
async fn a_copy_that_was_put_back_does_not_know_the_later_change() {
    let desk = Desk::new().await;
    record(&desk, vec![given(1, "p", 10, 1000)], 20).await.unwrap();
    let desk = desk.again().await;
    let copy = desk.folder.path().join("copy");
    desk.registry.close().await;
    std::fs::copy(desk.path(), &copy).unwrap();
    let desk = desk.again().await;
    let late = record(&desk, vec![withdrawn(1, "p", 30)], 30).await.unwrap().pending.unwrap();
    assert!(desk.registry.knows(&late.digest).await.unwrap());
    let old = Registry::open(&copy).await.unwrap();
    assert!(!old.knows(&late.digest).await.unwrap());
    // The same number, another change: epochs alone would not tell.
    let other = old.record(vec![withdrawn(2, "p", 30)], None, &by(30)).await.unwrap();
    assert_eq!(other.epoch, late.epoch);
    assert!(!old.knows(&late.digest).await.unwrap());
}

#[test]
fn nothing_prints_a_shopper() {
    let event = given(1, "p", 10, 20);
    let told = format!("{event:?}");
    assert_eq!(told, "NewEvent(p given at 1970-01-01T00:00:00.010Z, subject redacted)");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Against the definition, and against the bitmaps that queries use: whatever the order and the batches of arrival, the
    /// latest event counts, of several at one moment the most restrictive, and a term that has run out is no consent.
    #[test]
    fn the_state_is_that_of_the_definition(
        batches in prop::collection::vec(
            prop::collection::vec((0_u32..5, 0_usize..2, any::<bool>(), 0_i64..8, 1_i64..20), 1..12), 1..6),
        now in 8_i64..30,
        sweeps in any::<bool>(),
    ) {
        let names = ["measurement", "targeting"];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let desk = Desk::new().await;
            let mut epoch = 0;
            let mut all: Vec<NewEvent> = Vec::new();
            for batch in &batches {
                let events: Vec<NewEvent> = batch
                    .iter()
                    .map(|&(n, p, yes, from, term)| {
                        if yes { given(n, names[p], from, from + term) } else { withdrawn(n, names[p], from) }
                    })
                    .collect();
                let applied = desk.registry.import(events.clone(), Some(&terms()), &by(now)).await.unwrap();
                assert_eq!(applied.epoch, epoch + u64::from(applied.pending.is_some()));
                epoch = applied.epoch;
                all.extend(events);
            }
            let before = desk.states(now).await;
            if sweeps {
                desk.registry.sweep(&by(now)).await.unwrap();
                assert_eq!(desk.states(now).await, before, "a sweep records what holds already");
            }
            let mut builder = Consents::builder(epoch);
            for n in 0..5 {
                desk.registry.each_state(at(now), &mut |state| {
                    if *state.subject == who(n) {
                        builder.record(UnitIx(n), state.purpose, state.event, state.at);
                    }
                }).await.unwrap();
            }
            let consents = builder.build();
            for n in 0..5 {
                for name in names {
                    let mine: Vec<&NewEvent> =
                        all.iter().filter(|e| e.subject == who(n) && e.purpose.as_str() == name).collect();
                    let last = mine.iter().map(|e| e.at).max();
                    let of_last: Vec<_> = mine.iter().filter(|e| Some(e.at) == last).collect();
                    let expected = !of_last.is_empty()
                        && of_last.iter().all(|e| e.event == ConsentEvent::Given && e.valid_until > Some(at(now)));
                    let found = desk.states(now).await;
                    let state = found.get(&(*who(n).as_bytes(), name.to_owned()));
                    assert_eq!(state.is_some_and(|state| state.0 == ConsentEvent::Given), expected);
                    assert_eq!(consents.allows(&purpose(name), UnitIx(n)), expected);
                }
            }
        });
    }
}
