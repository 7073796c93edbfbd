//! JSON Schema of the requests, out of the same tables that validation walks, as strict reading takes them. The
//! document that the facade serves (`/openapi.json`) is made of it.

use super::charging::table_of;
use super::json_write::Writer;
use super::pricing_schema::{PULL_EVSE_PRICES, PULL_PRODUCTS, PUSH_EVSE_PRICES, PUSH_PRODUCTS};
use super::schema::{
    Extra, Field, Kind, Need, PULL_DATA, PULL_STATUS, PULL_STATUS_BY_ID, PULL_STATUS_BY_OPERATOR, PUSH_DATA,
    PUSH_STATUS, Table,
};

/// Patterns of texts by their field's name, as ECMA regular expressions. Where a table has a pattern and this list has
/// none, the schema says no more than that it is a text.
const PATTERNS: [(&[&str], &str); 13] = [
    (&["SessionID"], "^[A-Za-z0-9]{8}(-[A-Za-z0-9]{4}){3}-[A-Za-z0-9]{12}$"),
    (&["ProviderID", "HubProviderID"], "^[A-Za-z]{2}[*-]?[A-Za-z0-9]{3}$"),
    (&["OperatorID", "OperatorIds", "OperatorIDs", "HubOperatorID"], OPERATOR),
    (&["EvcoID"], CONTRACT),
    (&["UID"], UID),
    (&["lang"], "^[a-z]{2,3}(-[A-Z]{2,3}(-[a-zA-Z]{4})?)?(-x-[a-zA-Z0-9]{1,8})?$"),
    (&["begin", "end"], "^[0-9]{2}:[0-9]{2}$"),
    (&["Country", "CountryCodes", "ProductPriceCurrency", "PricingDefaultPriceCurrency"], "^[A-Z]{3}$"),
    (&["HotlinePhoneNumber"], "^[+][0-9]{5,15}$"),
    (&["TimeZone"], "^UTC[+,-][0-9]{2}:[0-9]{2}$"),
    (&["ChargingPoolID"], "^[A-Za-z]{2}[*]?[A-Za-z0-9]{3}[*]?P[A-Za-z0-9*]{1,30}$"),
    (&["Value"], "^[0-9A-Za-z.+/=$]{10,100}$"),
    (&["EvseID"], EVSE),
];
const OPERATOR: &str = "^([A-Za-z]{2}[*]?[A-Za-z0-9]{3}|[+]?[0-9]{1,3}[*][0-9]{3})$";
const EVSE: &str =
    "^([A-Za-z]{2}[*]?[A-Za-z0-9]{3}[*]?[Ee][A-Za-z0-9*]{1,30}|[+]?[0-9]{1,3}[*][0-9]{3}[*][0-9*]{1,32})$";
/// ISO with its check character; the DIN form and one without the character are read, too.
const CONTRACT: &str = "^[A-Za-z]{2}-[A-Za-z0-9]{3}-C[A-Za-z0-9]{8}-[A-Za-z0-9]$";
/// Lower-case digits are read, too.
const UID: &str = "^([0-9A-F]{8}|[0-9A-F]{14}|[0-9A-F]{20})$";
const LATITUDE: &str = "^-?[1-8]?[0-9][.][0-9]{1,6}$";
const LONGITUDE: &str = "^-?(1[0-7][0-9]|[1-9]?[0-9])[.][0-9]{1,6}$";
const COORDINATES: &str = "^-?[1-8]?[0-9][.][0-9]{1,6} -?(1[0-7][0-9]|[1-9]?[0-9])[.][0-9]{1,6}$";

/// The schema of a request by the name of its message (`eRoamingPushEvseData`); `None` if there is none.
#[must_use]
pub fn of_request(message: &str) -> Option<String> {
    let table = match message {
        "eRoamingPushEvseData" => &PUSH_DATA,
        "eRoamingPushEvseStatus" => &PUSH_STATUS,
        "eRoamingPullEVSEData" => &PULL_DATA,
        "eRoamingPullEVSEStatus" => &PULL_STATUS,
        "eRoamingPullEVSEStatusByID" => &PULL_STATUS_BY_ID,
        "eRoamingPullEVSEStatusByOperatorID" => &PULL_STATUS_BY_OPERATOR,
        "eRoamingPushPricingProductData" => &PUSH_PRODUCTS,
        "eRoamingPushEVSEPricing" => &PUSH_EVSE_PRICES,
        "eRoamingPullPricingProductData" => &PULL_PRODUCTS,
        "eRoamingPullEVSEPricing" => &PULL_EVSE_PRICES,
        // Of OICP 2.2, which has no table here.
        "eRoamingPullAuthenticationData" => {
            return Some(format!(
                r#"{{"type":"object","required":["OperatorID"],"properties":{{"OperatorID":{{"type":"string","pattern":"{OPERATOR}"}}}}}}"#
            ));
        }
        _ => table_of(message)?,
    };
    let mut writer = Writer::new();
    object(&mut writer, table, message, false);
    Some(writer.finish())
}

fn object(writer: &mut Writer, table: &Table, message: &str, nullable: bool) {
    writer.begin_object();
    kind_of(writer, "object", nullable);
    // A record of authentication data holds its medium; that it may be one itself (GAPS A26) is nothing to be taught.
    let upload = message == "eRoamingPushAuthenticationData" && table.exact("Identification").is_some();
    let fields = || table.fields.iter().filter(|field| !upload || field.name == "Identification");
    let needed = |field: &&Field| upload || matches!(field.need, Need::Filled | Need::Present);
    writer.key("required").begin_array();
    for field in fields().filter(needed) {
        writer.string(field.name);
    }
    writer.end_array().key("properties").begin_object();
    for field in fields() {
        writer.key(field.name);
        if field.name == "Identification" {
            identification(writer, message, !needed(&field));
        } else {
            let filled = field.need == Need::Filled;
            value(writer, &field.kind, Of { name: field.name, message, filled, nullable: !needed(&field) });
        }
    }
    writer.end_object();
    if table.extra == Extra::EvseDataRecord {
        writer.key("allOf").raw(OPEN_AT_ALL);
    }
    if message == "eRoamingChargingNotificationProgress" && table.exact("ChargingDuration").is_some() {
        writer.key("anyOf").raw(PROGRESS);
    }
    writer.end_object();
}

/// Who is not open round the clock says when; `No Payment` stands alone.
const OPEN_AT_ALL: &str = concat!(
    r#"[{"anyOf":[{"properties":{"IsOpen24Hours":{"const":true}}},"#,
    r#"{"required":["OpeningTimes"],"properties":{"OpeningTimes":{"type":"array","minItems":1}}}]},"#,
    r#"{"anyOf":[{"properties":{"PaymentOptions":{"maxItems":1}}},"#,
    r#"{"properties":{"PaymentOptions":{"items":{"enum":["Direct","Contract"]}}}}]}]"#
);

/// How long, or how much.
const PROGRESS: &str = concat!(
    r#"[{"required":["ChargingDuration"],"properties":{"ChargingDuration":{"type":"number"}}},"#,
    r#"{"required":["ConsumedEnergyProgress"],"properties":{"ConsumedEnergyProgress":{"type":"number"}}}]"#
);

/// Where a value stands.
#[derive(Clone, Copy)]
struct Of<'m> {
    name: &'static str,
    message: &'m str,
    filled: bool,
    nullable: bool,
}

fn value(writer: &mut Writer, kind: &Kind, of: Of<'_>) {
    if let Kind::Object(table) = kind {
        return object(writer, table, of.message, of.nullable);
    }
    writer.begin_object();
    match kind {
        Kind::Text { min, max } => {
            kind_of(writer, "string", of.nullable);
            let min = (*min).max(usize::from(of.filled));
            writer.key("minLength").raw(&min.to_string()).key("maxLength").raw(&max.to_string());
            if of.filled {
                writer.key("pattern").string("[^\\s]");
            }
        }
        Kind::Pattern(_) | Kind::Operator | Kind::Evse | Kind::Instant => {
            kind_of(writer, "string", of.nullable);
            match PATTERNS.iter().find(|(names, _)| names.contains(&of.name)) {
                Some((_, pattern)) => drop(writer.key("pattern").string(pattern)),
                // What is no date-time there is noted, and not refused.
                None if matches!(kind, Kind::Instant) => drop(writer.key("minLength").raw("1")),
                None => drop(writer.key("minLength").raw("1").key("format").string("date-time")),
            }
        }
        Kind::Choice(values) => choice(writer, values, of.nullable),
        Kind::Flag => kind_of(writer, "boolean", of.nullable),
        Kind::Number { .. } | Kind::Power => {
            kind_of(writer, "number", of.nullable);
            writer.key("minimum").raw("0");
        }
        Kind::Decimal => decimal(writer, of),
        Kind::Readings => {
            kind_of(writer, "array", of.nullable);
            writer.key("items").raw(ENERGY);
        }
        Kind::Position => position(writer, of.nullable, false),
        Kind::Center => position(writer, of.nullable, true),
        Kind::List { of: item, .. } => {
            kind_of(writer, "array", of.nullable);
            writer.key("minItems").raw(if of.filled { "1" } else { "0" }).key("items");
            value(writer, item, Of { filled: true, nullable: false, ..of });
        }
        Kind::Object(_) => {}
    }
    writer.end_object();
}

fn kind_of(writer: &mut Writer, name: &str, nullable: bool) {
    writer.key("type");
    if nullable {
        writer.begin_array().string(name).string("null").end_array();
    } else {
        writer.string(name);
    }
}

fn choice(writer: &mut Writer, values: &[&str], nullable: bool) {
    writer.key("enum").begin_array();
    for value in values {
        writer.string(value);
    }
    if nullable {
        writer.null();
    }
    writer.end_array();
}

fn decimal(writer: &mut Writer, of: Of<'_>) {
    // GAPS A23; a client has no reason to write one.
    writer.key("description").string("A text that holds such a number is read, too, and handed on as it is.");
    let whole = of.name == "Duration";
    kind_of(writer, if whole { "integer" } else { "number" }, of.nullable);
    writer.key("minimum").raw(if whole { "1" } else { "0" }).key("maximum").raw(if whole {
        "99"
    } else {
        "1000000"
    });
    if !whole {
        writer.key("multipleOf").raw("0.001");
    }
}

/// kWh as a sensible client writes them: 18 digits on either side of the point are read.
const ENERGY: &str = r#"{"type":"number","minimum":0,"maximum":1000000,"multipleOf":0.001}"#;

fn position(writer: &mut Writer, nullable: bool, several: bool) {
    writer.key(if several { "anyOf" } else { "oneOf" }).begin_array();
    let text = |pattern: &str| {
        let mut writer = Writer::new();
        writer.begin_object().key("type").string("string").key("pattern").string(pattern).end_object();
        writer.finish()
    };
    let notations = [
        ("Google", &[("Coordinates", COORDINATES)][..]),
        ("DecimalDegree", &[("Latitude", LATITUDE), ("Longitude", LONGITUDE)]),
    ];
    for (notation, fields) in notations {
        writer.begin_object().key("type").string("object");
        if !several {
            writer.key("additionalProperties").bool(false);
        }
        writer.key("required").begin_array().string(notation).end_array();
        writer.key("properties").begin_object().key(notation).begin_object();
        writer.key("type").string("object").key("required").begin_array();
        for (name, _) in fields {
            writer.string(name);
        }
        writer.end_array().key("properties").begin_object();
        for (name, pattern) in fields {
            writer.key(name).raw(&text(pattern));
        }
        writer.end_object().end_object().end_object().end_object();
    }
    if nullable {
        writer.raw(r#"{"type":"null"}"#);
    }
    writer.end_array();
}

/// Exactly one of the options that the message may hold (RULES 5.3).
fn identification(writer: &mut Writer, message: &str, nullable: bool) {
    let one_field = |name: &str, pattern: &str| {
        format!(
            r#"{{"type":"object","required":["{name}"],"properties":{{"{name}":{{"type":"string","pattern":"{pattern}"}}}}}}"#
        )
    };
    let (contract, card) = (one_field("EvcoID", CONTRACT), one_field("UID", UID));
    let code = contract.replacen(r#"["EvcoID"]"#, r#"["EvcoID","PIN"]"#, 1).replacen(
        r#""properties":{"#,
        r#""properties":{"PIN":{"type":"string","minLength":1,"maxLength":20,"pattern":"^[!-~]+$"},"#,
        1,
    );
    let remote = message.starts_with("eRoamingAuthorizeRemote");
    let options = [
        ("RFIDMifareFamilyIdentification", &card, !remote),
        ("QRCodeIdentification", &code, !remote),
        ("PlugAndChargeIdentification", &contract, !remote),
        ("RemoteIdentification", &contract, remote || !message.starts_with("eRoamingAuthorize")),
    ];
    writer.begin_object().key("oneOf").begin_array();
    for (name, schema, _) in options.into_iter().filter(|(_, _, allowed)| *allowed) {
        writer.begin_object().key("type").string("object").key("additionalProperties").bool(false);
        writer.key("required").begin_array().string(name).end_array();
        writer.key("properties").begin_object().key(name).raw(schema).end_object().end_object();
    }
    if nullable {
        writer.raw(r#"{"type":"null"}"#);
    }
    writer.end_array().end_object();
}

/// The code of an outcome, in every answer.
const STATUS: &str = r#"{"type":"object","required":["Code"],"properties":{"Code":{"type":"string","pattern":"^[0-9]{3}$"},"Description":{"type":["string","null"]},"AdditionalInfo":{"type":["string","null"]}}}"#;
/// What answers about sessions have besides.
const REFERENCES: &str = r#""SessionID":{"type":["string","null"]},"CPOPartnerSessionID":{"type":["string","null"]},"EMPPartnerSessionID":{"type":["string","null"]}"#;

/// The schema of an answer by the name of its message; also `FaultBody` and `ShortFault`, what the hub answers with
/// other HTTP statuses than 200 (RULES 12.1). `None` if there is none.
#[must_use]
pub fn of_answer(message: &str) -> Option<String> {
    let object = |required: &str, properties: String| {
        format!(r#"{{"type":"object","required":[{required}],"properties":{{{properties}}}}}"#)
    };
    let listed = |list: &str| format!(r#""{list}":{{"type":"array","items":{{"type":"object"}}}}"#);
    let page = || {
        let number = |name: &str| format!(r#""{name}":{{"type":"integer","minimum":0}}"#);
        let numbers =
            ["number", "size", "totalElements", "totalPages", "numberOfElements"].map(number).join(",");
        let flags = r#""first":{"type":"boolean"},"last":{"type":"boolean"}"#;
        let properties = format!(r#"{},{numbers},{flags},"StatusCode":{STATUS}"#, listed("content"));
        object(r#""content","number","size","totalElements","totalPages","first","last""#, properties)
    };
    let authorization = || {
        let verdict = r#""AuthorizationStatus":{"enum":["Authorized","NotAuthorized"]}"#;
        let properties = format!(
            r#"{REFERENCES},"ProviderID":{{"type":["string","null"]}},{verdict},"StatusCode":{STATUS}"#
        );
        object(r#""AuthorizationStatus","StatusCode""#, properties)
    };
    let nested = |outer: &str, inner: &str| {
        let block = format!(r#""{outer}":{}"#, object(&format!("\"{inner}\""), listed(inner)));
        object(&format!("\"{outer}\""), format!(r#"{block},"StatusCode":{STATUS}"#))
    };
    Some(match message {
        "eRoamingAcknowledgement" => object(
            r#""Result","StatusCode""#,
            format!(r#""Result":{{"type":"boolean"}},"StatusCode":{STATUS},{REFERENCES}"#),
        ),
        "eRoamingAuthorizationStart" | "eRoamingAuthorizationStop" => authorization(),
        "eRoamingEVSEData" | "eRoamingChargeDetailRecords" => page(),
        // On the path of the first, either of the other requests is answered, too (GAPS A7).
        "eRoamingEVSEStatus" => format!(
            r#"{{"anyOf":[{},{}]}}"#,
            nested("EvseStatuses", "OperatorEvseStatus"),
            nested("EVSEStatusRecords", "EvseStatusRecord")
        ),
        "eRoamingEVSEStatusByID" => nested("EVSEStatusRecords", "EvseStatusRecord"),
        "eRoamingPricingProductData" => object("", listed("PricingProductData")),
        "eRoamingEVSEPricing" => object("", listed("EVSEPricing")),
        "eRoamingAuthenticationData" => nested("AuthenticationData", "ProviderAuthenticationData"),
        "ShortFault" => object(r#""StatusCode""#, format!(r#""StatusCode":{STATUS}"#)),
        "FaultBody" => object(
            r#""message","validationErrors""#,
            format!(r#""extendedInfo":{{}},"message":{{"type":"string"}},{}"#, listed("validationErrors")),
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oicp::json;

    #[test]
    fn a_schema_names_what_strict_reading_needs() {
        let text = of_request("eRoamingPushEvseData").unwrap();
        let schema = json::parse_text(&text).unwrap();
        let block = schema.field("properties").and_then(|p| p.field("OperatorEvseData")).unwrap();
        let needed = block.field("required").unwrap().items();
        assert!(needed.iter().any(|name| name.as_str() == Some("OperatorName")), "{text}");
        assert!(text.contains("\"Type J Swiss Standard\""), "{text}");
        let remote = of_request("eRoamingAuthorizeRemoteStart").unwrap();
        assert!(remote.contains("RemoteIdentification") && !remote.contains("RFIDMifare"), "{remote}");
        assert!(of_request("eRoamingAcknowledgement").is_none());
    }

    #[test]
    fn schemas_of_answers_are_json() {
        let names =
            ["eRoamingAcknowledgement", "eRoamingAuthorizationStart", "eRoamingEVSEData", "FaultBody"];
        for name in names.into_iter().chain(["eRoamingEVSEStatus", "eRoamingEVSEStatusByID", "ShortFault"]) {
            let text = of_answer(name).unwrap();
            assert!(json::parse_text(&text).is_ok_and(|schema| schema.is_object()), "{name}: {text}");
        }
        assert!(of_answer("eRoamingPushEvseData").is_none());
    }
}
