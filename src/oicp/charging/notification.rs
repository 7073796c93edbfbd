//! eRoamingChargingNotification in its four types: a CPO tells the EMP how charging goes (RULES section 8).

use super::body::Body;
use super::identification::{Identification, Media};
use super::schema::{NOTIFICATION_END, NOTIFICATION_ERROR, NOTIFICATION_PROGRESS, NOTIFICATION_START};
use super::session_id::{PartnerSessions, SessionId};
use crate::oicp::decimal::Decimal;
use crate::oicp::finding::{Fault, Finding};
use crate::oicp::id::{EvseId, OperatorId};
use crate::oicp::json::{self, Node};
use crate::oicp::json_write::Writer;
use crate::oicp::reading::Reading;
use crate::oicp::time::DateTime;

/// Least time between two Progress notifications of one session (milliseconds, OPERATIONS section 4).
pub const PROGRESS_INTERVAL_MS: i64 = 300_000;

/// The discriminator `Type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NotificationKind {
    /// Energy began to flow.
    Start,
    /// It flows.
    Progress,
    /// It no longer flows; the session is still open.
    End,
    /// Something failed, before or during charging.
    Error,
}

impl NotificationKind {
    /// The four values.
    pub const ALL: [NotificationKind; 4] =
        [NotificationKind::Start, NotificationKind::Progress, NotificationKind::End, NotificationKind::Error];

    /// The text on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            NotificationKind::Start => "Start",
            NotificationKind::Progress => "Progress",
            NotificationKind::End => "End",
            NotificationKind::Error => "Error",
        }
    }

    /// The value of that text, exactly spelled.
    #[must_use]
    pub fn parse(text: &str) -> Option<NotificationKind> {
        NotificationKind::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// ErrorClassType, in both of its spellings (GAPS A1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorClass {
    /// `ConnectorError`: the driver should check the plug.
    Connector,
    /// `CriticalError`: charging stopped abruptly.
    Critical,
    /// Another text, in tolerant reading only.
    Other(Box<str>),
}

impl ErrorClass {
    /// Reads a class with or without its blank.
    #[must_use]
    pub fn read(text: &str) -> ErrorClass {
        match text {
            "ConnectorError" | "Connector Error" => ErrorClass::Connector,
            "CriticalError" | "Critical Error" => ErrorClass::Critical,
            other => ErrorClass::Other(other.into()),
        }
    }

    /// The text on the wire, without blank.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            ErrorClass::Connector => "ConnectorError",
            ErrorClass::Critical => "CriticalError",
            ErrorClass::Other(text) => text,
        }
    }
}

/// eRoamingChargingNotification of any type; a field that the type does not have is `None`. After reading, the
/// fields that the type must carry are there.
#[derive(Debug, Clone, PartialEq)]
pub struct ChargingNotification {
    /// The type.
    pub kind: NotificationKind,
    /// The session.
    pub session_id: SessionId,
    /// The partners' references.
    pub partners: PartnerSessions,
    /// The CPO; mandatory in the CPO document only. The real hub fails (500, 001) on an Error without it.
    pub operator_id: Option<OperatorId>,
    /// Where.
    pub evse_id: EvseId,
    /// The medium of the session; optional (GAPS C17).
    pub identification: Option<Identification>,
    /// PartnerProductID.
    pub product_id: Option<Box<str>>,
    /// Session began.
    pub session_start: Option<DateTime>,
    /// Session ended (End).
    pub session_end: Option<DateTime>,
    /// Energy began to flow; always there in Start and Progress.
    pub charging_start: Option<DateTime>,
    /// Energy ended to flow; always there in End.
    pub charging_end: Option<DateTime>,
    /// When the values were taken; always there in Progress.
    pub event_occurred: Option<DateTime>,
    /// ChargingDuration (Progress, milliseconds, GAPS C18).
    pub duration_ms: Option<u64>,
    /// kWh: ConsumedEnergyProgress of a Progress, ConsumedEnergy of an End.
    pub energy: Option<Decimal>,
    /// Reading at the start, kWh.
    pub meter_start: Option<Decimal>,
    /// Reading at the end, kWh.
    pub meter_end: Option<Decimal>,
    /// The blocking fee starts then (End).
    pub penalty_start: Option<DateTime>,
    /// The error's class; always there in Error.
    pub error: Option<ErrorClass>,
    /// ErrorAdditionalInfo.
    pub error_info: Option<Box<str>>,
    /// Deviations, at most [`crate::oicp::push::FINDINGS_MAX`].
    pub findings: Vec<Finding>,
}

impl ChargingNotification {
    /// A notification of this node's own with nothing but what every type has.
    #[must_use]
    pub fn new(kind: NotificationKind, session_id: SessionId, evse_id: EvseId) -> ChargingNotification {
        ChargingNotification {
            kind,
            session_id,
            partners: PartnerSessions::default(),
            operator_id: None,
            evse_id,
            identification: None,
            product_id: None,
            session_start: None,
            session_end: None,
            charging_start: None,
            charging_end: None,
            event_occurred: None,
            duration_ms: None,
            energy: None,
            meter_start: None,
            meter_end: None,
            penalty_start: None,
            error: None,
            error_info: None,
            findings: Vec::new(),
        }
    }

    /// Reads the body of a notification of any type.
    ///
    /// # Errors
    /// [`Fault`] (HTTP 400): not JSON, no known type, a mandatory field of that type absent or unreadable; in
    /// strict reading every deviation of severity `Error` or `OwnerMustSupply`, and a Progress with neither
    /// duration nor energy.
    pub fn parse(body: &[u8], reading: Reading) -> Result<ChargingNotification, Fault> {
        let root = json::parse(body, reading)?;
        let kind = root.field_any_case(&["Type"]).and_then(Node::as_str).and_then(NotificationKind::parse);
        let kind =
            kind.ok_or_else(|| Fault::single("/Type", "one of Start, Progress, End, Error is needed"))?;
        let table = match kind {
            NotificationKind::Start => &NOTIFICATION_START,
            NotificationKind::Progress => &NOTIFICATION_PROGRESS,
            NotificationKind::End => &NOTIFICATION_END,
            NotificationKind::Error => &NOTIFICATION_ERROR,
        };
        let body = Body::open(&root, table, reading)?;
        let energy =
            if kind == NotificationKind::Progress { "ConsumedEnergyProgress" } else { "ConsumedEnergy" };
        let mut notification = ChargingNotification {
            partners: body.partners(),
            operator_id: body.operator("OperatorID"),
            identification: body.identification(Media::Any)?,
            product_id: body.owned_text("PartnerProductID"),
            session_start: body.instant("SessionStart"),
            session_end: body.instant("SessionEnd"),
            charging_start: body.instant("ChargingStart"),
            charging_end: body.instant("ChargingEnd"),
            event_occurred: body.instant("EventOccurred"),
            duration_ms: body.whole_number("ChargingDuration"),
            energy: body.decimal(energy),
            meter_start: body.decimal("MeterValueStart"),
            meter_end: body.decimal("MeterValueEnd"),
            penalty_start: body.instant("PenaltyTimeStart"),
            error: body.text("ErrorType").map(ErrorClass::read),
            error_info: body.owned_text("ErrorAdditionalInfo"),
            ..ChargingNotification::new(kind, body.needed_session()?, body.needed_evse()?)
        };
        notification.check(&body)?;
        notification.findings = body.findings();
        Ok(notification)
    }

    fn check(&self, body: &Body<'_, '_>) -> Result<(), Fault> {
        match self.kind {
            NotificationKind::Start => body.needed_instant("ChargingStart").map(drop),
            NotificationKind::End => body.needed_instant("ChargingEnd").map(drop),
            NotificationKind::Error => body.needed("ErrorType", self.error.as_ref()).map(drop),
            NotificationKind::Progress => {
                body.needed_instant("ChargingStart")?;
                body.needed_instant("EventOccurred")?;
                let empty = self.duration_ms.is_none() && self.energy.is_none();
                if empty && body.reading() == Reading::Strict {
                    let problem = "ChargingDuration or ConsumedEnergyProgress is needed";
                    return Err(Fault::single("/ChargingDuration", problem));
                }
                Ok(())
            }
        }
    }

    /// The message as this node would write it: the fields of its type that are known, nothing else.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut writer = Writer::with_capacity(512);
        writer.begin_object().key("Type").string(self.kind.as_str());
        writer.key("SessionID").string(self.session_id.as_str());
        self.partners.write(&mut writer);
        if let Some(identification) = &self.identification {
            writer.key("Identification");
            identification.write(&mut writer);
        }
        writer.key("EvseID").string(self.evse_id.as_str());
        let progress = self.kind == NotificationKind::Progress;
        let texts = [
            ("OperatorID", self.operator_id.as_ref().map(OperatorId::as_str)),
            ("PartnerProductID", self.product_id.as_deref()),
            ("SessionStart", self.session_start.as_ref().map(DateTime::as_str)),
            ("ChargingStart", self.charging_start.as_ref().map(DateTime::as_str)),
            ("EventOccurred", self.event_occurred.as_ref().map(DateTime::as_str)),
            ("ChargingEnd", self.charging_end.as_ref().map(DateTime::as_str)),
            ("SessionEnd", self.session_end.as_ref().map(DateTime::as_str)),
            ("PenaltyTimeStart", self.penalty_start.as_ref().map(DateTime::as_str)),
            ("ErrorType", self.error.as_ref().map(ErrorClass::as_str)),
            ("ErrorAdditionalInfo", self.error_info.as_deref()),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                writer.key(name).string(text);
            }
        }
        if let Some(duration) = self.duration_ms {
            writer.key("ChargingDuration").integer(duration);
        }
        let numbers = [
            (if progress { "ConsumedEnergyProgress" } else { "ConsumedEnergy" }, &self.energy),
            ("MeterValueStart", &self.meter_start),
            ("MeterValueEnd", &self.meter_end),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                writer.key(name).raw(number.as_str());
            }
        }
        writer.end_object();
        writer.finish()
    }
}

#[cfg(test)]
#[path = "notification_tests.rs"]
mod tests;
