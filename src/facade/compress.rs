//! Large answers are compressed if the caller takes it: a page of 2,000 records shrinks to a twentieth.

use std::io::Write as _;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode as Http, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::answer::Answer;
use super::workers::Workers;

/// Smallest body in bytes that is compressed: what fits some packets gains nothing.
const BODY_BYTES_MIN: usize = 4 * 1024;
/// Longest `Accept-Encoding` that is read, in bytes; browsers send some 30.
const ACCEPT_BYTES_MAX: usize = 256;
/// Level of gzip: 6 takes twice the time for a tenth less.
const GZIP_LEVEL: u32 = 4;
/// Level of zstd: its own default.
const ZSTD_LEVEL: i32 = 3;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Gzip,
    Zstd,
}

impl Encoding {
    /// The best that the caller takes (RFC 9110 12.5.3); zstd where both are as welcome.
    pub(super) fn wanted(headers: &HeaderMap) -> Option<Encoding> {
        let accepts = headers.get(header::ACCEPT_ENCODING)?.to_str().ok()?;
        if accepts.len() > ACCEPT_BYTES_MAX {
            return None;
        }
        let weight = |names: &[&str]| {
            let of = |part: &str| -> Option<f32> {
                let (name, parameter) = part.split_once(';').unwrap_or((part, "q=1"));
                let is_meant = names.iter().any(|known| known.eq_ignore_ascii_case(name.trim()));
                let weight =
                    parameter.trim().strip_prefix("q=").and_then(|weight| weight.trim().parse().ok());
                is_meant.then(|| weight.unwrap_or(0.0))
            };
            accepts.split(',').find_map(of).unwrap_or(0.0)
        };
        let (zstd, gzip) = (weight(&["zstd"]), weight(&["gzip", "x-gzip"]));
        match (zstd > 0.0, gzip > 0.0) {
            (true, _) if zstd >= gzip => Some(Encoding::Zstd),
            (_, true) => Some(Encoding::Gzip),
            _ => None,
        }
    }

    fn name(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Encoding::Gzip => "gzip",
            Encoding::Zstd => "zstd",
        })
    }

    fn compressed(self, body: &[u8]) -> std::io::Result<Vec<u8>> {
        match self {
            Encoding::Gzip => {
                let mut encoder =
                    GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::new(GZIP_LEVEL));
                encoder.write_all(body)?;
                encoder.finish()
            }
            Encoding::Zstd => zstd::bulk::compress(body, ZSTD_LEVEL),
        }
    }
}

/// The answer as HTTP; compressed on a worker thread if it is large and the caller takes it. Where there is no
/// thread free it goes as it is.
pub(super) async fn respond(workers: &Workers, wanted: Option<Encoding>, mut answer: Answer) -> Response {
    if answer.http != Http::OK || answer.body.len() < BODY_BYTES_MIN {
        return answer.into_response();
    }
    let plain = std::sync::Arc::new(std::mem::take(&mut answer.body));
    let mut response = answer.into_response();
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    let packed = match wanted {
        None => None,
        Some(encoding) => {
            let source = std::sync::Arc::clone(&plain);
            let packed = workers.run(source.len(), move || encoding.compressed(source.as_bytes())).await;
            packed.ok().and_then(Result::ok).map(|body| (encoding, body))
        }
    };
    match packed {
        Some((encoding, body)) => {
            headers.insert(header::CONTENT_ENCODING, encoding.name());
            *response.body_mut() = Body::from(body);
        }
        None => {
            let plain = std::sync::Arc::try_unwrap(plain).unwrap_or_else(|shared| (*shared).clone());
            *response.body_mut() = Body::from(plain);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_what_the_caller_takes() {
        let table = [
            ("gzip", Some(Encoding::Gzip)),
            ("gzip, deflate, br, zstd", Some(Encoding::Zstd)),
            ("zstd;q=0.5, gzip;q=0.8", Some(Encoding::Gzip)),
            ("zstd;q=0, GZIP", Some(Encoding::Gzip)),
            ("x-gzip", Some(Encoding::Gzip)),
            ("gzip;q=0", None),
            ("gzip;q=", None),
            ("br", None),
            ("", None),
            ("*", None),
        ];
        for (accepts, wanted) in table {
            let headers =
                [(header::ACCEPT_ENCODING, HeaderValue::from_static(accepts))].into_iter().collect();
            assert_eq!(Encoding::wanted(&headers), wanted, "{accepts}");
        }
        assert_eq!(Encoding::wanted(&HeaderMap::new()), None);
    }
}
