//! The facade: everything a server, a command line or a template asks of the clean room.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use identity::Principal;
use ids::{DatasetId, Digest, PartyId, ReleaseId, RequestId};
use policy::{Action, Bundle};
use privacy::DeltaSplit;
use tokio::time::{Instant, sleep_until, timeout};

use crate::answer::{self, Turns};
use crate::catalogue::Dataset;
use crate::error::{Denial, QueryError, StartRefused};
use crate::ledger::{Ledger, Limits, SqliteLedger};
use crate::pipeline::{Gated, ParsedQuery, PermittedQuery, PrivacyPlan, Terms, denied_entry};
use crate::question::Question;
use crate::recover;
use crate::release::Release;
use crate::scan::SelectionKey;
use crate::settings::{Ports, Settings};

/// The clean room: one dataset, one agreement, one ledger, one log.
#[derive(Debug)]
pub struct CleanRoom {
    pub(crate) inner: Arc<Inner>,
}

/// What questions share. A question holds it while it is answered, even if its asker has gone.
pub(crate) struct Inner {
    pub settings: Settings,
    pub ports: Ports,
    pub ledger: Arc<dyn Ledger>,
    pub turns: Turns,
    agreement: RwLock<Arc<Agreement>>,
    dataset: RwLock<Dataset>,
}

/// A bundle with what follows from its budgets; converting ε to ρ takes milliseconds.
pub(crate) struct Agreement {
    pub bundle: Arc<Bundle>,
    pub split: DeltaSplit,
    cap: ids::MicroRho,
    quotas: std::collections::BTreeMap<PartyId, ids::MicroRho>,
}

impl Agreement {
    fn of(bundle: Arc<Bundle>) -> Self {
        let budgets = bundle.budgets();
        let split = DeltaSplit::halves(budgets.delta);
        let rho = |epsilon| privacy::rho_within(epsilon, split.conversion);
        Self {
            cap: rho(budgets.block_cap),
            quotas: budgets.quotas.iter().map(|(party, quota)| (party.clone(), rho(*quota))).collect(),
            split,
            bundle,
        }
    }

    /// What a party may spend of each block. A party without a quota may spend nothing.
    pub(crate) fn limits(&self, party: &PartyId) -> Limits {
        let quota = self.quotas.get(party).copied().unwrap_or(ids::MicroRho::ZERO);
        Limits { cap: self.cap, quota, delta: self.split.thresholds }
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Inner {
    pub(crate) fn agreement(&self) -> Arc<Agreement> {
        self.agreement.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn dataset(&self) -> Dataset {
        self.dataset.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts an entry on record from an async task.
    pub(crate) async fn log(
        &self,
        entry: audits::Entry,
        body: Option<Vec<u8>>,
    ) -> Result<audits::Receipt, QueryError> {
        let journal = self.ports.journal.clone();
        let appended = tokio::task::spawn_blocking(move || journal.append(entry, body.as_deref())).await;
        match appended {
            Ok(Ok(receipt)) => Ok(receipt),
            Ok(Err(error)) => {
                tracing::error!(error = %error, "the audit log took no entry");
                Err(QueryError::Unavailable { reason: "the audit log takes no entries" })
            }
            Err(_) => Err(QueryError::Unavailable { reason: "the audit log takes no entries" }),
        }
    }
}

impl CleanRoom {
    /// Opens the ledger, compares it with the log, and finishes what a crash left open.
    ///
    /// # Errors
    /// When the ledger or the log cannot be used, or one of them is an older copy than the other.
    pub async fn open(
        settings: Settings,
        ports: Ports,
        bundle: Arc<Bundle>,
        dataset: Dataset,
    ) -> Result<Self, StartRefused> {
        let ledger: Arc<dyn Ledger> = match &ports.ledger {
            Some(ledger) => ledger.clone(),
            None => Arc::new(SqliteLedger::open(&settings.ledger).await?),
        };
        recover::recover(ledger.as_ref(), &ports.journal).await?;
        let inner = Inner {
            settings,
            ports,
            ledger,
            turns: Turns::default(),
            agreement: RwLock::new(Arc::new(Agreement::of(bundle))),
            dataset: RwLock::new(dataset),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Questions from now on are decided by this bundle.
    pub fn replace_bundle(&self, bundle: Arc<Bundle>) {
        let agreement = Arc::new(Agreement::of(bundle));
        *self.inner.agreement.write().unwrap_or_else(PoisonError::into_inner) = agreement;
    }

    /// Questions from now on are answered from this snapshot.
    pub fn replace_dataset(&self, dataset: Dataset) {
        *self.inner.dataset.write().unwrap_or_else(PoisonError::into_inner) = dataset;
    }

    /// The bundle in force.
    pub fn bundle(&self) -> Arc<Bundle> {
        self.inner.agreement().bundle.clone()
    }

    /// The dataset in use.
    pub fn dataset(&self) -> Dataset {
        self.inner.dataset()
    }

    /// Answers a question, once.
    ///
    /// The work goes on when the caller goes away or the deadline passes; the same request id fetches its result. With a
    /// request id, repeating a question is free; without, an equal question on the same data is answered from the stored
    /// release, free too.
    ///
    /// # Errors
    /// See [`QueryError`]. A denial is on record in the log before it is returned.
    pub async fn ask(&self, principal: &Principal, question: Question) -> Result<Release, QueryError> {
        let asked = Instant::now();
        let plan = self.plan(principal, question, Action::RunQuery).await?;
        let request_id = plan.key.request.clone();
        let work = tokio::spawn(answer::answer(self.inner.clone(), plan));
        let outcome = match timeout(self.inner.settings.deadline, work).await {
            Ok(Ok(outcome)) => outcome,
            // A panic, or too late: the charge may be there, so this is the one error behind it.
            Ok(Err(_)) | Err(_) => Err(QueryError::Failed { request_id }),
        };
        wait_for_tick(asked, self.inner.settings.tick).await;
        outcome
    }

    /// A release of the caller's party, again. Policy is asked as for any act.
    ///
    /// # Errors
    /// When policy says no, or the party has no such release.
    pub async fn release(&self, principal: &Principal, id: &ReleaseId) -> Result<Release, QueryError> {
        let dataset = self.inner.dataset().schema().dataset.clone();
        self.act(
            principal,
            Action::ReadRelease,
            &dataset,
            None,
            Digest::of_parts(&[b"read release", id.as_str().as_bytes()]),
        )
        .await?;
        let found = self.inner.ledger.released(principal.party(), id).await.map_err(answer::ledger_down)?;
        found
            .and_then(|record| answer::release_of(&record))
            .ok_or_else(|| QueryError::NoSuchRelease(id.clone()))
    }

    /// parse → resolve → gate → plan; a denial is logged.
    pub(crate) async fn plan(
        &self,
        principal: &Principal,
        mut question: Question,
        action: Action,
    ) -> Result<PrivacyPlan, QueryError> {
        let (agreement, dataset) = (self.inner.agreement(), self.inner.dataset());
        let budgets = agreement.bundle.budgets();
        let request = match question.request_id.take() {
            Some(request) => request,
            None => RequestId::random(self.inner.ports.entropy.as_ref()).map_err(no_entropy)?,
        };
        question.request_id = Some(request.clone());
        let selection = SelectionKey::draw(self.inner.ports.entropy.as_ref()).map_err(no_entropy)?;
        let resolved = ParsedQuery::parse(question)?.resolve(&dataset, principal, budgets.epsilon_default)?;
        let permitted = match resolved.gate(&agreement.bundle, action, self.inner.ports.clock.now()) {
            Gated::Permitted(permitted) => *permitted,
            Gated::Denied(denied) => {
                let (resolved, denied) = *denied;
                let denial = Denial {
                    clauses: denied.clauses,
                    reason: denied.reason,
                    nearest: denied.nearest,
                    log_index: 0,
                };
                let entry = denied_entry(&resolved, agreement.bundle.digest(), &denial);
                return Err(self.denied(denial, entry, Some(resolved.question.sql)).await);
            }
        };
        let terms = Terms {
            settings: &self.inner.settings,
            split: agreement.split,
            limits: agreement.limits(principal.party()),
            request,
            selection,
        };
        self.planned(permitted, terms, agreement.bundle.digest()).await
    }

    /// ─plan→; an obligation that the question does not keep is a denial, and logged like one.
    async fn planned(
        &self,
        permitted: PermittedQuery,
        terms: Terms<'_>,
        bundle: Digest,
    ) -> Result<PrivacyPlan, QueryError> {
        let blank = Denial { clauses: Vec::new(), reason: String::new(), nearest: None, log_index: 0 };
        let entry = denied_entry(&permitted.resolved, bundle, &blank);
        let sql = permitted.resolved.question.sql.clone();
        match permitted.plan(terms) {
            Err(QueryError::Denied(denial)) => {
                let entry = audits::Entry { clauses: denial.clauses.clone(), ..entry };
                Err(self.denied(*denial, entry, Some(sql)).await)
            }
            other => other,
        }
    }

    /// Policy's word on an act that is no question; a denial is logged.
    pub(crate) async fn act(
        &self,
        principal: &Principal,
        action: Action,
        dataset: &DatasetId,
        purpose: Option<ids::PurposeId>,
        fingerprint: Digest,
    ) -> Result<(), QueryError> {
        let agreement = self.inner.agreement();
        let purpose = match purpose.or_else(|| agreement.bundle.purposes().keys().next().cloned()) {
            Some(purpose) => purpose,
            None => return Err(QueryError::Unavailable { reason: "the agreement names no purpose" }),
        };
        let request = policy::Request {
            principal: principal.clone(),
            action,
            dataset: dataset.clone(),
            purpose,
            footprint: policy::Footprint::default(),
            epsilon: ids::MicroEpsilon::ZERO,
            campaign: None,
            fingerprint,
        };
        match agreement.bundle.decide(&request, self.inner.ports.clock.now()).into_result() {
            Ok(_permit) => Ok(()),
            Err(denied) => {
                let entry = audits::Entry {
                    principal: Some(principal.subject().clone()),
                    party: Some(principal.party().clone()),
                    role: principal.role().as_str().parse().ok(),
                    datasets: vec![dataset.clone()],
                    bundle: Some(agreement.bundle.digest()),
                    clauses: denied.clauses.clone(),
                    decision: Some(audits::Decision::Denied),
                    reason: action.name().parse().ok(),
                    ..audits::Entry::new(audits::Kind::QueryDenied)
                };
                let denial = Denial {
                    clauses: denied.clauses,
                    reason: denied.reason,
                    nearest: denied.nearest,
                    log_index: 0,
                };
                Err(self.denied(denial, entry, None).await)
            }
        }
    }

    /// Puts a denial on record, then says it. If the log takes nothing, the answer is no less of a no.
    async fn denied(&self, denial: Denial, entry: audits::Entry, sql: Option<String>) -> QueryError {
        match self.inner.log(entry, sql.map(String::into_bytes)).await {
            Ok(receipt) => QueryError::Denied(Box::new(Denial { log_index: receipt.index, ..denial })),
            Err(unavailable) => unavailable,
        }
    }
}

/// Waits until a whole number of ticks has passed since the question came in.
async fn wait_for_tick(asked: Instant, tick: Duration) {
    if tick.is_zero() {
        return;
    }
    let passed = asked.elapsed().as_nanos().div_ceil(tick.as_nanos());
    let ticks = u32::try_from(passed).unwrap_or(u32::MAX);
    sleep_until(asked + tick.saturating_mul(ticks)).await;
}

/// No randomness: nothing was charged.
fn no_entropy(_: ids::EntropyFailed) -> QueryError {
    QueryError::Unavailable { reason: "the operating system gives no randomness" }
}
