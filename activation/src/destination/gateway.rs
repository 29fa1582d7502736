//! The gateway of devices and pushes, over gRPC (`audience.v1`).

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use ids::DestinationId;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use zeroize::Zeroizing;

use super::wire::audiences_client::AudiencesClient;
use super::wire::{StatusRequest, SubmitRequest, WireAnswer};
use super::{Answer, Destination, Fault, Later, Reason, SendFailed, Verdict};
use crate::batch::{Batch, Header};

/// How long one call may take, of which
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// connecting may take so long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How both ends prove who they are.
pub struct GatewayTls {
    /// The authority that signed the gateway's certificate, PEM.
    pub authority: Vec<u8>,
    /// Our certificate, PEM.
    pub certificate: Vec<u8>,
    /// Its key, PEM.
    pub key: Zeroizing<Vec<u8>>,
    /// The name in the gateway's certificate, if it is not the one in the address.
    pub domain: Option<String>,
}

impl fmt::Debug for GatewayTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GatewayTls(redacted)")
    }
}

/// Why a destination cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DestinationRefused {
    /// The address is none.
    #[error("the address of destination `{0}` cannot be read: write it as `https://host:port`")]
    Address(DestinationId),
    /// Not encrypted, and not on this machine.
    #[error("destination `{0}` would be sent to unencrypted: use https, or a loopback address")]
    Plain(DestinationId),
    /// Certificates or keys cannot be used.
    #[error(
        "the certificates or keys of destination `{0}` cannot be used: expected an authority, a certificate and its key as PEM"
    )]
    Tls(DestinationId),
}

/// The device gateway.
pub struct Gateway {
    id: DestinationId,
    channel: Channel,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Gateway {
    /// A gateway at an address such as `https://gateway.example.kz:7443`. Nothing is connected yet. Must be called within
    /// a tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be read, is neither encrypted nor loopback, or the certificates cannot be used.
    pub fn new(
        id: DestinationId,
        address: &str,
        tls: Option<GatewayTls>,
    ) -> Result<Self, DestinationRefused> {
        let endpoint = Endpoint::from_shared(address.to_owned());
        let mut endpoint = endpoint.map_err(|_| DestinationRefused::Address(id.clone()))?;
        let host = endpoint.uri().host().ok_or(DestinationRefused::Address(id.clone()))?;
        let encrypted = endpoint.uri().scheme_str() == Some("https");
        if !encrypted && !is_loopback(host) {
            return Err(DestinationRefused::Plain(id));
        }
        if encrypted {
            let config = tls.map(client_tls).ok_or(DestinationRefused::Tls(id.clone()))?;
            endpoint = endpoint.tls_config(config).map_err(|_| DestinationRefused::Tls(id.clone()))?;
        }
        let channel = endpoint.timeout(CALL_TIMEOUT).connect_timeout(CONNECT_TIMEOUT).connect_lazy();
        Ok(Self { id, channel })
    }

    fn failed(&self, status: &tonic::Status) -> Result<Answer, SendFailed> {
        let fault = match status.code() {
            // The call never left: no connection was made.
            _ if never_connected(status) => Fault::Unreachable,
            tonic::Code::DeadlineExceeded | tonic::Code::Cancelled => Fault::Timeout,
            tonic::Code::ResourceExhausted => Fault::Busy,
            tonic::Code::Unauthenticated | tonic::Code::PermissionDenied => Fault::Credentials,
            tonic::Code::Unimplemented | tonic::Code::NotFound | tonic::Code::FailedPrecondition => {
                Fault::NotThere
            }
            tonic::Code::InvalidArgument => return Ok(Answer::Final(Verdict::Refused(Reason::Malformed))),
            tonic::Code::OutOfRange => return Ok(Answer::Final(Verdict::Refused(Reason::TooLarge))),
            _ => Fault::Broken,
        };
        Err(SendFailed { destination: self.id.clone(), fault, retry_after_secs: retry_after(status) })
    }

    fn read(&self, answer: Result<tonic::Response<WireAnswer>, tonic::Status>) -> Result<Answer, SendFailed> {
        match answer {
            Ok(answer) => Answer::try_from(answer.into_inner()).map_err(|_| SendFailed {
                destination: self.id.clone(),
                fault: Fault::Protocol,
                retry_after_secs: None,
            }),
            Err(status) => self.failed(&status),
        }
    }
}

impl Destination for Gateway {
    fn id(&self) -> &DestinationId {
        &self.id
    }

    fn submit<'a>(&'a self, batch: &'a Batch) -> Later<'a, Result<Answer, SendFailed>> {
        Box::pin(async move {
            let mut client = AudiencesClient::new(self.channel.clone());
            self.read(client.submit(SubmitRequest::from(batch)).await)
        })
    }

    fn status<'a>(&'a self, batch: &'a Header) -> Later<'a, Result<Answer, SendFailed>> {
        Box::pin(async move {
            let mut client = AudiencesClient::new(self.channel.clone());
            self.read(client.status(StatusRequest { batch_id: batch.id.to_string() }).await)
        })
    }
}

fn client_tls(tls: GatewayTls) -> ClientTlsConfig {
    let identity = Identity::from_pem(&tls.certificate, tls.key.as_slice());
    let config =
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&tls.authority)).identity(identity);
    match tls.domain {
        Some(domain) => config.domain_name(domain),
        None => config,
    }
}

/// `retry-after` in the trailers: whole seconds.
fn retry_after(status: &tonic::Status) -> Option<u32> {
    status.metadata().get("retry-after")?.to_str().ok()?.parse().ok()
}

/// Whether the operating system says that no connection came about, so that nothing can have been sent.
pub(super) fn never_connected(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind::{
                AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable,
            };
            return matches!(
                io.kind(),
                ConnectionRefused | HostUnreachable | NetworkUnreachable | AddrNotAvailable
            );
        }
        next = error.source();
    }
    false
}

/// Whether an address stays on this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_sent_to_unencrypted() {
        for host in ["localhost", "127.0.0.1", "127.8.9.1", "::1", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["10.0.0.1", "localhost.example.kz", "0.0.0.0", "gateway", "128.0.0.1", "[fe80::1]"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
