//! The story, step by step, each with its own check.

use std::net::SocketAddr;
use std::sync::Arc;

use engine::{QueryError, Question, Release};
use identity::{Principal, Role};
use ids::{PartyId, PurposeId};
use serde_json::{Value, json};

use super::compare::{clipped_share, compare, outside_max};
use super::data::Prepared;
use super::owner;
use super::script::{Asked, Measure, Script};
use crate::app::App;
use crate::failure::Failure;
use crate::home::Home;
use crate::http::epsilon_of;
use crate::output::{Align, Document, Format, Grid, Screen, number};
use crate::refusals::for_people;
use crate::render;

/// What all questions of the story are for.
const PURPOSE: &str = "measurement";

/// Tells steps: to people as they happen, to programs at the end.
pub(super) struct Teller<'s> {
    screen: &'s mut Screen,
    steps: Vec<Value>,
}

impl<'s> Teller<'s> {
    pub(super) const fn new(screen: &'s mut Screen) -> Self {
        Self { screen, steps: Vec::new() }
    }

    pub(super) const fn format(&self) -> Format {
        self.screen.format()
    }

    pub(super) fn into_steps(self) -> Vec<Value> {
        self.steps
    }

    pub(super) fn title(&mut self, title: &str) -> Result<(), Failure> {
        self.screen.say(&format!("\nA clean room over {title}."))
    }

    /// One step: a heading, a sentence, and what there is to see.
    pub(super) fn step(&mut self, heading: &str, sentence: &str, document: &Document) -> Result<(), Failure> {
        self.steps.push(json!({ "step": heading, "says": sentence, "shows": document.json }));
        self.screen.say(&format!(
            "\n── {}. {heading} {}",
            self.steps.len(),
            "─".repeat(70_usize.saturating_sub(heading.len()))
        ))?;
        self.screen.say(&format!("{sentence}\n"))?;
        if self.screen.format() == Format::Table {
            self.screen.show(document)?;
        }
        Ok(())
    }
}

/// The steps as a table, for `--format csv`.
pub(super) fn steps_grid(steps: &[Value]) -> Grid {
    let mut grid = Grid::new([("step", Align::Left), ("says", Align::Left)]);
    for step in steps {
        let text = |name: &str| step.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        grid.row([text("step"), text("says")]);
    }
    grid
}

/// A step did not show what it says.
fn unlike(step: &str, why: impl std::fmt::Display) -> Failure {
    Failure::failed("demo_check", format!("the step `{step}` did not show what it says"), why)
        .way_out("this is a defect: run `cleanroom demo` again with `RUST_LOG=debug` and report it")
}

/// Everything after sealing.
pub(super) async fn tell(
    home: &Home,
    app: &Arc<App>,
    prepared: &Prepared,
    teller: &mut Teller<'_>,
) -> Result<(), Failure> {
    let script = &prepared.script;
    let purpose: PurposeId = PURPOSE
        .parse()
        .map_err(|why| crate::refusals::broken("demo_script", "cannot name the purpose", &why))?;
    let story = Story { home, app, script, purpose };
    story.agreement(teller)?;
    story.price(teller).await?;
    let last = story.answers(prepared.facts.as_ref(), teller).await?;
    story.repeated(&last, teller).await?;
    story.denied(teller).await?;
    story.refused(teller).await?;
    story.exhausted(teller).await?;
    story.verified(teller)
}

struct Story<'a> {
    home: &'a Home,
    app: &'a Arc<App>,
    script: &'a Script,
    purpose: PurposeId,
}

impl Story<'_> {
    fn principal(&self, party: &PartyId) -> Principal {
        Principal::local(self.app.config().local.subject.clone(), party.clone(), Role::Analyst)
    }

    fn question(&self, sql: &str, epsilon: Option<f64>) -> Question {
        Question { epsilon: epsilon.and_then(epsilon_of), ..Question::new(sql, self.purpose.clone()) }
    }

    async fn ask(&self, party: &PartyId, sql: &str, epsilon: Option<f64>) -> Result<Release, QueryError> {
        self.app.room().ask(&self.principal(party), self.question(sql, epsilon)).await
    }

    fn agreement(&self, teller: &mut Teller<'_>) -> Result<(), Failure> {
        let bundle = self.app.bundle();
        let mut grid = Grid::new([("clause", Align::Left), ("says", Align::Left)]);
        let mut clauses = Vec::new();
        for id in bundle.clauses().keys() {
            let text = bundle.clause_text(id, policy::Lang::En).unwrap_or_default();
            grid.row([id.as_str(), text]);
            clauses.push(json!({ "clause": id.as_str(), "text": text }));
        }
        let budgets = bundle.budgets();
        let after = vec![
            format!("  bundle {}", bundle.digest()),
            format!(
                "  budget: all parties together ε {} per block of data, ε {} for an answer by default, δ {:e}",
                budgets.block_cap,
                budgets.epsilon_default,
                budgets.delta.as_f64()
            ),
        ];
        let document = Document {
            json: json!({ "bundle": bundle.digest().to_string(), "clauses": clauses }),
            grid,
            before: Vec::new(),
            after,
        };
        teller.step(
            "The agreement",
            "Lawyers read these files; the machine enforces the same files, checked against their lock.",
            &document,
        )
    }

    /// What the first question would cost; nothing is read.
    async fn price(&self, teller: &mut Teller<'_>) -> Result<(), Failure> {
        let Some(first) = self.script.questions.first() else { return Ok(()) };
        let step = "What a question costs, before it is asked";
        let question = self.question(&first.sql, first.epsilon);
        let explained = self.app.room().explain(&self.principal(&self.script.asker), question).await;
        let explanation = explained.map_err(|error| for_people(&error))?;
        if explanation.passes.is_empty() || explanation.preview.expected.is_empty() {
            return Err(unlike(step, "the explanation tells no pass or no expected error"));
        }
        let mut document = render::explanation(&explanation);
        document.before.insert(0, quoted(&first.sql));
        teller.step(
            step,
            "`cleanroom explain` tells each pass, the price and the expected error; it reads no data.",
            &document,
        )
    }

    /// All questions; gives back the last answer.
    async fn answers(&self, facts: Option<&Value>, teller: &mut Teller<'_>) -> Result<Release, Failure> {
        let (mut total, mut outside, mut last) = (0, 0, None);
        for asked in &self.script.questions {
            let release = self
                .ask(&self.script.asker, &asked.sql, asked.epsilon)
                .await
                .map_err(|error| for_people(&error))?;
            let exact =
                owner::count(self.app, &self.principal(&self.script.asker), &self.purpose, &asked.truth)?;
            if let Some(facts) = facts {
                super::facts::check(asked, &exact, facts).map_err(|why| unlike(&asked.title, why))?;
            }
            let compared = compare(asked, &release, &exact);
            if compared.total() == 0 {
                return Err(unlike(&asked.title, "the answer has no figure"));
            }
            total += compared.total();
            outside += compared.outside;
            let mut document = render::release(&release);
            document.before.push(quoted(&asked.sql));
            document.json = json!({ "release": release, "owner_only": compared.json });
            document.grid = compared.grid.clone();
            let mut verdict = format!(
                "  owner    {} of {} figures lie in their interval (✓)",
                compared.inside,
                compared.total()
            );
            if compared.outside > 0 {
                verdict.push_str(&format!("; {} do not (✗), as one in twenty may", compared.outside));
            }
            if compared.clipped > 0 {
                verdict.push_str(&format!(
                    "; of {} the answer itself says that clipping may exceed it: {} of shoppers cut",
                    compared.clipped,
                    clipped_share(&release)
                ));
            }
            if facts.is_some() && super::facts::knows(asked) {
                verdict.push_str("; the exact figures are those published in facts.json");
            }
            document.after.insert(0, verdict);
            let sentence = format!(
                "{} asks; the exact figures beside the answer are what only the owner may see.",
                self.script.asker
            );
            teller.step(&asked.title, &sentence, &document)?;
            last = Some(release);
        }
        if outside > outside_max(total) {
            let why = format!(
                "{outside} of {total} figures lie outside their 95 % intervals, {} may",
                outside_max(total)
            );
            return Err(unlike("answers", why));
        }
        last.ok_or_else(|| unlike("answers", "there is no question"))
    }

    /// The last question again: same numbers, no charge.
    async fn repeated(&self, first: &Release, teller: &mut Teller<'_>) -> Result<(), Failure> {
        let Some(asked) = self.script.questions.last() else { return Ok(()) };
        let step = "The same question again";
        let again = self
            .ask(&self.script.asker, &asked.sql, asked.epsilon)
            .await
            .map_err(|error| for_people(&error))?;
        if again.rows != first.rows || again.reused_from.is_none() || again.charge.rho.0 != 0.0 {
            return Err(unlike(step, "the second answer differs from the first or was charged"));
        }
        let mut document = render::release(&again);
        document.grid = Grid::default();
        document.before = vec![format!("  the {} rows are the same to the last digit", again.rows.len())];
        teller.step(
            step,
            "It is answered from the stored release, free of charge: asking often averages nothing out.",
            &document,
        )
    }

    async fn denied(&self, teller: &mut Teller<'_>) -> Result<(), Failure> {
        let denied = &self.script.denied;
        match self.ask(&denied.asker, &denied.sql, denied.epsilon).await {
            Err(error @ QueryError::Denied(_)) => {
                let failure = for_people(&error);
                let document = Document {
                    json: json!({ "sql": denied.sql, "failure": failure }),
                    before: vec![
                        quoted(&denied.sql),
                        String::new(),
                        failure.to_string(),
                        exit_line(&failure),
                    ],
                    ..Document::default()
                };
                teller.step(
                    &denied.title,
                    "It is denied, the denial names its rule, and it is on record.",
                    &document,
                )
            }
            Err(other) => Err(unlike(&denied.title, other)),
            Ok(_) => Err(unlike(&denied.title, "the question was answered")),
        }
    }

    async fn refused(&self, teller: &mut Teller<'_>) -> Result<(), Failure> {
        let step = "A statement that cannot be answered";
        match self.ask(&self.script.asker, &self.script.refused, None).await {
            Err(error @ QueryError::Refused(_)) => {
                let failure = for_people(&error);
                let document = Document {
                    json: json!({ "sql": self.script.refused, "failure": failure }),
                    before: vec![
                        quoted(&self.script.refused),
                        String::new(),
                        failure.to_string(),
                        exit_line(&failure),
                    ],
                    ..Document::default()
                };
                teller.step(
                    step,
                    "It is refused with its place, the reason and the nearest form that is allowed.",
                    &document,
                )
            }
            Err(other) => Err(unlike(step, other)),
            Ok(_) => Err(unlike(step, "the statement was answered")),
        }
    }

    /// A small budget, used up question by question.
    async fn exhausted(&self, teller: &mut Teller<'_>) -> Result<(), Failure> {
        let step = "A budget that runs out";
        let plan = &self.script.exhausted;
        let mut grid = Grid::new([
            ("answer", Align::Right),
            ("cost ε", Align::Right),
            ("left ε", Align::Right),
            ("more like this", Align::Right),
        ]);
        let mut spent = Vec::new();
        for n in 1..=plan.questions_max {
            let sql = plan.sql.replace("{n}", &n.to_string());
            match self.ask(&plan.asker, &sql, plan.epsilon).await {
                Ok(release) => {
                    let (cost, left) = (release.charge.epsilon.0, release.budget.epsilon_remaining.0);
                    grid.row([
                        n.to_string(),
                        number(cost, 2),
                        number(left, 3),
                        release.budget.answers_like_this.to_string(),
                    ]);
                    spent.push(json!({ "answer": n, "epsilon": cost, "epsilon_remaining": left }));
                }
                Err(error @ QueryError::Exhausted(_)) => {
                    let failure = for_people(&error);
                    let document = Document {
                        json: json!({ "answers": spent, "failure": failure }),
                        grid,
                        before: vec![quoted(&plan.sql), String::new()],
                        after: vec![String::new(), failure.to_string(), exit_line(&failure)],
                    };
                    let sentence =
                        format!("{} asks one question after the other until its share is spent.", plan.asker);
                    return teller.step(step, &sentence, &document);
                }
                Err(other) => return Err(unlike(step, other)),
            }
        }
        if plan.questions_max > 1 {
            return Err(unlike(step, format!("{} answers did not use the budget up", plan.questions_max)));
        }
        let document = Document { json: json!({ "answers": spent }), grid, ..Document::default() };
        teller.step(step, "Every answer takes from the budget; what is left only gets less.", &document)
    }

    fn verified(&self, teller: &mut Teller<'_>) -> Result<(), Failure> {
        let step = "The log verifies";
        let entries = crate::cli::audit_entries(self.home)?;
        let key = crate::cli::audit_key(self.home)?;
        let verified = audits::verify::folder(&self.home.log(), &key).map_err(|why| unlike(step, why))?;
        let answers = self.script.questions.len() as u64;
        if verified.size < answers
            || !entries.iter().any(|logged| logged.entry.decision == Some(audits::Decision::Denied))
        {
            return Err(unlike(step, "an answer or the denial is not in the log"));
        }
        let skip = entries.len().saturating_sub(12);
        let newest: Vec<_> = entries.iter().skip(skip).collect();
        let mut document = crate::cli::audit_document(&verified, self.home);
        document.grid = crate::cli::audit_grid(&newest);
        document
            .after
            .insert(0, format!("  {} entries, root {}; these are the newest", verified.size, verified.root));
        let sentence = "Every access left an entry. Anybody with the public key verifies the folder offline; one flipped bit is found.";
        teller.step(step, sentence, &document)
    }
}

fn quoted(sql: &str) -> String {
    sql.lines().map(|line| format!("  | {line}")).collect::<Vec<_>>().join("\n")
}

fn exit_line(failure: &Failure) -> String {
    format!("  (`cleanroom query` ends with exit code {})", failure.outcome().exit_code())
}

/// The end of `demo --once`.
pub(super) fn after_once(home: &Home, temporary: bool, screen: &mut Screen) -> Result<(), Failure> {
    screen.say("\nEvery step showed what it says.")?;
    if temporary {
        screen.say("The clean room was made in a temporary folder and is gone now.")?;
        return screen.say(
            "Keep one with `cleanroom demo --home DIR`, or leave `--once` out to go on asking over HTTP.",
        );
    }
    let dir = home.root().display();
    screen.say(&format!("Go on with it:\n  cleanroom --home {dir} catalogue\n  cleanroom --home {dir} budget\n  cleanroom --home {dir} audit verify\n  cleanroom --home {dir} serve"))
}

/// URLs, tokens and commands to try while the service runs.
pub(super) fn things_to_try(
    home: &Home,
    app: &App,
    prepared: &Prepared,
    address: SocketAddr,
    temporary: bool,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let subject = app.config().local.subject.clone();
    let lifetime = app.config().tokens.lifetime_seconds_max;
    let token = |party: &PartyId| {
        app.token(&Principal::local(subject.clone(), party.clone(), Role::Analyst), lifetime)
    };
    let script = &prepared.script;
    let url = format!("http://{address}");
    let asker = token(&script.asker)?;
    let poor = token(&script.exhausted.asker)?;
    let first = script.questions.first().map(|asked| asked.sql.as_str()).unwrap_or_default();
    let body = json!({ "sql": first, "purpose": PURPOSE });
    screen.show(&Document {
        json: json!({ "url": url, "tokens": { script.asker.as_str(): asker, script.exhausted.asker.as_str(): poor } }),
        before: vec![
            format!("\nTokens (a day each):\n  {}: {asker}", script.asker),
            format!("  {}: {poor}", script.exhausted.asker),
            format!("\nTry:\n  TOKEN={asker}"),
            format!("  curl -s {url}/v1/queries -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' -d '{body}'"),
            format!("  curl -s {url}/v1/queries:preview -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' -d '{body}'"),
            format!("  curl -s {url}/v1/budget -H \"Authorization: Bearer $TOKEN\""),
            format!("  curl -s '{url}/v1/catalogue?purpose={PURPOSE}' -H \"Authorization: Bearer $TOKEN\""),
            format!("  cleanroom --home {} audit show", home.root().display()),
            if temporary { "\nThe home is temporary: it goes when this process ends.".to_owned() } else { String::new() },
        ],
        ..Document::default()
    })
}

/// The name of a measure in the published facts.
pub(super) const fn is_units(measure: &Measure) -> bool {
    matches!(measure, Measure::Units)
}

/// The one key column of a question, if it has one.
pub(super) fn key_of(asked: &Asked) -> Option<&str> {
    asked.truth.key.as_ref().map(|(_, column)| column.as_str())
}
