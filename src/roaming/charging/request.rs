//! What a backend asks about a session, parsed, and what the core looks at of it.

use bytes::Bytes;

use crate::identity::{Role, Service};
use crate::oicp::charging::{
    AuthorizeRemoteReservationStart, AuthorizeRemoteReservationStop, AuthorizeRemoteStart,
    AuthorizeRemoteStop, AuthorizeStart, AuthorizeStop, ChargingNotification, Identification,
    PartnerSessions, SessionId, with_upper_case_medium,
};
use crate::oicp::finding::{Fault, Finding};
use crate::oicp::id::EvseId;
use crate::oicp::reading::Reading;
use crate::protocol::SessionOperation;
use crate::roaming::Operation;

/// A message about a session, parsed.
#[derive(Clone, Debug)]
pub enum ChargeRequest {
    /// AuthorizeStart.
    AuthorizeStart(AuthorizeStart),
    /// AuthorizeStop.
    AuthorizeStop(AuthorizeStop),
    /// AuthorizeRemoteStart.
    RemoteStart(AuthorizeRemoteStart),
    /// AuthorizeRemoteStop.
    RemoteStop(AuthorizeRemoteStop),
    /// AuthorizeRemoteReservationStart.
    ReservationStart(AuthorizeRemoteReservationStart),
    /// AuthorizeRemoteReservationStop.
    ReservationStop(AuthorizeRemoteReservationStop),
    /// ChargingNotification of any kind.
    Notification(Box<ChargingNotification>),
}

impl ChargeRequest {
    /// Reads the body of an operation.
    ///
    /// # Errors
    /// [`Fault`]: what the hub answers with HTTP 400.
    pub fn parse(operation: SessionOperation, body: &[u8], reading: Reading) -> Result<ChargeRequest, Fault> {
        Ok(match operation {
            SessionOperation::AuthorizeStart => {
                ChargeRequest::AuthorizeStart(AuthorizeStart::parse(body, reading)?)
            }
            SessionOperation::AuthorizeStop => {
                ChargeRequest::AuthorizeStop(AuthorizeStop::parse(body, reading)?)
            }
            SessionOperation::RemoteStart => {
                ChargeRequest::RemoteStart(AuthorizeRemoteStart::parse(body, reading)?)
            }
            SessionOperation::RemoteStop => {
                ChargeRequest::RemoteStop(AuthorizeRemoteStop::parse(body, reading)?)
            }
            SessionOperation::ReservationStart => {
                ChargeRequest::ReservationStart(AuthorizeRemoteReservationStart::parse(body, reading)?)
            }
            SessionOperation::ReservationStop => {
                ChargeRequest::ReservationStop(AuthorizeRemoteReservationStop::parse(body, reading)?)
            }
            SessionOperation::Notification => {
                ChargeRequest::Notification(Box::new(ChargingNotification::parse(body, reading)?))
            }
        })
    }

    /// Which operation it is.
    pub fn operation(&self) -> SessionOperation {
        match self {
            ChargeRequest::AuthorizeStart(_) => SessionOperation::AuthorizeStart,
            ChargeRequest::AuthorizeStop(_) => SessionOperation::AuthorizeStop,
            ChargeRequest::RemoteStart(_) => SessionOperation::RemoteStart,
            ChargeRequest::RemoteStop(_) => SessionOperation::RemoteStop,
            ChargeRequest::ReservationStart(_) => SessionOperation::ReservationStart,
            ChargeRequest::ReservationStop(_) => SessionOperation::ReservationStop,
            ChargeRequest::Notification(_) => SessionOperation::Notification,
        }
    }

    /// OperatorID or ProviderID of the body: of the party that asks. A notification need not name it.
    pub fn asker(&self) -> Option<&str> {
        match self {
            ChargeRequest::AuthorizeStart(start) => Some(start.operator_id.as_str()),
            ChargeRequest::AuthorizeStop(stop) => Some(stop.operator_id.as_str()),
            ChargeRequest::RemoteStart(start) => Some(start.provider_id.as_str()),
            ChargeRequest::RemoteStop(stop) => Some(stop.provider_id.as_str()),
            ChargeRequest::ReservationStart(reservation) => Some(reservation.start.provider_id.as_str()),
            ChargeRequest::ReservationStop(reservation) => Some(reservation.stop.provider_id.as_str()),
            ChargeRequest::Notification(notification) => {
                notification.operator_id.as_ref().map(|operator| operator.as_str())
            }
        }
    }

    /// SessionID of the body.
    pub fn session(&self) -> Option<SessionId> {
        match self {
            // The hub makes its own, whatever a CPO sends (GAPS C13).
            ChargeRequest::AuthorizeStart(start) => start.session_id,
            ChargeRequest::AuthorizeStop(stop) => Some(stop.session_id),
            ChargeRequest::RemoteStart(start) => start.session_id,
            ChargeRequest::RemoteStop(stop) => Some(stop.session_id),
            ChargeRequest::ReservationStart(reservation) => reservation.start.session_id,
            ChargeRequest::ReservationStop(reservation) => Some(reservation.stop.session_id),
            ChargeRequest::Notification(notification) => Some(notification.session_id),
        }
    }

    /// EvseID of the body.
    pub fn evse(&self) -> Option<&EvseId> {
        match self {
            ChargeRequest::AuthorizeStart(start) => start.evse_id.as_ref(),
            ChargeRequest::AuthorizeStop(stop) => stop.evse_id.as_ref(),
            ChargeRequest::RemoteStart(start) => Some(&start.evse_id),
            ChargeRequest::RemoteStop(stop) => Some(&stop.evse_id),
            ChargeRequest::ReservationStart(reservation) => Some(&reservation.start.evse_id),
            ChargeRequest::ReservationStop(reservation) => Some(&reservation.stop.evse_id),
            ChargeRequest::Notification(notification) => Some(&notification.evse_id),
        }
    }

    /// Who is to be authorized.
    pub fn identification(&self) -> Option<&Identification> {
        match self {
            ChargeRequest::AuthorizeStart(start) => Some(&start.identification),
            ChargeRequest::AuthorizeStop(stop) => Some(&stop.identification),
            ChargeRequest::RemoteStart(start) => Some(&start.identification),
            ChargeRequest::ReservationStart(reservation) => Some(&reservation.start.identification),
            ChargeRequest::RemoteStop(_)
            | ChargeRequest::ReservationStop(_)
            | ChargeRequest::Notification(_) => None,
        }
    }

    /// What deviates in it, and was accepted all the same.
    pub fn findings(&self) -> &[Finding] {
        match self {
            ChargeRequest::AuthorizeStart(start) => &start.findings,
            ChargeRequest::AuthorizeStop(stop) => &stop.findings,
            ChargeRequest::RemoteStart(start) => &start.findings,
            ChargeRequest::RemoteStop(stop) => &stop.findings,
            ChargeRequest::ReservationStart(reservation) => &reservation.start.findings,
            ChargeRequest::ReservationStop(reservation) => &reservation.stop.findings,
            ChargeRequest::Notification(notification) => &notification.findings,
        }
    }

    /// Both sides' own references.
    pub fn partners(&self) -> &PartnerSessions {
        match self {
            ChargeRequest::AuthorizeStart(start) => &start.partners,
            ChargeRequest::AuthorizeStop(stop) => &stop.partners,
            ChargeRequest::RemoteStart(start) => &start.partners,
            ChargeRequest::RemoteStop(stop) => &stop.partners,
            ChargeRequest::ReservationStart(reservation) => &reservation.start.partners,
            ChargeRequest::ReservationStop(reservation) => &reservation.stop.partners,
            ChargeRequest::Notification(notification) => &notification.partners,
        }
    }
}

/// The message with UID and contract in upper case, as the hub makes them (RULES 5.7): both sides mean one medium.
pub(super) fn in_upper_case(oicp: &Bytes) -> Bytes {
    // It was read as JSON before.
    with_upper_case_medium(oicp).map_or_else(|_| oicp.clone(), Bytes::from)
}

/// The role of the party that asks.
pub(super) fn asker_role(operation: SessionOperation) -> Role {
    match operation {
        SessionOperation::AuthorizeStart
        | SessionOperation::AuthorizeStop
        | SessionOperation::Notification => Role::Cpo,
        SessionOperation::RemoteStart
        | SessionOperation::RemoteStop
        | SessionOperation::ReservationStart
        | SessionOperation::ReservationStop => Role::Emp,
    }
}

/// What it is for the fail modes of old knowledge.
pub(super) fn what_it_is(operation: SessionOperation) -> Operation {
    match operation {
        SessionOperation::AuthorizeStart => Operation::Authorization,
        SessionOperation::RemoteStart => Operation::RemoteStart,
        SessionOperation::ReservationStart => Operation::Reservation,
        SessionOperation::RemoteStop | SessionOperation::ReservationStop => Operation::RemoteStop,
        SessionOperation::AuthorizeStop | SessionOperation::Notification => Operation::RunningSession,
    }
}

/// What must be agreed on for it.
pub(super) fn service(operation: SessionOperation) -> Service {
    match operation {
        SessionOperation::ReservationStart | SessionOperation::ReservationStop => Service::Reservation,
        _ => Service::Authorization,
    }
}
