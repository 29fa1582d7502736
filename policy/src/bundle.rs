//! A bundle: one folder that says what is allowed, loaded entirely or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use cedar_policy::{Entities, Request as CedarRequest, Schema};
use ids::{ClauseId, Digest, PartyId, PurposeId};

use crate::cases::Case;
use crate::facts::{self, Approver, Budgets, Facts, Party, Purpose};
use crate::refusal::{BundleRefused, one_line};
use crate::rules::{Clause, Lang, Rules};
use crate::vocabulary::{self, Ask};
use crate::{Action, BuiltIn, cases, lock};

const SCHEMA: &str = "schema.cedarschema";
const FOLDERS: [(&str, &str); 4] =
    [("policies", ".cedar"), ("promises", ".cedar"), ("facts", ".toml"), ("cases", ".toml")];
/// A bundle is read by people; these are far above what people read.
const FILE_BYTES_MAX: u64 = 1 << 20;
const FILES_MAX: usize = 512;

/// An agreement, checked and ready to decide.
///
/// Every file is known, locked and valid; every rule is inside the reviewable profile and fits the schema; every name
/// refers to something. A value of this type exists only if all of that holds.
#[derive(Debug)]
pub struct Bundle {
    digest: Digest,
    facts_digest: Digest,
    pub(crate) schema: Schema,
    pub(crate) entities: Entities,
    pub(crate) facts: Facts,
    pub(crate) rules: Rules,
    pub(crate) cases: Vec<Case>,
}

impl Bundle {
    /// Loads the bundle in `dir`.
    ///
    /// # Errors
    /// Anything that is unknown, missing, different from `bundle.lock`, malformed, contradictory or outside the profile;
    /// the first fault is named with its file and line.
    pub fn load(dir: &Path) -> Result<Self, BundleRefused> {
        let (files, locked) = read(dir)?;
        let locked = locked.ok_or_else(|| BundleRefused::MissingFile { file: lock::FILE.to_owned() })?;
        lock::check(&locked, &files)?;
        Self::from_files(&files)
    }

    /// Checks the bundle in `dir` as [`Bundle::load`] does and then writes its `bundle.lock`; for authors, after review.
    /// Returns the digest of the bundle. A faulty bundle is refused and its lock stays as it was.
    ///
    /// # Errors
    /// As [`Bundle::load`], but for the lock; and if the lock cannot be written.
    pub fn lock(dir: &Path) -> Result<Digest, BundleRefused> {
        let (files, _) = read(dir)?;
        let bundle = Self::from_files(&files)?;
        let path = dir.join(lock::FILE);
        fs::write(&path, lock::write(&files)).map_err(|error| io(&path, &error))?;
        Ok(bundle.digest)
    }

    fn from_files(files: &BTreeMap<String, String>) -> Result<Self, BundleRefused> {
        let facts = facts::load(files)?;
        let text = files.get(SCHEMA).ok_or_else(|| BundleRefused::MissingFile { file: SCHEMA.to_owned() })?;
        let schema = schema(text)?;
        let misfit = |error: vocabulary::Misfit| BundleRefused::facts(SCHEMA, one_line(&error.to_string()));
        let entities = vocabulary::entities(&facts, &schema).map_err(misfit)?;
        let rules = Rules::load(files, &schema, &facts)?;
        let cases = cases::load(files, &facts)?;
        let is_facts = |file: &str| file.starts_with("facts/");
        let (digest, facts_digest) = (lock::digest(files, |_| true), lock::digest(files, is_facts));
        let bundle = Self { digest, facts_digest, schema, entities, facts, rules, cases };
        bundle.probe()?;
        Ok(bundle)
    }

    /// One request per action, so that a schema that does not fit shows at load and not at the first question.
    fn probe(&self) -> Result<(), BundleRefused> {
        let Some((party, role)) = self.facts.parties.values().find_map(|p| Some((p, *p.roles.first()?)))
        else {
            return Err(BundleRefused::facts("facts/parties.toml", "there is no party with a role: add one"));
        };
        let Some(dataset) = self.facts.datasets.keys().next() else {
            return Err(BundleRefused::facts("facts/columns.toml", "there is no dataset: add one"));
        };
        for action in Action::ALL {
            let ask = Ask {
                purpose: "",
                levels: [""].into(),
                keys: [""].into(),
                tables: [""].into(),
                epsilon_micro: 0,
                epsilon_micro_max: 0,
                cohort_min: 0,
                obligations: [""].into(),
                contracts: [""].into(),
                campaign: vocabulary::CampaignWords::default(),
            };
            self.cedar_request(&party.id, role, action, dataset, &ask).map_err(|reason| {
                BundleRefused::facts(
                    SCHEMA,
                    format!("action `{}` does not fit: {reason}", action.cedar_name()),
                )
            })?;
        }
        Ok(())
    }

    /// A request in Cedar's terms, checked against the schema.
    pub(crate) fn cedar_request(
        &self,
        party: &PartyId,
        role: identity::Role,
        action: Action,
        dataset: &ids::DatasetId,
        ask: &Ask<'_>,
    ) -> Result<CedarRequest, String> {
        let build = || -> Result<_, vocabulary::Misfit> {
            let principal = vocabulary::person(party, role)?;
            let action = vocabulary::uid("Action", action.cedar_name())?;
            let resource = vocabulary::uid("Dataset", dataset.as_str())?;
            Ok((principal, action, resource, ask.context()?))
        };
        let (principal, action, resource, context) = build().map_err(|error| error.to_string())?;
        CedarRequest::new(principal, action, resource, context, Some(&self.schema))
            .map_err(|error| one_line(&error.to_string()))
    }

    /// The digest over all files but the lock.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The digest over the facts alone.
    pub const fn facts_digest(&self) -> Digest {
        self.facts_digest
    }

    /// The privacy budget the agreement grants.
    pub const fn budgets(&self) -> &Budgets {
        &self.facts.budgets
    }

    /// The parties.
    pub const fn parties(&self) -> &BTreeMap<PartyId, Party> {
        &self.facts.parties
    }

    /// The purposes.
    pub const fn purposes(&self) -> &BTreeMap<PurposeId, Purpose> {
        &self.facts.purposes
    }

    /// Channels on which campaigns may reach shoppers, and what each means.
    pub const fn channels(&self) -> &BTreeMap<String, String> {
        &self.facts.channels
    }

    /// The keys whose owners may approve campaigns.
    pub fn approvers(&self) -> &[Approver] {
        &self.facts.approvers
    }

    /// The clauses the bundle writes, by id; built-in ones are in [`BuiltIn::ALL`].
    pub const fn clauses(&self) -> &BTreeMap<ClauseId, Clause> {
        &self.rules.clauses
    }

    /// The words of a clause, of the bundle or built in.
    pub fn clause_text(&self, clause: &ClauseId, lang: Lang) -> Option<&str> {
        let written = self.rules.clauses.get(clause).map(|clause| clause.text(lang));
        written.or_else(|| BuiltIn::named(clause).map(|clause| clause.text(lang)))
    }
}

fn schema(text: &str) -> Result<Schema, BundleRefused> {
    let (schema, warnings) =
        Schema::from_cedarschema_str(text).map_err(|error| BundleRefused::malformed(SCHEMA, 1, error))?;
    if let Some(warning) = warnings.into_iter().next() {
        return Err(BundleRefused::malformed(SCHEMA, 1, warning));
    }
    let names: std::collections::BTreeSet<String> =
        schema.actions().map(|uid| uid.id().unescaped().to_owned()).collect();
    let known = Action::ALL.map(|action| action.cedar_name().to_owned()).into();
    if names != known {
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        return Err(BundleRefused::facts(SCHEMA, format!("the actions must be exactly {known}")));
    }
    Ok(schema)
}

fn io(path: &Path, error: &std::io::Error) -> BundleRefused {
    BundleRefused::Io { path: path.display().to_string(), reason: error.to_string() }
}

type Read = (BTreeMap<String, String>, Option<String>);

/// Every file of the folder, once, and the lock; refuses whatever does not belong there.
fn read(dir: &Path) -> Result<Read, BundleRefused> {
    let mut files = BTreeMap::new();
    let mut locked = None;
    for (name, path, kind) in list(dir)? {
        let folder = FOLDERS.iter().find(|(folder, _)| *folder == name);
        match (name.as_str(), folder) {
            (lock::FILE, _) if kind.is_file() => locked = Some(text(&path, &name)?),
            (SCHEMA, _) if kind.is_file() => {
                files.insert(name.clone(), text(&path, &name)?);
            }
            (_, Some((folder, extension))) if kind.is_dir() => {
                read_folder(folder, extension, &path, &mut files)?
            }
            _ => {
                let advice =
                    "it has schema.cedarschema, bundle.lock, policies/, promises/, facts/ and cases/";
                return Err(BundleRefused::UnexpectedFile { file: name, advice });
            }
        }
    }
    match facts::FILES.into_iter().chain([SCHEMA]).find(|file| !files.contains_key(*file)) {
        Some(file) => Err(BundleRefused::MissingFile { file: file.to_owned() }),
        None => Ok((files, locked)),
    }
}

fn read_folder(
    folder: &str,
    extension: &str,
    dir: &Path,
    files: &mut BTreeMap<String, String>,
) -> Result<(), BundleRefused> {
    for (name, path, kind) in list(dir)? {
        let file = format!("{folder}/{name}");
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        let known = folder != "facts" || facts::FILES.contains(&file.as_str());
        if !(kind.is_file() && plain && known && name.ends_with(extension)) || files.len() >= FILES_MAX {
            let advice = "policies/ and promises/ hold *.cedar, cases/ hold *.toml, facts/ exactly the ten known files";
            return Err(BundleRefused::UnexpectedFile { file, advice });
        }
        files.insert(file.clone(), text(&path, &file)?);
    }
    Ok(())
}

/// Names, paths and kinds (links are not followed) of a folder's entries.
fn list(dir: &Path) -> Result<Vec<(String, std::path::PathBuf, fs::FileType)>, BundleRefused> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| io(dir, &error))? {
        let entry = entry.map_err(|error| io(dir, &error))?;
        let kind = entry.file_type().map_err(|error| io(&entry.path(), &error))?;
        entries.push((entry.file_name().to_string_lossy().into_owned(), entry.path(), kind));
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(entries)
}

fn text(path: &Path, file: &str) -> Result<String, BundleRefused> {
    let size = fs::metadata(path).map_err(|error| io(path, &error))?.len();
    if size > FILE_BYTES_MAX {
        return Err(BundleRefused::malformed(file, 1, format_args!("longer than {FILE_BYTES_MAX} bytes")));
    }
    let bytes = fs::read(path).map_err(|error| io(path, &error))?;
    String::from_utf8(bytes).map_err(|_| BundleRefused::malformed(file, 1, "not UTF-8 text"))
}
