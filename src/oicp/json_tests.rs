//! Tests of the JSON tree: spelling and slices kept, every kind of broken text located.

use super::*;

#[test]
fn keeps_spelling_order_and_slices() {
    let text = r#" {"b": [1, 22.0 ,1e3],"a":{"x":"\u00e9\n\ud83d\ude00"} , "n":null} "#;
    let node = parse_text(text).unwrap();
    assert_eq!(node.to_json(), "{\"b\":[1,22.0,1e3],\"a\":{\"x\":\"é\\n😀\"},\"n\":null}");
    assert_eq!(node.field("b").unwrap().raw(), "[1, 22.0 ,1e3]");
    assert_eq!(node.field("b").unwrap().items()[1].raw(), "22.0");
    assert_eq!(node.raw(), text.trim());
    assert!(node.field("n").is_none());
    assert!(node.member("n").is_some());
    assert_eq!(node.field_any_case(&["z", "A"]).unwrap().kind(), "object");
}

#[test]
fn says_what_is_broken_and_where() {
    let table: &[(&str, Problem, usize, &str)] = &[
        ("", Problem::UnexpectedEnd, 0, ""),
        ("{\"a\":[1,2,}", Problem::Expected("a JSON value"), 10, "/a/2"),
        ("{\"a\":1,\"a\":2}", Problem::DuplicateKey, 7, "/a"),
        ("{\"a/b\":{\"~\":tru}}", Problem::Expected("a JSON value"), 12, "/a~1b/~0"),
        ("[01]", Problem::BadNumber, 3, "/0"),
        ("[1.]", Problem::BadNumber, 3, "/0"),
        ("[-]", Problem::BadNumber, 2, "/0"),
        ("[1e]", Problem::BadNumber, 3, "/0"),
        ("1 2", Problem::TrailingText, 2, ""),
        ("\"a\u{1}\"", Problem::ControlCharacter, 2, ""),
        ("\"\\x\"", Problem::BadEscape, 1, ""),
        ("\"\\ud800\"", Problem::BadEscape, 7, ""),
        ("\"\\udc00\"", Problem::BadEscape, 7, ""),
        ("\"\\ud800\\u0041\"", Problem::BadEscape, 13, ""),
        ("\"abc", Problem::UnexpectedEnd, 4, ""),
        ("{\"a\" 1}", Problem::Expected("a colon"), 5, "/a"),
        ("{1:2}", Problem::Expected("a member name"), 1, ""),
        ("[1 2]", Problem::Expected("a comma or ]"), 3, ""),
        ("{\"a\":1 \"b\":2}", Problem::Expected("a comma or }"), 7, ""),
    ];
    for (text, problem, offset, pointer) in table {
        let error = parse_text(text).unwrap_err();
        assert_eq!(
            (&error.problem, error.offset, error.pointer.as_str()),
            (problem, *offset, *pointer),
            "{text}"
        );
    }
}

#[test]
fn line_and_column_count_characters() {
    let error = parse_text("{\n \"ä\": ?}").unwrap_err();
    assert_eq!((error.line, error.column), (2, 7));
    assert_eq!(error.pointer, "/ä");
}

#[test]
fn bom_only_in_tolerant_reading_and_utf8_is_checked() {
    let text = "\u{feff}{}".as_bytes();
    assert!(parse(text, Reading::Tolerant).is_ok());
    assert_eq!(parse(text, Reading::Strict).unwrap_err().problem, Problem::ByteOrderMark);
    assert_eq!(parse(b"{\"a\":\"\xff\"}", Reading::Strict).unwrap_err().problem, Problem::NotUtf8);
}

#[test]
fn depth_and_wide_duplicates_are_bounded() {
    let deep = format!("{}{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
    assert!(parse_text(&deep).is_ok());
    let deeper = format!("[{deep}]");
    assert_eq!(parse_text(&deeper).unwrap_err().problem, Problem::TooDeep);
    let endless = "[".repeat(200_000);
    assert_eq!(parse_text(&endless).unwrap_err().problem, Problem::TooDeep);

    let members: Vec<String> = (0..5_000).map(|n| format!("\"k{n}\":0")).collect();
    assert!(parse_text(&format!("{{{}}}", members.join(","))).is_ok());
    let twice = format!("{{{},\"k4000\":1}}", members.join(","));
    let error = parse_text(&twice).unwrap_err();
    assert_eq!((error.problem, error.pointer.as_str()), (Problem::DuplicateKey, "/k4000"));
}

#[test]
fn written_and_read_again_is_the_same_tree() {
    bolero::check!().for_each(|bytes: &[u8]| {
        if let Ok(node) = parse(bytes, Reading::Tolerant) {
            let written = node.to_json();
            let again = parse_text(&written).expect("what was written can be read");
            assert_eq!(again.to_json(), written);
            assert!(std::str::from_utf8(bytes).unwrap().contains(node.raw()));
        }
    });
}
