//! The query pipeline: a supplier's SQL in, a private, paid-for, logged answer out.
//!
//! [`CleanRoom`] is the whole of it. A question passes one type per step ([`pipeline`]), each of which consumes the one
//! before: parse, resolve, gate, plan, charge, execute, noise, publish. None can be skipped, because only the step
//! before makes the value that a step asks for. Effects are ports: the ledger ([`ledger`]), the log ([`journal`]), the
//! scan ([`scan`]), noise, clock and entropy.
//!
//! It never shows an exact figure, never reads data before the charge is durable, and never answers without the log's
//! receipt. `docs/data-path.md` tells the story; the order of effects and what each crash leaves behind is in
//! [`pipeline`].
//!
//! ```no_run
//! # async fn ask(room: engine::CleanRoom, ada: identity::Principal) -> Result<(), Box<dyn std::error::Error>> {
//! use engine::Question;
//! let question = Question::new("SELECT COUNT(DISTINCT household_id) AS n FROM transactions", "measurement".parse()?);
//! let release = room.ask(&ada, question).await?;
//! println!("{}", serde_json::to_string_pretty(&release)?);
//! # Ok(())
//! # }
//! ```

mod answer;
mod blocks;
mod budget;
mod catalogue;
mod error;
pub mod journal;
pub mod ledger;
mod noisy;
pub mod pipeline;
mod preview;
mod question;
mod recover;
mod release;
mod room;
pub mod scan;
mod settings;

pub use budget::{BlockBalance, BudgetStatement};
pub use catalogue::{Dataset, schema_of};
pub use error::{BudgetOf, Denial, Exhaustion, ParameterRefused, QueryError, StartRefused};
pub use preview::{ExpectedError, Explanation, Pass, Preview};
pub use question::Question;
pub use release::{
    BoundFrom, BoundShown, BudgetLeft, Cell, ChargeShown, Column, Figure, Key, NoisyValue, PolicyShown,
    ReceiptShown, Release, Role, Row, Status, Suppressed,
};
pub use room::CleanRoom;
pub use settings::{Ports, Settings};
