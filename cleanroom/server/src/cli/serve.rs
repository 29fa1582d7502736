//! `cleanroom serve`.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Serve, open};
use crate::app::App;
use crate::failure::Failure;
use crate::home::Home;
use crate::http::{Listening, listen, told_to_stop};
use crate::output::{Document, Screen};

pub(super) async fn run(home: &Home, words: &Serve, screen: &mut Screen) -> Result<(), Failure> {
    home.must_exist()?;
    let config = crate::config::Config::load(&home.config())?;
    let address = words.listen.unwrap_or(config.http.listen);
    crate::http::must_be_loopback(address)?;
    let app = Arc::new(open(home, screen.format()).await?);
    let listening = listen(app, address).await?;
    announce(&listening, screen)?;
    listening.serve(told_to_stop()).await
}

/// Serves an app that is open already, until Ctrl-C.
pub(crate) async fn keep_serving(
    app: Arc<App>,
    address: SocketAddr,
    screen: &mut Screen,
) -> Result<Listening, Failure> {
    let listening = listen(app, address).await?;
    announce(&listening, screen)?;
    Ok(listening)
}

fn announce(listening: &Listening, screen: &mut Screen) -> Result<(), Failure> {
    let url = format!("http://{}", listening.address());
    screen.show(&Document {
        json: serde_json::json!({ "listening": url }),
        before: vec![format!(
            "Listening on {url} (Ctrl-C stops). The API describes itself at {url}/openapi.json"
        )],
        ..Document::default()
    })
}
