//! The whole way of a campaign over the real store, outbox and tick: what a destination holds in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use crate::support::*;
use activation::approval::Required;
use activation::arms::{Arm, ArmsKey};
use activation::audience::{AudienceRules, Floor, GuardKey, NoisySize, Regular};
use activation::batch::{Batch, Header, Op};
use activation::campaign::{AnyCampaign, Approving, Armed, Campaign, Running};
use activation::destination::{Answer, Destination, Later, SendFailed, Verdict};
use activation::members::{HouseholdKey, Members, MembersFailed};
use activation::outbox::{Cause, Outbox, OutboxKey, Ports, Settings, SqliteStore};
use activation::store::{Admission, CampaignStore};
use activation::tick::{Desk, DeskFailed, Manner};
use identity::{Canonical, IdentifierKind, OpenFormat, PseudonymEpoch, Role, ScopedKey};
use ids::{DestinationId, Digest, ManualClock, PurposeId, SegmentId, SystemEntropy, Timestamp, UnitIx};
use roaring::RoaringBitmap;

/// A destination that does what it is told.
struct Shelf {
    id: DestinationId,
    held: Mutex<BTreeSet<String>>,
    /// Everybody who was ever there.
    ever: Mutex<BTreeSet<String>>,
}

impl Shelf {
    fn new(id: &str) -> Arc<Self> {
        Arc::new(Self { id: id.parse().unwrap(), held: Mutex::default(), ever: Mutex::default() })
    }

    fn held(&self) -> BTreeSet<String> {
        self.held.lock().unwrap().clone()
    }
}

impl Destination for Shelf {
    fn id(&self) -> &DestinationId {
        &self.id
    }

    fn submit<'a>(&'a self, batch: &'a Batch) -> Later<'a, Result<Answer, SendFailed>> {
        Box::pin(async move {
            let (mut held, mut ever) = (self.held.lock().unwrap(), self.ever.lock().unwrap());
            for token in &batch.members {
                match batch.header.place.op {
                    Op::Add => {
                        held.insert(token.expose().to_owned());
                        ever.insert(token.expose().to_owned());
                    }
                    Op::Remove => {
                        held.remove(token.expose());
                    }
                }
            }
            Ok(Answer::Final(Verdict::Applied))
        })
    }

    fn status<'a>(&'a self, _: &'a Header) -> Later<'a, Result<Answer, SendFailed>> {
        Box::pin(async { Ok(Answer::Unknown) })
    }
}

/// A vault that changes while it is looked at.
#[derive(Default)]
struct Living(Mutex<MemoryVault>);

impl Living {
    fn now(&self) -> MemoryVault {
        self.0.lock().unwrap().clone()
    }
}

impl Members for Living {
    fn segment(&self, id: &SegmentId, digest: &Digest) -> Result<RoaringBitmap, MembersFailed> {
        self.now().segment(id, digest)
    }
    fn consented(&self, purpose: &PurposeId) -> Result<(RoaringBitmap, u64), MembersFailed> {
        self.now().consented(purpose)
    }
    fn consents_ending(
        &self,
        purpose: &PurposeId,
        until: Timestamp,
    ) -> Result<Vec<(Timestamp, RoaringBitmap)>, MembersFailed> {
        self.now().consents_ending(purpose, until)
    }
    fn suppressed(&self) -> Result<RoaringBitmap, MembersFailed> {
        self.now().suppressed()
    }
    fn households(
        &self,
        members: &RoaringBitmap,
        each: &mut dyn FnMut(UnitIx, HouseholdKey),
    ) -> Result<(), MembersFailed> {
        self.now().households(members, each)
    }
    fn identifiers(
        &self,
        members: &RoaringBitmap,
        kind: IdentifierKind,
        each: &mut dyn FnMut(UnitIx, &Canonical),
    ) -> Result<(), MembersFailed> {
        self.now().identifiers(members, kind, each)
    }
}

struct Town {
    _home: tempfile::TempDir,
    clock: ManualClock,
    shelves: Vec<Arc<Shelf>>,
    vault: Arc<Living>,
    desk: Desk,
    campaign: Campaign<Running>,
    log: Arc<MemoryLog>,
}

impl Town {
    async fn new(vault: MemoryVault) -> Self {
        let (home, log, entropy) =
            (tempfile::tempdir().unwrap(), MemoryLog::shared(), Arc::new(SystemEntropy::new()));
        let clock = ManualClock::at(day(6));
        let shelves = vec![Shelf::new("gateway"), Shelf::new("folder")];
        let store = SqliteStore::open(&home.path().join("outbox.sqlite")).await.unwrap();
        let ports = Ports {
            store: Arc::new(store),
            journal: log.clone(),
            clock: Arc::new(clock.clone()),
            entropy: entropy.clone(),
            destinations: shelves.iter().map(|shelf| shelf.clone() as Arc<dyn Destination>).collect(),
        };
        let outbox = Outbox::open(OutboxKey::from_bytes([5; 32]), Settings::default(), ports).await.unwrap();
        let path = home.path().join("campaigns.sqlite");
        let secrets = Arc::new(secrets());
        let store = CampaignStore::open(&path, &secrets, log.clone(), entropy).await.unwrap();
        let guard = Arc::new(GuardKey::derive(&secrets));
        let vault = Arc::new(Living(Mutex::new(vault)));
        let manner = Manner { rules: AudienceRules::new(30, 1, None).unwrap(), open: None };
        let manners: BTreeMap<_, _> = shelves.iter().map(|shelf| (shelf.id.clone(), manner)).collect();
        let desk = Desk {
            store,
            outbox: Arc::new(outbox),
            secrets,
            guard,
            global: None,
            members: vault.clone(),
            manners,
        };
        let campaign = running(&desk).await;
        Self { _home: home, clock, shelves, vault, desk, campaign, log }
    }

    fn now(&self) -> Timestamp {
        use ids::Clock as _;
        self.clock.now()
    }

    fn wait(&self, days: i64) {
        for _ in 0..days {
            self.clock.advance_millis(86_400_000);
        }
    }

    async fn pump(&self) {
        for shelf in &self.shelves {
            self.desk.outbox.pump(&shelf.id).await.unwrap();
        }
    }

    async fn tick(&self) -> Vec<activation::tick::Told> {
        let told = self.desk.tick(&self.campaign, &Cause::default(), self.now()).await.unwrap();
        self.pump().await;
        told
    }

    /// The tokens that a shelf must hold for these shoppers.
    fn tokens(&self, shelf: &Shelf, units: impl IntoIterator<Item = u32>) -> BTreeSet<String> {
        let (secrets, epoch) = (&self.desk.secrets, PseudonymEpoch::at(self.now()));
        let key = ScopedKey::derive(secrets.master(), secrets.tenant(), &shelf.id, epoch);
        let vault = self.vault.now();
        let best = |unit| {
            vault
                .identifier(unit, IdentifierKind::Phone)
                .or_else(|| vault.identifier(unit, IdentifierKind::Card))
                .unwrap()
        };
        units.into_iter().map(|unit| key.pseudonym(&best(unit)).token().as_str().to_owned()).collect()
    }

    fn treated(&self) -> Vec<u32> {
        let arms = self.campaign.arms(&self.desk.secrets, None).unwrap();
        let vault = self.vault.now();
        let eligible = (&vault.segment & &vault.consented) - &vault.suppressed;
        eligible.iter().filter(|unit| arms.of(&vault.household(*unit)) == Arm::Treatment).collect()
    }
}

/// A campaign that runs over both shelves.
async fn running(desk: &Desk) -> Campaign<Running> {
    let retailer = signer("retailer", 1);
    let approvers = approvers(&[("retailer", &retailer)]);
    let by = principal("brand-nord", Role::Analyst);
    let required = Required { retailer: party("retailer"), partners: BTreeSet::new() };
    let store = &desk.store;
    let draft = store.save(Campaign::draft(content("butter"), &by, day(0)).unwrap()).await.unwrap();
    let submitted = store.save(draft.submit(required, &by, day(0)).unwrap()).await.unwrap();
    let note =
        submitted.submission().statement(&party("retailer")).sign(&retailer.name, &retailer.key).unwrap();
    let Approving::Complete(moved) = submitted.approve(&note, &approvers, &by, day(1)).unwrap() else {
        panic!("one approval is not enough where one is needed");
    };
    let approved = store.save(moved).await.unwrap();
    let size = NoisySize::from_release(3_000);
    let admission = Admission { size, floor: Floor::default(), guard: &desk.guard, by: &by, at: day(2) };
    let admitted = store.admit(&approved, &admission, desk.members.as_ref()).await.unwrap();
    let salt = ArmsKey::salt(&SystemEntropy::new()).unwrap();
    let armed = Armed { secrets: &desk.secrets, salt, global: None, pairing: None };
    let scheduled = store.save(approved.schedule(armed, &admitted, &by, day(3)).unwrap()).await.unwrap();
    store.save(scheduled.start(&by, day(6)).unwrap()).await.unwrap()
}

#[tokio::test]
async fn destinations_hold_exactly_the_target_and_nothing_after_the_end() {
    let vault = MemoryVault { without_phone: (0..300).collect(), ..MemoryVault::of(3_000) };
    let town = Town::new(vault).await;
    let told = town.tick().await;
    assert!(told.iter().all(|told| told.regular == Regular::Told && told.added > 2_500), "{told:?}");
    for shelf in &town.shelves {
        assert_eq!(shelf.held(), town.tokens(shelf, town.treated()));
    }
    assert!(town.shelves[0].held().is_disjoint(&town.shelves[1].held()));

    // Three withdraw: gone with the next tick, everybody else stays.
    let gone: Vec<u32> = town.treated().into_iter().take(3).collect();
    town.vault.0.lock().unwrap().consented -= gone.iter().copied().collect::<RoaringBitmap>();
    town.clock.advance_millis(900_000);
    let told = town.tick().await;
    assert!(told.iter().all(|told| told.urgent == 3 && told.removed == 3 && told.added == 0), "{told:?}");
    for shelf in &town.shelves {
        assert_eq!(shelf.held(), town.tokens(shelf, town.treated()));
    }

    // The next epoch begins within the campaign: all names are new, nobody is there twice.
    let before: Vec<_> = town.shelves.iter().map(|shelf| shelf.held()).collect();
    let turn = PseudonymEpoch::at(town.now()).ends();
    while town.now() < turn {
        town.wait(1);
    }
    assert!(town.now() < town.campaign.content().ends_at());
    town.tick().await;
    for (shelf, before) in town.shelves.iter().zip(before) {
        assert_eq!(shelf.held(), town.tokens(shelf, town.treated()));
        assert!(shelf.held().is_disjoint(&before));
    }

    // After the last day everything is taken back.
    while town.now() < town.campaign.content().ends_at() {
        town.wait(1);
    }
    town.tick().await;
    assert!(town.shelves.iter().all(|shelf| shelf.held().is_empty()));
    let again = town.desk.take_back(town.campaign.id(), &Cause::default(), town.now()).await.unwrap();
    assert!(again.iter().all(|told| told.removed == 0));

    // No control was ever there, under any name.
    let ever: BTreeSet<String> =
        town.shelves.iter().flat_map(|shelf| shelf.ever.lock().unwrap().clone()).collect();
    assert!(ever.len() > 10_000, "{}", ever.len());
    let entries = town.log.entries.lock().unwrap();
    assert!(entries.iter().any(|entry| entry.purpose.is_some() && entry.consent_epoch == Some(7)));
}

#[tokio::test]
async fn a_log_that_breaks_in_the_middle_of_a_tick_changes_nothing_in_the_end() {
    for at in 0..6 {
        let town = Town::new(MemoryVault::of(3_000)).await;
        *town.log.fail.lock().unwrap() = Some((at, at % 2 == 0));
        for _ in 0..4 {
            // Whatever fails, fails with an error; the next tick goes on.
            drop(town.desk.tick(&town.campaign, &Cause::default(), town.now()).await);
            for shelf in &town.shelves {
                drop(town.desk.outbox.pump(&shelf.id).await);
            }
        }
        for shelf in &town.shelves {
            assert_eq!(shelf.held(), town.tokens(shelf, town.treated()), "broken at {at}");
        }
    }
}

#[tokio::test]
async fn settings_that_contradict_the_signed_content_send_nothing() {
    let mut town = Town::new(MemoryVault::of(3_000)).await;
    let gateway: DestinationId = "gateway".parse().unwrap();
    town.desk.manners.get_mut(&gateway).unwrap().open = Some(OpenFormat::ALL[0]);
    let outcome = town.desk.tick(&town.campaign, &Cause::default(), town.now()).await;
    assert!(matches!(outcome, Err(DeskFailed::Class { .. })), "{outcome:?}");
    town.desk.manners.remove(&gateway);
    let outcome = town.desk.tick(&town.campaign, &Cause::default(), town.now()).await;
    assert!(matches!(outcome, Err(DeskFailed::NoManner(_))), "{outcome:?}");
    town.pump().await;
    assert!(town.shelves.iter().all(|shelf| shelf.held().is_empty()));
}

#[tokio::test]
async fn a_cancelled_campaign_is_taken_back() {
    let town = Town::new(MemoryVault::of(3_000)).await;
    town.tick().await;
    let by = principal("retailer", Role::Steward);
    let cancelled = town.campaign.cancel(&by, "a recall", town.now()).unwrap();
    let cancelled = town.desk.store.save(cancelled).await.unwrap();
    assert_eq!(cancelled.audiences(), town.campaign.audiences());
    town.desk.take_back(cancelled.id(), &Cause::default(), town.now()).await.unwrap();
    town.pump().await;
    assert!(town.shelves.iter().all(|shelf| shelf.held().is_empty()));
    let approvers = approvers(&[("retailer", &signer("retailer", 1))]);
    let loaded = town.desk.store.load(cancelled.id(), &approvers).await.unwrap();
    assert_eq!(loaded, AnyCampaign::Cancelled(cancelled));
}
