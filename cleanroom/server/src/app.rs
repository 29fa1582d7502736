//! The app: one home folder, opened. Everything that runs is put together here and nowhere else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use audits::{Entry, Kind, Log, LogConfig};
use engine::{CleanRoom, Dataset, QueryError, Settings};
use identity::{Jwks, LocalIssuer, Principal, TokenVerifier};
use ids::{Clock, Digest, Entropy, MicroEpsilon, PurposeId, SystemClock, SystemEntropy};
use policy::{Action, Bundle, Decision, Footprint};
use privacy::OpenDpNoise;
use vault::{HotStore, HotStoreConfig, Vault};

use crate::catalogue::{CatalogueView, view};
use crate::config::Config;
use crate::failure::Failure;
use crate::home::{Home, HomeLock, read_secret};
use crate::keys;
use crate::refusals::broken;
use crate::subject::{Desk, Elsewhere, Erased, Exported};

/// An opened home.
pub struct App {
    home: Home,
    config: Config,
    bundle: Arc<Bundle>,
    hot: RwLock<Arc<HotStore>>,
    /// Held by whoever changes the vault: one at a time waits instead of being refused.
    changes: Mutex<()>,
    /// Set when memory holds what the vault no longer does.
    closed: AtomicBool,
    elsewhere: Vec<Arc<dyn Elsewhere>>,
    log: Arc<Log>,
    room: CleanRoom,
    issuer: LocalIssuer,
    verifier: TokenVerifier,
    clock: Arc<dyn Clock>,
    _lock: HomeLock,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("config", &self.config).finish_non_exhaustive()
    }
}

impl App {
    /// Opens the vault with the root key, the bundle, the log, the ledger and the hot store, and joins them. What a crash
    /// left open is finished here; nothing has to be done by hand.
    ///
    /// # Errors
    ///
    /// Whatever is missing, locked, changed or put back, named with its file and the way out.
    pub async fn open(home: &Home, progress: &dyn vault::Progress) -> Result<Self, Failure> {
        home.must_exist()?;
        let lock = home.lock()?;
        Self::open_locked(home, lock, progress).await
    }

    /// As [`App::open`], for whoever holds the lock already.
    ///
    /// # Errors
    ///
    /// As [`App::open`].
    pub async fn open_locked(
        home: &Home,
        lock: HomeLock,
        progress: &dyn vault::Progress,
    ) -> Result<Self, Failure> {
        let config = Config::load(&home.config())?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::new());
        let bundle = Arc::new(load_bundle(home)?);
        let log = Arc::new(open_log(home, &config)?);
        let vault = open_vault(home)?;
        record_snapshot(&log, &vault)?;
        let hot = unseal(&vault, &config, progress)?;
        drop(vault);

        let settings = Settings {
            workers: config.engine.threads,
            tick: Duration::from_millis(config.engine.tick_millis),
            deadline: Duration::from_secs(config.http.request_seconds_max),
            ..Settings::with_ledger(home.ledger_file())
        };
        let ports = engine::Ports {
            clock: Arc::clone(&clock),
            entropy,
            noise: Arc::new(OpenDpNoise::default()),
            journal: Arc::<Log>::clone(&log),
            ledger: None,
        };
        let dataset = Dataset::over(Arc::clone(&hot), config.engine.threads)
            .map_err(|why| broken(why.code(), "cannot show the catalogue to queries", &why))?;
        let room = CleanRoom::open(settings, ports, Arc::clone(&bundle), dataset).await.map_err(|why| {
            broken(why.code(), "cannot open the clean room", &why)
                .at(home.root().display())
                .way_out("`cleanroom doctor` checks each part of the home")
        })?;
        let issuer = open_issuer(home, &config)?;
        let verifier = open_verifier(home, &config, &issuer, &bundle)?;
        let elsewhere = elsewhere(home, &config)?;
        Ok(Self {
            home: home.clone(),
            config,
            bundle,
            hot: RwLock::new(hot),
            changes: Mutex::new(()),
            closed: AtomicBool::new(false),
            elsewhere,
            log,
            room,
            issuer,
            verifier,
            clock,
            _lock: lock,
        })
    }

    /// The settings.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The agreement in force.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// The query pipeline.
    pub const fn room(&self) -> &CleanRoom {
        &self.room
    }

    /// The audit log.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The unsealed tables: exact rows. For the demo's owner's view and for measurements; no interface reaches it.
    pub(crate) fn hot(&self) -> Arc<HotStore> {
        Arc::clone(&self.hot.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The sealed tables, at their newest snapshot.
    ///
    /// # Errors
    ///
    /// A vault that was changed, or put back, behind this process.
    pub(crate) fn vault(&self) -> Result<Vault, Failure> {
        open_vault(&self.home)
    }

    /// Changes the vault, one change at a time, and takes the new snapshot into memory: questions asked from then on are
    /// answered from it. It waits for the disk.
    ///
    /// # Errors
    ///
    /// What `change` refuses; or the new snapshot does not fit beside the old one, and then this process answers no more.
    pub(crate) fn change_vault<T>(
        &self,
        change: impl FnOnce(&mut Vault) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let _change = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut vault = self.vault()?;
        let changed = change(&mut vault);
        // Also after a failure: part of it may have been committed.
        if vault.snapshot() != self.hot().snapshot() {
            self.refresh(&vault)?;
        }
        changed
    }

    fn refresh(&self, vault: &Vault) -> Result<(), Failure> {
        let settings = hot_config(&self.config);
        let taken = self
            .hot()
            .refreshed(vault, &settings, &vault::Quiet)
            .map_err(|why| broken(why.code(), "cannot take the new snapshot into memory", &why))
            .and_then(|next| {
                let next = Arc::new(next);
                let dataset = Dataset::over(Arc::clone(&next), self.config.engine.threads)
                    .map_err(|why| broken(why.code(), "cannot show the catalogue to queries", &why))?;
                Ok((next, dataset))
            });
        match taken {
            Ok((next, dataset)) => {
                self.room.replace_dataset(dataset);
                *self.hot.write().unwrap_or_else(PoisonError::into_inner) = next;
                Ok(())
            }
            Err(failure) => {
                // What is in memory may hold rows that the vault has erased: nothing may be answered from it.
                self.closed.store(true, Ordering::Release);
                Err(failure.way_out(
                    "the change is sealed; start the process again: until then it answers no question",
                ))
            }
        }
    }

    /// Whether this process must not answer any more, because it holds an older snapshot than it should.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Everything held about one shopper; on record when it returns.
    ///
    /// # Errors
    ///
    /// A denial, nobody of that key, or a part that cannot be read.
    pub(crate) fn export_subject(
        &self,
        principal: &Principal,
        purpose: &PurposeId,
        card: &str,
    ) -> Result<Exported, Failure> {
        let mut vault = self.vault()?;
        self.desk(&mut vault).export(principal, purpose, card)
    }

    /// Erases one shopper everywhere: from memory too when it returns.
    ///
    /// # Errors
    ///
    /// A denial, nobody of that key, or a place that fails; the same call again does the rest.
    pub(crate) fn erase_subject(
        &self,
        principal: &Principal,
        purpose: &PurposeId,
        card: &str,
    ) -> Result<Erased, Failure> {
        self.change_vault(|vault| self.desk(vault).erase(principal, purpose, card))
    }

    fn desk<'a>(&'a self, vault: &'a mut Vault) -> Desk<'a> {
        Desk { bundle: &self.bundle, log: &self.log, vault, elsewhere: &self.elsewhere, clock: &*self.clock }
    }

    /// The principal a bearer token speaks for.
    ///
    /// # Errors
    ///
    /// The verifier's refusal, which never repeats the token.
    pub fn verify(&self, token: &str) -> Result<Principal, identity::TokenRefused> {
        self.verifier.verify(token, &*self.clock)
    }

    /// A token of the local issuer.
    ///
    /// # Errors
    ///
    /// A life longer than configured.
    pub fn token(&self, principal: &Principal, lifetime_seconds: u32) -> Result<String, Failure> {
        keys::issue(&self.issuer, &self.config, principal, lifetime_seconds, &*self.clock)
    }

    /// The tables as this caller may know them; the look is logged.
    ///
    /// # Errors
    ///
    /// A denial that names its rule, or a log that cannot be written.
    pub fn catalogue(&self, principal: &Principal, purpose: &PurposeId) -> Result<CatalogueView, QueryError> {
        let hot = self.hot();
        let catalogue = hot.catalogue();
        let request = policy::Request {
            principal: principal.clone(),
            action: Action::ReadCatalogue,
            dataset: catalogue.dataset().clone(),
            purpose: purpose.clone(),
            footprint: Footprint::default(),
            epsilon: MicroEpsilon::ZERO,
            campaign: None,
            fingerprint: Digest::of_parts(&[b"read-catalogue", catalogue.dataset().as_str().as_bytes()]),
        };
        let decision = self.bundle.decide(&request, self.clock.now());
        let entry = Entry {
            principal: Some(principal.subject().clone()),
            party: Some(principal.party().clone()),
            role: principal.role().to_string().parse().ok(),
            purpose: Some(purpose.clone()),
            bundle: Some(self.bundle.digest()),
            clauses: decision.clauses().to_vec(),
            decision: Some(match decision {
                Decision::Permitted(_) => audits::Decision::Permitted,
                Decision::Denied(_) => audits::Decision::Denied,
            }),
            datasets: vec![catalogue.dataset().clone()],
            ..Entry::new(Kind::CatalogueRead)
        };
        let unavailable = |_| QueryError::Unavailable { reason: "the audit log cannot be written" };
        let receipt = self.log.append(entry, None).map_err(unavailable)?;
        match decision.into_result() {
            Ok(_permit) => Ok(view(catalogue)),
            Err(denied) => Err(QueryError::Denied(Box::new(engine::Denial {
                clauses: denied.clauses,
                reason: denied.reason,
                nearest: denied.nearest,
                log_index: receipt.index,
            }))),
        }
    }
}

/// The agreement of a home.
///
/// # Errors
///
/// Anything the bundle loader refuses.
pub fn load_bundle(home: &Home) -> Result<Bundle, Failure> {
    Bundle::load(&home.policy()).map_err(|why| {
        broken(why.code(), "cannot load the agreement", &why)
            .at(home.policy().display())
            .way_out("put back the reviewed files; a changed bundle needs a new `bundle.lock`")
    })
}

/// The log of a home.
///
/// # Errors
///
/// A missing key, a log that does not match its head, or a fault in its files.
pub fn open_log(home: &Home, config: &Config) -> Result<Log, Failure> {
    let (log_key, body_key) = keys::log_keys(home)?;
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::new());
    Log::open(log_config(home, config), log_key, body_key, Arc::new(SystemClock), entropy).map_err(|why| {
        broken("log_refused", "cannot open the audit log", &why)
            .at(home.log().display())
            .way_out("`cleanroom audit verify` names the first fault; restore the newest copy of log and head together")
    })
}

/// Where a home's log lies.
pub fn log_config(home: &Home, config: &Config) -> LogConfig {
    LogConfig { dir: home.log(), head_path: home.log_head(), origin: config.log.origin.clone() }
}

/// The vault of a home.
///
/// # Errors
///
/// A wrong root key, a changed, swapped or missing file, a vault that was put back.
pub fn open_vault(home: &Home) -> Result<Vault, Failure> {
    let root = keys::root_key(home)?;
    let ports = vault::Ports::system().with_head(&home.vault_head());
    Vault::open(&home.vault(), &root, ports).map_err(|why| {
        broken(why.code(), "cannot open the vault", &why)
            .at(home.vault().display())
            .way_out("restore the vault's files and the root key that belongs to them; nothing was changed")
    })
}

/// The places besides the vault where something is held about shoppers: each is asked for an export and told of an erasure.
///
/// # Errors
///
/// A place that cannot be opened.
pub(crate) fn elsewhere(_home: &Home, _config: &Config) -> Result<Vec<Arc<dyn Elsewhere>>, Failure> {
    Ok(Vec::new())
}

/// Puts a snapshot that entered the vault on record, if a crash kept its load from doing so.
///
/// # Errors
///
/// A log that cannot be read or written.
pub fn record_snapshot(log: &Log, vault: &Vault) -> Result<(), Failure> {
    let snapshot = vault.snapshot();
    let failed =
        |why: String| Failure::failed("log_failed", "cannot put the vault's snapshot on record", why);
    for index in (0..log.size()).rev() {
        let logged = log.entry(index).map_err(|why| failed(why.to_string()))?;
        let entry = logged.entry;
        // An erasure makes a snapshot too; its first entry names the one before.
        if entry.kind == Kind::SubjectErased && entry.snapshot == Some(snapshot) {
            return Ok(());
        }
        if entry.kind == Kind::Ingest {
            if entry.snapshot == Some(snapshot) {
                return Ok(());
            }
            break;
        }
    }
    let entry = Entry {
        datasets: vec![vault.catalogue().dataset().clone()],
        snapshot: Some(snapshot),
        ..Entry::new(Kind::Ingest)
    };
    log.append(entry, None).map(drop).map_err(|why| failed(why.to_string()))
}

const fn hot_config(config: &Config) -> HotStoreConfig {
    HotStoreConfig { memory_bytes_max: config.engine.memory_bytes_max, threads: config.engine.threads }
}

fn unseal(vault: &Vault, config: &Config, progress: &dyn vault::Progress) -> Result<Arc<HotStore>, Failure> {
    let hot = HotStore::unseal_with(vault, &hot_config(config), progress);
    hot.map(Arc::new).map_err(|why| broken(why.code(), "cannot unseal the tables into memory", &why))
}

/// The local token issuer of a home.
///
/// # Errors
///
/// A missing or malformed key.
pub fn open_issuer(home: &Home, config: &Config) -> Result<LocalIssuer, Failure> {
    let pkcs8 = read_secret(&home.token_key())?;
    let issuer = LocalIssuer::from_pkcs8(&pkcs8)
        .map_err(|why| broken(why.code(), "cannot use the token key", &why).at(home.token_key().display()))?;
    Ok(issuer.named(&config.tokens.issuer, &config.tokens.audience))
}

fn open_verifier(
    home: &Home,
    config: &Config,
    issuer: &LocalIssuer,
    bundle: &Bundle,
) -> Result<TokenVerifier, Failure> {
    let keys = match &config.tokens.jwks {
        None => issuer.jwks(),
        Some(relative) => {
            let path = home.root().join(relative);
            Jwks::load(&path)
                .map_err(|why| broken("jwks_refused", "cannot use the key set", &why).at(path.display()))?
        }
    };
    let verifier = TokenVerifier::new(&config.tokens.issuer, &config.tokens.audience, keys);
    Ok(verifier.with_parties(bundle.parties().keys().cloned()))
}
