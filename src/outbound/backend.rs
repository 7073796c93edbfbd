//! Calls to a party's own backend: OICP over HTTP as the hub would call it. A call is made once; what matters is
//! whether the backend may have heard of it.

use std::path::PathBuf;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{Client, Url, header};
use serde::{Deserialize, Serialize};

use super::client::Received;
use super::error::OutboundError;
use super::tls::{self, Tls, Version};
use crate::tls::TlsError;

/// Largest answer of a backend to a message about a session, in bytes.
const BACKEND_ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Time for a connection: a backend that is off is known quickly.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Idle connections are given up after this time, before a usual server does.
const IDLE: Duration = Duration::from_secs(4);

/// Where the CPO's backend takes reservations: the specification and a wide-spread library differ (GAPS C20).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReservationPath {
    /// `/api/oicp/reservation/v11/providers/{id}/reservation-start-request`: the specification's.
    #[default]
    Reservation,
    /// `/api/oicp/charging/v21/providers/{id}/authorize-remote-reservation/start`: that of WWCP_OICP.
    Charging,
}

/// `[[outbound.backend]]`: where the backend of a party is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendTarget {
    /// The party, as `ROLE:ID` in any wire spelling.
    pub party: String,
    /// Base URL, `http://` or `https://`; OICP's paths are appended.
    pub url: String,
    /// PEM file with the roots that its server is checked against. Empty: those of the operating system.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub ca: PathBuf,
    /// PEM file with the certificate that we show, and those between it and its root. Empty: none is shown.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub certificate: PathBuf,
    /// PEM file with its key, mode 0600.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub key: PathBuf,
    /// Whether it takes charging notifications (an EMP's).
    #[serde(default)]
    pub notifications: bool,
    /// Where it takes reservations (a CPO's).
    #[serde(default)]
    pub reservation_path: ReservationPath,
}

impl BackendTarget {
    /// Reads the certificates and the key.
    ///
    /// # Errors
    /// [`TlsError`] names the file and what to do.
    pub fn tls(&self) -> Result<Tls, TlsError> {
        Tls::read(&self.ca, &self.certificate, &self.key)
    }
}

fn is_empty(path: &std::path::Path) -> bool {
    path.as_os_str().is_empty()
}

/// `[outbound]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Calls of backends under way at once; more wait, each no longer than its own time.
    pub calls_max: usize,
    /// The backends.
    #[serde(rename = "backend")]
    pub backends: Vec<BackendTarget>,
}

impl Default for Config {
    fn default() -> Config {
        Config { calls_max: 2_048, backends: Vec::new() }
    }
}

/// Why a backend gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallFailure {
    /// No connection: it has heard nothing.
    #[error("{0}")]
    NotSent(String),
    /// It may have heard.
    #[error("{0}")]
    Silent(String),
}

/// The client for one backend; clones share the connections.
#[derive(Clone)]
pub struct BackendClient {
    client: Client,
    base: Url,
}

impl BackendClient {
    /// A client for a base URL; with `https` the other side is checked against the roots of the operating system.
    /// Redirects are not followed.
    ///
    /// # Errors
    /// [`OutboundError::BadUrl`] if it is none.
    pub fn new(base_url: &str) -> Result<BackendClient, OutboundError> {
        BackendClient::with_tls(base_url, &Tls::default())
    }

    /// The same with roots and a certificate of our own.
    ///
    /// # Errors
    /// [`OutboundError::BadUrl`] if the URL is not HTTPS and certificates are given; [`OutboundError::Tls`] if they
    /// cannot be used.
    pub fn with_tls(base_url: &str, tls: &Tls) -> Result<BackendClient, OutboundError> {
        let (base, builder) = tls::builder(base_url, base_url, tls, Version::One)?;
        let client = builder
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE)
            // A message that may have been heard is never sent again.
            .retry(reqwest::retry::never())
            .build()
            .map_err(|error| OutboundError::Client(error.to_string()))?;
        Ok(BackendClient { client, base })
    }

    /// Posts a message once.
    ///
    /// # Errors
    /// [`CallFailure`] says whether the backend may have heard of it.
    pub async fn post(&self, path: &str, body: Bytes, timeout: Duration) -> Result<Received, CallFailure> {
        let url = format!("{}{path}", self.base.as_str().trim_end_matches('/'));
        let request = self
            .client
            .post(url)
            .timeout(timeout)
            .header(header::CONTENT_TYPE, "application/json;charset=utf-8")
            .header(header::ACCEPT, "application/json")
            .body(body);
        let mut response = request.send().await.map_err(|error| failure(&error))?;
        let http_status = response.status().as_u16();
        let mut body = BytesMut::new();
        loop {
            match response.chunk().await {
                Ok(None) => return Ok(Received { http_status, body: body.freeze() }),
                Ok(Some(chunk)) if body.len() + chunk.len() <= BACKEND_ANSWER_BYTES_MAX => {
                    body.extend_from_slice(&chunk);
                }
                Ok(Some(_)) => {
                    let why = format!("it answers more than {BACKEND_ANSWER_BYTES_MAX} bytes");
                    return Err(CallFailure::Silent(why));
                }
                Err(error) => return Err(CallFailure::Silent(why(&error))),
            }
        }
    }
}

fn failure(error: &reqwest::Error) -> CallFailure {
    if error.is_connect() { CallFailure::NotSent(why(error)) } else { CallFailure::Silent(why(error)) }
}

/// The innermost cause: the outer ones say no more than that something failed, and name the URL.
fn why(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
