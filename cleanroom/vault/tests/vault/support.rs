//! What the vault's tests share.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, UInt32Type};
use vault::{
    Catalogue, Disk, DiskFile, HotStore, HotStoreConfig, IngestOptions, Ports, Quiet, RootKey, StreamFailed,
    SystemDisk, Vault, VaultRefused,
};

/// A small shop: three private tables, one of them reached through another, one public table, and consents.
pub(crate) const SHOP: &str = r#"
dataset = "shop"
time_zone = "UTC"

[consent]
table = "consents"
purpose = "purpose"
state = "state"
at = "at"

[[table]]
name = "shoppers"
kind = "private"
unit = "card"
columns = [
  { name = "card", type = "text" },
  { name = "name", type = "text", direct_identifier = true },
  { name = "phone", type = "text", nullable = true, direct_identifier = true },
  { name = "tier", type = "text", domain = ["gold", "silver"] },
]

[[table]]
name = "baskets"
kind = "private"
unit = "card"
empty_unit = "drop"
event_time = "sold_at"
columns = [
  { name = "basket_id", type = "id" },
  { name = "card", type = "text" },
  { name = "sold_at", type = "timestamp" },
]

[[table]]
name = "lines"
kind = "private"
unit = { via = "basket_id" }
ignore = ["till"]
foreign_keys = [
  { column = "basket_id", table = "baskets", key = "basket_id" },
  { column = "product_id", table = "products", key = "product_id" },
]
columns = [
  { name = "basket_id", type = "id" },
  { name = "product_id", type = "id" },
  { name = "paid", type = "money", scale = 2, bounds = { min = "0.00", max = "1000.00" } },
  { name = "pieces", type = "int", nullable = true, domain = { min = 0, max = 99 } },
]

[[table]]
name = "products"
kind = "public"
key = ["product_id"]
columns = [
  { name = "product_id", type = "id" },
  { name = "department", type = "text", domain = "from-data" },
]

[[table]]
name = "assignments"
kind = "private"
unit = "card"
optional = true
event_time = "assigned_on"
columns = [
  { name = "card", type = "text" },
  { name = "campaign_id", type = "text" },
  { name = "arm", type = "text", domain = ["treatment", "control"] },
  { name = "assigned_on", type = "date", domain = { first = "2026-01-01", last = "2026-12-31" } },
]

[[table]]
name = "consents"
kind = "private"
unit = "card"
columns = [
  { name = "card", type = "text" },
  { name = "purpose", type = "text" },
  { name = "state", type = "text" },
  { name = "at", type = "timestamp" },
]
"#;

/// Names, ids and phone numbers that must never be found in plain.
pub(crate) const PLANTED: [&str; 7] = [
    "Aigerim Plantedova",
    "+77012345678",
    "CARD-7788991",
    "card-7788991",
    "Bolat Secretov",
    "+77770001122",
    "CARD-5544331",
];

/// The files of the small shop.
pub(crate) fn shop_files(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    let files = [
        (
            "shoppers.csv",
            "card,name,phone,tier\nCARD-7788991,Aigerim Plantedova,+77012345678,gold\n\
             CARD-5544331,Bolat Secretov,+77770001122,silver\nCARD-1,C,,silver\n",
        ),
        (
            "baskets.csv",
            "basket_id,card,sold_at\n1,CARD-7788991,2026-01-01 10:00:00\n2,CARD-5544331,2026-01-02 10:00:00\n\
             3,,2026-01-03 10:00:00\n4, card-7788991 ,2026-01-04T10:00:00Z\n",
        ),
        (
            "lines.csv",
            "till,basket_id,product_id,paid,pieces\n9,1,100,10.00,1\n9,2,100,20.5,\n9,4,101,0.01,3\n9,3,101,99.99,4\n\
             9,1,101,5,5\n",
        ),
        ("products.csv", "product_id,department\n100,DAIRY\n101,BAKERY\n"),
        (
            "consents.csv",
            "card,purpose,state,at\nCARD-7788991,measurement,given,2026-01-01 00:00:00\n\
             CARD-5544331,measurement,given,2026-01-01 00:00:00\nCARD-5544331,measurement,withdrawn,2026-01-02 00:00:00\n",
        ),
    ];
    for (name, text) in files {
        std::fs::write(dir.join(name), text).unwrap();
    }
}

pub(crate) fn shop_catalogue() -> Catalogue {
    Catalogue::parse(SHOP).unwrap()
}

pub(crate) fn root_key() -> RootKey {
    RootKey::from_hex(&"5a".repeat(32)).unwrap()
}

pub(crate) fn new_vault(home: &Path, catalogue: Catalogue) -> Vault {
    Vault::create(&home.join("vault"), catalogue, &root_key(), Ports::system()).unwrap()
}

pub(crate) fn reopen(home: &Path) -> Result<Vault, VaultRefused> {
    Vault::open(&home.join("vault"), &root_key(), Ports::system())
}

/// A vault with the small shop in it, beside the shop's files in `in`.
pub(crate) fn shop(home: &Path) -> Vault {
    shop_files(&home.join("in"));
    let mut vault = new_vault(home, shop_catalogue());
    vault.ingest(&home.join("in"), &IngestOptions::default(), &Quiet).unwrap();
    vault
}

pub(crate) fn unseal(vault: &Vault) -> HotStore {
    HotStore::unseal(vault, HotStoreConfig::default()).unwrap()
}

/// All rows of a statement whose columns are numbers.
pub(crate) fn rows(hot: &HotStore, sql: &str) -> Vec<Vec<Option<i64>>> {
    let mut all = Vec::new();
    let mut worker = hot.worker().unwrap();
    worker
        .stream::<StreamFailed>(sql, 0, hot.units(), &mut |batch| {
            let columns: Vec<_> =
                batch.columns().iter().map(|column| cast(column, &DataType::Int64).unwrap()).collect();
            for row in 0..batch.num_rows() {
                let value = |column: &arrow::array::ArrayRef| {
                    column.is_valid(row).then(|| column.as_primitive::<Int64Type>().value(row))
                };
                all.push(columns.iter().map(value).collect());
            }
            Ok(())
        })
        .unwrap();
    all
}

/// Whether a table's rows come in ascending `unit_ix`.
pub(crate) fn is_clustered(hot: &HotStore, table: &str) -> bool {
    let (mut last, mut ascending) = (0, true);
    let sql = format!("SELECT unit_ix FROM {table}");
    let mut worker = hot.worker().unwrap();
    worker
        .stream::<StreamFailed>(&sql, 0, hot.units(), &mut |batch| {
            for &unit in batch.column(0).as_primitive::<UInt32Type>().values() {
                ascending &= unit >= last;
                last = unit;
            }
            Ok(())
        })
        .unwrap();
    ascending
}

/// The folder of test data, by `CLEANROOM_DATA` or beside the workspace.
pub(crate) fn data_folder(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("CLEANROOM_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let folder = root.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no folder `{name}` in the test data; set CLEANROOM_DATA");
    None
}

/// A disk that fails for good after so many operations, as if the machine had died or the medium were full.
#[derive(Debug, Clone)]
pub(crate) struct FailingDisk {
    left: Arc<AtomicU64>,
    kind: io::ErrorKind,
}

impl FailingDisk {
    pub(crate) fn after(operations: u64, kind: io::ErrorKind) -> Self {
        Self { left: Arc::new(AtomicU64::new(operations)), kind }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.left.load(Ordering::SeqCst) == 0
    }

    fn spend(&self) -> io::Result<()> {
        let spent = self.left.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        spent.map(drop).map_err(|_| io::Error::from(self.kind))
    }
}

struct FailingFile(Box<dyn DiskFile>, FailingDisk);

impl io::Write for FailingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A medium that fails takes half of what it was given.
        if let Err(error) = self.1.spend() {
            let _ = self.0.write(&bytes[..bytes.len() / 2]);
            return Err(error);
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl DiskFile for FailingFile {
    fn sync(&mut self) -> io::Result<()> {
        self.1.spend()?;
        self.0.sync()
    }
}

impl Disk for FailingDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.spend()?;
        Ok(Box::new(FailingFile(SystemDisk.create(path)?, self.clone())))
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.spend()?;
        SystemDisk.create_folder(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.spend()?;
        SystemDisk.rename(from, to)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.spend()?;
        SystemDisk.sync_folder(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.spend()?;
        SystemDisk.remove(path)
    }
}
