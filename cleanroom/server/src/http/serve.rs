//! Listening: on loopback only, until told to stop, with time for what is under way.

use std::future::{Future, IntoFuture as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpListener;

use super::{Service, Shared, router};
use crate::app::App;
use crate::failure::Failure;

/// A bound socket and the service that will answer on it.
#[derive(Debug)]
pub struct Listening {
    listener: TcpListener,
    address: SocketAddr,
    service: Shared,
}

/// Binds the address.
///
/// # Errors
///
/// An address that is not loopback: without TLS tokens and answers would cross the network in the clear. Or one that is
/// taken.
pub async fn listen(app: Arc<App>, address: SocketAddr) -> Result<Listening, Failure> {
    must_be_loopback(address)?;
    let taken = |why: std::io::Error| {
        Failure::failed("listen_failed", format!("cannot listen on {address}"), why)
            .way_out("choose another port with `--listen 127.0.0.1:PORT` (0 takes a free one)")
    };
    let listener = TcpListener::bind(address).await.map_err(taken)?;
    let address = listener.local_addr().map_err(taken)?;
    Ok(Listening { listener, address, service: Service::new(app) })
}

/// Refuses an address that others can reach: there is no TLS yet.
///
/// # Errors
///
/// The address is not loopback.
pub fn must_be_loopback(address: SocketAddr) -> Result<(), Failure> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    let why = "without TLS, tokens and answers would cross the network in the clear";
    Err(Failure::usage("listen_refused", format!("will not listen on {address}"), why)
        .way_out("listen on 127.0.0.1 or [::1] and put a TLS proxy on the same machine in front"))
}

impl Listening {
    /// Where it listens; the port is the real one.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is done, then takes no more and waits for what is under way, within the configured time.
    ///
    /// # Errors
    ///
    /// The socket failed.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), Failure> {
        let grace = Duration::from_secs(self.service.app.config().http.shutdown_seconds_max);
        let stopped = Arc::new(tokio::sync::Notify::new());
        let service = Arc::clone(&self.service);
        let signal = {
            let stopped = Arc::clone(&stopped);
            async move {
                stop.await;
                service.draining.store(true, Ordering::Release);
                stopped.notify_one();
            }
        };
        let server =
            axum::serve(self.listener, router(&self.service)).with_graceful_shutdown(signal).into_future();
        tokio::select! {
            ended = server => ended.map_err(|why| Failure::failed("serve", "the service stopped", why)),
            () = async { stopped.notified().await; tokio::time::sleep(grace).await } => Ok(()),
        }
    }
}

/// Done when the process is told to stop: Ctrl-C or SIGTERM.
pub(crate) async fn told_to_stop() {
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}
