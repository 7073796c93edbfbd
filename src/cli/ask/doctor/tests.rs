//! What the doctor finds in views of nodes, well and not.

use super::*;

fn looked(view: &str) -> Findings {
    let root = json::parse(view.as_bytes(), Reading::Tolerant).unwrap();
    let mut found = Findings::default();
    look_at(&root, 1_000_000_000_000, &mut found);
    found
}

const WELL: &str = r#"{"own":[{"party":"CPO:CHABC","revoked":false,"delegation_until_unix_s":1000500000,
    "credential_until_unix_s":1030000000}],"trust_list":{"seq":3,"until_unix_s":1030000000},"signs":true,
    "clock_off_ms":-12,"peers":[{}],"partners":[{"party":"EMP:DEXYZ","connected":true}],"held":[],
    "registry_compared_unix_ms":999999990000,"id_conflicts":[],"conflicts":[],"feeds":[{"state":"ok"}]}"#;

#[test]
fn a_node_that_is_well_has_no_advice() {
    let found = looked(WELL);
    assert!(found.is_well(), "{}", to_text(&found));
    assert!(to_text(&found).ends_with("The node is well.\n"));
    assert!(to_json(&found).starts_with("{\"well\":true"));
}

#[test]
fn certificates_that_end_soon_are_named() {
    let ends = |days: u64| {
        let until = 1_000_000_000 + days * DAY_S;
        let view = format!(
            r#"{{"certificates":[{{"what":"the facade's certificate","party":"","subject":"CN=a","until_unix_s":{until}}}]}}"#
        );
        let root = json::parse(view.as_bytes(), Reading::Tolerant).unwrap();
        let mut found = Findings::default();
        certificate_ends(&root, 1_000_000_000, &mut found);
        found.0.first().map(|finding| finding.health)
    };
    let said = [31, 30, 29, 1, 0].map(|days| ends(days).unwrap());
    assert_eq!(said, [Health::Good, Health::Good, Health::Look, Health::Look, Health::Bad]);
}

#[test]
fn each_trouble_is_named_with_what_to_do() {
    let table = [
        ("\"revoked\":false", "\"revoked\":true", "party", "party install"),
        ("1000500000", "1000100000", "party", "renew"),
        ("1000500000", "999999999", "party", "renew"),
        (
            "\"credential_until_unix_s\":1030000000",
            "\"credential_until_unix_s\":1001000000",
            "party",
            "issuer",
        ),
        ("\"until_unix_s\":1030000000}", "\"until_unix_s\":1000100000}", "trust list", "newer"),
        ("\"signs\":true", "\"signs\":false", "clock", "timedatectl"),
        ("-12", "-9000", "clock", "timedatectl"),
        ("\"peers\":[{}]", "\"peers\":[]", "peers", "mesh.bootstrap"),
        (
            "\"connected\":true",
            "\"connected\":false,\"looked_for_since_unix_ms\":999990000000",
            "partners",
            "ask it",
        ),
        ("\"held\":[]", "\"held\":[{}]", "pushes", "push confirm"),
        ("999999990000", "999000000000", "revocations", "connect"),
        ("\"id_conflicts\":[]", "\"id_conflicts\":[\"CPO:CHABC\"]", "ids", "issuer"),
        ("\"conflicts\":[]", "\"conflicts\":[{}]", "EVSEs", "publish"),
        ("\"state\":\"ok\"", "\"state\":\"equivocated\"", "feeds", "writer"),
    ];
    for (from, to, name, advice) in table {
        let view = WELL.replace(from, to);
        assert_ne!(view, WELL, "{from}");
        let found = looked(&view);
        let bad: Vec<&Finding> = found.0.iter().filter(|one| one.health != Health::Good).collect();
        assert!(
            bad.len() == 1 && bad[0].name == name && bad[0].advice.contains(advice),
            "{from} became {to}: {}",
            to_text(&found)
        );
    }
}
