//! eRoamingPushAuthenticationData: an EMP uploads media, so that its node can answer for it.

use super::body::Body;
use super::identification::{Identification, IdentificationError, Media, OPTIONS};
use super::medium::{HashedPin, MediumKey};
use super::schema::PUSH_AUTHENTICATION_DATA;
use crate::oicp::finding::{Fault, Finding};
use crate::oicp::id::{OperatorId, ProviderId};
use crate::oicp::json::{self, Node};
use crate::oicp::json_write::Writer;
use crate::oicp::push::{ActionType, FINDINGS_MAX};
use crate::oicp::reading::Reading;
use crate::oicp::status_code::{Code, StatusCode};

/// Most records in one push: a large EMP's cards. Bounds the memory of one message.
pub const RECORDS_MAX: usize = 500_000;

/// eRoamingPushAuthenticationData.
#[derive(Debug, Clone, PartialEq)]
pub struct PushAuthenticationData {
    /// What to do.
    pub action: ActionType,
    /// Who pushes.
    pub provider_id: ProviderId,
    /// The media in received order; one medium may occur twice. In tolerant reading a record with several is as
    /// many media.
    pub records: Vec<Identification>,
    /// Deviations, at most [`crate::oicp::push::FINDINGS_MAX`].
    pub findings: Vec<Finding>,
}

impl PushAuthenticationData {
    /// Reads the body of the push.
    ///
    /// # Errors
    /// [`Fault`] (HTTP 400): not JSON, no action, no valid ProviderID, a record without a readable medium or, in
    /// strict reading, with several; more than [`RECORDS_MAX`] records; in strict reading every deviation of
    /// severity `Error` or `OwnerMustSupply`.
    pub fn parse(body: &[u8], reading: Reading) -> Result<PushAuthenticationData, Fault> {
        let root = json::parse(body, reading)?;
        let body = Body::open(&root, &PUSH_AUTHENTICATION_DATA, reading)?;
        let action = body.needed("ActionType", body.text("ActionType").and_then(ActionType::parse))?;
        let block = body.needed("ProviderAuthenticationData", body.get("ProviderAuthenticationData"))?;
        let at = |name: &str| format!("/ProviderAuthenticationData/{name}");
        let provider = block.field_any_case(&["ProviderID"]).and_then(Node::as_str);
        let provider_id = provider.and_then(|text| ProviderId::parse(text).ok());
        let provider_id =
            provider_id.ok_or_else(|| Fault::single(&at("ProviderID"), "a ProviderID is needed"))?;
        let list_at = at("AuthenticationDataRecord");
        let list = block.field_any_case(&["AuthenticationDataRecord"]);
        let list = list.ok_or_else(|| Fault::single(&list_at, "AuthenticationDataRecord may not be null"))?;
        let nodes = list.items_or_one().ok_or_else(|| Fault::no_list(&list_at, list))?;
        if nodes.len() > RECORDS_MAX {
            return Err(Fault::single(&list_at, format!("more than {RECORDS_MAX} records in one push")));
        }
        let mut records = Vec::with_capacity(nodes.len());
        let mut findings = body.findings();
        for (index, node) in nodes.iter().enumerate() {
            let (medium, at) = medium_node(node, format!("{list_at}/{index}"))?;
            match Identification::read(medium, Media::Upload) {
                Ok(found) => records.push(found),
                Err(IdentificationError::Several(_)) if reading == Reading::Tolerant => {
                    records.extend(each_medium(medium, &at, &mut findings)?);
                }
                Err(error) => return Err(error.at(&at)),
            }
        }
        if records.len() > RECORDS_MAX {
            return Err(Fault::single(&list_at, format!("more than {RECORDS_MAX} media in one push")));
        }
        Ok(PushAuthenticationData { action, provider_id, records, findings })
    }

    /// Places of records whose contract is of another provider than `may_push` accepts (code 019, RULES
    /// section 3); it is asked with the canonical provider part.
    pub fn foreign_contracts(&self, may_push: impl Fn(&str) -> bool) -> Vec<usize> {
        let foreign =
            |record: &Identification| record.evco_id().is_some_and(|evco_id| !may_push(&evco_id.provider()));
        let records = self.records.iter().enumerate();
        records.filter(|(_, record)| foreign(record)).map(|(index, _)| index).collect()
    }
}

/// What a provider uploaded, as PullAuthenticationData told of it before OICP 2.3.
#[derive(Debug, Clone)]
pub struct ProviderMedia {
    /// The provider.
    pub provider_id: String,
    /// Its media, each with the hash of its PIN if it has one.
    pub media: Vec<(MediumKey, Option<HashedPin>)>,
}

/// Reads the body of PullAuthenticationData (OICP 2.2): the operator that asks.
///
/// # Errors
/// [`Fault`] (HTTP 400): not JSON, or no valid OperatorID.
pub fn read_pull_authentication_data(body: &[u8], reading: Reading) -> Result<OperatorId, Fault> {
    let root = json::parse(body, reading)?;
    let text = root.field_any_case(&["OperatorID"]).and_then(Node::as_str);
    let text = text.ok_or_else(|| Fault::single("/OperatorID", "OperatorID may not be null"))?;
    OperatorId::parse(text).map_err(|error| Fault::single("/OperatorID", error.to_string()))
}

/// Writes the answer to PullAuthenticationData (OICP 2.2).
#[must_use]
pub fn write_authentication_data(providers: &[ProviderMedia]) -> String {
    let mut writer = Writer::new();
    writer.begin_object().key("AuthenticationData").begin_object();
    writer.key("ProviderAuthenticationData").begin_array();
    for provider in providers {
        writer.begin_object().key("ProviderID").string(&provider.provider_id);
        writer.key("AuthenticationDataRecord").begin_array();
        for (key, pin) in &provider.media {
            medium(&mut writer, key, pin.as_ref());
        }
        writer.end_array().end_object();
    }
    writer.end_array().end_object().key("StatusCode");
    StatusCode::from(Code::Success).write(&mut writer);
    writer.end_object();
    writer.finish()
}

/// One record; nothing for a medium that cannot be named any more.
fn medium(writer: &mut Writer, key: &MediumKey, pin: Option<&HashedPin>) {
    let Some((kind, id)) = key.expose().split_once(':') else { return };
    let (option, field) = match kind {
        "rfid" => ("RFIDMifareFamilyIdentification", "UID"),
        "qr" => ("QRCodeIdentification", "EvcoID"),
        "pnc" => ("PlugAndChargeIdentification", "EvcoID"),
        "remote" => ("RemoteIdentification", "EvcoID"),
        _ => return,
    };
    writer.begin_object().key("Identification").begin_object().key(option).begin_object();
    writer.key(field).string(id);
    if let Some(pin) = pin {
        writer.key("HashedPIN").begin_object().key("Value").string(pin.expose());
        writer.key("Function").string("Bcrypt").end_object();
    }
    writer.end_object().end_object().end_object();
}

/// What holds the medium of a record, and where: `Identification`, or the record itself (GAPS A26).
fn medium_node<'n, 'a>(record: &'n Node<'a>, pointer: String) -> Result<(&'n Node<'a>, String), Fault> {
    if let Some(inner) = record.field_any_case(&["Identification"]) {
        return Ok((inner, format!("{pointer}/Identification")));
    }
    if record.field_any_case(&OPTIONS).is_none() {
        return Err(Fault::single(&format!("{pointer}/Identification"), "Identification may not be null"));
    }
    Ok((record, pointer))
}

/// The readable ones of several media in one record. All are the same EMP's to vouch for, so nobody is charged by
/// mistake, as somebody could be in a session.
fn each_medium(
    node: &Node<'_>,
    pointer: &str,
    findings: &mut Vec<Finding>,
) -> Result<Vec<Identification>, Fault> {
    let options = node.members().iter().filter(|(_, value)| !value.is_null());
    let found: Vec<Identification> =
        options.filter_map(|(name, value)| Identification::lone(name, value, Media::Upload).ok()).collect();
    if found.is_empty() {
        return Err(Fault::single(pointer, "none of the media can be read"));
    }
    if findings.len() < FINDINGS_MAX {
        let message = format!("several media in one record, {} of them readable", found.len());
        findings.push(Finding::several_media(pointer, message));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oicp::finding::Rule;

    fn push(records: &str) -> Result<PushAuthenticationData, Fault> {
        let body = format!(
            "{{\"ActionType\":\"fullLoad\",\"ProviderAuthenticationData\":{{\"ProviderID\":\"DE-DCB\",\"AuthenticationDataRecord\":[{records}]}}}}"
        );
        PushAuthenticationData::parse(body.as_bytes(), Reading::Strict)
    }

    #[test]
    fn media_in_both_forms() {
        let read = push(
            r#"{"Identification":{"RFIDMifareFamilyIdentification":{"UID":"04a2b3c4"}}},
            {"RFIDIdentification":{"UID":"04A2B3C4","RFID":"mifareDes","EvcoID":"DE-XYZ-C12345678"}},
            {"Identification":{"QRCodeIdentification":{"EvcoID":"DE-DCB-C12345678-X","HashedPIN":
              {"Value":"$2a$10$abcdefghijklmnopqrstuv","Function":"Bcrypt"}}}}"#,
        )
        .unwrap();
        assert_eq!(read.records.len(), 3);
        assert_eq!(read.records[0].medium_key(), read.records[1].medium_key());
        assert_eq!(read.foreign_contracts(|provider| provider == "DEDCB"), [1]);
        assert!(push("").unwrap().records.is_empty());
        for no_list in ["true", "\"[]\"", "7"] {
            let body = format!(
                r#"{{"ActionType":"fullLoad","ProviderAuthenticationData":{{"ProviderID":"DE-DCB","AuthenticationDataRecord":{no_list}}}}}"#
            );
            // Taken for an empty list it would take every card away.
            assert!(PushAuthenticationData::parse(body.as_bytes(), Reading::Tolerant).is_err(), "{no_list}");
        }
    }

    #[test]
    fn what_was_pushed_is_told_in_the_old_shape() {
        let record = |key: &str| (MediumKey::from_stored(key), None);
        let pin = HashedPin::parse("$2a$10$abcdefghijklmnopqrstuv");
        let mut media = vec![record("rfid:04A2B3C4"), record("pnc:DEDCBC12345678"), record("later:1")];
        media.push((MediumKey::from_stored("qr:DEDCBC12345678"), pin));
        let told = ProviderMedia { provider_id: "DE-DCB".into(), media };
        let text = write_authentication_data(&[told]);
        for part in [
            r#"{"AuthenticationData":{"ProviderAuthenticationData":[{"ProviderID":"DE-DCB","#,
            r#"{"Identification":{"RFIDMifareFamilyIdentification":{"UID":"04A2B3C4"}}}"#,
            r#"{"Identification":{"PlugAndChargeIdentification":{"EvcoID":"DEDCBC12345678"}}}"#,
            r#""HashedPIN":{"Value":"$2a$10$abcdefghijklmnopqrstuv","Function":"Bcrypt"}}"#,
            r#""StatusCode":{"Code":"000""#,
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let records = text.split_once("AuthenticationDataRecord\":").unwrap().1.split_once("]}").unwrap().0;
        assert_eq!(push(records.strip_prefix('[').unwrap()).unwrap().records.len(), 3, "it can be read");
        assert!(!text.contains("later"));
        assert_eq!(
            read_pull_authentication_data(br#"{"OperatorID":"DE*ABC"}"#, Reading::Strict)
                .unwrap()
                .canonical(),
            "DEABC"
        );
        assert!(read_pull_authentication_data(b"{}", Reading::Tolerant).is_err());
    }

    #[test]
    fn a_broken_record_refuses_the_push_and_is_named() {
        let qr = r#"{"Identification":{"QRCodeIdentification":{"EvcoID":"DE-DCB-C12345678-X"}}}"#;
        for record in ["{}", qr, r#"{"Identification":{}}"#] {
            let fault = push(record).unwrap_err().to_json();
            assert!(fault.contains("authenticationDataRecord[0].identification"), "{fault}");
        }
    }

    #[test]
    fn several_media_in_one_record_are_taken_in_tolerant_reading_with_a_finding() {
        let record = r#"{"Identification":{"RFIDMifareFamilyIdentification":{"UID":"04a2b3c4"},"QRCodeIdentification":null,
            "RFIDIdentification":{"UID":"none","RFID":"nfc"},"RemoteIdentification":{"EvcoID":"DE-DCB-C12345678-X"}}}"#;
        let body = format!(
            "{{\"ActionType\":\"fullLoad\",\"ProviderAuthenticationData\":{{\"ProviderID\":\"DE-DCB\",\"AuthenticationDataRecord\":[{record}]}}}}"
        );
        assert!(PushAuthenticationData::parse(body.as_bytes(), Reading::Strict).is_err());
        let read = PushAuthenticationData::parse(body.as_bytes(), Reading::Tolerant).unwrap();
        let options: Vec<&str> = read.records.iter().map(Identification::option_name).collect();
        assert_eq!(options, [OPTIONS[0], OPTIONS[4]]);
        let several = read.findings.iter().find(|finding| finding.rule == Rule::SeveralMedia).unwrap();
        assert_eq!(several.pointer, "/ProviderAuthenticationData/AuthenticationDataRecord/0/Identification");
        let none = body.replace("04a2b3c4", "x").replace("DE-DCB-C12345678-X", "x");
        assert!(PushAuthenticationData::parse(none.as_bytes(), Reading::Tolerant).is_err());
    }
}
