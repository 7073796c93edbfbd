//! What the hub was asked.

use std::fmt;

use bytes::Bytes;

use super::operation::HubOperation;
use crate::backend::Behaviour;
use crate::oicp::json_write::Writer;
use crate::oicp::time::format_ms;

/// A request that the hub took. Neither `Debug` nor the line shows the body: it may hold card numbers.
#[derive(Clone)]
pub struct HubReceived {
    /// What was asked.
    pub operation: HubOperation,
    /// The path as it came, without a key before it.
    pub path: String,
    /// The partner as `CPO:DEABC`; `None` if it is none.
    pub partner: Option<String>,
    /// The body as it came; empty if it has more than 64 KiB. Personal data: never log it above DEBUG.
    pub body: Bytes,
    /// Bytes of the body.
    pub body_bytes: usize,
    /// When it was answered, in milliseconds since 1970.
    pub at: u64,
    /// The session that the answer is about.
    pub session: Option<String>,
    /// How it was treated.
    pub behaviour: Behaviour,
    /// HTTP status of the answer.
    pub http_status: u16,
    /// What was answered, for people.
    pub answer: String,
}

impl HubReceived {
    /// One line of JSON, without the body.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut writer = Writer::with_capacity(256);
        writer.begin_object().key("at").string(&format_ms(i64::try_from(self.at).unwrap_or(i64::MAX)));
        writer.key("operation").string(self.operation.as_str());
        writer.key("partner").string_or_null(self.partner.as_deref());
        writer.key("path").string(&self.path).key("bytes").integer(self.body_bytes as u64);
        writer.key("session").string_or_null(self.session.as_deref());
        writer.key("http").integer(u64::from(self.http_status)).key("answer").string(&self.answer);
        writer.key("behaviour").string(&self.behaviour.to_string()).end_object();
        writer.finish()
    }
}

impl fmt::Debug for HubReceived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_json())
    }
}
