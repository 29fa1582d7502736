//! The guard's verdicts and the audiences.

use audits::{Decision, Entry, Kind, Label};
use identity::Principal;
use ids::{AudienceId, CampaignId, Digest, Timestamp};
use roaring::RoaringBitmap;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};

use super::rows::{number, optional, stored, text};
use super::{CampaignStore, CampaignStoreFailed, owe};
use crate::audience::{
    ATTEMPTS_MAX, Admitted, Asking, Audience, Floor, GuardKey, NoisySize, NotAdmitted, Other, Outcome, Terms,
    WINDOW_DAYS, eligible, judge,
};
use crate::campaign::{Approved, Campaign};
use crate::members::Members;

/// Separates the digest of a verdict from any other.
const LABEL: &[u8] = b"cleanroom/audience/verdict/v1";
const DAY_MILLIS: i64 = 86_400_000;

/// What an approved campaign is admitted on.
#[derive(Debug)]
pub struct Admission<'a> {
    /// The segment's size as released.
    pub size: NoisySize,
    /// The agreement's floor.
    pub floor: Floor,
    /// The key behind the guard's thresholds.
    pub guard: &'a GuardKey,
    /// Who asks.
    pub by: &'a Principal,
    /// When.
    pub at: Timestamp,
}

impl CampaignStore {
    /// Asks for an audience at each of the campaign's destinations: one decision, one attempt, whatever their number.
    ///
    /// Asking again for the same content gives the same audiences. What was refused once is refused again in the same
    /// window without looking, and costs no attempt.
    ///
    /// # Errors
    /// [`CampaignStoreFailed::NotAdmitted`] with the reason, or when vault, store or log fail.
    pub async fn admit(
        &self,
        campaign: &Campaign<Approved>,
        admission: &Admission<'_>,
        members: &dyn Members,
    ) -> Result<Vec<Admitted>, CampaignStoreFailed> {
        let content = campaign.content();
        let asking = Asking {
            buyer: content.advertiser.clone(),
            segment: content.segment.digest,
            size: admission.size,
            floor: admission.floor,
            share_bp: content.holdout.share_bp,
            at: admission.at,
        };
        asking.of_size()?;
        let eligible = eligible(content, members)?;
        let mut tx = self.begin().await?;
        let admitted = admitted(&mut tx, campaign).await?;
        if !admitted.is_empty() {
            tx.commit().await?;
            self.recover().await?;
            return Ok(admitted);
        }
        let (outcome, attempt) = match said(&mut tx, &asking).await? {
            Said::Nothing { attempts } | Said::Admitted { attempts }
                if attempts >= u64::from(ATTEMPTS_MAX) =>
            {
                return Err(NotAdmitted::Attempts { until: asking.window_ends() }.into());
            }
            Said::Nothing { attempts } => {
                let others = self.others(&mut tx, &asking).await?;
                (judge(&asking, &eligible, &others, admission.guard), Some(attempts + 1))
            }
            // The same predicate again: the verdict stands, but one more audience shows one more size.
            Said::Admitted { attempts } => (Outcome::Admitted, Some(attempts + 1)),
            Said::Refused => (Outcome::TooSimilar, None),
        };
        let mut all = Vec::new();
        if let Some(attempt) = attempt {
            let entry = verdict_entry(campaign, admission, &asking, outcome, attempt)?;
            owe(&mut tx, campaign.id(), None, &entry, admission.at.as_millis()).await?;
            record(&mut tx, campaign, &asking, outcome, (attempt, &entry)).await?;
            if outcome == Outcome::Admitted {
                for destination in &content.destinations {
                    let audience = Audience {
                        id: Audience::name(self.entropy.as_ref())?,
                        campaign: campaign.id().clone(),
                        destination: destination.id.clone(),
                        buyer: asking.buyer.clone(),
                        segment: asking.segment,
                        opened: admission.at,
                        closed: None,
                        period: None,
                        basis: eligible.clone(),
                        terms: Terms::default(),
                        owed: RoaringBitmap::new(),
                    };
                    self.insert(&mut tx, &audience, campaign.digest()).await?;
                    all.push(Admitted {
                        content: campaign.digest(),
                        destination: destination.id.clone(),
                        audience: audience.id,
                    });
                }
            }
        }
        tx.commit().await?;
        // No receipt, no verdict.
        self.recover().await?;
        match outcome {
            Outcome::Admitted => Ok(all),
            Outcome::TooSimilar => Err(NotAdmitted::TooSimilar.into()),
        }
    }

    /// The other audiences of the buyer: open ones, and those of this window and the one before.
    async fn others(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        asking: &Asking,
    ) -> Result<Vec<Other>, CampaignStoreFailed> {
        let since = asking.at.as_millis().saturating_sub(WINDOW_DAYS * DAY_MILLIS);
        let rows = sqlx::query(
            "SELECT * FROM audiences WHERE buyer = $1 AND (closed IS NULL OR closed > $2 OR opened > $2)",
        )
        .bind(asking.buyer.as_str())
        .bind(since)
        .fetch_all(&mut **tx)
        .await?;
        let mut others = Vec::new();
        for row in &rows {
            let (audience, _) = self.audience_of(row)?;
            others.push(Other { segment: audience.segment, basis: audience.basis });
        }
        Ok(others)
    }

    async fn insert(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        audience: &Audience,
        content: Digest,
    ) -> Result<(), CampaignStoreFailed> {
        let sealed = self.seal.close(audience, 1, self.entropy.as_ref())??;
        sqlx::query(
            "INSERT INTO audiences (id, campaign, content, destination, buyer, segment, version, opened, closed, period, \
             sealed) VALUES ($1, $2, $3, $4, $5, $6, 1, $7, NULL, NULL, $8)",
        )
        .bind(audience.id.as_str())
        .bind(audience.campaign.as_str())
        .bind(content.to_string())
        .bind(audience.destination.as_str())
        .bind(audience.buyer.as_str())
        .bind(audience.segment.to_string())
        .bind(audience.opened.as_millis())
        .bind(sealed)
        .execute(&mut **tx)
        .await?;
        Ok(())
    }

    /// An audience, and the version that [`CampaignStore::save_audience`] wants back.
    ///
    /// # Errors
    /// When there is none, or it does not open.
    pub async fn audience(&self, id: &AudienceId) -> Result<(Audience, u64), CampaignStoreFailed> {
        let row = sqlx::query("SELECT * FROM audiences WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(&self.pool)
            .await?;
        let row = row.ok_or_else(|| CampaignStoreFailed::UnknownAudience(id.clone()))?;
        self.audience_of(&row)
    }

    /// Every audience of a campaign, also those of contents that were revised since: whatever was told must be taken back.
    ///
    /// # Errors
    /// When one does not open.
    pub async fn audiences_of(
        &self,
        campaign: &CampaignId,
    ) -> Result<Vec<(Audience, u64)>, CampaignStoreFailed> {
        let rows = sqlx::query("SELECT * FROM audiences WHERE campaign = $1 ORDER BY opened, id")
            .bind(campaign.as_str())
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(|row| self.audience_of(row)).collect()
    }

    /// Saves an audience after a tick, before anything of the tick is told: a crash in between then leaves a book of terms
    /// that names too many, which is harmless, and never too few.
    ///
    /// # Errors
    /// When it has changed since it was read.
    pub async fn save_audience(&self, audience: &Audience, version: u64) -> Result<u64, CampaignStoreFailed> {
        let next = version + 1;
        let sealed = self.seal.close(audience, next, self.entropy.as_ref())??;
        let done = sqlx::query(
            "UPDATE audiences SET version = $2, closed = $3, period = $4, sealed = $5 WHERE id = $1 AND version = $6",
        )
        .bind(audience.id.as_str())
        .bind(stored(next)?)
        .bind(audience.closed.map(Timestamp::as_millis))
        .bind(audience.period.map(stored).transpose()?)
        .bind(sealed)
        .bind(stored(version)?)
        .execute(&self.pool)
        .await?;
        if done.rows_affected() == 1 {
            Ok(next)
        } else {
            Err(CampaignStoreFailed::AudienceChanged(audience.id.clone()))
        }
    }

    fn audience_of(&self, row: &SqliteRow) -> Result<(Audience, u64), CampaignStoreFailed> {
        let unreadable = CampaignStoreFailed::Unreadable;
        let id: AudienceId = text(row, "id")?.parse().map_err(|_| unreadable("id"))?;
        let version = number(row, "version")?;
        let sealed: Vec<u8> = row.try_get("sealed")?;
        let opened = self.seal.open(&id, version, &sealed)?;
        let closed: Option<i64> = row.try_get("closed")?;
        let audience = Audience {
            id,
            campaign: text(row, "campaign")?.parse().map_err(|_| unreadable("campaign"))?,
            destination: text(row, "destination")?.parse().map_err(|_| unreadable("destination"))?,
            buyer: text(row, "buyer")?.parse().map_err(|_| unreadable("buyer"))?,
            segment: text(row, "segment")?.parse().map_err(|_| unreadable("segment"))?,
            opened: Timestamp::from_millis(row.try_get("opened")?),
            closed: closed.map(Timestamp::from_millis),
            period: optional(row, "period")?,
            basis: opened.basis,
            terms: opened.terms,
            owed: opened.owed,
        };
        Ok((audience, version))
    }
}

/// What was said before of this buyer and predicate in this window.
enum Said {
    Nothing { attempts: u64 },
    Admitted { attempts: u64 },
    Refused,
}

async fn said(tx: &mut Transaction<'static, Sqlite>, asking: &Asking) -> Result<Said, CampaignStoreFailed> {
    let rows = sqlx::query("SELECT segment, outcome FROM admissions WHERE buyer = $1 AND period = $2")
        .bind(asking.buyer.as_str())
        .bind(stored(asking.window())?)
        .fetch_all(&mut **tx)
        .await?;
    let (attempts, segment) = (rows.len() as u64, asking.segment.to_string());
    for row in &rows {
        if text(row, "segment")? == segment {
            return Ok(match text(row, "outcome")?.as_str() {
                "admitted" => Said::Admitted { attempts },
                _ => Said::Refused,
            });
        }
    }
    Ok(Said::Nothing { attempts })
}

/// The audiences that this content was admitted to before.
async fn admitted(
    tx: &mut Transaction<'static, Sqlite>,
    campaign: &Campaign<Approved>,
) -> Result<Vec<Admitted>, CampaignStoreFailed> {
    let rows = sqlx::query("SELECT id, destination FROM audiences WHERE campaign = $1 AND content = $2")
        .bind(campaign.id().as_str())
        .bind(campaign.digest().to_string())
        .fetch_all(&mut **tx)
        .await?;
    let unreadable = CampaignStoreFailed::Unreadable;
    let of = |row: &SqliteRow| {
        Ok(Admitted {
            content: campaign.digest(),
            destination: text(row, "destination")?.parse().map_err(|_| unreadable("destination"))?,
            audience: text(row, "id")?.parse().map_err(|_| unreadable("id"))?,
        })
    };
    rows.iter().map(of).collect()
}

async fn record(
    tx: &mut Transaction<'static, Sqlite>,
    campaign: &Campaign<Approved>,
    asking: &Asking,
    outcome: Outcome,
    (attempt, entry): (u64, &Entry),
) -> Result<(), CampaignStoreFailed> {
    let result = entry.result.ok_or(CampaignStoreFailed::Unreadable("entry"))?;
    sqlx::query(
        "INSERT INTO admissions (buyer, period, attempt, segment, content, campaign, outcome, result, at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(asking.buyer.as_str())
    .bind(stored(asking.window())?)
    .bind(stored(attempt)?)
    .bind(asking.segment.to_string())
    .bind(campaign.digest().to_string())
    .bind(campaign.id().as_str())
    .bind(match outcome {
        Outcome::Admitted => "admitted",
        Outcome::TooSimilar => "too-similar",
    })
    .bind(result.to_string())
    .bind(asking.at.as_millis())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn verdict_entry(
    campaign: &Campaign<Approved>,
    admission: &Admission<'_>,
    asking: &Asking,
    outcome: Outcome,
    attempt: u64,
) -> Result<Entry, CampaignStoreFailed> {
    let label = |word: &str| -> Result<Label, CampaignStoreFailed> {
        word.parse().map_err(|_| CampaignStoreFailed::Unreadable("a word is no label"))
    };
    let (kind, decision, word) = match outcome {
        Outcome::Admitted => (Kind::AudienceAdmitted, Decision::Permitted, "admitted"),
        Outcome::TooSimilar => (Kind::AudienceRefused, Decision::Denied, NotAdmitted::TooSimilar.code()),
    };
    let result = Digest::of_parts(&[
        LABEL,
        asking.buyer.as_str().as_bytes(),
        &asking.window().to_be_bytes(),
        &attempt.to_be_bytes(),
        asking.segment.as_bytes(),
        campaign.digest().as_bytes(),
        word.as_bytes(),
    ]);
    Ok(Entry {
        principal: Some(admission.by.subject().clone()),
        party: Some(admission.by.party().clone()),
        role: Some(label(admission.by.role().as_str())?),
        purpose: Some(campaign.content().purpose.clone()),
        datasets: vec![campaign.content().dataset.clone()],
        decision: Some(decision),
        reason: Some(label(word)?),
        plan: Some(campaign.digest()),
        campaign: Some(campaign.id().clone()),
        result: Some(result),
        ..Entry::new(kind)
    })
}
