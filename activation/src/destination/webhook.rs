//! An HTTP webhook: the batch as JSON, signed, with its id as idempotency key.
//!
//! `POST <url>` carries `Idempotency-Key`, the time in seconds and `v1=` + HMAC-SHA256 (hex) over `<time>.<body>`. The answer is
//! 2xx, with or without `{"state": …}`; 202 without a body means that it is not done yet. `GET <url>?batch=<id>`, signed over
//! `<time>.<id>`, asks for the final word. No redirect is followed and no address is taken from an answer.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use ids::{Clock, DestinationId, Timestamp};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use ring::hmac;
use zeroize::Zeroizing;

use super::document;
use super::gateway::is_loopback;
use super::{Answer, Destination, DestinationRefused, Fault, Later, Reason, SendFailed, Verdict};
use crate::batch::{Batch, Header};

/// Header with the signature.
pub const SIGNATURE_HEADER: &str = "x-cleanroom-signature";
/// Header with the time that is signed, in seconds since the epoch: a receiver refuses what is too old.
pub const TIMESTAMP_HEADER: &str = "x-cleanroom-timestamp";

/// How long one call may take, of which
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// connecting may take so long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer that is read: 10,000 rejections take less.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// The secret that both ends share for signing.
pub struct WebhookSecret(Zeroizing<Vec<u8>>);

impl WebhookSecret {
    /// From its bytes; 32 random ones are right.
    pub fn new(secret: Vec<u8>) -> Self {
        Self(Zeroizing::new(secret))
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(redacted)")
    }
}

/// The value of [`SIGNATURE_HEADER`] for a body (of a POST) or an id (of a GET).
pub fn signature(secret: &WebhookSecret, seconds: i64, signed: &[u8]) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &secret.0));
    context.update(seconds.to_string().as_bytes());
    context.update(b".");
    context.update(signed);
    format!("v1={}", hex::encode(context.sign().as_ref()))
}

/// An HTTP webhook.
pub struct Webhook {
    id: DestinationId,
    url: Url,
    secret: WebhookSecret,
    client: Client,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Webhook {
    /// A webhook. With `authority` (PEM) only certificates that it signed are believed, otherwise those that the system
    /// believes.
    ///
    /// # Errors
    /// When the address cannot be read or is neither https nor loopback, or the certificates cannot be used.
    pub fn new(
        id: DestinationId,
        url: &str,
        secret: WebhookSecret,
        authority: Option<&[u8]>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, DestinationRefused> {
        let url = Url::parse(url).map_err(|_| DestinationRefused::Address(id.clone()))?;
        let host = url.host_str().ok_or(DestinationRefused::Address(id.clone()))?;
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(host) => {}
            "http" => return Err(DestinationRefused::Plain(id)),
            _ => return Err(DestinationRefused::Address(id)),
        }
        let client = client(authority).ok_or(DestinationRefused::Tls(id.clone()))?;
        Ok(Self { id, url, secret, client, clock })
    }

    fn signed(&self, request: RequestBuilder, over: &[u8]) -> RequestBuilder {
        let seconds = self.clock.now().as_secs();
        request
            .header(TIMESTAMP_HEADER, seconds.to_string())
            .header(SIGNATURE_HEADER, signature(&self.secret, seconds, over))
    }

    async fn call(&self, request: RequestBuilder) -> Result<Answer, SendFailed> {
        match request.send().await {
            Ok(response) => self.read(response).await,
            Err(error) if error.is_connect() => Err(self.failed(Fault::Unreachable, None)),
            Err(error) if error.is_timeout() => Err(self.failed(Fault::Timeout, None)),
            // The error's own text could hold the address, and with it a secret of the destination.
            Err(_) => Err(self.failed(Fault::Broken, None)),
        }
    }

    async fn read(&self, response: Response) -> Result<Answer, SendFailed> {
        let status = response.status();
        let wait = retry_after(&response, self.clock.now());
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(self.failed(Fault::Credentials, wait)),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::GONE => {
                Err(self.failed(Fault::NotThere, wait))
            }
            StatusCode::REQUEST_TIMEOUT
            | StatusCode::CONFLICT
            | StatusCode::TOO_EARLY
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE => Err(self.failed(Fault::Busy, wait)),
            StatusCode::PAYLOAD_TOO_LARGE => Ok(Answer::Final(Verdict::Refused(Reason::TooLarge))),
            status if status.is_server_error() => Err(self.failed(Fault::Broken, wait)),
            status if status.is_client_error() => Ok(Answer::Final(Verdict::Refused(Reason::Malformed))),
            status if status.is_success() => self.said(status, response).await,
            _ => Err(self.failed(Fault::NotThere, wait)),
        }
    }

    async fn said(&self, status: StatusCode, mut response: Response) -> Result<Answer, SendFailed> {
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= ANSWER_BYTES_MAX => {
                    body.extend_from_slice(&chunk)
                }
                Ok(None) => break,
                Ok(Some(_)) => return Err(self.failed(Fault::Protocol, None)),
                Err(_) => return Err(self.failed(Fault::Broken, None)),
            }
        }
        match (body.is_empty(), status) {
            (true, StatusCode::ACCEPTED) => Ok(Answer::Accepted { poll_after_secs: None }),
            (true, _) => Ok(Answer::Final(Verdict::Applied)),
            (false, _) => document::read(&body).ok_or_else(|| self.failed(Fault::Protocol, None)),
        }
    }

    fn failed(&self, fault: Fault, retry_after_secs: Option<u32>) -> SendFailed {
        SendFailed { destination: self.id.clone(), fault, retry_after_secs }
    }
}

impl Destination for Webhook {
    fn id(&self) -> &DestinationId {
        &self.id
    }

    fn submit<'a>(&'a self, batch: &'a Batch) -> Later<'a, Result<Answer, SendFailed>> {
        Box::pin(async move {
            let body = document::write(batch).map_err(|_| self.failed(Fault::Protocol, None))?;
            let request = self.client.post(self.url.clone()).header("content-type", "application/json");
            let request = request.header("idempotency-key", batch.header.id.to_string());
            let request = self.signed(request, &body);
            self.call(request.body(body.to_vec())).await
        })
    }

    fn status<'a>(&'a self, batch: &'a Header) -> Later<'a, Result<Answer, SendFailed>> {
        Box::pin(async move {
            let id = batch.id.to_string();
            let mut url = self.url.clone();
            url.query_pairs_mut().append_pair("batch", &id);
            self.call(self.signed(self.client.get(url), id.as_bytes())).await
        })
    }
}

/// No redirects, no proxies out of the environment, no plain connection upgraded or downgraded behind our back.
fn client(authority: Option<&[u8]>) -> Option<Client> {
    // Whoever was first keeps its provider; both are ring or fit for the same work.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(CALL_TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent("cleanroom");
    if let Some(pem) = authority {
        builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(pem).ok()?);
    }
    builder.build().ok()
}

/// Seconds, or a date (RFC 9110 §10.2.3).
fn retry_after(response: &Response, now: Timestamp) -> Option<u32> {
    let text = response.headers().get("retry-after")?.to_str().ok()?;
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let at = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let wait = i64::try_from(at.as_secs()).ok()?.saturating_sub(now.as_secs()).max(0);
    u32::try_from(wait).ok()
}
