//! What a backend asks a node's facade, in the words of OICP.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use chargemesh::oicp::time::format_ms;

use crate::http::Client;
use crate::parties::PROVIDER;

/// Largest page of PullEvseData.
pub(crate) const PAGE_SIZE: usize = 2_000;

/// A node takes LastCall for so much earlier, since its clock is not the backend's.
const LAST_CALL_MARGIN_MS: u64 = 60_000;

/// A provider's backend.
pub(crate) struct Backend {
    http: Client,
}

/// What came back from a pull around a point.
pub(crate) struct Around {
    /// Charging points within the circle.
    pub(crate) total: usize,
    /// Bytes of the first page.
    pub(crate) bytes: usize,
}

impl Backend {
    /// Connects to a facade.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn connect(facade: Option<SocketAddr>) -> Result<Backend> {
        Ok(Backend { http: Client::connect(facade.context("the node has no facade")?)? })
    }

    /// PullEvseData around a point, its first page, in a notation such as `Google`.
    ///
    /// # Errors
    /// If the facade refuses.
    pub(crate) fn around(&mut self, place: (f64, f64), radius_km: f64, notation: &str) -> Result<Around> {
        let (path, body) = around(place, radius_km, notation);
        let (status, answer) = self.http.post(&path, &body)?;
        ensure!(
            status == 200,
            "HTTP {status}: {}",
            String::from_utf8_lossy(&answer[..answer.len().min(300)])
        );
        Ok(Around { total: total(answer)?, bytes: answer.len() })
    }

    /// PullEvseData of what changed since a time in unix milliseconds: how many charging points.
    ///
    /// # Errors
    /// If the facade refuses.
    pub(crate) fn changed_since(&mut self, unix_ms: u64) -> Result<usize> {
        let path = data_path(1);
        let since = format_ms(i64::try_from(unix_ms + LAST_CALL_MARGIN_MS)?);
        let body = format!(
            r#"{{"ProviderID":"{}","GeoCoordinatesResponseFormat":"Google","LastCall":"{since}"}}"#,
            PROVIDER.1
        );
        let (status, answer) = self.http.post(&path, &body)?;
        ensure!(
            status == 200,
            "HTTP {status}: {}",
            String::from_utf8_lossy(&answer[..answer.len().min(300)])
        );
        total(answer)
    }

    /// PullEvseStatusByID: whether each of these charging points has this status, in this order.
    ///
    /// # Errors
    /// If the facade refuses.
    pub(crate) fn have_statuses(&mut self, wanted: &[(String, &str)]) -> Result<bool> {
        let path = format!("/api/oicp/evsepull/v21/providers/{}/status-records-by-id", PROVIDER.1);
        let ids: Vec<String> = wanted.iter().map(|(id, _)| format!("\"{id}\"")).collect();
        let body = format!(r#"{{"ProviderID":"{}","EvseID":[{}]}}"#, PROVIDER.1, ids.join(","));
        let (status, answer) = self.http.post(&path, &body)?;
        let answer = std::str::from_utf8(answer)?;
        ensure!(status == 200, "HTTP {status}: {}", answer.get(..300).unwrap_or(answer));
        let shown = |(id, status): &(String, &str)| {
            let at = answer.find(&format!("\"{id}\""))?;
            answer.get(at..at + 100).or(answer.get(at..))?.split('}').next()?.contains(status).then_some(())
        };
        Ok(wanted.iter().all(|pair| shown(pair).is_some()))
    }
}

/// Path and body of PullEvseData around a point, its first page, in a notation such as `Google`.
pub(crate) fn around((lat, lon): (f64, f64), radius_km: f64, notation: &str) -> (String, String) {
    let body = format!(
        r#"{{"ProviderID":"{}","SearchCenter":{{"GeoCoordinates":{{"Google":{{"Coordinates":"{lat:.5} {lon:.5}"}}}},"Radius":{radius_km}}},"GeoCoordinatesResponseFormat":"{notation}"}}"#,
        PROVIDER.1
    );
    (data_path(PAGE_SIZE), body)
}

/// How many charging points a page of PullEvseData is of.
///
/// # Errors
/// If it is no page.
pub(crate) fn total(page: &[u8]) -> Result<usize> {
    number(page, b"\"totalElements\":")
}

fn data_path(size: usize) -> String {
    format!("/api/oicp/evsepull/v23/providers/{}/data-records?page=0&size={size}", PROVIDER.1)
}

/// The number that follows a word in the last kilobyte of a text.
fn number(text: &[u8], word: &[u8]) -> Result<usize> {
    let tail = &text[text.len().saturating_sub(1_024)..];
    let at = tail.windows(word.len()).rposition(|window| window == word).context("the page has no total")?;
    let digits: Vec<u8> = tail[at + word.len()..].iter().copied().take_while(u8::is_ascii_digit).collect();
    Ok(std::str::from_utf8(&digits)?.parse()?)
}
