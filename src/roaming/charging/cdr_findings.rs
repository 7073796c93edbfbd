//! What a record and its session do not agree on: found at both sides, each from what it knows.

use crate::oicp::charging::{CdrFinding, ChargeDetailRecord, SessionFacts, session_findings};
use crate::oicp::reading::Reading;
use crate::protocol::SessionRecord;

/// Findings of a record against its session.
pub(super) fn with_session(cdr: &ChargeDetailRecord, record: &SessionRecord) -> Vec<CdrFinding> {
    let facts = SessionFacts {
        evse: record.evse.as_deref(),
        medium: record.medium.as_deref(),
        further_media: &record.stop_media,
        cpo_reference: record.cpo_partner_session.as_deref(),
        emp_reference: record.emp_partner_session.as_deref(),
        opened_unix_ms: i64::try_from(record.opened_unix_ms).unwrap_or(i64::MAX),
    };
    session_findings(cdr, &facts)
}

/// The same of a record that was read before as far as it was needed.
pub(super) fn of_body(body: &[u8], record: &SessionRecord) -> Vec<CdrFinding> {
    let cdr = ChargeDetailRecord::parse(body, Reading::Tolerant);
    cdr.map(|cdr| with_session(&cdr, record)).unwrap_or_default()
}
