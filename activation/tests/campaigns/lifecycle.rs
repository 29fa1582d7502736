//! The lifecycle: who may do what when, and what a store and a crash may not change.

use std::sync::Arc;

use crate::support::*;
use activation::approval::{ApprovalRefused, Approvers, Required};
use activation::arms::ArmsKey;
use activation::audience::{Admitted, Floor, GuardKey, NoisySize};
use activation::campaign::{
    AnyCampaign, Approved, Approving, Armed, Campaign, Draft, Running, Scheduled, Submitted,
    TransitionRefused, Verdict,
};
use activation::store::{Admission, CampaignStore, CampaignStoreFailed};
use audits::Kind;
use identity::Role;
use ids::{Digest, SystemEntropy, Timestamp};

struct House {
    home: tempfile::TempDir,
    log: Arc<MemoryLog>,
    store: CampaignStore,
    retailer: Signer,
    partner: Signer,
    approvers: Approvers,
}

async fn open(home: &std::path::Path, log: &Arc<MemoryLog>) -> CampaignStore {
    let entropy = Arc::new(SystemEntropy::new());
    CampaignStore::open(&home.join("campaigns.sqlite"), &secrets(), log.clone(), entropy).await.unwrap()
}

async fn house() -> House {
    let (home, log) = (tempfile::tempdir().unwrap(), MemoryLog::shared());
    let store = open(home.path(), &log).await;
    let (retailer, partner) = (signer("retailer", 1), signer("jv-north", 2));
    let approvers = approvers(&[("retailer", &retailer), ("jv-north", &partner)]);
    House { home, log, store, retailer, partner, approvers }
}

fn both() -> Required {
    Required { retailer: party("retailer"), partners: [party("jv-north")].into() }
}

impl House {
    async fn drafted(&self, name: &str) -> Campaign<Draft> {
        let analyst = principal("brand-nord", Role::Analyst);
        self.store.save(Campaign::draft(content(name), &analyst, day(0)).unwrap()).await.unwrap()
    }

    async fn submitted(&self, name: &str) -> Campaign<Submitted> {
        let analyst = principal("brand-nord", Role::Analyst);
        let draft = self.drafted(name).await;
        self.store.save(draft.submit(both(), &analyst, day(0)).unwrap()).await.unwrap()
    }

    fn note(&self, campaign: &Campaign<Submitted>, of: &str) -> String {
        let signer = if of == "retailer" { &self.retailer } else { &self.partner };
        campaign.submission().statement(&party(of)).sign(&signer.name, &signer.key).unwrap()
    }

    async fn approve(&self, campaign: Campaign<Submitted>) -> Campaign<Approved> {
        let legal = principal("retailer", Role::Legal);
        let note = self.note(&campaign, "retailer");
        let Approving::Waiting(moved) = campaign.approve(&note, &self.approvers, &legal, day(1)).unwrap()
        else {
            panic!("one approval is enough where two are needed");
        };
        let campaign = self.store.save(moved).await.unwrap();
        let note = self.note(&campaign, "jv-north");
        let Approving::Complete(moved) = campaign.approve(&note, &self.approvers, &legal, day(1)).unwrap()
        else {
            panic!("two approvals are not enough");
        };
        self.store.save(moved).await.unwrap()
    }

    async fn admitted(&self, campaign: &Campaign<Approved>) -> Vec<Admitted> {
        let (guard, by) = (GuardKey::derive(&secrets()), principal("brand-nord", Role::Analyst));
        let (size, floor) = (NoisySize::from_release(5_000), Floor::default());
        let admission = Admission { size, floor, guard: &guard, by: &by, at: day(2) };
        self.store.admit(campaign, &admission, &MemoryVault::of(5_000)).await.unwrap()
    }

    async fn scheduled(&self, name: &str) -> Campaign<Scheduled> {
        let approved = self.approve(self.submitted(name).await).await;
        let admitted = self.admitted(&approved).await;
        let salt = ArmsKey::salt(&SystemEntropy::new()).unwrap();
        let secrets = secrets();
        let armed = Armed { secrets: &secrets, salt, global: None, pairing: None };
        let steward = principal("retailer", Role::Steward);
        self.store.save(approved.schedule(armed, &admitted, &steward, day(3)).unwrap()).await.unwrap()
    }

    async fn running(&self, name: &str) -> Campaign<Running> {
        let gateway = principal("retailer", Role::Steward);
        let scheduled = self.scheduled(name).await;
        self.store.save(scheduled.start(&gateway, day(6)).unwrap()).await.unwrap()
    }
}

#[tokio::test]
async fn a_campaign_goes_from_draft_to_measured_and_every_step_is_in_the_log() {
    let house = house().await;
    let steward = principal("retailer", Role::Steward);
    let running = house.running("butter").await;
    let commitment = running.state().scheduled.commitment;
    assert!(matches!(running.end(&steward, day(33)), Err(TransitionRefused::TooEarly { .. })));
    let ended = house.store.save(running.end(&steward, day(34)).unwrap()).await.unwrap();
    let report = Digest::of(b"report");
    let early = ended.measure(report, Verdict::Certified, &steward, day(47));
    assert!(matches!(early, Err(TransitionRefused::TooEarly { .. })));
    let measured = house
        .store
        .save(ended.measure(report, Verdict::Certified, &steward, day(48)).unwrap())
        .await
        .unwrap();

    let entries = house.log.entries.lock().unwrap().clone();
    let steps: Vec<_> = entries
        .iter()
        .map(|entry| (entry.kind, entry.reason.as_ref().map(|reason| reason.as_str().to_owned()).unwrap()))
        .collect();
    let changed = |word: &str| (Kind::CampaignChanged, word.to_owned());
    assert_eq!(
        steps,
        [
            changed("draft"),
            changed("submitted"),
            changed("submitted"),
            changed("approved"),
            (Kind::AudienceAdmitted, "admitted".to_owned()),
            changed("scheduled"),
            changed("running"),
            changed("ended"),
            changed("measured"),
        ]
    );
    // The commitment stands in the log before the start, and it is the one that opens.
    assert_eq!(entries[5].commitment, Some(commitment.0));
    assert!(entries.iter().filter(|entry| entry.commitment.is_some()).count() == 1);
    let opening = measured.opening(&secrets(), None).unwrap();
    let arms = measured.arms(&secrets(), None).unwrap();
    let vault = MemoryVault::of(500);
    let rows = (0..500).map(|unit| (vault.household(unit), arms.of(&vault.household(unit))));
    assert_eq!(opening.verify(commitment, rows), Ok(500));

    let AnyCampaign::Measured(loaded) = house.store.load(measured.id(), &house.approvers).await.unwrap()
    else {
        panic!("another state came back");
    };
    assert_eq!(loaded, measured);
    assert_eq!(house.store.list().await.unwrap()[0].state, "measured");
}

#[tokio::test]
async fn every_wrong_signature_has_its_own_reason() {
    let house = house().await;
    let legal = principal("retailer", Role::Legal);
    let campaign = house.submitted("butter").await;
    let other = house.submitted("cheese").await;
    let stranger = signer("retailer", 9);
    let required = both();
    let tell = |note: String| match campaign.approve(&note, &house.approvers, &legal, day(1)) {
        Err(TransitionRefused::Approval(refused)) => refused,
        outcome => panic!("{outcome:?}"),
    };
    let statement = campaign.submission().statement(&party("retailer"));
    let sign =
        |statement: &activation::approval::Statement, by: &Signer| statement.sign(&by.name, &by.key).unwrap();

    assert!(matches!(tell("hello".to_owned()), ApprovalRefused::Form { .. }));
    assert!(matches!(tell(house.note(&other, "retailer")), ApprovalRefused::OtherCampaign { .. }));
    assert!(matches!(tell(sign(&statement, &house.partner)), ApprovalRefused::OtherParty { .. }));
    assert!(matches!(tell(sign(&statement, &stranger)), ApprovalRefused::Signature { .. }));
    let mut changed = statement.clone();
    changed.content = Digest::of(b"another content");
    assert!(matches!(tell(sign(&changed, &house.retailer)), ApprovalRefused::OtherContent { .. }));
    let mut changed = statement.clone();
    changed.revision = 2;
    assert!(matches!(tell(sign(&changed, &house.retailer)), ApprovalRefused::OtherRevision { .. }));
    let mut changed = statement.clone();
    changed.approvers = [party("retailer")].into();
    assert!(matches!(tell(sign(&changed, &house.retailer)), ApprovalRefused::OtherApprovers { .. }));
    let unasked = approvers(&[("retailer", &house.retailer), ("jv-south", &house.partner)]);
    let mut changed = statement.clone();
    changed.party = party("jv-south");
    let refused = campaign.approve(&sign(&changed, &house.partner), &unasked, &legal, day(1));
    assert!(matches!(refused, Err(TransitionRefused::Approval(ApprovalRefused::NotAsked { .. }))));
    // Every flipped bit of a good note.
    let good = house.note(&campaign, "retailer");
    for position in 0..good.len() {
        let mut bytes = good.clone().into_bytes();
        bytes[position] ^= 1;
        if let Ok(text) = String::from_utf8(bytes) {
            assert!(campaign.approve(&text, &house.approvers, &legal, day(1)).is_err(), "byte {position}");
        }
    }
    let Approving::Waiting(moved) = campaign.approve(&good, &house.approvers, &legal, day(1)).unwrap() else {
        panic!("one is not enough");
    };
    let campaign = house.store.save(moved).await.unwrap();
    let twice = campaign.approve(&good, &house.approvers, &legal, day(1));
    assert!(matches!(twice, Err(TransitionRefused::Approval(ApprovalRefused::Twice { .. }))));
    assert_eq!(campaign.state().missing(), [&party("jv-north")]);
    assert_eq!(campaign.state().required, required);
}

#[tokio::test]
async fn any_change_needs_new_approvals_and_old_ones_are_no_good_even_for_the_same_content() {
    let house = house().await;
    let (analyst, legal) = (principal("brand-nord", Role::Analyst), principal("retailer", Role::Legal));
    let submitted = house.submitted("butter").await;
    let (old, digest) = (house.note(&submitted, "retailer"), submitted.digest());
    let approved = house.approve(submitted).await;
    let draft = house.store.save(approved.revise(&analyst, day(2)).unwrap()).await.unwrap();
    let mut changed = draft.content().clone();
    changed.caps.per_day = 3;
    let draft = house.store.save(draft.edit(changed, &analyst, day(2)).unwrap()).await.unwrap();
    assert_ne!(draft.digest(), digest);
    let other = content("cheese");
    assert!(matches!(draft.edit(other, &analyst, day(2)), Err(TransitionRefused::OtherCampaign { .. })));
    // Back to the very same content.
    let draft = house.store.save(draft.edit(content("butter"), &analyst, day(2)).unwrap()).await.unwrap();
    assert_eq!(draft.digest(), digest);
    let again = house.store.save(draft.submit(both(), &analyst, day(2)).unwrap()).await.unwrap();
    assert_eq!(again.revision(), 2);
    let replayed = again.approve(&old, &house.approvers, &legal, day(2));
    assert_eq!(
        replayed,
        Err(TransitionRefused::Approval(ApprovalRefused::OtherRevision { found: 1, expected: 2 }))
    );
}

#[tokio::test]
async fn who_is_not_asked_cannot_refuse_and_a_refused_campaign_can_be_revised() {
    let house = house().await;
    let analyst = principal("brand-nord", Role::Analyst);
    let submitted = house.submitted("butter").await;
    let refused = submitted.refuse(&analyst, "no", day(1));
    assert!(matches!(refused, Err(TransitionRefused::NotAsked { .. })));
    let partner = principal("jv-north", Role::Legal);
    assert_eq!(submitted.refuse(&partner, " \n ", day(1)), Err(TransitionRefused::Reason));
    let refused = house.store.save(submitted.refuse(&partner, "too often", day(1)).unwrap()).await.unwrap();
    assert_eq!(refused.state().reason, "too often");
    let draft = house.store.save(refused.revise(&analyst, day(1)).unwrap()).await.unwrap();
    assert_eq!(draft.revision(), 1);
}

#[tokio::test]
async fn a_state_is_left_once_and_a_name_is_used_once() {
    let house = house().await;
    let analyst = principal("brand-nord", Role::Analyst);
    let draft = house.drafted("butter").await;
    let (one, other) = (
        draft.submit(both(), &analyst, day(0)).unwrap(),
        draft.cancel(&analyst, "a mistake", day(0)).unwrap(),
    );
    house.store.save(other).await.unwrap();
    assert!(matches!(house.store.save(one).await, Err(CampaignStoreFailed::GoneOn(_))));
    let again = Campaign::draft(content("butter"), &analyst, day(0)).unwrap();
    assert!(matches!(house.store.save(again).await, Err(CampaignStoreFailed::Taken(_))));
}

#[tokio::test]
async fn times_are_kept() {
    let house = house().await;
    let analyst = principal("brand-nord", Role::Analyst);
    let draft = house.drafted("butter").await;
    assert!(matches!(draft.submit(both(), &analyst, day(6)), Err(TransitionRefused::TooLate { .. })));
    let scheduled = house.scheduled("cheese").await;
    let early: Timestamp = day(6).plus_secs(-1);
    assert!(matches!(scheduled.start(&analyst, early), Err(TransitionRefused::TooEarly { .. })));
    assert!(matches!(scheduled.start(&analyst, day(34)), Err(TransitionRefused::TooLate { .. })));
    assert!(scheduled.start(&analyst, day(6)).is_ok());
}

#[tokio::test]
async fn arms_and_audiences_of_another_content_are_not_taken() {
    let house = house().await;
    let steward = principal("retailer", Role::Steward);
    let (butter, cheese) = (
        house.approve(house.submitted("butter").await).await,
        house.approve(house.submitted("cheese").await).await,
    );
    let (of_butter, of_cheese) = (house.admitted(&butter).await, house.admitted(&cheese).await);
    let secrets = secrets();
    let armed = || Armed { secrets: &secrets, salt: [7; 32], global: None, pairing: None };
    let foreign = butter.schedule(armed(), &of_cheese, &steward, day(3));
    assert!(matches!(foreign, Err(TransitionRefused::Misfit { .. })));
    let short = butter.schedule(armed(), &of_butter[..1], &steward, day(3));
    assert!(matches!(short, Err(TransitionRefused::Misfit { .. })));
    assert!(butter.schedule(armed(), &of_butter, &steward, day(3)).is_ok());
    // Another master key does not draw these arms.
    let running = house.running("milk").await;
    let other = activation::Secrets::new(identity::MasterKey::from_bytes([4; 32]), party("retailer"));
    assert!(matches!(running.arms(&other, None), Err(TransitionRefused::Commitment { .. })));
}

#[tokio::test]
async fn a_crash_between_store_and_log_is_finished_and_no_entry_is_there_twice() {
    for after in [false, true] {
        // At each of the steps of a whole life the log breaks once, before or after it took the entry.
        for at in 0..7 {
            let house = house().await;
            *house.log.fail.lock().unwrap() = Some((at, after));
            let mut broke = 0;
            let mut state = String::new();
            for _ in 0..20 {
                // A restart: the store is opened again and goes on where it was.
                let store = open(house.home.path(), &house.log).await;
                let house = House { store, ..house_like(&house) };
                match go_on(&house).await {
                    Ok(now) if now == "running" => {
                        state = now;
                        break;
                    }
                    Ok(now) => state = now,
                    Err(CampaignStoreFailed::Journal(_)) => broke += 1,
                    Err(failed) => panic!("{failed}"),
                }
            }
            assert_eq!((state.as_str(), broke), ("running", 1), "step {at}, after {after}");
            let entries = house.log.entries.lock().unwrap();
            let results: std::collections::BTreeSet<_> = entries.iter().map(|entry| entry.result).collect();
            assert_eq!(results.len(), entries.len(), "an entry is there twice");
            assert_eq!(entries.len(), 7);
        }
    }
}

fn house_like(house: &House) -> House {
    let (retailer, partner) = (signer("retailer", 1), signer("jv-north", 2));
    let approvers = approvers(&[("retailer", &retailer), ("jv-north", &partner)]);
    House {
        home: tempfile::tempdir().unwrap(),
        log: house.log.clone(),
        store: house.store.clone(),
        retailer,
        partner,
        approvers,
    }
}

/// One step further, from whatever state the store holds.
async fn go_on(house: &House) -> Result<String, CampaignStoreFailed> {
    let (analyst, legal) = (principal("brand-nord", Role::Analyst), principal("retailer", Role::Legal));
    let name = "butter".parse().unwrap();
    let any = match house.store.load(&name, &house.approvers).await {
        Err(CampaignStoreFailed::Unknown(_)) => {
            let moved = Campaign::draft(content("butter"), &analyst, day(0)).unwrap();
            return house.store.save(moved).await.map(|_| "draft".to_owned());
        }
        loaded => loaded?,
    };
    match any {
        AnyCampaign::Draft(draft) => {
            house.store.save(draft.submit(both(), &analyst, day(0)).unwrap()).await?;
        }
        AnyCampaign::Submitted(submitted) => {
            let next = submitted.state().missing()[0].clone();
            let note = house.note(&submitted, next.as_str());
            match submitted.approve(&note, &house.approvers, &legal, day(1)).unwrap() {
                Approving::Waiting(moved) => drop(house.store.save(moved).await?),
                Approving::Complete(moved) => drop(house.store.save(moved).await?),
            }
        }
        AnyCampaign::Approved(approved) => {
            let (guard, size) = (GuardKey::derive(&secrets()), NoisySize::from_release(5_000));
            let admission =
                Admission { size, floor: Floor::default(), guard: &guard, by: &analyst, at: day(2) };
            let admitted = house.store.admit(&approved, &admission, &MemoryVault::of(5_000)).await?;
            let secrets = secrets();
            let armed = Armed { secrets: &secrets, salt: [7; 32], global: None, pairing: None };
            house.store.save(approved.schedule(armed, &admitted, &legal, day(3)).unwrap()).await?;
        }
        AnyCampaign::Scheduled(scheduled) => {
            house.store.save(scheduled.start(&legal, day(6)).unwrap()).await?;
        }
        _ => {}
    }
    Ok(house.store.load(&name, &house.approvers).await?.state().to_owned())
}

#[tokio::test]
async fn a_state_that_was_put_into_the_file_by_hand_is_not_believed() {
    use sqlx::Row as _;
    let house = house().await;
    house.submitted("butter").await;
    house.running("milk").await;
    house.store.close().await;
    let edit = async |sql: &str| {
        let path = house.home.path().join("campaigns.sqlite");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).foreign_keys(false);
        let pool = sqlx::sqlite::SqlitePool::connect_with(options).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&pool).await.unwrap();
        let kept: String = sqlx::query("SELECT kept FROM campaigns WHERE id = 'butter'")
            .fetch_one(&pool)
            .await
            .unwrap()
            .get(0);
        pool.close().await;
        kept
    };
    let kept = edit("SELECT 1").await;
    let refused = async |sql: &str| {
        edit(sql).await;
        let store = open(house.home.path(), &house.log).await;
        let outcome = store.load(&"butter".parse().unwrap(), &house.approvers).await;
        store.close().await;
        match outcome {
            Err(CampaignStoreFailed::NotBelieved { reason, .. }) => reason,
            outcome => panic!("{sql}: {outcome:?}"),
        }
    };
    // Submitted, and called approved without any signature.
    let approved = format!(
        r#"{{"state":"approved","submitted":{},"at":1}}"#,
        kept.replacen(r#""state":"submitted","#, "", 1)
    );
    let reason =
        refused(&format!("UPDATE campaigns SET state = 'approved', kept = '{approved}' WHERE id = 'butter'"))
            .await;
    assert!(reason.contains("has not approved it"), "{reason}");
    // A partner is forgotten: nobody signed yet, but this state was never logged.
    let forgotten = kept.replacen(r#","partners":["jv-north"]"#, "", 1);
    assert_ne!(forgotten, kept);
    let reason = refused(&format!(
        "UPDATE campaigns SET state = 'submitted', kept = '{forgotten}' WHERE id = 'butter'"
    ))
    .await;
    assert!(reason.contains("not the one that was logged"), "{reason}");
    // Another content under the same approvals.
    let reason = refused(
        "UPDATE campaigns SET kept = (SELECT kept FROM campaigns WHERE id = 'milk'), \
         revision = 1, content = (SELECT replace(content, '\"campaign\":\"milk\"', '\"campaign\":\"butter\"') \
         FROM campaigns WHERE id = 'milk') WHERE id = 'butter'",
    )
    .await;
    assert!(reason.contains("another digest") || reason.contains("does not hold"), "{reason}");
}
