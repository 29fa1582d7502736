//! The vault folder: creating, opening, committing, cleaning up, rotating and destroying keys.
//!
//! ```text
//! CURRENT             key ring and pointer to the current snapshot; its replacement is the commit
//! manifests/*.sealed  what the snapshot consists of, under the dataset key
//! parts/*.parquet     rows, each file under its own key
//! units/*.sealed      the unit directory, under its own key
//! lock                held by the process that changes the vault
//! ```
//!
//! INVARIANT (commit): everything a manifest names is on the medium before `CURRENT` names the manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use identity::PseudonymKey;
use ids::{Clock, DatasetId, Digest, Entropy, SystemClock, SystemEntropy};

use crate::catalogue::Catalogue;
use crate::disk::{Disk, SystemDisk};
use crate::keys::{Key, RootKey, Wrapped};
use crate::manifest::{FORMAT_VERSION, Head, Manifest, Pointer, manifest_place, part_key_place};
use crate::refusal::VaultRefused;

const CURRENT: &str = "CURRENT";
const CURRENT_NEXT: &str = "CURRENT.next";
const LOCK: &str = "lock";
const MANIFESTS: &str = "manifests";
pub(crate) const PARTS: &str = "parts";
pub(crate) const UNITS: &str = "units";

/// The outside world as the vault sees it.
#[derive(Clone)]
pub struct Ports {
    /// Tells when a snapshot was made.
    pub clock: Arc<dyn Clock>,
    /// Makes keys, nonces and names.
    pub entropy: Arc<dyn Entropy>,
    /// Takes every write.
    pub disk: Arc<dyn Disk>,
    /// A small file outside the vault folder that remembers the newest snapshot, so that a vault that was set back to
    /// an older state is noticed. Without it, it is not.
    pub head: Option<PathBuf>,
}

impl Ports {
    /// The machine's clock, randomness and disk, and no head file.
    pub fn system() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy::new()),
            disk: Arc::new(SystemDisk),
            head: None,
        }
    }

    /// The same with a head file.
    #[must_use]
    pub fn with_head(self, path: &Path) -> Self {
        Self { head: Some(path.to_owned()), ..self }
    }
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ports").field("head", &self.head).finish_non_exhaustive()
    }
}

/// An opened vault: one dataset at its current snapshot, with its keys in memory.
pub struct Vault {
    dir: PathBuf,
    pub(crate) ports: Ports,
    dataset_key: Key,
    pub(crate) identifier_key: Key,
    pub(crate) pseudonym_key: PseudonymKey,
    pointer: Pointer,
    pub(crate) manifest: Manifest,
}

/// Held while a process changes the vault.
pub(crate) struct ChangeLock {
    file: File,
}

impl Drop for ChangeLock {
    fn drop(&mut self) {
        // Closing the file alone would not do: a child process that was forked but has not yet begun its own program holds
        // a copy of it, and with it the lock. If this fails, the close that follows still gives the lock back then.
        let _ = self.file.unlock();
    }
}

impl Vault {
    /// Makes a new vault without rows in a folder that is missing or empty.
    pub fn create(
        dir: &Path,
        catalogue: Catalogue,
        root: &RootKey,
        ports: Ports,
    ) -> Result<Self, VaultRefused> {
        let occupied = fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
        if occupied || dir.is_file() {
            return Err(VaultRefused::Exists { path: dir.to_owned() });
        }
        for folder in [dir.to_owned(), dir.join(MANIFESTS), dir.join(PARTS), dir.join(UNITS)] {
            ports.disk.create_folder(&folder).map_err(|error| VaultRefused::io("create", &folder, error))?;
        }
        let entropy = &*ports.entropy;
        let (dataset_key, identifier_key, pseudonym_key) =
            (Key::generate(entropy)?, Key::generate(entropy)?, Key::generate(entropy)?);
        let manifest = Manifest {
            version: FORMAT_VERSION,
            sequence: 0,
            parent: None,
            created: ports.clock.now(),
            catalogue,
            parts: Vec::new(),
            units: None,
            unit_count: 0,
            consent_epoch: 0,
            sources: BTreeSet::new(),
            erased: BTreeSet::new(),
            erased_units: BTreeSet::new(),
        };
        let dataset = manifest.catalogue.dataset().clone();
        let pointer = Pointer {
            version: FORMAT_VERSION,
            root_key: root.name(),
            dataset_key: root.key().wrap(&dataset_key, &key_place(&dataset, "dataset"), entropy)?,
            identifier_key: dataset_key.wrap(
                &identifier_key,
                &key_place(&dataset, "identifiers"),
                entropy,
            )?,
            pseudonym_key: dataset_key.wrap(&pseudonym_key, &key_place(&dataset, "pseudonyms"), entropy)?,
            part_keys: BTreeMap::new(),
            sequence: 0,
            snapshot: Digest::of(b""),
            manifest: String::new(),
            dataset,
        };
        let pseudonym_key = PseudonymKey::from_bytes(*pseudonym_key.as_bytes());
        let mut vault = Self {
            dir: dir.to_owned(),
            ports,
            dataset_key,
            identifier_key,
            pseudonym_key,
            pointer,
            manifest,
        };
        let lock = vault.lock()?;
        vault.commit(&lock, vault.manifest.clone(), BTreeMap::new())?;
        Ok(vault)
    }

    /// Opens the vault at its current snapshot and, unless another process is changing it, removes what half-finished
    /// loads have left behind.
    pub fn open(dir: &Path, root: &RootKey, ports: Ports) -> Result<Self, VaultRefused> {
        match Self::open_current(dir, root, ports.clone()) {
            // A commit of another process may have removed the manifest between the two reads; one that is really missing
            // is missing again.
            Err(VaultRefused::Missing { .. }) => Self::open_current(dir, root, ports),
            opened => opened,
        }
    }

    fn open_current(dir: &Path, root: &RootKey, ports: Ports) -> Result<Self, VaultRefused> {
        let pointer = read_pointer(dir)?;
        let dataset = pointer.dataset.clone();
        if pointer.root_key != root.name() {
            return Err(VaultRefused::WrongRootKey { path: dir.to_owned() });
        }
        let tampered = |_| tampered_pointer(dir);
        let dataset_key =
            root.key().unwrap(&pointer.dataset_key, &key_place(&dataset, "dataset")).map_err(tampered)?;
        let identifier_key = dataset_key
            .unwrap(&pointer.identifier_key, &key_place(&dataset, "identifiers"))
            .map_err(tampered)?;
        let pseudonym_key = dataset_key
            .unwrap(&pointer.pseudonym_key, &key_place(&dataset, "pseudonyms"))
            .map_err(tampered)?;
        let pseudonym_key = PseudonymKey::from_bytes(*pseudonym_key.as_bytes());
        let manifest = read_manifest(dir, &pointer, &dataset_key)?;
        check_head(&ports, &pointer)?;
        let vault = Self {
            dir: dir.to_owned(),
            ports,
            dataset_key,
            identifier_key,
            pseudonym_key,
            pointer,
            manifest,
        };
        vault.check_part_keys()?;
        if let Ok(lock) = vault.lock() {
            vault.clean_up(&lock);
        }
        vault.write_head()?;
        Ok(vault)
    }

    /// Digest of the current snapshot: of everything it consists of, but not of the keys.
    pub const fn snapshot(&self) -> Digest {
        self.pointer.snapshot
    }

    /// The snapshot's number: 0 for the empty vault, one more with each change.
    pub const fn sequence(&self) -> u64 {
        self.manifest.sequence
    }

    /// The snapshot's catalogue, with the domains learned so far.
    pub const fn catalogue(&self) -> &Catalogue {
        &self.manifest.catalogue
    }

    /// How many shoppers there are. For the operator only: an exact count.
    pub const fn units(&self) -> u32 {
        self.manifest.unit_count
    }

    /// How many rows a table has. For the operator only: an exact count.
    pub fn rows(&self, table: &str) -> u64 {
        self.manifest.parts_of(table).map(|part| part.rows).sum()
    }

    /// Bytes of all sealed parts. For the operator only.
    pub fn sealed_bytes(&self) -> u64 {
        self.manifest.parts.iter().map(|part| part.bytes).sum()
    }

    /// Table and name of every part of the snapshot.
    pub fn parts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.manifest.parts.iter().map(|part| (part.table.as_str(), part.part.as_str()))
    }

    /// Takes over the newest snapshot if another process has committed one; says whether it had.
    pub fn reload(&mut self) -> Result<bool, VaultRefused> {
        let before = self.snapshot();
        self.refresh()?;
        Ok(self.snapshot() != before)
    }

    /// Moves the vault to a new root key and a new dataset key: everything is wrapped anew, no row is touched, and the
    /// snapshot's digest stays.
    pub fn rotate(&mut self, new: &RootKey) -> Result<(), VaultRefused> {
        let lock = self.lock()?;
        self.refresh()?;
        let entropy = Arc::clone(&self.ports.entropy);
        let (dataset, next) = (self.pointer.dataset.clone(), Key::generate(&*entropy)?);
        let mut pointer = self.pointer.clone();
        pointer.root_key = new.name();
        pointer.dataset_key = new.key().wrap(&next, &key_place(&dataset, "dataset"), &*entropy)?;
        let rewrap = |wrapped: &Wrapped, place: &str| {
            let key = self.dataset_key.unwrap(wrapped, place).map_err(|_| tampered_pointer(&self.dir))?;
            next.wrap(&key, place, &*entropy)
        };
        pointer.identifier_key = rewrap(&pointer.identifier_key, &key_place(&dataset, "identifiers"))?;
        pointer.pseudonym_key = rewrap(&pointer.pseudonym_key, &key_place(&dataset, "pseudonyms"))?;
        for (place, wrapped) in &mut pointer.part_keys {
            *wrapped = rewrap(wrapped, &part_key_place(place))?;
        }
        let manifest = self.manifest.clone();
        self.write_and_point(&lock, manifest, pointer, next)
    }

    /// Erases a part for good: its key is destroyed, the next snapshot is without it, and its file is removed.
    ///
    /// The wrapped key is gone from the vault's files; copies of the whole vault made earlier still hold it, so backups
    /// must be rotated too.
    pub fn destroy_part(&mut self, part: &str) -> Result<(), VaultRefused> {
        let lock = self.lock()?;
        self.refresh()?;
        let mut manifest = self.manifest.clone();
        let Some(at) = manifest.parts.iter().position(|entry| entry.part == part) else {
            return Err(VaultRefused::NoPart { part: part.to_owned() });
        };
        let entry = manifest.parts.remove(at);
        manifest.erased.insert(entry.part);
        manifest.sequence += 1;
        manifest.parent = Some(self.pointer.snapshot);
        manifest.created = self.ports.clock.now();
        manifest.consent_epoch += 1;
        self.commit(&lock, manifest, BTreeMap::new())
    }

    /// The AAD prefix and the key of a part, for handing the file to another engine. Whoever has them reads the part.
    pub fn part_key(&self, part: &str) -> Result<(String, zeroize::Zeroizing<[u8; 32]>), VaultRefused> {
        let entry = self.manifest.parts.iter().find(|entry| entry.part == part);
        let entry = entry.ok_or_else(|| VaultRefused::NoPart { part: part.to_owned() })?;
        let place = entry.place(&self.pointer.dataset);
        let key = self.key_of(&place)?;
        Ok((place, zeroize::Zeroizing::new(*key.as_bytes())))
    }

    /// The file of a part.
    pub fn part_path(&self, part: &str) -> PathBuf {
        self.dir.join(PARTS).join(format!("{part}.parquet"))
    }

    /// The key of what lies at this place.
    pub(crate) fn key_of(&self, place: &str) -> Result<Key, VaultRefused> {
        let wrapped = self.pointer.part_keys.get(place).ok_or_else(|| tampered_pointer(&self.dir))?;
        self.dataset_key.unwrap(wrapped, &part_key_place(place)).map_err(|_| tampered_pointer(&self.dir))
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Becomes the one process that may change the vault.
    pub(crate) fn lock(&self) -> Result<ChangeLock, VaultRefused> {
        let path = self.dir.join(LOCK);
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|error| VaultRefused::io("open", &path, error))?;
        match file.try_lock() {
            Ok(()) => Ok(ChangeLock { file }),
            Err(fs::TryLockError::WouldBlock) => Err(VaultRefused::Busy { path: self.dir.clone() }),
            Err(fs::TryLockError::Error(error)) => Err(VaultRefused::io("lock", &path, error)),
        }
    }

    /// Takes over a snapshot that another process committed since this one was opened.
    pub(crate) fn refresh(&mut self) -> Result<(), VaultRefused> {
        let pointer = read_pointer(&self.dir)?;
        if pointer.sequence != self.pointer.sequence || pointer.manifest != self.pointer.manifest {
            self.manifest = read_manifest(&self.dir, &pointer, &self.dataset_key)?;
            self.pointer = pointer;
        }
        Ok(())
    }

    /// Makes `manifest` the current snapshot, with the keys of what is new in it.
    pub(crate) fn commit(
        &mut self,
        lock: &ChangeLock,
        manifest: Manifest,
        keys: BTreeMap<String, Key>,
    ) -> Result<(), VaultRefused> {
        let mut pointer = self.pointer.clone();
        for (place, key) in &keys {
            let wrapped = self.dataset_key.wrap(key, &part_key_place(place), &*self.ports.entropy)?;
            pointer.part_keys.insert(place.clone(), wrapped);
        }
        let needed = places(&manifest);
        pointer.part_keys.retain(|place, _| needed.contains(place));
        self.write_and_point(lock, manifest, pointer, self.dataset_key.clone())
    }

    fn write_and_point(
        &mut self,
        lock: &ChangeLock,
        manifest: Manifest,
        mut pointer: Pointer,
        dataset_key: Key,
    ) -> Result<(), VaultRefused> {
        let text = serde_json::to_vec(&manifest)
            .map_err(|_| VaultRefused::Internal { act: "writing the manifest" })?;
        let place = manifest_place(&pointer.dataset, manifest.sequence);
        let sealed = dataset_key.seal(&text, &place, &*self.ports.entropy)?;
        pointer.sequence = manifest.sequence;
        pointer.snapshot = Digest::of_parts(&[b"cleanroom/snapshot/v1", &text]);
        pointer.manifest = format!("{}-{}.sealed", manifest.sequence, random_name(&*self.ports.entropy)?);
        for folder in [PARTS, UNITS] {
            self.sync_folder(&self.folder(folder))?;
        }
        self.write_file(&self.folder(MANIFESTS).join(&pointer.manifest), &sealed)?;
        self.sync_folder(&self.folder(MANIFESTS))?;
        let text = serde_json::to_vec_pretty(&pointer)
            .map_err(|_| VaultRefused::Internal { act: "writing the pointer" })?;
        let (next, current) = (self.dir.join(CURRENT_NEXT), self.dir.join(CURRENT));
        if next.exists() {
            self.ports.disk.remove(&next).map_err(|error| VaultRefused::io("remove", &next, error))?;
        }
        self.write_file(&next, &text)?;
        self.ports
            .disk
            .rename(&next, &current)
            .map_err(|error| VaultRefused::io("replace", &current, error))?;
        // From here on the new snapshot is what a restart finds, so it is what this process must go on with.
        (self.pointer, self.manifest, self.dataset_key) = (pointer, manifest, dataset_key);
        self.sync_folder(&self.dir)?;
        self.write_head()?;
        self.clean_up(lock);
        Ok(())
    }

    pub(crate) fn write_file(&self, path: &Path, bytes: &[u8]) -> Result<(), VaultRefused> {
        let write = || {
            let mut file = self.ports.disk.create(path)?;
            file.write_all(bytes)?;
            file.sync()
        };
        write().map_err(|error| VaultRefused::io("write", path, error))
    }

    fn sync_folder(&self, path: &Path) -> Result<(), VaultRefused> {
        self.ports.disk.sync_folder(path).map_err(|error| VaultRefused::io("sync", path, error))
    }

    /// Every part of the snapshot must have a key that opens for its place; no file is read for that.
    fn check_part_keys(&self) -> Result<(), VaultRefused> {
        places(&self.manifest).iter().try_for_each(|place| self.key_of(place).map(drop))
    }

    /// Removes files that the current snapshot does not name: half-finished loads, erased parts, older manifests. What
    /// cannot be removed now is tried again at the next start; it is sealed and nobody refers to it.
    pub(crate) fn clean_up(&self, _lock: &ChangeLock) {
        let parts = self.manifest.parts.iter().map(|entry| format!("{}.parquet", entry.part)).collect();
        let units = self.manifest.units.iter().map(|entry| entry.file.clone()).collect();
        let manifests = BTreeSet::from([self.pointer.manifest.clone()]);
        for (folder, keep) in [(PARTS, parts), (UNITS, units), (MANIFESTS, manifests)] {
            let folder = self.folder(folder);
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let named: bool =
                    entry.file_name().to_str().is_some_and(|name| BTreeSet::contains(&keep, name));
                if !named && self.ports.disk.remove(&entry.path()).is_err() {
                    tracing::warn!("a file of an unfinished load could not be removed");
                }
            }
        }
    }

    fn write_head(&self) -> Result<(), VaultRefused> {
        let Some(path) = &self.ports.head else { return Ok(()) };
        let (dataset, sequence, snapshot) =
            (self.pointer.dataset.clone(), self.pointer.sequence, self.pointer.snapshot);
        let head = Head { dataset, sequence, snapshot };
        if read_head(path)? == Some(head.clone()) {
            return Ok(());
        }
        let text =
            serde_json::to_vec(&head).map_err(|_| VaultRefused::Internal { act: "writing the head file" })?;
        let next = path.with_extension("next");
        if next.exists() {
            self.ports.disk.remove(&next).map_err(|error| VaultRefused::io("remove", &next, error))?;
        }
        self.write_file(&next, &text)?;
        self.ports.disk.rename(&next, path).map_err(|error| VaultRefused::io("replace", path, error))
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("dataset", &self.pointer.dataset).finish_non_exhaustive()
    }
}

/// A short random name for a file.
pub(crate) fn random_name(entropy: &dyn Entropy) -> Result<String, VaultRefused> {
    let mut bytes = [0; 8];
    entropy.fill(&mut bytes)?;
    Ok(hex::encode(bytes))
}

fn key_place(dataset: &DatasetId, name: &str) -> String {
    format!("key/{dataset}/{name}")
}

/// Places of everything that has its own key.
fn places(manifest: &Manifest) -> BTreeSet<String> {
    let dataset = manifest.catalogue.dataset();
    let parts = manifest.parts.iter().map(|part| part.place(dataset));
    let units = manifest.units.iter().map(|units| crate::manifest::units_place(dataset, units.snapshot));
    parts.chain(units).collect()
}

fn tampered_pointer(dir: &Path) -> VaultRefused {
    VaultRefused::Tampered { what: format!("the key ring `{}`", dir.join(CURRENT).display()) }
}

fn read_pointer(dir: &Path) -> Result<Pointer, VaultRefused> {
    let path = dir.join(CURRENT);
    let text = fs::read(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => VaultRefused::NoVault { path: dir.to_owned() },
        _ => VaultRefused::io("read", &path, error),
    })?;
    let pointer: Pointer = serde_json::from_slice(&text).map_err(|_| tampered_pointer(dir))?;
    if pointer.version == FORMAT_VERSION { Ok(pointer) } else { Err(tampered_pointer(dir)) }
}

fn read_manifest(dir: &Path, pointer: &Pointer, dataset_key: &Key) -> Result<Manifest, VaultRefused> {
    let path = dir.join(MANIFESTS).join(&pointer.manifest);
    let what = || format!("the manifest `{}`", path.display());
    let sealed = fs::read(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => VaultRefused::Missing { what: what() },
        _ => VaultRefused::io("read", &path, error),
    })?;
    let tampered = || VaultRefused::Tampered { what: what() };
    let place = manifest_place(&pointer.dataset, pointer.sequence);
    let text = dataset_key.open(&sealed, &place).map_err(|_| tampered())?;
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|_| tampered())?;
    let digest = Digest::of_parts(&[b"cleanroom/snapshot/v1", &text]);
    let fits = manifest.version == FORMAT_VERSION
        && manifest.sequence == pointer.sequence
        && *manifest.catalogue.dataset() == pointer.dataset
        && digest == pointer.snapshot;
    if fits { Ok(manifest) } else { Err(tampered()) }
}

fn read_head(path: &Path) -> Result<Option<Head>, VaultRefused> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(VaultRefused::io("read", path, error)),
    };
    let tampered = |_| VaultRefused::Tampered { what: format!("the head file `{}`", path.display()) };
    serde_json::from_slice(&text).map(Some).map_err(tampered)
}

/// Refuses a vault that is older than what was seen before, or of the same age and another content.
fn check_head(ports: &Ports, pointer: &Pointer) -> Result<(), VaultRefused> {
    let Some(head) = ports.head.as_deref().map(read_head).transpose()?.flatten() else { return Ok(()) };
    let same = head.dataset == pointer.dataset;
    let newer = pointer.sequence > head.sequence;
    let equal = pointer.sequence == head.sequence && pointer.snapshot == head.snapshot;
    if same && (newer || equal) {
        Ok(())
    } else {
        Err(VaultRefused::RolledBack { found: pointer.sequence, seen: head.sequence })
    }
}
