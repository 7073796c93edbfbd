//! Both sides' own references of a session, CPOPartnerSessionID and EMPPartnerSessionID: what is known of them, and that
//! they are in whatever is said within the session (RULES 6).

use bytes::Bytes;

use super::request::asker_role;
use crate::identity::Role;
use crate::oicp::charging::{
    AuthorizationStop, PartnerSessionId, PartnerSessions, read_acknowledgement, with_partner_sessions,
};
use crate::protocol::{SessionOperation, SessionRecord};

/// What is known of both: what was said when the session began, and what the side that was asked answered of its own.
pub(super) fn partners(session: Option<&SessionRecord>) -> PartnerSessions {
    let Some(record) = session else { return PartnerSessions::default() };
    let read = |text: &Option<String>| text.as_deref().and_then(PartnerSessionId::parse);
    let begun =
        PartnerSessions { cpo: read(&record.cpo_partner_session), emp: read(&record.emp_partner_session) };
    let answered = answered(record);
    // Each side says its own: what it hears back of the other's is an echo.
    match asker_role(record.operation) {
        Role::Emp => PartnerSessions { emp: None, ..answered }.or(&begun),
        Role::Cpo | Role::Hub => PartnerSessions { cpo: None, ..answered }.or(&begun),
    }
}

fn answered(record: &SessionRecord) -> PartnerSessions {
    let Some(oicp) = &record.answer else { return PartnerSessions::default() };
    let partners = match record.operation {
        SessionOperation::AuthorizeStart => AuthorizationStop::read(oicp).map(|answer| answer.partners),
        _ => read_acknowledgement(oicp).map(|answer| answer.partners()),
    };
    // Whatever it is, it names nothing.
    partners.unwrap_or_default()
}

/// A message of the session with the references that it leaves out and the session has.
pub(super) fn with_references(oicp: &Bytes, record: &SessionRecord) -> Bytes {
    // It was read as JSON before.
    with_partner_sessions(oicp, &partners(Some(record))).map_or_else(|_| oicp.clone(), Bytes::from)
}
