//! Changes single values of a received message and leaves every other byte as it was: unknown fields, the
//! spelling of numbers, order and white space.

use crate::oicp::json::{self, JsonError, Node};
use crate::oicp::json_write::Writer;
use crate::oicp::reading::Reading;

use super::identification::{Identification, OPTIONS, given};
use super::session_id::PartnerSessions;

/// A value to be put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldValue<'v> {
    /// A text, quoted here.
    Text(&'v str),
    /// `null`.
    Null,
    /// JSON text, copied as it is: the caller answers for its being JSON.
    Json(&'v str),
}

impl<'v> From<Option<&'v str>> for FieldValue<'v> {
    fn from(text: Option<&'v str>) -> FieldValue<'v> {
        text.map_or(FieldValue::Null, FieldValue::Text)
    }
}

/// Why a message cannot be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError {
    /// Not JSON.
    #[error("the message is not JSON: {0}")]
    Json(#[from] JsonError),
    /// Not an object.
    #[error("the message is a {0}, not an object")]
    NotAnObject(&'static str),
}

/// The message with its top-level `fields` set: a member of that name gets the new value in its place; what
/// is not there is put in front, and a member of that name in another case becomes null, so that no reader
/// finds the old value. Give each name once. White space around the object is left off.
///
/// # Errors
/// [`RewriteError`]: not a JSON object.
pub fn with_fields(body: &[u8], fields: &[(&str, FieldValue<'_>)]) -> Result<Vec<u8>, RewriteError> {
    let root = json::parse(body, Reading::Tolerant)?;
    if !root.is_object() {
        return Err(RewriteError::NotAnObject(root.kind()));
    }
    let mut changes: Vec<Change> = Vec::new();
    let mut added = String::new();
    for (name, value) in fields {
        let value = written(*value);
        let named = |exact: bool| {
            move |(key, _): &&(std::borrow::Cow<'_, str>, Node<'_>)| {
                if exact { key == name } else { key != name && key.eq_ignore_ascii_case(name) }
            }
        };
        let exact = root.members().iter().find(named(true)).map(|(_, node)| node);
        let others = root.members().iter().filter(named(false));
        changes.extend(others.filter_map(|(_, other)| Change::of(&root, other, "null".to_owned())));
        if let Some(node) = exact {
            changes.extend(Change::of(&root, node, value));
        } else {
            let mut member = Writer::new();
            member.key(name).raw(&value);
            added.push_str(&member.finish());
            added.push(',');
        }
    }
    if !added.is_empty() {
        if root.members().is_empty() {
            added.pop();
        }
        changes.push(Change { at: 1, until: 1, text: added });
    }
    Ok(applied(root.raw(), changes).into_bytes())
}

/// The message with UID and EvcoID of its `Identification` in upper case, as the hub converts them before an
/// EMP sees them (GAPS B3, RULES 5.7); nothing else changes. Without either it comes back as it is. Not for
/// CDRs: those travel byte for byte.
///
/// # Errors
/// [`RewriteError`]: not a JSON object.
pub fn with_upper_case_medium(body: &[u8]) -> Result<Vec<u8>, RewriteError> {
    let root = json::parse(body, Reading::Tolerant)?;
    if !root.is_object() {
        return Err(RewriteError::NotAnObject(root.kind()));
    }
    let identification = root.field_any_case(&["Identification"]);
    let options = identification
        .into_iter()
        .flat_map(|node| OPTIONS.iter().filter_map(|option| node.field_any_case(&[*option])));
    let ids = options
        .flat_map(|option| ["UID", "EvcoID"].into_iter().filter_map(|name| option.field_any_case(&[name])));
    let changes = ids.filter_map(|node| {
        let upper = node.as_str()?.to_ascii_uppercase();
        Change::of(&root, node, written(FieldValue::Text(&upper)))
    });
    let changes = changes.collect();
    Ok(applied(root.raw(), changes).into_bytes())
}

/// The message with those of the partners' references that it leaves out, where they are known. What it says itself
/// stays, also what is too long to be read.
///
/// # Errors
/// [`RewriteError`]: not a JSON object.
pub fn with_partner_sessions(body: &[u8], known: &PartnerSessions) -> Result<Vec<u8>, RewriteError> {
    let root = json::parse(body, Reading::Tolerant)?;
    let lacks = |name: &str| root.field_any_case(&[name]).is_none_or(|said| said.as_str() == Some(""));
    let both = [("CPOPartnerSessionID", &known.cpo), ("EMPPartnerSessionID", &known.emp)];
    let added = both.into_iter().filter(|(name, _)| lacks(name));
    let added = added.filter_map(|(name, known)| Some((name, FieldValue::Text(known.as_ref()?.as_str()))));
    with_fields(body, &added.collect::<Vec<_>>())
}

/// The message with this medium as the only one of its `Identification`; that one's text stays. With one only it comes
/// back as it is.
///
/// # Errors
/// [`RewriteError`]: not a JSON object.
pub fn with_only_medium(body: &[u8], medium: &Identification) -> Result<Vec<u8>, RewriteError> {
    let root = json::parse(body, Reading::Tolerant)?;
    if !root.is_object() {
        return Err(RewriteError::NotAnObject(root.kind()));
    }
    let name = medium.option_name();
    let several = root.field_any_case(&["Identification"]).filter(|node| given(node).count() > 1);
    let change = several.and_then(|node| {
        let mut only = Writer::new();
        only.begin_object().key(name).raw(node.field_any_case(&[name])?.raw()).end_object();
        Change::of(&root, node, only.finish())
    });
    Ok(applied(root.raw(), change.into_iter().collect()).into_bytes())
}

/// Bytes `at..until` of the root's text become `text`.
struct Change {
    at: usize,
    until: usize,
    text: String,
}

impl Change {
    /// Replaces a value; `None` if it does not lie in the root's text.
    fn of(root: &Node<'_>, node: &Node<'_>, text: String) -> Option<Change> {
        let (whole, part) = (root.raw(), node.raw());
        // Both are slices of one text, so the difference of their addresses is the place.
        let at = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
        let until = at.checked_add(part.len())?;
        (whole.get(at..until) == Some(part)).then_some(Change { at, until, text })
    }
}

fn applied(whole: &str, mut changes: Vec<Change>) -> String {
    changes.sort_by_key(|change| change.at);
    let more: usize = changes.iter().map(|change| change.text.len()).sum();
    let mut text = String::with_capacity(whole.len() + more);
    let mut copied = 0;
    for change in changes {
        if change.at < copied {
            continue;
        }
        text.push_str(whole.get(copied..change.at).unwrap_or_default());
        text.push_str(&change.text);
        copied = change.until;
    }
    text.push_str(whole.get(copied..).unwrap_or_default());
    text
}

fn written(value: FieldValue<'_>) -> String {
    let mut writer = Writer::new();
    match value {
        FieldValue::Text(text) => writer.string(text),
        FieldValue::Null => writer.null(),
        FieldValue::Json(json) => writer.raw(json),
    };
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oicp::charging::{Media, PartnerSessionId};

    fn set(body: &str, fields: &[(&str, FieldValue<'_>)]) -> String {
        String::from_utf8(with_fields(body.as_bytes(), fields).unwrap()).unwrap()
    }

    #[test]
    fn only_the_named_values_change() {
        let body = "{ \"b\" : 22.0,\r\n \"SessionID\":null , \"x\":{\"SessionID\":1e2}, \"\\u0061\":[ ]}";
        let session = ("SessionID", FieldValue::Text("s\"1"));
        assert_eq!(
            set(body, &[session, ("CPOPartnerSessionID", FieldValue::Null)]),
            "{\"CPOPartnerSessionID\":null, \"b\" : 22.0,\r\n \"SessionID\":\"s\\\"1\" , \"x\":{\"SessionID\":1e2}, \"\\u0061\":[ ]}"
        );
        assert_eq!(set(body, &[("a", FieldValue::Json("[1.50]"))]), body.replace("[ ]", "[1.50]"));
        assert_eq!(set(body, &[]), body);
    }

    #[test]
    fn empty_objects_and_other_spellings() {
        assert_eq!(
            set("{}", &[("a", FieldValue::Text("1")), ("b", FieldValue::Null)]),
            r#"{"a":"1","b":null}"#
        );
        assert_eq!(set(" { } ", &[("a", FieldValue::Null)]), r#"{"a":null }"#);
        assert_eq!(
            set(r#"{"sessionid":"old"}"#, &[("SessionID", FieldValue::Text("new"))]),
            r#"{"SessionID":"new","sessionid":null}"#
        );
        assert_eq!(
            set(r#"{"sessionid":"old","SessionID":"x"}"#, &[("SessionID", FieldValue::Text("new"))]),
            r#"{"sessionid":null,"SessionID":"new"}"#
        );
        assert!(matches!(with_fields(b"[]", &[]), Err(RewriteError::NotAnObject("list"))));
        assert!(matches!(with_fields(b"{", &[]), Err(RewriteError::Json(_))));
    }

    #[test]
    fn references_are_added_and_never_replaced() {
        let known = |cpo: Option<&str>, emp: Option<&str>| PartnerSessions {
            cpo: cpo.and_then(PartnerSessionId::parse),
            emp: emp.and_then(PartnerSessionId::parse),
        };
        let long = "x".repeat(300);
        for (body, known, expected) in [
            (
                "{\"n\": 1.0 }",
                known(Some("C"), Some("E")),
                r#"{"CPOPartnerSessionID":"C","EMPPartnerSessionID":"E","n": 1.0 }"#,
            ),
            ("{\"n\": 1.0 }", known(None, Some("E")), r#"{"EMPPartnerSessionID":"E","n": 1.0 }"#),
            ("{\"n\": 1.0 }", known(None, None), "{\"n\": 1.0 }"),
            (
                r#"{"CPOPartnerSessionID":"","EMPPartnerSessionID": null}"#,
                known(Some("C"), Some("E")),
                r#"{"CPOPartnerSessionID":"C","EMPPartnerSessionID": "E"}"#,
            ),
            (
                r#"{"CPOPartnerSessionID":"own","EMPPartnerSessionId":7}"#,
                known(Some("C"), Some("E")),
                r#"{"CPOPartnerSessionID":"own","EMPPartnerSessionId":7}"#,
            ),
            (
                &format!(r#"{{"EMPPartnerSessionID":"{long}"}}"#),
                known(None, Some("E")),
                &format!(r#"{{"EMPPartnerSessionID":"{long}"}}"#),
            ),
        ] {
            let told = with_partner_sessions(body.as_bytes(), &known).unwrap();
            assert_eq!(String::from_utf8(told).unwrap(), expected);
        }
        assert!(with_partner_sessions(b"[]", &known(Some("C"), None)).is_err());
    }

    #[test]
    fn one_medium_is_left_as_it_was_written() {
        let remote = r#"{ "EvcoID":"DE-DCB-C12345678-X","n":1.0 }"#;
        let only = format!("{{\"RemoteIdentification\":{remote}}}");
        let medium = Identification::parse(&only, Media::Any).unwrap();
        let narrowed = |identification: &str| {
            let body = format!("{{\"a\":1e2,\"Identification\":{identification}, \"z\":null}}");
            let narrowed = with_only_medium(body.as_bytes(), &medium).unwrap();
            let expected = body.replace(identification, &only);
            (String::from_utf8(narrowed).unwrap(), expected)
        };
        let card = r#""RFIDMifareFamilyIdentification":{"UID":"04A2B3C4"}"#;
        for several in [format!("{{{card},\"remoteidentification\":{remote}}}"), only.clone()] {
            let (narrowed, expected) = narrowed(&several);
            assert_eq!(narrowed, expected);
        }
        let null = format!("{{\"RFIDIdentification\":null,\"RemoteIdentification\":{remote}}}");
        assert!(narrowed(&null).0.contains(&null), "what is null is nobody's medium");
        assert!(with_only_medium(b"[]", &medium).is_err());
    }

    #[test]
    fn a_medium_becomes_upper_case_in_place() {
        let body = r#"{"Identification":{"RFIDMifareFamilyIdentification":{"UID": "04a2b3c4"},"x":"04a2b3c4"}, "n":1.0}"#;
        let upper = String::from_utf8(with_upper_case_medium(body.as_bytes()).unwrap()).unwrap();
        assert_eq!(upper, body.replacen("04a2b3c4", "04A2B3C4", 1));
        let contract =
            r#"{"Identification":{"QRCodeIdentification":{"EvcoID":"de-8eo-cab345678","PIN":"ab"}}}"#;
        let upper = String::from_utf8(with_upper_case_medium(contract.as_bytes()).unwrap()).unwrap();
        assert_eq!(upper, contract.replace("de-8eo-cab345678", "DE-8EO-CAB345678"));
        for same in [
            "{}",
            r#"{"Identification":null,"UID":"04a2b3c4"}"#,
            r#"{"Identification":{"RemoteIdentification":7}}"#,
        ] {
            assert_eq!(with_upper_case_medium(same.as_bytes()).unwrap(), same.as_bytes());
        }
        assert!(with_upper_case_medium(b"[1]").is_err());
    }

    #[test]
    fn any_object_stays_json_and_has_the_fields() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let fields = [("SessionID", FieldValue::Text("s")), ("a", FieldValue::Null)];
            if let Ok(changed) = with_fields(bytes, &fields) {
                let node = json::parse(&changed, Reading::Strict).expect("still JSON");
                assert_eq!(node.field("SessionID").and_then(Node::as_str), Some("s"));
                assert_eq!(with_fields(&changed, &fields).expect("an object"), changed);
            }
        });
    }
}
