//! A client of anything that looks like the hub: the facade of a node, for the demo, `push` and tests.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{Client, Method, RequestBuilder, Url};

use super::error::OutboundError;
use super::tls::{self, Tls, Version};
use crate::oicp::acknowledgement::Acknowledgement;
use crate::oicp::json;
use crate::oicp::json_write::Writer;
use crate::oicp::page::{PAGE_SIZE_MAX, Page};
use crate::oicp::reading::Reading;

/// Largest answer that is taken, in bytes: the statuses of some million EVSEs.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Time for a call, in seconds: a full load of 50 MB takes its time.
pub const TIMEOUT_S: u64 = 180;

/// Time for a connection, in seconds.
const CONNECT_TIMEOUT_S: u64 = 10;
/// Idle connections are given up after this time (seconds), before the facade does (30 s), so that a call is
/// never sent into a connection that is just being closed.
const IDLE_S: u64 = 15;
/// Characters of a body that an error shows.
const SAID_CHARACTERS_MAX: usize = 300;

/// An answer as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// HTTP status. OICP's own code stands in the body, whatever this is (RULES 12.1).
    pub http_status: u16,
    /// The body.
    pub body: Bytes,
}

/// A client for one base URL; clones share the connections.
#[derive(Clone)]
pub struct HubClient {
    client: Client,
    base: Url,
    key: Option<String>,
    admin_key: Option<String>,
}

impl HubClient {
    /// A client for `http://host:port`, which may already carry `/k/KEY`; else the key goes as HTTP Basic. With
    /// `https` the other side is checked against the roots of the operating system. Redirects are not followed.
    ///
    /// # Errors
    /// [`OutboundError::BadUrl`] if the URL is neither HTTP nor HTTPS.
    pub fn new(base_url: &str, key: Option<&str>) -> Result<HubClient, OutboundError> {
        HubClient::with_tls(base_url, key, &Tls::default())
    }

    /// The same with roots and a certificate of our own.
    ///
    /// # Errors
    /// [`OutboundError::BadUrl`] if the URL is not HTTPS and certificates are given; [`OutboundError::Tls`] if they
    /// cannot be used.
    pub fn with_tls(base_url: &str, key: Option<&str>, tls: &Tls) -> Result<HubClient, OutboundError> {
        HubClient::over(base_url, key, tls, Version::One)
    }

    /// The same over HTTP/2, and nothing else.
    ///
    /// # Errors
    /// As [`HubClient::with_tls`].
    pub fn over_http2(base_url: &str, key: Option<&str>, tls: &Tls) -> Result<HubClient, OutboundError> {
        HubClient::over(base_url, key, tls, Version::Two)
    }

    fn over(
        base_url: &str,
        key: Option<&str>,
        tls: &Tls,
        version: Version,
    ) -> Result<HubClient, OutboundError> {
        let (base, builder) = tls::builder(base_url, &without_key(base_url), tls, version)?;
        let client = builder
            .connect_timeout(Duration::from_secs(CONNECT_TIMEOUT_S))
            .pool_idle_timeout(Duration::from_secs(IDLE_S))
            .timeout(Duration::from_secs(TIMEOUT_S))
            .build()
            .map_err(|error| OutboundError::Client(error.to_string()))?;
        Ok(HubClient { client, base, key: key.map(str::to_owned), admin_key: None })
    }

    /// The same client with a key for the admin API.
    #[must_use]
    pub fn with_admin_key(mut self, admin_key: Option<&str>) -> HubClient {
        self.admin_key = admin_key.map(str::to_owned);
        self
    }

    /// PushEvseData. A negative acknowledgement is an `Ok`.
    ///
    /// # Errors
    /// [`OutboundError`] if no acknowledgement or status code came back.
    pub async fn push_evse_data(
        &self,
        operator_id: &str,
        body: Bytes,
    ) -> Result<Acknowledgement, OutboundError> {
        let path = format!("api/oicp/evsepush/v23/operators/{operator_id}/data-records");
        self.acknowledged(&path, body).await
    }

    /// PushEvseStatus. A negative acknowledgement is an `Ok`.
    ///
    /// # Errors
    /// As [`HubClient::push_evse_data`].
    pub async fn push_evse_status(
        &self,
        operator_id: &str,
        body: Bytes,
    ) -> Result<Acknowledgement, OutboundError> {
        let path = format!("api/oicp/evsepush/v21/operators/{operator_id}/status-records");
        self.acknowledged(&path, body).await
    }

    /// One page of PullEvseData, as it came.
    ///
    /// # Errors
    /// [`OutboundError`] if the answer is none with HTTP 200.
    pub async fn pull_evse_data(
        &self,
        provider_id: &str,
        body: Bytes,
        page: u64,
        size: u64,
    ) -> Result<Received, OutboundError> {
        let path =
            format!("api/oicp/evsepull/v23/providers/{provider_id}/data-records?page={page}&size={size}");
        self.pulled(&path, body).await
    }

    /// All pages of PullEvseData; each record's text is handed to `record`. Gives the number of records.
    ///
    /// # Errors
    /// As [`HubClient::pull_evse_data`]; [`OutboundError::Unexpected`] if an answer is no page.
    pub async fn crawl_evse_data(
        &self,
        provider_id: &str,
        body: Bytes,
        mut record: impl FnMut(&str),
    ) -> Result<u64, OutboundError> {
        let mut count = 0;
        for number in 0.. {
            let answer = self.pull_evse_data(provider_id, body.clone(), number, PAGE_SIZE_MAX).await?;
            let root = json::parse(&answer.body, Reading::Tolerant).ok();
            let Some(page) = root.as_ref().and_then(Page::read) else {
                return Err(self.unexpected("the page of a pull", &answer));
            };
            for node in page.content {
                record(node.raw());
                count += 1;
            }
            if page.last || page.content.is_empty() {
                break;
            }
        }
        Ok(count)
    }

    /// PullEvseStatus with any of its bodies, as it came.
    ///
    /// # Errors
    /// As [`HubClient::pull_evse_data`].
    pub async fn pull_evse_status(&self, provider_id: &str, body: Bytes) -> Result<Received, OutboundError> {
        self.pulled(&format!("api/oicp/evsepull/v21/providers/{provider_id}/status-records"), body).await
    }

    /// PullEvseStatusByID for at most 100 EvseIDs, as it came.
    ///
    /// # Errors
    /// As [`HubClient::pull_evse_data`].
    pub async fn status_by_id(
        &self,
        provider_id: &str,
        evse_ids: &[&str],
    ) -> Result<Received, OutboundError> {
        let mut writer = Writer::new();
        writer.begin_object().key("ProviderID").string(provider_id).key("EvseID").begin_array();
        for id in evse_ids {
            writer.string(id);
        }
        writer.end_array().end_object();
        let path = format!("api/oicp/evsepull/v21/providers/{provider_id}/status-records-by-id");
        self.pulled(&path, writer.finish().into()).await
    }

    /// `GET` of a path of the node itself: `healthz`, `metrics`, `admin/v1/view`, `admin/v1/evse/ID`.
    ///
    /// # Errors
    /// [`OutboundError`] if nothing came back; any HTTP status is an `Ok`.
    pub async fn get(&self, path: &str) -> Result<Received, OutboundError> {
        let request = self.request(Method::GET, path)?;
        self.send(self.as_admin(request), path).await
    }

    /// What the node knows (`NodeView` as JSON).
    ///
    /// # Errors
    /// As [`HubClient::get`]; [`OutboundError::Unexpected`] if it is refused.
    pub async fn view(&self) -> Result<Received, OutboundError> {
        let answer = self.get("admin/v1/view").await?;
        if answer.http_status == 200 { Ok(answer) } else { Err(self.unexpected("the node's view", &answer)) }
    }

    /// Confirms a held push.
    ///
    /// # Errors
    /// As [`HubClient::push_evse_data`].
    pub async fn confirm(&self, held: u64) -> Result<Acknowledgement, OutboundError> {
        let path = format!("admin/v1/held/{held}/confirm");
        let request = self.request(Method::POST, &path)?;
        let answer = self.send(self.as_admin(request), &path).await?;
        self.acknowledgement(&answer)
    }

    /// Hands a signed object of the registry to the node, which tells everybody.
    ///
    /// # Errors
    /// As [`HubClient::push_evse_data`].
    pub async fn hand_in(&self, object: Bytes) -> Result<Acknowledgement, OutboundError> {
        let path = "admin/v1/identity";
        let request = self.request(Method::POST, path)?;
        let request = request.header("content-type", "application/cose").body(object);
        let answer = self.send(self.as_admin(request), path).await?;
        self.acknowledgement(&answer)
    }

    /// `POST` of JSON to a path of the node's admin API.
    ///
    /// # Errors
    /// As [`HubClient::get`].
    pub async fn admin_post(&self, path: &str, body: Bytes) -> Result<Received, OutboundError> {
        let request = self.request(Method::POST, path)?.header("content-type", "application/json").body(body);
        self.send(self.as_admin(request), path).await
    }

    /// A call of any path with any body and content type, as it came; for tests of refusals.
    ///
    /// # Errors
    /// [`OutboundError`] if nothing came back; any HTTP status is an `Ok`.
    pub async fn post(&self, path: &str, content_type: &str, body: Bytes) -> Result<Received, OutboundError> {
        let request = self.request(Method::POST, path)?.header("content-type", content_type).body(body);
        self.send(self.with_key(request), path).await
    }

    pub(super) async fn acknowledged(
        &self,
        path: &str,
        body: Bytes,
    ) -> Result<Acknowledgement, OutboundError> {
        let answer = self.post(path, "application/json", body).await?;
        self.try_again(&answer)?;
        self.acknowledgement(&answer)
    }

    fn acknowledgement(&self, answer: &Received) -> Result<Acknowledgement, OutboundError> {
        let root = json::parse(&answer.body, Reading::Tolerant).ok();
        let read = root.as_ref().and_then(Acknowledgement::read);
        read.ok_or_else(|| self.unexpected("an acknowledgement", answer))
    }

    pub(super) async fn pulled(&self, path: &str, body: Bytes) -> Result<Received, OutboundError> {
        let answer = self.post(path, "application/json", body).await?;
        self.try_again(&answer)?;
        if answer.http_status == 200 {
            Ok(answer)
        } else {
            Err(self.unexpected("the answer to a pull", &answer))
        }
    }

    fn try_again(&self, answer: &Received) -> Result<(), OutboundError> {
        if !matches!(answer.http_status, 408 | 429 | 500..) {
            return Ok(());
        }
        let (url, said) = (self.shown(), said(&answer.body));
        Err(OutboundError::TryAgain { url, http_status: answer.http_status, said })
    }

    fn unexpected(&self, expected: &'static str, answer: &Received) -> OutboundError {
        let (url, said) = (self.shown(), said(&answer.body));
        OutboundError::Unexpected { url, http_status: answer.http_status, expected, said }
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, OutboundError> {
        let text = format!("{}/{path}", self.base.as_str().trim_end_matches('/'));
        let bad = |error: &dyn std::fmt::Display| OutboundError::BadUrl {
            url: without_key(&text),
            why: error.to_string(),
        };
        Ok(self.client.request(method, Url::parse(&text).map_err(|error| bad(&error))?))
    }

    fn with_key(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.key {
            Some(key) => request.basic_auth("chargemesh", Some(key)),
            None => request,
        }
    }

    fn as_admin(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.admin_key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    async fn send(&self, request: RequestBuilder, path: &str) -> Result<Received, OutboundError> {
        let url = || format!("{}/{}", self.shown(), without_key(path));
        let failed = |error: reqwest::Error| match error.is_timeout() {
            true => OutboundError::TimedOut { url: url(), seconds: TIMEOUT_S },
            false => OutboundError::Unreachable { url: url(), why: causes(error) },
        };
        let mut response = request.send().await.map_err(failed)?;
        let http_status = response.status().as_u16();
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len().saturating_add(chunk.len()) > ANSWER_BYTES_MAX {
                return Err(OutboundError::TooLarge { url: url(), limit_bytes: ANSWER_BYTES_MAX });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Received { http_status, body: body.freeze() })
    }

    fn shown(&self) -> String {
        without_key(self.base.as_str().trim_end_matches('/'))
    }
}

/// The chain of causes without the URL, which may hold the key.
fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

/// A URL or path with the segment after `/k/` and any user information taken out.
fn without_key(url: &str) -> String {
    let url = match (url.split_once("://"), url.split_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://{rest}"),
        _ => url.to_owned(),
    };
    match url.split_once("/k/") {
        Some((before, after)) => match after.split_once('/') {
            Some((_, rest)) => format!("{before}/k/…/{rest}"),
            None => format!("{before}/k/…"),
        },
        None => url,
    }
}

fn said(body: &Bytes) -> String {
    let beginning = body.get(..body.len().min(4 * SAID_CHARACTERS_MAX)).unwrap_or_default();
    String::from_utf8_lossy(beginning).chars().take(SAID_CHARACTERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_shown() {
        let table = [
            ("http://a:1/k/secret", "http://a:1/k/…"),
            ("http://a:1/k/secret/api", "http://a:1/k/…/api"),
            ("http://user:secret@a:1", "http://a:1"),
            ("http://a:1", "http://a:1"),
        ];
        for (url, shown) in table {
            assert_eq!(without_key(url), shown);
        }
    }

    #[test]
    fn urls_that_cannot_work_are_refused_at_once() {
        for url in ["", "127.0.0.1:8080", "ftp://a"] {
            assert!(matches!(HubClient::new(url, None), Err(OutboundError::BadUrl { .. })), "{url}");
        }
        // Certificates say that TLS is meant.
        let tls = Tls { roots_pem: b"any".to_vec(), identity_pem: None };
        let plain = HubClient::with_tls("http://a", None, &tls);
        assert!(matches!(plain, Err(OutboundError::BadUrl { .. })));
        let broken = HubClient::with_tls("https://a", None, &tls).err().map(|error| error.to_string());
        assert!(broken.is_some_and(|why| why.contains("there is no certificate in it")));
    }
}
