//! Measures a tick of one audience on this machine: `cargo run -p activation --example audience_tick [members]`, ten million by
//! default. It goes the whole way of a campaign (approvals, admission, arms, store, sealed outbox, log) over a vault that is
//! made up on the fly, prints seconds per part and the process's peak memory, and tests no claim.
//!
//! First everybody is told; then, a period later, half a per cent has left the segment and half a per cent is new.

use std::sync::Arc;
use std::time::Instant;

use activation::Secrets;
use activation::approval::{Approvers, Required};
use activation::arms::ArmsKey;
use activation::audience::{AudienceRules, Floor, GuardKey, NoisySize};
use activation::campaign::{Approving, Armed, Campaign, Content, Running};
use activation::journal::Journal;
use activation::members::{HouseholdKey, Members, MembersFailed};
use activation::outbox::{Cause, Outbox, OutboxKey, Ports, Settings, SqliteStore};
use activation::store::{Admission, CampaignStore};
use activation::tick::{Desk, Manner};
use audits::{BodyKey, Log, LogConfig, LogKey, Origin};
use identity::{Canonical, IdentifierKind, MasterKey, Principal, Role};
use ids::{Clock, Digest, Entropy, ManualClock, PurposeId, SegmentId, SystemEntropy, Timestamp, UnitIx};
use roaring::RoaringBitmap;

type Failed = Box<dyn std::error::Error>;

const DAY: i64 = 86_400;
const MEMBERS_DEFAULT: u32 = 10_000_000;

/// Shoppers two by two in a household, each with a phone.
struct Vault(std::sync::Mutex<RoaringBitmap>, RoaringBitmap);

impl Members for Vault {
    fn segment(&self, _: &SegmentId, _: &Digest) -> Result<RoaringBitmap, MembersFailed> {
        let gone = |_| MembersFailed { reason: "the bench is over".to_owned() };
        self.0.lock().map(|segment| segment.clone()).map_err(gone)
    }

    fn consented(&self, _: &PurposeId) -> Result<(RoaringBitmap, u64), MembersFailed> {
        Ok((self.1.clone(), 1))
    }

    fn consents_ending(
        &self,
        _: &PurposeId,
        _: Timestamp,
    ) -> Result<Vec<(Timestamp, RoaringBitmap)>, MembersFailed> {
        Ok(Vec::new())
    }

    fn suppressed(&self) -> Result<RoaringBitmap, MembersFailed> {
        Ok(RoaringBitmap::new())
    }

    fn households(
        &self,
        members: &RoaringBitmap,
        each: &mut dyn FnMut(UnitIx, HouseholdKey),
    ) -> Result<(), MembersFailed> {
        for unit in members {
            let mut key = [7; 32];
            key.iter_mut().zip((unit / 2).to_be_bytes()).for_each(|(to, from)| *to = from);
            each(UnitIx(unit), HouseholdKey::from_bytes(key));
        }
        Ok(())
    }

    fn identifiers(
        &self,
        members: &RoaringBitmap,
        kind: IdentifierKind,
        each: &mut dyn FnMut(UnitIx, &Canonical),
    ) -> Result<(), MembersFailed> {
        for unit in members {
            let phone = Canonical::restored(kind, &format!("+77{:09}", unit))
                .map_err(|refused| MembersFailed { reason: refused.to_string() })?;
            each(UnitIx(unit), &phone);
        }
        Ok(())
    }
}

fn campaign_file() -> String {
    let digest = Digest::of(b"bench");
    format!(
        r#"
campaign   = "bench"
title      = "Bench"
advertiser = "brand-nord"
dataset    = "loyalty"
purpose    = "activation"
segment    = {{ id = "everybody", digest = "{digest}" }}
channels   = ["push"]
caps       = {{ per_day = 2, per_campaign = 8 }}
starts     = "2026-12-01"
ends       = "2026-12-28"
price      = {{ model = "cpm", currency = "KZT", rate_minor = 150000, cost_minor = 90000000 }}
holdout    = {{ share_bp = 1000 }}
creative    = [{{ channel = "push", sha256 = "{digest}" }}]
destination = [{{ id = "gateway", class = "scoped", reached = ["phone"] }}]
hypothesis  = {{ statement = "x", metric = "sales", threshold_bp = 0, pre_days = 56, post_days = 14 }}
"#
    )
}

/// A campaign that runs, by the whole way there.
async fn running(
    store: &CampaignStore,
    secrets: &Secrets,
    guard: &GuardKey,
    vault: &Vault,
    start: Timestamp,
) -> Result<Campaign<Running>, Failed> {
    let (name, key): (Origin, _) = ("retailer.approvals/bench".parse()?, LogKey::from_bytes([1; 32]));
    let mut approvers = Approvers::default();
    approvers.add("retailer".parse()?, key.verifier_key(&name)?)?;
    let by = Principal::local("bench".parse()?, "brand-nord".parse()?, Role::Analyst);
    let before = start.plus_secs(-DAY);
    let required = Required { retailer: "retailer".parse()?, partners: Default::default() };
    let draft = store.save(Campaign::draft(Content::from_toml(&campaign_file())?, &by, before)?).await?;
    let submitted = store.save(draft.submit(required, &by, before)?).await?;
    let note = submitted.submission().statement(&"retailer".parse()?).sign(&name, &key)?;
    let Approving::Complete(moved) = submitted.approve(&note, &approvers, &by, before)? else {
        return Err("one approval is not enough".into());
    };
    let approved = store.save(moved).await?;
    let size = NoisySize::from_release(i64::try_from(vault.1.len())?);
    let admission = Admission { size, floor: Floor::default(), guard, by: &by, at: before };
    let admitted = store.admit(&approved, &admission, vault).await?;
    let salt = ArmsKey::salt(&SystemEntropy::new())?;
    let armed = Armed { secrets, salt, global: None, pairing: None };
    let scheduled = store.save(approved.schedule(armed, &admitted, &by, before)?).await?;
    Ok(store.save(scheduled.start(&by, start)?).await?)
}

/// The most memory that this process has had, MiB; none where the system does not say.
fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib / 1024)
}

fn report(what: &str, started: Instant) {
    let peak = peak_mib().map_or("unknown".to_owned(), |mib| format!("{mib} MiB"));
    println!("{what:<34} {:>8.2} s   peak memory {peak}", started.elapsed().as_secs_f64());
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let members: u32 = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => MEMBERS_DEFAULT,
    };
    let churn = members / 200;
    let home = tempfile::tempdir()?;
    let entropy = Arc::new(SystemEntropy::new());
    let start: Timestamp = Timestamp::from_millis(0).plus_secs(20_788 * DAY);
    let clock = ManualClock::at(start);
    let log = Arc::new(Log::create(
        LogConfig {
            dir: home.path().join("log"),
            head_path: home.path().join("head"),
            origin: "audit.example/bench".to_owned(),
        },
        LogKey::generate(entropy.as_ref())?,
        BodyKey::generate(entropy.as_ref())?,
        Arc::new(clock.clone()),
        entropy.clone(),
    )?);
    let journal: Arc<dyn Journal> = log;
    let secrets = Arc::new(Secrets::new(MasterKey::generate(entropy.as_ref())?, "retailer".parse()?));
    let guard = Arc::new(GuardKey::derive(&secrets));
    let everybody: RoaringBitmap = (0..members + churn).collect();
    let vault = Arc::new(Vault(std::sync::Mutex::new((0..members).collect()), everybody));
    let shared: Arc<dyn Entropy> = entropy.clone();
    let path = home.path().join("campaigns.sqlite");
    let store = CampaignStore::open(&path, &secrets, journal.clone(), shared.clone()).await?;
    let ports = Ports {
        store: Arc::new(SqliteStore::open(&home.path().join("outbox.sqlite")).await?),
        journal,
        clock: Arc::new(clock.clone()) as Arc<dyn Clock>,
        entropy: shared,
        destinations: Vec::new(),
    };
    let outbox = Outbox::open(OutboxKey::generate(entropy.as_ref())?, Settings::default(), ports).await?;
    let campaign = running(&store, &secrets, &guard, &vault, start).await?;
    let manner = Manner { rules: AudienceRules::default(), open: None };
    let desk = Desk {
        store,
        outbox: Arc::new(outbox),
        secrets,
        guard,
        global: None,
        members: vault.clone(),
        manners: [("gateway".parse()?, manner)].into(),
    };
    println!("{members} members, 10 % held out, {} threads", std::thread::available_parallelism()?);

    let started = Instant::now();
    let told = desk.tick(&campaign, &Cause::default(), start).await?;
    report("first tick, everybody is told", started);
    println!("    {told:?}");

    if let Ok(mut segment) = vault.0.lock() {
        segment.remove_range(0..churn);
        segment.insert_range(members..members + churn);
    }
    let later = start.plus_secs(7 * DAY);
    clock.advance_millis(u32::try_from(7 * DAY * 1000)?);
    let started = Instant::now();
    let told = desk.tick(&campaign, &Cause::default(), later).await?;
    report("a period later, 1 % has changed", started);
    println!("    {told:?}");
    Ok(())
}
