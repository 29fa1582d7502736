//! The consent registry: who agreed to what, when, on which notice, and until when.
//!
//! Events are only ever added; the current state is the latest event of each shopper and purpose, and among events of the
//! same moment the more restrictive. Each change, be it one withdrawal or an import of millions, happens as a whole, has
//! the next epoch and one digest, and is put on record by whoever holds the log:
//!
//! ```text
//! change  ─transaction→  events + state + change `pending` with its entry   ─log→   `logged`
//!           durable here: effective for whoever asks from now on                a crash before: Registry::pending names it
//! ```
//!
//! This room does not know the log. The caller hands in the entry as text, appends it after the transaction and reports
//! its place ([`Registry::logged`]); at every start it finishes what [`Registry::pending`] still names. The digest of a
//! change is in its entry, so that an entry that is there already is found instead of written twice.
//!
//! **Erasure.** All rows of the shopper go, and their pages are overwritten. One digest of the pseudonym stays, with the
//! moment: without it the next bulk import of an old file would silently bring the consent back, which is what the shopper
//! asked to end (GDPR art. 17(1) and 5(2)). Only events *after* the erasure are taken again: a person may come back.
//!
//! Trust: whoever can write this file can forge consents. It holds no key and no identifier; a copy that was put back is
//! noticed, because the log names a later change ([`Registry::knows`]).

mod import;
mod record;
mod store;
mod terms;

pub use import::{BadRow, BadRows, ImportRefused, parse_csv};
pub use record::{
    Applied, CurrentConsent, Effective, Method, MethodUnknown, NewEvent, Operation, PendingChange, RecordId,
    Recorder, StoredRecord,
};
pub use store::{ConsentRefused, Erasures, Registry, RegistryFailed};
pub use terms::{Controller, Notice, TERMS_BYTES_MAX, Terms, TermsRefused};
