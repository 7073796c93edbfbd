//! The one table of answers: what went wrong, as HTTP status and body (RULES 12.1).

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode as Http, header};
use axum::response::{IntoResponse, Response};

use super::auth::Refusal;
use super::rates::TooOften;
use super::workers::WorkError;
use crate::engine::EngineError;
use crate::oicp::json_write::Writer;
use crate::oicp::status_code::{Code, StatusCode};

/// Header of every answer of the hub: a UUID, the handle for support cases (OPERATIONS 3).
pub(super) const PROCESS_ID: HeaderName = HeaderName::from_static("process-id");
/// Content type of every OICP answer (GAPS D3).
pub(super) const JSON_UTF8: HeaderValue = HeaderValue::from_static("application/json;charset=utf-8");

/// Seconds after which a refused caller should try again: long enough for a full load to be through.
const RETRY_AFTER_S: u32 = 2;

/// An answer before it becomes HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) http: Http,
    pub(super) body: String,
    /// Seconds after which it is worth trying again.
    pub(super) retry_after_s: Option<u32>,
    /// Closes the connection: the rest of the body was not read.
    pub(super) close: bool,
}

impl Answer {
    /// A message of OICP with HTTP 200: business outcomes, negative ones included.
    pub(super) fn ok(body: String) -> Answer {
        Answer { http: Http::OK, body, retry_after_s: None, close: false }
    }

    /// An OICP message with its HTTP status.
    pub(super) fn oicp(http_status: u16, body: &[u8]) -> Answer {
        let http = Http::from_u16(http_status).unwrap_or(Http::INTERNAL_SERVER_ERROR);
        Answer { http, body: String::from_utf8_lossy(body).into_owned(), retry_after_s: None, close: false }
    }

    /// The short body `{"StatusCode":{..}}` that the hub uses with other statuses.
    pub(super) fn fault(http: Http, code: Code, info: Option<&str>) -> Answer {
        let status = match info {
            Some(info) => StatusCode::with_info(code, info),
            None => StatusCode::from(code),
        };
        Answer { http, body: status.to_fault_json(), retry_after_s: None, close: false }
    }

    /// The hub's FaultBody for a message that is not what the schema says.
    pub(super) fn malformed(body: String) -> Answer {
        Answer { http: Http::BAD_REQUEST, body, retry_after_s: None, close: false }
    }

    /// The FaultBody for a request that is refused before its body is looked at.
    pub(super) fn unreadable(http: Http, field: &str, message: &str) -> Answer {
        let mut writer = Writer::new();
        writer.begin_object().key("extendedInfo").null().key("message").string(message);
        writer.key("validationErrors").begin_array().begin_object();
        writer.key("fieldReference").string(field).key("errorMessage").string(message);
        writer.end_object().end_array().end_object();
        Answer { http, body: writer.finish(), retry_after_s: None, close: true }
    }

    /// No such path, or an OICP service that this version does not offer (GAPS D8).
    pub(super) fn no_such_service() -> Answer {
        let status = StatusCode {
            description: Some("OICP service not found for this URI".to_owned()),
            ..StatusCode::with_info(Code::HubSystemError, "check the base URL and the service version")
        };
        let body = status.to_fault_json();
        Answer { http: Http::NOT_FOUND, body, retry_after_s: None, close: false }
    }

    /// A path of OICP called by something else than POST.
    pub(super) fn wrong_method() -> Answer {
        let info = "OICP services are called with POST";
        Answer::fault(Http::METHOD_NOT_ALLOWED, Code::HubSystemError, Some(info))
    }

    /// More requests than there is room for.
    pub(super) fn busy() -> Answer {
        let info = "the node is busy: send the same message again in some seconds";
        let answer = Answer::fault(Http::SERVICE_UNAVAILABLE, Code::HubSystemError, Some(info));
        Answer { retry_after_s: Some(RETRY_AFTER_S), close: false, ..answer }
    }

    /// The node did not finish in time; what it does may still happen.
    pub(super) fn too_slow() -> Answer {
        let info = "the node did not finish in time, the message may still be carried out: send it again";
        Answer {
            retry_after_s: Some(RETRY_AFTER_S),
            ..Answer::fault(Http::SERVICE_UNAVAILABLE, Code::HubSystemError, Some(info))
        }
    }

    /// Something in the node broke; `info` names no secrets.
    pub(super) fn broken(info: &str) -> Answer {
        Answer::fault(Http::INTERNAL_SERVER_ERROR, Code::HubSystemError, Some(info))
    }

    /// The store failed.
    pub(super) fn storage(info: &str) -> Answer {
        Answer::fault(Http::INTERNAL_SERVER_ERROR, Code::HubDatabaseError, Some(info))
    }

    /// An id of the body that is not the id of the path (GAPS C32).
    pub(super) fn ids_differ(field: &str) -> Answer {
        let info = format!("{field} of the body is not the id of the path");
        Answer::fault(Http::UNAUTHORIZED, Code::UnauthorizedAccess, Some(&info))
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Answer {
        let info = match refusal {
            Refusal::UnknownCaller => {
                "no usable key or certificate: call BASE_URL/k/KEY/api/.., send the key as password of HTTP Basic, \
                 or show a certificate that `certificates` of a backend names"
            }
            Refusal::ForeignId => "the id of the path is none of the caller's: see `parties` of its backend",
        };
        let answer = Answer::fault(Http::UNAUTHORIZED, Code::UnauthorizedAccess, Some(info));
        Answer { close: true, ..answer }
    }
}

/// The hub's limits come as HTTP 429 (OPERATIONS 5); of its body nothing is known.
impl From<TooOften> for Answer {
    fn from(TooOften { per_minute, wait_s }: TooOften) -> Answer {
        let info = format!("more than {per_minute} calls of this operation in a minute: wait {wait_s} s");
        let answer = Answer::fault(Http::TOO_MANY_REQUESTS, Code::HubSystemError, Some(&info));
        // The body was not read.
        Answer { retry_after_s: Some(wait_s), close: true, ..answer }
    }
}

impl From<EngineError> for Answer {
    fn from(error: EngineError) -> Answer {
        match error {
            EngineError::Busy => Answer::busy(),
            EngineError::Storage(_) => Answer::storage(&error.to_string()),
            EngineError::Reload(_) => Answer::broken(&error.to_string()),
            EngineError::Stopped => {
                let info = error.to_string();
                let answer = Answer::fault(Http::SERVICE_UNAVAILABLE, Code::HubSystemError, Some(&info));
                Answer { retry_after_s: Some(RETRY_AFTER_S), close: true, ..answer }
            }
        }
    }
}

impl From<WorkError> for Answer {
    fn from(error: WorkError) -> Answer {
        match error {
            WorkError::Busy => Answer::busy(),
            WorkError::Failed => Answer::broken("the message could not be worked on; please report it"),
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.http;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, JSON_UTF8);
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// A random UUID (version 4, RFC 9562) for the `Process-ID` header; `None` if the system has no randomness.
pub(super) fn process_id() -> Option<HeaderValue> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).ok()?;
    let number = u128::from_be_bytes(bytes) & !(0xf << 76 | 0b11 << 62) | 0x4 << 76 | 0b10 << 62;
    let hex = format!("{number:032x}");
    let part = |from, to| hex.get(from..to).unwrap_or_default();
    let text = format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32));
    HeaderValue::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_the_hubs_status_and_code() {
        let table = [
            (Answer::no_such_service(), 404, "\"001\""),
            (Answer::from(Refusal::ForeignId), 401, "\"017\""),
            (Answer::ids_differ("OperatorID"), 401, "\"017\""),
            (Answer::from(TooOften { per_minute: 6, wait_s: 10 }), 429, "\"001\""),
            (Answer::from(EngineError::Busy), 503, "\"001\""),
            (Answer::from(EngineError::Storage("disk full".into())), 500, "\"002\""),
            (Answer::from(EngineError::Stopped), 503, "\"001\""),
            (Answer::from(WorkError::Failed), 500, "\"001\""),
            (Answer::unreadable(Http::BAD_REQUEST, "Content-Type", "x"), 400, "validationErrors"),
        ];
        for (answer, http, text) in table {
            assert_eq!(answer.http.as_u16(), http, "{answer:?}");
            assert!(answer.body.contains(text), "{answer:?}");
        }
    }

    #[test]
    fn process_ids_are_version_4_uuids() {
        let id = process_id().unwrap();
        let text = id.to_str().unwrap();
        let bytes = text.as_bytes();
        assert_eq!((text.len(), bytes[14], text.matches('-').count()), (36, b'4', 4), "{text}");
        assert!(matches!(bytes[19], b'8' | b'9' | b'a' | b'b'), "{text}");
    }
}
