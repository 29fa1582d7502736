//! A small retailer for the tests of campaigns and audiences: keys, a log in memory, a vault in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use activation::Secrets;
use activation::approval::Approvers;
use activation::campaign::Content;
use activation::journal::{Journal, JournalFailed};
use activation::members::{HouseholdKey, Members, MembersFailed};
use audits::{Entry, LogKey, Origin, Receipt};
use identity::{Canonical, IdentifierKind, MasterKey, Principal, Role, ShopperPseudonym};
use ids::{Digest, PartyId, PurposeId, SegmentId, Timestamp, UnitIx};
use roaring::RoaringBitmap;

pub(crate) const DAY: i64 = 86_400;
/// 2026-11-25T00:00:00Z.
pub(crate) const NOW: i64 = 20_782;

pub(crate) fn day(n: i64) -> Timestamp {
    Timestamp::from_millis(0).plus_secs((NOW + n) * DAY)
}

pub(crate) fn secrets() -> Secrets {
    Secrets::new(MasterKey::from_bytes([3; 32]), party("retailer"))
}

pub(crate) fn party(name: &str) -> PartyId {
    name.parse().unwrap()
}

pub(crate) fn principal(party_name: &str, role: Role) -> Principal {
    Principal::local("ada".parse().unwrap(), party(party_name), role)
}

/// A campaign over two own destinations that starts in six days and runs for four weeks.
pub(crate) fn campaign_toml(name: &str) -> String {
    let segment = Digest::of(b"predicate");
    let creative = Digest::of(b"creative");
    format!(
        r#"
campaign   = "{name}"
title      = "Butter, spring"
advertiser = "brand-nord"
dataset    = "loyalty"
purpose    = "activation"
segment    = {{ id = "butter-lapsed", digest = "{segment}" }}
channels   = ["push", "scale"]
stores     = ["almaty-02", "almaty-01"]
caps       = {{ per_day = 2, per_campaign = 8 }}
starts     = "2026-12-01"
ends       = "2026-12-28"
price      = {{ model = "cpm", currency = "KZT", rate_minor = 150000, cost_minor = 90000000 }}
holdout    = {{ share_bp = 1000 }}

[[daypart]]
days = ["tue", "mon"]
from = "08:00"
to   = "12:00"

[[creative]]
channel = "push"
sha256  = "{creative}"

[[creative]]
channel = "scale"
sha256  = "{creative}"

[[destination]]
id      = "gateway"
class   = "scoped"
reached = ["phone", "card"]

[[destination]]
id      = "folder"
class   = "scoped"
reached = ["phone", "email", "card"]

[hypothesis]
statement    = "Lapsed buyers come back"
metric       = "sales"
threshold_bp = 0
pre_days     = 56
post_days    = 14
"#
    )
}

pub(crate) fn content(name: &str) -> Content {
    Content::from_toml(&campaign_toml(name)).unwrap()
}

/// An approver's key and its name.
pub(crate) struct Signer {
    pub(crate) name: Origin,
    pub(crate) key: LogKey,
}

pub(crate) fn signer(party: &str, seed: u8) -> Signer {
    Signer { name: format!("{party}.approvals/2026").parse().unwrap(), key: LogKey::from_bytes([seed; 32]) }
}

pub(crate) fn approvers(signers: &[(&str, &Signer)]) -> Approvers {
    let mut approvers = Approvers::default();
    for (name, signer) in signers {
        approvers.add(party(name), signer.key.verifier_key(&signer.name).unwrap()).unwrap();
    }
    approvers
}

/// A log in memory that can refuse.
#[derive(Default)]
pub(crate) struct MemoryLog {
    pub(crate) entries: Mutex<Vec<Entry>>,
    /// Appends until it refuses: before anything, or after the entry is in.
    pub(crate) fail: Mutex<Option<(u32, bool)>>,
}

impl MemoryLog {
    pub(crate) fn shared() -> Arc<Self> {
        Arc::new(Self::default())
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.lock().unwrap().len()
    }

    fn fails_now(&self) -> Option<bool> {
        let mut fail = self.fail.lock().unwrap();
        match fail.as_mut() {
            Some((0, after)) => {
                let after = *after;
                *fail = None;
                Some(after)
            }
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        }
    }
}

impl Journal for MemoryLog {
    fn append(&self, entries: Vec<(Entry, Vec<u8>)>) -> Vec<Result<u64, JournalFailed>> {
        entries
            .into_iter()
            .map(|(entry, _)| {
                let fails = self.fails_now();
                let mut log = self.entries.lock().unwrap();
                if fails != Some(false) {
                    log.push(entry);
                }
                match fails {
                    Some(_) => Err(JournalFailed { reason: "a test broke it".to_owned() }),
                    None => Ok(log.len() as u64 - 1),
                }
            })
            .collect()
    }

    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn outbox_results(&self, _: u64, _: u64) -> Result<Vec<(u64, Digest)>, JournalFailed> {
        Ok(Vec::new())
    }

    fn find_result(&self, result: &Digest) -> Option<u64> {
        let entries = self.entries.lock().unwrap();
        entries.iter().position(|entry| entry.result == Some(*result)).map(|index| index as u64)
    }

    fn receipt(&self, _: u64) -> Result<Receipt, JournalFailed> {
        Err(JournalFailed { reason: "a log in memory gives no receipts".to_owned() })
    }
}

/// A vault in memory. Household of a unit: `unit / per_household`, unless moved.
#[derive(Clone, Default)]
pub(crate) struct MemoryVault {
    pub(crate) segment: RoaringBitmap,
    pub(crate) consented: RoaringBitmap,
    pub(crate) suppressed: RoaringBitmap,
    pub(crate) consents_ending: Vec<(Timestamp, RoaringBitmap)>,
    pub(crate) per_household: u32,
    pub(crate) moved: BTreeMap<u32, u32>,
    pub(crate) without_household: RoaringBitmap,
    pub(crate) without_phone: RoaringBitmap,
    /// How many cards in a row have one phone; 0 means one.
    pub(crate) cards_per_phone: u32,
}

impl MemoryVault {
    /// `units` shoppers, all in the segment and all with consent.
    pub(crate) fn of(units: u32) -> Self {
        let all: RoaringBitmap = (0..units).collect();
        Self { segment: all.clone(), consented: all, per_household: 1, ..Self::default() }
    }

    pub(crate) fn household(&self, unit: u32) -> HouseholdKey {
        let number = self.moved.get(&unit).copied().unwrap_or(unit / self.per_household.max(1));
        HouseholdKey::from_bytes(*Digest::of_parts(&[b"household", &number.to_be_bytes()]).as_bytes())
    }

    /// What a shopper is reached by; made here anew on each call.
    pub(crate) fn identifier(&self, unit: u32, kind: IdentifierKind) -> Option<Canonical> {
        match kind {
            IdentifierKind::Phone if !self.without_phone.contains(unit) => {
                let number = unit / self.cards_per_phone.max(1);
                Some(Canonical::restored(kind, &format!("+7701{number:07}")).unwrap())
            }
            IdentifierKind::Card => {
                let bytes = Digest::of_parts(&[b"card", &unit.to_be_bytes()]);
                Some(Canonical::card(&ShopperPseudonym::from_bytes(*bytes.as_bytes())))
            }
            _ => None,
        }
    }
}

impl Members for MemoryVault {
    fn segment(&self, _: &SegmentId, _: &Digest) -> Result<RoaringBitmap, MembersFailed> {
        Ok(self.segment.clone())
    }

    fn consented(&self, _: &PurposeId) -> Result<(RoaringBitmap, u64), MembersFailed> {
        Ok((self.consented.clone(), 7))
    }

    fn consents_ending(
        &self,
        _: &PurposeId,
        until: Timestamp,
    ) -> Result<Vec<(Timestamp, RoaringBitmap)>, MembersFailed> {
        Ok(self.consents_ending.iter().filter(|(end, _)| *end < until).cloned().collect())
    }

    fn suppressed(&self) -> Result<RoaringBitmap, MembersFailed> {
        Ok(self.suppressed.clone())
    }

    fn households(
        &self,
        members: &RoaringBitmap,
        each: &mut dyn FnMut(UnitIx, HouseholdKey),
    ) -> Result<(), MembersFailed> {
        for unit in members - &self.without_household {
            each(UnitIx(unit), self.household(unit));
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
            if let Some(identifier) = self.identifier(unit, kind) {
                each(UnitIx(unit), &identifier);
            }
        }
        Ok(())
    }
}
