//! The five options: read, refused, written, compared, hidden.

use super::*;

const CONTRACT: &str = "DE-DCB-C12345678-X";

fn all() -> [(&'static str, &'static str); 6] {
    [
        (r#"{"RFIDMifareFamilyIdentification":{"UID":"04a2b3c4"}}"#, "rfid:04A2B3C4"),
        (
            r#"{"RFIDIdentification":{"UID":"04A2B3C4","EvcoID":"DE-DCB-C12345678-X","RFID":"nfc","PrintedNumber":"98765","ExpiryDate":"2021-01-23T14:21:23+01:00"}}"#,
            "rfid:04A2B3C4",
        ),
        (r#"{"QRCodeIdentification":{"EvcoID":"DE-DCB-C12345678-X","PIN":" 12 ab"}}"#, "qr:DEDCBC12345678"),
        (
            r#"{"QRCodeIdentification":{"EvcoID":"de*dcb*c12345678","HashedPIN":{"Value":"$2b$10$abcdefghijk","Function":"Bcrypt"}}}"#,
            "qr:DEDCBC12345678",
        ),
        (r#"{"PlugAndChargeIdentification":{"EvcoID":"DE-DCB-C12345678-X"}}"#, "pnc:DEDCBC12345678"),
        (r#"{"RemoteIdentification":{"EvcoID":"DEDCBC12345678X"}}"#, "remote:DEDCBC12345678"),
    ]
}

#[test]
fn every_option_is_read_written_and_hidden() {
    for (json, key) in all() {
        let read = Identification::parse(json, Media::Any).unwrap();
        assert_eq!(read.medium_key().expose(), key, "{json}");
        assert_eq!(Identification::parse(&read.to_json(), Media::Upload).unwrap(), read);
        assert!(json.contains(read.option_name()));
        let shown = format!("{read:?} {:?}", read.medium_key());
        for personal in ["04A2", "04a2", "12345678", "98765", "12 ab", "$2b$"] {
            assert!(!shown.contains(personal), "{shown}");
        }
    }
    let read = Identification::parse(all()[2].0, Media::Any).unwrap();
    assert!(
        matches!(read, Identification::QrCode { secret: QrSecret::Pin(pin), .. } if pin.expose() == " 12 ab")
    );
}

#[test]
fn media_per_message() {
    let allowed = |media: Media| all().map(|(json, _)| Identification::parse(json, media).is_ok());
    assert_eq!(allowed(Media::Authorization), [true, false, true, false, true, false]);
    assert_eq!(allowed(Media::Remote), [false, false, false, false, false, true]);
    assert_eq!(allowed(Media::Upload), [true; 6]);
    assert_eq!(allowed(Media::Any), [true; 6]);
    let bare = format!("{{\"QRCodeIdentification\":{{\"EvcoID\":\"{CONTRACT}\",\"PIN\":\"\"}}}}");
    let secret_missing = |media| match Identification::parse(&bare, media) {
        Err(IdentificationError::SecretMissing(_, field)) => Some(field),
        _ => None,
    };
    assert_eq!(secret_missing(Media::Authorization), Some("PIN"));
    assert_eq!(secret_missing(Media::Upload), Some("HashedPIN"));
    assert!(Identification::parse(&bare, Media::Any).is_ok());
}

#[test]
fn tolerant_reading_takes_the_first_that_the_message_may_hold() {
    let [card, details, .., remote] = all().map(|(json, _)| json.trim_matches(['{', '}']).to_owned() + "}");
    let first = |options: &[&str], media| {
        let text = format!("{{{}}}", options.join(","));
        let node = json::parse_text(&text).unwrap();
        Identification::read_first(&node, media).map(|read| read.option_name())
    };
    let bad_card = r#""RFIDMifareFamilyIdentification":{"UID":"12345ABCD"}"#;
    let (card, details, remote) = (card.as_str(), details.as_str(), remote.as_str());
    for (options, media, expected) in [
        (vec![remote, card], Media::Authorization, Ok(OPTIONS[0])),
        (vec![card, remote], Media::Remote, Ok(OPTIONS[4])),
        (vec![bad_card, remote, details], Media::Any, Ok(OPTIONS[1])),
        (vec![bad_card, remote], Media::Authorization, Err(IdentificationError::Field(OPTIONS[0], "UID"))),
        (vec![remote, details], Media::Authorization, Err(IdentificationError::Several(2))),
        (vec![remote], Media::Authorization, Err(IdentificationError::NotAllowed(OPTIONS[4]))),
    ] {
        assert_eq!(first(&options, media), expected, "{options:?}");
    }
}

#[test]
fn exactly_one_option() {
    let several = format!(
        "{{\"RFIDMifareFamilyIdentification\":{{\"UID\":\"04A2B3C4\"}},\"RemoteIdentification\":{{\"EvcoID\":\"{CONTRACT}\"}}}}"
    );
    let table = [
        ("[]", "Identification has to be an object"),
        ("{", "Identification has to be an object"),
        ("{}", "none of its five options"),
        (r#"{"RemoteIdentification":null}"#, "none of its five options"),
        (several.as_str(), "2 of its options"),
        (r#"{"RFIDMifareFamilyIdentification":{"UID":"12345ABCD"}}"#, "UID"),
        (r#"{"RemoteIdentification":{"EvcoID":"string"}}"#, "EvcoID"),
        (r#"{"RemoteIdentification":[]}"#, "EvcoID"),
    ];
    for (json, said) in table {
        let error = Identification::parse(json, Media::Any).unwrap_err();
        assert!(error.to_string().contains(said), "{json}: {error}");
    }
    let both = format!(
        "{{\"QRCodeIdentification\":{{\"EvcoID\":\"{CONTRACT}\",\"PIN\":\"1234\",\"HashedPIN\":{{\"Value\":\"$2a$10$abcdefg\"}}}}}}"
    );
    let error = Identification::parse(&both, Media::Any).unwrap_err();
    assert_eq!(error, IdentificationError::TwoSecrets("QRCodeIdentification"));
    assert!(!error.at("/Identification").to_json().contains("1234"));
}
