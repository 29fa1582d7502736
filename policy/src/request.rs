//! What somebody wants to do, in the words policy is written in.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use identity::Principal;
use ids::{DatasetId, Digest, MicroEpsilon, PartyId, PurposeId, Subject};
use serde::{Deserialize, Serialize};

/// What can be done in the clean room. A new act has no rule, and what has no rule is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Ask a question that is answered from data.
    RunQuery,
    /// Learn what a question would cost and return, without data.
    Preview,
    /// Read tables, columns and public domains of the catalogue.
    ReadCatalogue,
    /// Read one's own remaining budget.
    ReadBudget,
    /// Read a release that was published before.
    ReadRelease,
    /// Read the agreement: rules, facts and cases.
    ReadPolicy,
    /// Read entries of the audit log.
    ReadLog,
    /// Bring data into the vault.
    Ingest,
    /// Define a segment or a new version of it, and learn its noisy size: a question, with a footprint and a cost.
    DefineSegment,
    /// Read names, versions and noisy sizes of one's own segments.
    ReadSegment,
    /// Put a campaign forward for approval.
    SubmitCampaign,
    /// Say yes or no to the exact content of a campaign.
    ApproveCampaign,
    /// Schedule a campaign, or start it.
    StartCampaign,
    /// Stop a campaign, before or while it runs.
    CancelCampaign,
    /// Read a campaign and how far it is. Its lift is a question like any other: [`Action::RunQuery`].
    ReadCampaign,
    /// Send shoppers of a running campaign to a destination. Taking shoppers *off* one needs no permit, only an entry in
    /// the log, so that no rule can delay it.
    ExportAudience,
    /// Record that shoppers gave or withdrew consent, or sweep expired ones.
    ManageConsent,
    /// Hand a shopper everything that is known about them.
    ExportSubject,
    /// Erase a shopper everywhere.
    EraseSubject,
    /// Bring back what a destination played, pushed or redeemed.
    AppendExposures,
}

/// A text is no action.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is not an action: expected one of {}", Action::ALL.map(Action::name).join(", "))]
pub struct ActionRefused {
    text: String,
}

impl Action {
    /// Every action there is.
    pub const ALL: [Self; 20] = [
        Self::RunQuery,
        Self::Preview,
        Self::ReadCatalogue,
        Self::ReadBudget,
        Self::ReadRelease,
        Self::ReadPolicy,
        Self::ReadLog,
        Self::Ingest,
        Self::DefineSegment,
        Self::ReadSegment,
        Self::SubmitCampaign,
        Self::ApproveCampaign,
        Self::StartCampaign,
        Self::CancelCampaign,
        Self::ReadCampaign,
        Self::ExportAudience,
        Self::ManageConsent,
        Self::ExportSubject,
        Self::EraseSubject,
        Self::AppendExposures,
    ];

    /// The name in the log, in cases and for people, such as `run-query`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RunQuery => "run-query",
            Self::Preview => "preview",
            Self::ReadCatalogue => "read-catalogue",
            Self::ReadBudget => "read-budget",
            Self::ReadRelease => "read-release",
            Self::ReadPolicy => "read-policy",
            Self::ReadLog => "read-log",
            Self::Ingest => "ingest",
            Self::DefineSegment => "define-segment",
            Self::ReadSegment => "read-segment",
            Self::SubmitCampaign => "submit-campaign",
            Self::ApproveCampaign => "approve-campaign",
            Self::StartCampaign => "start-campaign",
            Self::CancelCampaign => "cancel-campaign",
            Self::ReadCampaign => "read-campaign",
            Self::ExportAudience => "export-audience",
            Self::ManageConsent => "manage-consent",
            Self::ExportSubject => "export-subject",
            Self::EraseSubject => "erase-subject",
            Self::AppendExposures => "append-exposures",
        }
    }

    /// The name in Cedar, such as `Action::"runQuery"`.
    pub(crate) const fn cedar_name(self) -> &'static str {
        match self {
            Self::RunQuery => "runQuery",
            Self::Preview => "preview",
            Self::ReadCatalogue => "readCatalogue",
            Self::ReadBudget => "readBudget",
            Self::ReadRelease => "readRelease",
            Self::ReadPolicy => "readPolicy",
            Self::ReadLog => "readLog",
            Self::Ingest => "ingest",
            Self::DefineSegment => "defineSegment",
            Self::ReadSegment => "readSegment",
            Self::SubmitCampaign => "submitCampaign",
            Self::ApproveCampaign => "approveCampaign",
            Self::StartCampaign => "startCampaign",
            Self::CancelCampaign => "cancelCampaign",
            Self::ReadCampaign => "readCampaign",
            Self::ExportAudience => "exportAudience",
            Self::ManageConsent => "manageConsent",
            Self::ExportSubject => "exportSubject",
            Self::EraseSubject => "eraseSubject",
            Self::AppendExposures => "appendExposures",
        }
    }

    /// Whether the act is about one question and so has a footprint and a cost.
    pub const fn is_question(self) -> bool {
        matches!(self, Self::RunQuery | Self::Preview | Self::DefineSegment)
    }

    /// Whether the act is about one campaign and so needs [`Request::campaign`].
    pub const fn is_about_campaign(self) -> bool {
        matches!(
            self,
            Self::SubmitCampaign
                | Self::ApproveCampaign
                | Self::StartCampaign
                | Self::CancelCampaign
                | Self::ReadCampaign
                | Self::ExportAudience
        )
    }

    /// Whether the act brings a campaign closer to shoppers, so that the agreement's terms of activation bind it. To stop
    /// a campaign and to look at it, nobody needs such terms.
    pub(crate) const fn advances_campaign(self) -> bool {
        self.is_about_campaign() && !matches!(self, Self::CancelCampaign | Self::ReadCampaign)
    }

    /// Whether the act puts shoppers, or the promise of them, on their way: size, holdout and lifetime are checked.
    pub(crate) const fn addresses_shoppers(self) -> bool {
        matches!(self, Self::SubmitCampaign | Self::StartCampaign | Self::ExportAudience)
    }

    /// Whether every needed party must have approved before.
    pub(crate) const fn needs_approvals(self) -> bool {
        matches!(self, Self::StartCampaign | Self::ExportAudience)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Action {
    type Err = ActionRefused;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|a| a.name() == text)
            .ok_or_else(|| ActionRefused { text: text.to_owned() })
    }
}

/// Stands for the rows of a table where no column is named, in `facts/columns.toml` and in [`Footprint::reads`].
pub(crate) const ROWS: &str = "*";

/// Everything a question touches, as `(table, column)` in the visible names of the catalogue.
///
/// `columns` leaves out a column that is used *only* in an equality join along a declared foreign key or along the unit
/// key: such a join shows nothing of the column's values. A column left in by mistake can only make the decision
/// narrower.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Footprint {
    /// Columns read anywhere: results, filters, keys, measures, other joins.
    pub columns: BTreeSet<(String, String)>,
    /// Columns used as a group key of the released table; each is also in `columns` (policy adds it where it is not).
    pub keys: BTreeSet<(String, String)>,
    /// Tables scanned anywhere.
    pub tables: BTreeSet<String>,
}

impl Footprint {
    /// All tables: those scanned and those of every column.
    pub(crate) fn all_tables(&self) -> BTreeSet<&str> {
        let of_columns = self.columns.iter().chain(&self.keys).map(|(table, _)| table.as_str());
        self.tables.iter().map(String::as_str).chain(of_columns).collect()
    }

    /// Everything that is read: columns, keys, and of every table that it has rows at all (`(table, "*")`).
    pub(crate) fn reads(&self) -> BTreeSet<(String, String)> {
        let rows = self.all_tables().into_iter().map(|table| (table.to_owned(), ROWS.to_owned()));
        rows.chain(self.columns.iter().chain(&self.keys).cloned()).collect()
    }
}

/// How the members of an audience are named at a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DestinationClass {
    /// By pseudonyms made for this destination and epoch: two destinations cannot join their audiences.
    Scoped,
    /// By hashes that everybody computes alike, as open platforms demand: they can be joined, by construction.
    Open,
}

impl DestinationClass {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Scoped, Self::Open];

    /// The name in facts, rules and the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scoped => "scoped",
            Self::Open => "open",
        }
    }
}

/// What policy has to know of a campaign. It comes from the campaign's own content and from what is on file about it, never
/// from what a caller says about it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CampaignAsk {
    /// The party whose campaign it is.
    pub owner: PartyId,
    /// Who wrote the content; this person never approves it.
    pub author: Subject,
    /// Where shoppers are reached, by the names in `facts/activation.toml`.
    pub channels: BTreeSet<String>,
    /// Classes of its destinations.
    pub destinations: BTreeSet<DestinationClass>,
    /// Whether the segment uses data of a joint venture that does not bind the owner anyway. The contracts that bind the
    /// owner always count.
    #[serde(default)]
    pub joint: bool,
    /// Parties whose valid signature over exactly this content is on file.
    #[serde(default)]
    pub approvals: BTreeSet<PartyId>,
    /// Noisy number of shoppers; `None` where it is not known, which is below every floor. Never an exact number.
    #[serde(default)]
    pub noisy_size: Option<i64>,
    /// Share of households held out, in millionths.
    pub holdout_ppm: u32,
    /// Days after which a member is removed unless renewed.
    pub ttl_days: u32,
    /// How many campaigns the owner has put forward inside the agreement's window, this one included.
    #[serde(default)]
    pub attempts: u32,
}

/// One act, by one verified caller, on one dataset, for one purpose.
#[derive(Debug, Clone)]
pub struct Request {
    /// Who asks.
    pub principal: Principal,
    /// What they want to do.
    pub action: Action,
    /// On which dataset.
    pub dataset: DatasetId,
    /// What for.
    pub purpose: PurposeId,
    /// What the question touches; empty for acts that are no question.
    pub footprint: Footprint,
    /// The most loss the question may cost (at the agreement's δ); zero for acts that are no question.
    pub epsilon: MicroEpsilon,
    /// The campaign the act is about; `None` for all other acts.
    pub campaign: Option<CampaignAsk>,
    /// Digest of the very question or of the campaign's very content; the permit is bound to it.
    pub fingerprint: Digest,
}

impl Request {
    /// An act that is neither a question nor about a campaign, such as to ingest or to read the budget.
    pub fn act(
        principal: Principal,
        action: Action,
        dataset: DatasetId,
        purpose: PurposeId,
        fingerprint: Digest,
    ) -> Self {
        let (footprint, epsilon) = (Footprint::default(), MicroEpsilon::ZERO);
        Self { principal, action, dataset, purpose, footprint, epsilon, campaign: None, fingerprint }
    }

    /// The same about a campaign.
    #[must_use]
    pub fn about(self, campaign: CampaignAsk) -> Self {
        Self { campaign: Some(campaign), ..self }
    }
}
