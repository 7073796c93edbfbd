//! The messages of charging: authorization, remote start and stop, reservation, notifications, charge detail
//! records, authentication data. A message's received bytes travel on unchanged; what is typed here is only a
//! view of them, for decisions. Personal data (card UIDs, contracts, PINs) shows in no `Debug` output.

pub mod answer;
pub mod authentication_data;
pub mod authorize;
mod body;
pub mod cdr;
pub mod cdr_check;
pub mod cdr_compare;
pub mod cdr_query;
pub mod identification;
pub mod medium;
pub mod notification;
pub mod remote;
pub mod rewrite;
mod schema;
pub mod session_id;

pub use answer::{
    AnswerError, AuthorizationStart, AuthorizationStatus, AuthorizationStop, read_acknowledgement,
};
pub use authentication_data::{
    ProviderMedia, PushAuthenticationData, read_pull_authentication_data, write_authentication_data,
};
pub use authorize::{AuthorizeStart, AuthorizeStop};
pub use cdr::{CalibrationLawInfo, ChargeDetailRecord, MeteringStatus, SignedMeteringValue};
pub use cdr_check::{CdrFinding, CdrRule, calibration_findings, cdr_findings, foreign_evse};
pub use cdr_compare::{EvseFacts, RECOMMENDED_PRODUCTS, SessionFacts, evse_findings, session_findings};
pub use cdr_query::GetChargeDetailRecords;
pub use identification::{Identification, IdentificationError, Media, QrSecret};
pub use medium::{HashedPin, MediumKey, Pin, Uid};
pub use notification::{ChargingNotification, ErrorClass, NotificationKind};
pub use remote::{
    AuthorizeRemoteReservationStart, AuthorizeRemoteReservationStop, AuthorizeRemoteStart,
    AuthorizeRemoteStop,
};
pub use rewrite::{
    FieldValue, RewriteError, with_fields, with_only_medium, with_partner_sessions, with_upper_case_medium,
};
pub(super) use schema::table_of;
pub use session_id::{PartnerSessionId, PartnerSessions, SessionId};

#[cfg(test)]
mod fixture_tests;
