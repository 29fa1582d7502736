//! The encrypted vault: sealed Parquet parts, snapshots, ingest, and the hot store that questions are answered from.
//!
//! It keeps a shopper's rows together under a dense `unit_ix`, never stores a raw unit key, and never writes a
//! plaintext row to disk. It knows nothing of SQL's meaning, of policy or of noise: whoever holds a [`HotStore`] sees
//! exact rows, and only the `engine` may.
//!
//! ```no_run
//! use vault::{Catalogue, HotStore, HotStoreConfig, IngestOptions, Ports, Quiet, RootKey, Vault};
//! let root = RootKey::from_file("root.key".as_ref())?;
//! let catalogue = Catalogue::parse(vault::COMPLETE_JOURNEY)?;
//! let mut vault = Vault::create("vault".as_ref(), catalogue, &root, Ports::system())?;
//! vault.ingest("complete_journey".as_ref(), &IngestOptions::default(), &Quiet)?;
//! let hot = HotStore::unseal(&vault, HotStoreConfig::default())?;
//! let mut worker = hot.worker()?;
//! let mut rows = 0;
//! worker.stream::<vault::StreamFailed>(
//!     "SELECT unit_ix FROM transactions WHERE unit_ix >= $1 AND unit_ix < $2",
//!     0,
//!     hot.units(),
//!     &mut |batch| {
//!         rows += batch.num_rows();
//!         Ok(())
//!     },
//! )?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bench;
mod catalogue;
mod disk;
mod erase;
mod hot;
mod identifiers;
mod ingest;
mod keys;
mod manifest;
mod open;
mod part;
mod refusal;
mod shoppers;
mod store;
mod subject;

pub use bench::{Measurement, measure};
pub use catalogue::{
    COMPLETE_JOURNEY, Catalogue, CatalogueRefused, Column, ColumnType, ConsentSource, DOMAIN_VALUES_MAX,
    DirectIdentifier, Domain, DomainRefused, EmptyUnit, ForeignKey, HouseholdColumn, Table, TableKind,
    UNIT_IX, UNIT_PSEUDONYM, UnitCase, UnitSource,
};
pub use disk::{Disk, DiskFile, SystemDisk};
pub use erase::{ErasedTable, Erasure};
pub use hot::{CODE_SUFFIX, HotStore, HotStoreConfig, StreamFailed, Worker};
pub use identifiers::{HouseholdKey, Reached};
pub use ingest::append::Rows;
pub use ingest::{BadRow, IngestOptions, IngestReport, Progress, Quiet, TableReport, Unaddressable};
pub use keys::RootKey;
pub use refusal::{BadRows, VaultRefused};
pub use shoppers::{Shopper, Shoppers};
pub use store::{Ports, Vault};
pub use subject::{Subject, SubjectTable};
