//! Answers as the hub writes them, and as partners send them.

use super::*;
use crate::oicp::finding::Fault;

fn session() -> SessionId {
    SessionId::parse("f98efba4-02d8-4fa0-b810-9a9d50d2c527").unwrap()
}

fn provider() -> ProviderId {
    ProviderId::parse("DE*ICE").unwrap()
}

#[test]
fn start_is_written_with_nulls_and_read_back() {
    let refusal = AuthorizationStart::not_authorized(StatusCode::from(Code::NoValidContract));
    assert_eq!(
        refusal.to_json(),
        concat!(
            r#"{"SessionID":null,"CPOPartnerSessionID":null,"EMPPartnerSessionID":null,"ProviderID":null,"#,
            r#""AuthorizationStatus":"NotAuthorized","StatusCode":{"Code":"210","Description":"No valid contract","#,
            r#""AdditionalInfo":null},"AuthorizationStopIdentifications":null}"#
        )
    );
    assert_eq!(AuthorizationStart::read(refusal.to_json().as_bytes()).unwrap(), refusal);
    let card = r#"{"RFIDMifareFamilyIdentification":{"UID":"04A2B3C4"}}"#;
    let mut positive = AuthorizationStart::authorized(session(), provider());
    positive.stop_identifications = vec![Identification::parse(card, Media::Any).unwrap()];
    positive.partners.emp = crate::oicp::charging::PartnerSessionId::parse("e-1");
    assert_eq!(AuthorizationStart::read(positive.to_json().as_bytes()).unwrap(), positive);
    assert!(positive.to_json().contains(card));
}

#[test]
fn stop_is_written_with_nulls_and_read_back() {
    for stop in [
        AuthorizationStop::authorized(session(), provider()),
        AuthorizationStop::not_authorized(StatusCode::from(Code::SessionInvalid)),
    ] {
        assert_eq!(AuthorizationStop::read(stop.to_json().as_bytes()).unwrap(), stop);
    }
}

#[test]
fn partners_answers_are_read_tolerantly() {
    let read = |body: &str| AuthorizationStart::read(body.as_bytes());
    let number =
        read(r#"{"AuthorizationStatus":"NotAuthorized","StatusCode":{"Code":102},"New":[1]}"#).unwrap();
    assert_eq!(number.status.known(), Some(Code::RfidInvalidUid));
    let bare = read("{\"authorizationstatus\":\"Authorized\"}").unwrap();
    assert_eq!((bare.verdict, bare.status.known()), (AuthorizationStatus::Authorized, Some(Code::Success)));
    for refusal in [
        r#"{"Result":false,"StatusCode":{"Code":"300"}}"#,
        r#"{"StatusCode":{"Code":"300","Description":"x"}}"#,
    ] {
        let refused = read(refusal).unwrap();
        assert_eq!(refused.verdict, AuthorizationStatus::NotAuthorized);
        assert_eq!(refused.status.known(), Some(Code::PartnerNotFound));
    }
    let odd = r#"{"AuthorizationStatus":"Authorized","SessionID":"string","ProviderID":7,
        "AuthorizationStopIdentifications":[{},{"RFIDMifareFamilyIdentification":{"UID":"04A2B3C4"}},null]}"#;
    let odd = read(odd).unwrap();
    assert_eq!((odd.session_id, odd.provider_id, odd.stop_identifications.len()), (None, None, 1));
}

#[test]
fn garbage_is_an_error() {
    type Is = fn(&AnswerError) -> bool;
    let table: [(&[u8], Is); 7] = [
        (b"<html>ok</html>", |error| matches!(error, AnswerError::Json(_))),
        (b"", |error| matches!(error, AnswerError::Json(_))),
        (b"\xff\xfe", |error| matches!(error, AnswerError::Json(_))),
        (b"[]", |error| *error == AnswerError::NoVerdict),
        (b"{\"ok\":true}", |error| *error == AnswerError::NoVerdict),
        // Success without a verdict authorizes nobody.
        (b"{\"StatusCode\":{\"Code\":\"000\"}}", |error| *error == AnswerError::NoVerdict),
        (b"{\"AuthorizationStatus\":\"Maybe\"}", |error| *error == AnswerError::UnknownVerdict),
    ];
    for (body, expected) in table {
        let error = AuthorizationStart::read(body).unwrap_err();
        assert!(expected(&error), "{error}");
        assert!(AuthorizationStop::read(body).is_err());
    }
    assert!(matches!(read_acknowledgement(b"OK"), Err(AnswerError::Json(_))));
    assert_eq!(read_acknowledgement(b"{}"), Err(AnswerError::NoVerdict));
    // The hub's own FaultBody holds no verdict.
    assert!(read_acknowledgement(Fault::single("/x", "y").to_json().as_bytes()).is_err());
}

#[test]
fn acknowledgements_carry_the_session() {
    let partners = PartnerSessions::read(&json::parse_text(r#"{"CPOPartnerSessionID":"c"}"#).unwrap());
    let json = Acknowledgement::success().with_session(session(), &partners).to_json();
    let read = read_acknowledgement(json.as_bytes()).unwrap();
    assert!(read.result);
    assert_eq!((read.session(), read.partners()), (Some(session()), partners));
    let odd = read_acknowledgement(br#"{"Result":true,"SessionID":"string"}"#).unwrap();
    assert_eq!(odd.session(), None);
}

#[test]
fn any_bytes_are_read_or_refused() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let _ = (AuthorizationStop::read(bytes), read_acknowledgement(bytes));
        if let Ok(answer) = AuthorizationStart::read(bytes) {
            assert_eq!(AuthorizationStart::read(answer.to_json().as_bytes()), Ok(answer));
        }
    });
}
