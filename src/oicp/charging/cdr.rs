//! eRoamingChargeDetailRecord: what was charged. The EMP gets the received bytes; numbers here keep their text.

use super::body::{Body, field_text, text_of};
use super::identification::{Identification, Media};
use super::schema::CHARGE_DETAIL_RECORD;
use super::session_id::{PartnerSessions, SessionId};
use crate::oicp::decimal::Decimal;
use crate::oicp::finding::{Fault, Finding};
use crate::oicp::id::{EvseId, OperatorId, ProviderId};
use crate::oicp::json::{self, Node};
use crate::oicp::json_write::Writer;
use crate::oicp::reading::Reading;
use crate::oicp::time::DateTime;

/// Most signed meter values of one record (RULES section 14): start, eight in between, end.
pub const SIGNED_VALUES_MAX: usize = 10;

/// Most readings in between that are looked at: one a minute for two weeks. The message keeps all.
pub const READINGS_MAX: usize = 20_000;

/// MeteringStatusType.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MeteringStatus {
    /// The reading at the start.
    Start,
    /// One in between.
    Progress,
    /// The reading at the end.
    End,
    /// Another text, in tolerant reading only.
    Other(Box<str>),
}

impl MeteringStatus {
    /// Reads a status.
    #[must_use]
    pub fn read(text: &str) -> MeteringStatus {
        match text {
            "Start" => MeteringStatus::Start,
            "Progress" => MeteringStatus::Progress,
            "End" => MeteringStatus::End,
            other => MeteringStatus::Other(other.into()),
        }
    }

    /// The text on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            MeteringStatus::Start => "Start",
            MeteringStatus::Progress => "Progress",
            MeteringStatus::End => "End",
            MeteringStatus::Other(text) => text,
        }
    }
}

/// SignedMeteringValuesType.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedMeteringValue {
    /// The signed reading in the format of the CPO's transparency software, at most 3000 characters.
    pub value: Option<Box<str>>,
    /// Which reading.
    pub status: Option<MeteringStatus>,
}

/// CalibrationLawVerificationType: what a verifier needs besides the signed values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CalibrationLawInfo {
    /// CalibrationLawCertificateID.
    pub certificate_id: Option<Box<str>>,
    /// PublicKey of the meter.
    pub public_key: Option<Box<str>>,
    /// MeteringSignatureUrl.
    pub signature_url: Option<Box<str>>,
    /// MeteringSignatureEncodingFormat.
    pub encoding_format: Option<Box<str>>,
    /// SignedMeteringValuesVerificationInstruction.
    pub instruction: Option<Box<str>>,
    /// MeteringCheck: `Passed`, `Failed`, `Not Apply`; a live field of the hub (RULES section 7).
    pub metering_check: Option<Box<str>>,
}

/// eRoamingChargeDetailRecord.
#[derive(Debug, Clone, PartialEq)]
pub struct ChargeDetailRecord {
    /// The session.
    pub session_id: SessionId,
    /// The partners' references.
    pub partners: PartnerSessions,
    /// PartnerProductID.
    pub product_id: Option<Box<str>>,
    /// Where.
    pub evse_id: EvseId,
    /// The medium that opened the session.
    pub identification: Identification,
    /// Energy began to flow.
    pub charging_start: DateTime,
    /// Energy ended to flow.
    pub charging_end: DateTime,
    /// Session began.
    pub session_start: DateTime,
    /// Session ended.
    pub session_end: DateTime,
    /// Reading at the start, kWh.
    pub meter_start: Option<Decimal>,
    /// Reading at the end, kWh.
    pub meter_end: Option<Decimal>,
    /// Readings in between, kWh, at most [`READINGS_MAX`].
    pub meter_in_between: Vec<Decimal>,
    /// kWh. Mandatory: absent in tolerant reading only, and then refused by [`super::cdr_findings`].
    pub consumed_energy: Option<Decimal>,
    /// Signed readings, at most [`SIGNED_VALUES_MAX`].
    pub signed_values: Vec<SignedMeteringValue>,
    /// CalibrationLawVerificationInfo.
    pub calibration: Option<CalibrationLawInfo>,
    /// HubOperatorID.
    pub hub_operator_id: Option<OperatorId>,
    /// HubProviderID.
    pub hub_provider_id: Option<ProviderId>,
    /// Deviations, at most [`crate::oicp::push::FINDINGS_MAX`].
    pub findings: Vec<Finding>,
}

impl ChargeDetailRecord {
    /// Reads the body of a CDR, or one record of a page of them.
    ///
    /// # Errors
    /// [`Fault`] (HTTP 400): not JSON, a mandatory field absent or unreadable, not exactly one medium, more
    /// than [`SIGNED_VALUES_MAX`] signed values; in strict reading every deviation of severity `Error` or
    /// `OwnerMustSupply`. Plausibility is checked by [`super::cdr_findings`].
    pub fn parse(body: &[u8], reading: Reading) -> Result<ChargeDetailRecord, Fault> {
        let root = json::parse(body, reading)?;
        ChargeDetailRecord::read(&root, reading)
    }

    /// As [`Self::parse`], of a record that is parsed already.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn read(root: &Node<'_>, reading: Reading) -> Result<ChargeDetailRecord, Fault> {
        let body = Body::open(root, &CHARGE_DETAIL_RECORD, reading)?;
        Ok(ChargeDetailRecord {
            session_id: body.needed_session()?,
            partners: body.partners(),
            product_id: body.owned_text("PartnerProductID"),
            evse_id: body.needed_evse()?,
            identification: body.needed_identification(Media::Any)?,
            charging_start: body.needed_instant("ChargingStart")?,
            charging_end: body.needed_instant("ChargingEnd")?,
            session_start: body.needed_instant("SessionStart")?,
            session_end: body.needed_instant("SessionEnd")?,
            meter_start: body.decimal("MeterValueStart"),
            meter_end: body.decimal("MeterValueEnd"),
            meter_in_between: body.readings("MeterValueInBetween", READINGS_MAX),
            consumed_energy: body.decimal("ConsumedEnergy"),
            signed_values: signed_values(&body)?,
            calibration: body.get("CalibrationLawVerificationInfo").map(calibration),
            hub_operator_id: body.operator("HubOperatorID"),
            hub_provider_id: body.provider("HubProviderID"),
            findings: body.findings(),
        })
    }

    /// The message as this node would write it; a received one travels as it came instead.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut writer = Writer::with_capacity(1024);
        writer.begin_object().key("SessionID").string(self.session_id.as_str());
        self.partners.write(&mut writer);
        writer.key("PartnerProductID").string_or_null(self.product_id.as_deref());
        writer.key("EvseID").string(self.evse_id.as_str()).key("Identification");
        self.identification.write(&mut writer);
        writer.key("ChargingStart").string(self.charging_start.as_str());
        writer.key("ChargingEnd").string(self.charging_end.as_str());
        writer.key("SessionStart").string(self.session_start.as_str());
        writer.key("SessionEnd").string(self.session_end.as_str());
        number(&mut writer, "MeterValueStart", self.meter_start.as_ref());
        number(&mut writer, "MeterValueEnd", self.meter_end.as_ref());
        if !self.meter_in_between.is_empty() {
            writer.key("MeterValueInBetween").begin_object().key("meterValues").begin_array();
            for reading in &self.meter_in_between {
                writer.raw(reading.as_str());
            }
            writer.end_array().end_object();
        }
        number(&mut writer, "ConsumedEnergy", self.consumed_energy.as_ref());
        writer.key("SignedMeteringValues").begin_array();
        for signed in &self.signed_values {
            writer.begin_object().key("SignedMeteringValue").string_or_null(signed.value.as_deref());
            let status = signed.status.as_ref().map(MeteringStatus::as_str);
            writer.key("MeteringStatus").string_or_null(status).end_object();
        }
        writer.end_array().key("CalibrationLawVerificationInfo");
        match &self.calibration {
            Some(info) => info.write(&mut writer),
            None => {
                writer.null();
            }
        }
        writer.key("HubOperatorID").string_or_null(self.hub_operator_id.as_ref().map(OperatorId::as_str));
        writer.key("HubProviderID").string_or_null(self.hub_provider_id.as_ref().map(ProviderId::as_str));
        writer.end_object();
        writer.finish()
    }
}

impl CalibrationLawInfo {
    fn write(&self, writer: &mut Writer) {
        writer.begin_object();
        let texts = [
            ("CalibrationLawCertificateID", &self.certificate_id),
            ("PublicKey", &self.public_key),
            ("MeteringSignatureUrl", &self.signature_url),
            ("MeteringSignatureEncodingFormat", &self.encoding_format),
            ("SignedMeteringValuesVerificationInstruction", &self.instruction),
        ];
        for (name, text) in texts {
            writer.key(name).string_or_null(text.as_deref());
        }
        if let Some(check) = &self.metering_check {
            writer.key("MeteringCheck").string(check);
        }
        writer.end_object();
    }
}

fn number(writer: &mut Writer, name: &str, value: Option<&Decimal>) {
    writer.key(name);
    match value {
        Some(value) => writer.raw(value.as_str()),
        None => writer.null(),
    };
}

fn signed_values(body: &Body<'_, '_>) -> Result<Vec<SignedMeteringValue>, Fault> {
    let Some(node) = body.get("SignedMeteringValues") else { return Ok(Vec::new()) };
    let list = if node.is_array() { node.items() } else { std::slice::from_ref(node) };
    if list.len() > SIGNED_VALUES_MAX {
        let problem = format!("more than {SIGNED_VALUES_MAX} signed values");
        return Err(Fault::single("/SignedMeteringValues", problem));
    }
    let values = list.iter().map(|node| SignedMeteringValue {
        // Not trimmed: a signature covers every character.
        value: node.field_any_case(&["SignedMeteringValue"]).and_then(Node::as_str).map(Box::from),
        status: node.field_any_case(&["MeteringStatus"]).and_then(text_of).map(MeteringStatus::read),
    });
    Ok(values.collect())
}

fn calibration(node: &Node<'_>) -> CalibrationLawInfo {
    let text = |name: &str| field_text(node, name).map(Box::from);
    CalibrationLawInfo {
        certificate_id: text("CalibrationLawCertificateID"),
        public_key: text("PublicKey"),
        signature_url: text("MeteringSignatureUrl"),
        encoding_format: text("MeteringSignatureEncodingFormat"),
        instruction: text("SignedMeteringValuesVerificationInstruction"),
        metering_check: text("MeteringCheck"),
    }
}

#[cfg(test)]
#[path = "cdr_tests.rs"]
pub(super) mod tests;
