//! What a backend is asked for, and under which paths (OPERATIONS 1).

use std::fmt;
use std::str::FromStr;

/// Which side a backend plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A charge point operator: takes remote starts and stops, and reservations.
    Cpo,
    /// A provider: authorizes, takes notifications and charge detail records.
    Emp,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Cpo => "CPO",
            Kind::Emp => "EMP",
        })
    }
}

/// An operation that a backend takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// AuthorizeStart.
    AuthorizeStart,
    /// AuthorizeStop.
    AuthorizeStop,
    /// AuthorizeRemoteStart.
    RemoteStart,
    /// AuthorizeRemoteStop.
    RemoteStop,
    /// AuthorizeRemoteReservationStart, under either path (GAPS C20).
    ReservationStart,
    /// AuthorizeRemoteReservationStop, under either path (GAPS C20).
    ReservationStop,
    /// ChargingNotification of any type.
    Notification,
    /// ChargeDetailRecord.
    ChargeDetailRecord,
    /// A path or method that this kind of backend does not serve: always answered 404.
    Unserved,
}

impl Operation {
    /// What some backend serves.
    pub const ALL: [Operation; 8] = [
        Operation::AuthorizeStart,
        Operation::AuthorizeStop,
        Operation::RemoteStart,
        Operation::RemoteStop,
        Operation::ReservationStart,
        Operation::ReservationStop,
        Operation::Notification,
        Operation::ChargeDetailRecord,
    ];

    /// The name, as in `remote-start`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::AuthorizeStart => "authorize-start",
            Operation::AuthorizeStop => "authorize-stop",
            Operation::RemoteStart => "remote-start",
            Operation::RemoteStop => "remote-stop",
            Operation::ReservationStart => "reservation-start",
            Operation::ReservationStop => "reservation-stop",
            Operation::Notification => "notification",
            Operation::ChargeDetailRecord => "cdr",
            Operation::Unserved => "unserved",
        }
    }

    /// Who serves it; nobody serves [`Operation::Unserved`].
    #[must_use]
    pub fn served_by(self) -> Option<Kind> {
        match self {
            Operation::RemoteStart
            | Operation::RemoteStop
            | Operation::ReservationStart
            | Operation::ReservationStop => Some(Kind::Cpo),
            Operation::AuthorizeStart
            | Operation::AuthorizeStop
            | Operation::Notification
            | Operation::ChargeDetailRecord => Some(Kind::Emp),
            Operation::Unserved => None,
        }
    }

    /// The paths; `{id}` is any partner id, its `*` literal or as `%2A`.
    pub(super) fn paths(self) -> &'static [&'static str] {
        match self {
            Operation::AuthorizeStart => &["/api/oicp/charging/v21/operators/{id}/authorize/start"],
            Operation::AuthorizeStop => &["/api/oicp/charging/v21/operators/{id}/authorize/stop"],
            Operation::RemoteStart => &["/api/oicp/charging/v21/providers/{id}/authorize-remote/start"],
            Operation::RemoteStop => &["/api/oicp/charging/v21/providers/{id}/authorize-remote/stop"],
            Operation::ReservationStart => &[
                "/api/oicp/reservation/v11/providers/{id}/reservation-start-request",
                "/api/oicp/charging/v21/providers/{id}/authorize-remote-reservation/start",
            ],
            Operation::ReservationStop => &[
                "/api/oicp/reservation/v11/providers/{id}/reservation-stop-request",
                "/api/oicp/charging/v21/providers/{id}/authorize-remote-reservation/stop",
            ],
            Operation::Notification => &["/api/oicp/notificationmgmt/v11/charging-notifications"],
            Operation::ChargeDetailRecord => &["/api/oicp/cdrmgmt/v22/operators/{id}/charge-detail-record"],
            Operation::Unserved => &[],
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Operation {
    type Err = ();

    fn from_str(text: &str) -> Result<Operation, ()> {
        Operation::ALL.into_iter().find(|operation| operation.as_str() == text).ok_or(())
    }
}
