//! `cleanroom query`, `explain`, `budget`, `catalogue`: the engine on this machine's own home.

use std::io::Read as _;

use ids::MicroEpsilon;

use super::{Question, Who, open};
use crate::failure::Failure;
use crate::home::Home;
use crate::http::epsilon_of;
use crate::output::Screen;
use crate::refusals::for_people;
use crate::render;

/// Longest statement that is read from a file or from standard input; the parser's own limit is lower.
const SQL_BYTES_MAX: u64 = 1 << 20;

pub(super) async fn query(home: &Home, words: Question, screen: &mut Screen) -> Result<(), Failure> {
    let question = understood(&words)?;
    let app = open(home, screen.format()).await?;
    let principal = words.who.principal(app.config());
    let release = app.room().ask(&principal, question).await.map_err(|error| for_people(&error))?;
    screen.show(&render::release(&release))
}

pub(super) async fn explain(home: &Home, words: Question, screen: &mut Screen) -> Result<(), Failure> {
    let question = understood(&words)?;
    let app = open(home, screen.format()).await?;
    let principal = words.who.principal(app.config());
    let explanation = app.room().explain(&principal, question).await.map_err(|error| for_people(&error))?;
    screen.show(&render::explanation(&explanation))
}

pub(super) async fn budget(home: &Home, who: &Who, screen: &mut Screen) -> Result<(), Failure> {
    let app = open(home, screen.format()).await?;
    let principal = who.principal(app.config());
    let statement = app.room().budget(&principal).await.map_err(|error| for_people(&error))?;
    screen.show(&render::budget(&statement))
}

pub(super) async fn catalogue(home: &Home, who: &Who, screen: &mut Screen) -> Result<(), Failure> {
    let app = open(home, screen.format()).await?;
    let principal = who.principal(app.config());
    let view = app.catalogue(&principal, &who.purpose).map_err(|error| for_people(&error))?;
    screen.show(&render::catalogue(&view))
}

/// The question as the engine takes it.
fn understood(words: &Question) -> Result<engine::Question, Failure> {
    let sql = match (&words.sql, &words.file) {
        (Some(dash), _) if dash == "-" => read(std::io::stdin(), "standard input")?,
        (Some(sql), _) => sql.clone(),
        (None, Some(path)) => {
            let place = path.display().to_string();
            let file = std::fs::File::open(path).map_err(|why| unreadable(&place, &why))?;
            read(file, &place)?
        }
        (None, None) => String::new(),
    };
    let epsilon = words.epsilon.map(epsilon_given).transpose()?;
    let mut question = engine::Question::new(sql, words.who.purpose.clone());
    question.epsilon = epsilon;
    question.request_id = words.request_id.clone();
    question.groups_max = words.groups_max;
    for bound in &words.bounds {
        let (column, value) = bound.split_once('=').ok_or_else(|| {
            Failure::usage("bound_malformed", "a bound is not understood", format!("`{bound}` has no `=`"))
                .way_out("write `--bound sales=5712.00`")
        })?;
        question.bounds.insert(column.trim().to_owned(), value.trim().to_owned());
    }
    Ok(question)
}

fn epsilon_given(value: f64) -> Result<MicroEpsilon, Failure> {
    epsilon_of(value).ok_or_else(|| {
        Failure::usage(
            "parameter.epsilon",
            "ε is not understood",
            format!("`{value}` is not a positive number"),
        )
        .way_out("leave `--epsilon` out to ask at the agreement's default price")
    })
}

fn read(source: impl std::io::Read, place: &str) -> Result<String, Failure> {
    let mut text = String::new();
    source.take(SQL_BYTES_MAX).read_to_string(&mut text).map_err(|why| unreadable(place, &why))?;
    Ok(text)
}

fn unreadable(place: &str, why: &std::io::Error) -> Failure {
    Failure::usage("sql_unreadable", "cannot read the question", why).at(place)
}
