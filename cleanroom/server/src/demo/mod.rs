//! `cleanroom demo`: a clean room from nothing to a verified log, told step by step.
//!
//! Every step checks itself: a step that does not show what it says ends the demo with an error. Exact figures appear
//! here only, marked as what only the owner may see.

mod compare;
mod data;
mod facts;
mod owner;
mod script;
mod story;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use crate::cli::{Demo, keep_serving, open};
use crate::failure::Failure;
use crate::home::Home;
use crate::output::{Document, Format, Screen};

/// A home in a temporary folder, or where the caller wants it.
struct Place {
    home: Home,
    /// Removes the folder at the end.
    _temporary: Option<tempfile::TempDir>,
}

impl Place {
    fn find(given: Option<PathBuf>) -> Result<Self, Failure> {
        if let Some(root) = given {
            let home = Home::at(root);
            home.must_be_free()?;
            return Ok(Self { home, _temporary: None });
        }
        let folder = tempfile::Builder::new()
            .prefix("cleanroom-demo-")
            .tempdir()
            .map_err(|why| Failure::failed("demo_folder", "cannot make a temporary folder", why))?;
        Ok(Self { home: Home::at(folder.path().join("home")), _temporary: Some(folder) })
    }
}

/// Runs the demo.
///
/// # Errors
///
/// A place that is taken, data that is refused, or a step that did not show what it says.
pub async fn run(given: Option<PathBuf>, words: &Demo, screen: &mut Screen) -> Result<(), Failure> {
    if let Some(address) = words.listen {
        crate::http::must_be_loopback(address)?;
    }
    let place = Place::find(given)?;
    let temporary = place._temporary.is_some();
    let mut teller = story::Teller::new(screen);
    let prepared = data::prepare(&place.home, words, &mut teller)?;
    let app = Arc::new(open(&place.home, teller.format()).await?);
    let ended = story::tell(&place.home, &app, &prepared, &mut teller).await;
    let steps = teller.into_steps();
    if screen.format() != Format::Table {
        screen.show(&Document {
            json: json!({ "steps": steps }),
            grid: story::steps_grid(&steps),
            ..Document::default()
        })?;
    }
    ended?;
    if words.once {
        return story::after_once(&place.home, temporary, screen);
    }
    let address = words.listen.unwrap_or(app.config().http.listen);
    let listening = match keep_serving(Arc::clone(&app), address, screen).await {
        // The usual port is taken and the caller did not insist on one: any free one will do.
        Err(_) if words.listen.is_none() => {
            let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
            keep_serving(Arc::clone(&app), any, screen).await?
        }
        other => other?,
    };
    story::things_to_try(&place.home, &app, &prepared, listening.address(), temporary, screen)?;
    listening.serve(crate::http::told_to_stop()).await
}
