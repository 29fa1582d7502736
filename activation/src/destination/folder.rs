//! A folder of files: one file per batch, in order, with a manifest. For partners who fetch.
//!
//! ```text
//! <root>/<audience>/000000000007-0-add-<first 16 hex digits of the id>.json
//! <root>/<audience>/manifest.json            every batch: file, order, count, SHA-256
//! <root>/<audience>/receipts/<hex id>.json   what the reader says, if it is to be asked
//! ```
//!
//! A file is complete when it has its name (written elsewhere, flushed, renamed), and valid when the manifest names it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ids::{DestinationId, Digest};
use serde::{Deserialize, Serialize};

use super::document::{self, VERSION};
use super::{Answer, Destination, Fault, Later, SendFailed, Verdict};
use crate::batch::{Batch, BatchId, Header, Op};

const MANIFEST: &str = "manifest.json";
const RECEIPTS: &str = "receipts";
/// Longest receipt that is read.
const RECEIPT_BYTES_MAX: u64 = 1 << 20;

/// When a batch counts as applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledge {
    /// When its file and manifest are on disk: the handing over is the delivery.
    OnWrite,
    /// When the reader put a receipt beside it.
    ByReceipt,
}

/// A folder of files.
#[derive(Debug, Clone)]
pub struct Folder {
    id: DestinationId,
    root: PathBuf,
    acknowledge: Acknowledge,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    version: u8,
    destination: String,
    audience: String,
    batches: Vec<Listed>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    seq: u64,
    part: u32,
    file: String,
    batch_id: BatchId,
    op: Op,
    epoch: u64,
    members: u32,
    sha256: String,
}

impl Folder {
    /// A folder; it is made with the first batch.
    pub fn new(id: DestinationId, root: PathBuf, acknowledge: Acknowledge) -> Self {
        Self { id, root, acknowledge }
    }

    fn audience_dir(&self, header: &Header) -> PathBuf {
        self.root.join(header.place.lane.audience.as_str())
    }

    fn write(&self, batch: &Batch) -> io::Result<Answer> {
        let dir = self.audience_dir(&batch.header);
        make_dir(&dir)?;
        let content = document::write(batch).map_err(io::Error::other)?;
        let name = file_name(&batch.header);
        let path = dir.join(&name);
        match fs::read(&path) {
            // Sent before: the same again changes nothing.
            Ok(there) if there == *content => {}
            Ok(_) => return Err(ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() == ErrorKind::NotFound => replace(&dir, &name, &content)?,
            Err(error) => return Err(error),
        }
        self.list(&dir, &batch.header, &name, Digest::of(&content))?;
        Ok(match self.acknowledge {
            Acknowledge::OnWrite => Answer::Final(Verdict::Applied),
            Acknowledge::ByReceipt => Answer::Accepted { poll_after_secs: None },
        })
    }

    /// Puts a batch into the manifest, once, in order.
    fn list(&self, dir: &Path, header: &Header, name: &str, content: Digest) -> io::Result<()> {
        let place = &header.place;
        let listed = Listed {
            seq: place.seq,
            part: place.part,
            file: name.to_owned(),
            batch_id: header.id,
            op: place.op,
            epoch: place.epoch,
            members: header.count,
            sha256: content.to_hex(),
        };
        let mut manifest = match fs::read(dir.join(MANIFEST)) {
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::other)?,
            Err(error) if error.kind() == ErrorKind::NotFound => Manifest {
                version: VERSION,
                destination: self.id.to_string(),
                audience: place.lane.audience.to_string(),
                batches: Vec::new(),
            },
            Err(error) => return Err(error),
        };
        if manifest.batches.contains(&listed) {
            return sync_dir(dir);
        }
        manifest.batches.push(listed);
        manifest.batches.sort_by_key(|listed| (listed.seq, listed.part));
        replace(dir, MANIFEST, &serde_json::to_vec_pretty(&manifest).map_err(io::Error::other)?)
    }

    fn look(&self, header: &Header) -> io::Result<Answer> {
        let dir = self.audience_dir(header);
        let receipt = dir.join(RECEIPTS).join(format!("{}.json", header.id.digest().to_hex()));
        match fs::metadata(&receipt) {
            Ok(found) if found.len() > RECEIPT_BYTES_MAX => return Err(ErrorKind::InvalidData.into()),
            Ok(_) => return document::read(&fs::read(&receipt)?).ok_or(ErrorKind::InvalidData.into()),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let there = match self.acknowledge {
            Acknowledge::OnWrite => Answer::Final(Verdict::Applied),
            Acknowledge::ByReceipt => Answer::Accepted { poll_after_secs: None },
        };
        match fs::read(dir.join(MANIFEST)) {
            Ok(text) => {
                let manifest: Manifest = serde_json::from_slice(&text).map_err(io::Error::other)?;
                let listed = manifest.batches.iter().any(|listed| listed.batch_id == header.id);
                Ok(if listed { there } else { Answer::Unknown })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Answer::Unknown),
            Err(error) => Err(error),
        }
    }

    async fn blocking(
        &self,
        work: impl FnOnce(&Self) -> io::Result<Answer> + Send + 'static,
    ) -> Result<Answer, SendFailed> {
        let (folder, destination) = (self.clone(), self.id.clone());
        let done = tokio::task::spawn_blocking(move || work(&folder)).await;
        let fault = match done {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) if error.kind() == ErrorKind::InvalidData => Fault::Protocol,
            Ok(Err(error)) => Fault::Storage(error.kind()),
            Err(_) => Fault::Broken,
        };
        Err(SendFailed { destination, fault, retry_after_secs: None })
    }
}

impl Destination for Folder {
    fn id(&self) -> &DestinationId {
        &self.id
    }

    fn submit<'a>(&'a self, batch: &'a Batch) -> Later<'a, Result<Answer, SendFailed>> {
        let batch = batch.clone();
        Box::pin(self.blocking(move |folder| folder.write(&batch)))
    }

    fn status<'a>(&'a self, batch: &'a Header) -> Later<'a, Result<Answer, SendFailed>> {
        let header = batch.clone();
        Box::pin(self.blocking(move |folder| folder.look(&header)))
    }
}

/// Sorts as the batches are ordered.
fn file_name(header: &Header) -> String {
    let place = &header.place;
    let short: String = header.id.digest().to_hex().chars().take(16).collect();
    format!("{:012}-{}-{}-{short}.json", place.seq, place.part, place.op.as_str())
}

/// Write elsewhere, flush, rename, flush the folder: after a crash the file is there whole or not at all.
fn replace(dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let temporary = dir.join(format!(".{name}.tmp"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join(name))?;
    sync_dir(dir)
}

fn make_dir(dir: &Path) -> io::Result<()> {
    if !dir.is_dir() {
        fs::create_dir_all(dir)?;
        dir.parent().map_or(Ok(()), sync_dir)?;
    }
    Ok(())
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
