//! Tests of the settings: defaults and their documentation, precedence, error texts.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::load::parse;
use super::*;

fn flatten(prefix: &str, table: &Table, into: &mut BTreeMap<String, Value>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(inner) => flatten(&key, inner, into),
            other => drop(into.insert(key, other.clone())),
        }
    }
}

#[test]
fn the_documented_file_is_the_default() {
    let text = include_str!("../../bootstrap/node.toml");
    assert_eq!(parse(text, "node.toml", &[]).unwrap(), Config::default());
    let (mut written, mut real) = (BTreeMap::new(), BTreeMap::new());
    flatten("", &toml::from_str(text).unwrap(), &mut written);
    flatten("", &Table::try_from(Config::default()).unwrap(), &mut real);
    let missing: Vec<&String> = real.keys().filter(|key| !written.contains_key(*key)).collect();
    assert!(missing.is_empty(), "not in bootstrap/node.toml: {missing:?}");
    assert_eq!(written, real);
}

#[test]
fn every_setting_has_a_comment() {
    let mut previous = "";
    for line in include_str!("../../bootstrap/node.toml").lines() {
        if line.contains(" = ") && !line.starts_with('#') {
            assert!(previous.starts_with("# "), "no comment above {line:?}");
        }
        previous = line;
    }
}

fn error(text: &str, overrides: &[Override]) -> String {
    parse(text, "node.toml", overrides).unwrap_err().to_string()
}

#[test]
fn an_unknown_key_is_refused_with_line_and_nearest_key() {
    let text = error("[mesh]\nlisen = [\"/ip4/127.0.0.1/tcp/0\"]\n", &[]);
    assert_eq!(text, "node.toml, line 2: unknown key `lisen`: did you mean `listen`?");
    assert!(error("[log]\nzzzzzzzzzzzz = 1\n", &[]).contains("bootstrap/node.toml lists all"));
    assert!(error("[log]\n\nfilter = 1\n", &[]).starts_with("node.toml, line 3: "));
}

#[test]
fn environment_goes_over_the_file_and_flags_over_it() {
    let environment = environment_overrides([
        ("CHARGEMESH_MESH__LISTEN".to_owned(), "/ip4/127.0.0.1/tcp/1,/ip4/127.0.0.1/tcp/2".to_owned()),
        ("CHARGEMESH_MESH__NETWORK".to_owned(), "7".to_owned()),
        ("CHARGEMESH_LOG__FILTER".to_owned(), "debug".to_owned()),
        ("CHARGEMESH_SKIPS".to_owned(), "not ours".to_owned()),
        ("PATH".to_owned(), "not ours".to_owned()),
    ]);
    assert_eq!(environment.len(), 3);
    let origin = Origin::Flag("--log".to_owned());
    let flag = Override { key: "log.filter".into(), value: "warn".into(), origin };
    let all: Vec<Override> = environment.into_iter().chain([flag]).collect();
    let config = parse("[log]\nfilter = \"info\"\n", "node.toml", &all).unwrap();
    assert_eq!(config.mesh.listen.len(), 2);
    assert_eq!(config.mesh.network, "7");
    assert_eq!(config.log.filter, "warn");
}

#[test]
fn a_wrong_override_is_named() {
    let wrong = environment_overrides([("CHARGEMESH_MESH__NETWROK".to_owned(), "x".to_owned())]);
    let text = error("", &wrong);
    assert!(text.contains("CHARGEMESH_MESH__NETWROK") && text.contains("did you mean `network`?"), "{text}");
    let wrong = environment_overrides([("CHARGEMESH_MESH__TICK_MS".to_owned(), "soon".to_owned())]);
    assert!(error("", &wrong).contains("mesh.tick_ms"));
}

fn party(id: &str) -> PartyConfig {
    let path = PathBuf::from("x");
    let (message_key, credential, delegation) = (path.clone(), path.clone(), path);
    PartyConfig { id: id.into(), name: "x".into(), message_key, credential, delegation }
}

#[test]
fn settings_that_do_not_go_together_are_refused() {
    let with = |change: fn(&mut Config)| {
        let mut config = Config::default();
        change(&mut config);
        config.check().map_err(|error| error.to_string())
    };
    assert_eq!(with(|_| {}), Ok(()));
    assert_eq!(with(|c| c.parties = vec![party("CPO:DE*ABC"), party("EMP:DE-ABC")]), Ok(()));
    let twice = with(|c| c.parties = vec![party("CPO:DE*ABC"), party("CPO:DEABC")]).unwrap_err();
    assert!(twice.contains("parties[1].id") && twice.contains("twice"), "{twice}");
    assert!(with(|c| c.parties = vec![party("DE*ABC")]).unwrap_err().contains("ROLE:ID"));
    let stranger = with(|c| {
        let parties = vec!["CPO:DE*XYZ".to_owned()];
        c.facade.backends = vec![crate::facade::BackendConfig { parties, ..Default::default() }];
    });
    assert!(stranger.unwrap_err().contains("no party of this node"));
}

#[test]
fn rules_of_the_policy_are_read_and_wrong_ones_named_with_their_line() {
    let text = "[[policy.rule]]\nparty = \"EMP:de-xyz\"\nservices = [\"Authorization\", \"cdr\"]\nallow = true\n\n\
        [[policy.rule]]\nparty = \"*\"\nallow = false\n";
    let policy = parse(text, "node.toml", &[]).unwrap().policy;
    assert_eq!(policy.rules.len(), 2);
    let emp = PartyId::parse("EMP:DEXYZ").unwrap();
    assert_eq!(policy.rules[0].whom.party, Some(emp));
    assert_eq!((policy.rules[0].services.len(), policy.rules[0].allow), (2, true));
    assert!(policy.rules[1].services.is_empty() && policy.rules[1].whom.party.is_none());
    let written = toml::to_string(&Config { policy: policy.clone(), ..Config::default() }).unwrap();
    assert_eq!(parse(&written, "node.toml", &[]).unwrap().policy, policy, "{written}");

    let rule = |line: &str| error(&format!("[[policy.rule]]\nallow = true\n{line}\n"), &[]);
    for (line, told) in [
        ("party = \"DE-XYZ\"", "`party`"),
        ("party = \"XXX:DE-XYZ\"", "no role"),
        ("country = \"de\"", "`country`"),
        ("country = \"DEU\"", "`country`"),
        ("role = \"emp\"", "`role`"),
        ("party = \"*\"\nservices = [\"Parking\"]", "`services`: \"Parking\""),
        ("partie = \"*\"", "did you mean `party`?"),
        ("", "says whom it is about"),
    ] {
        let said = rule(line);
        assert!(said.starts_with("node.toml, line ") && said.contains(told), "{line}: {said}");
    }
    assert!(rule("role = \"emp\"").starts_with("node.toml, line 3: "), "{}", rule("role = \"emp\""));
    let missing = error("[[policy.rule]]\nparty = \"*\"\n", &[]);
    assert!(missing.contains("allow"), "{missing}");
}

#[test]
fn rules_of_visibility_are_read_and_wrong_ones_named_with_their_line() {
    let text = "[[visibility.rule]]\nevses = [\"de*abc*e1*\", \"DE*XYZ\"]\nparties = [\"EMP:DE-XYZ\"]\n";
    let visibility = parse(text, "node.toml", &[]).unwrap().visibility;
    assert_eq!((visibility.rules.len(), visibility.rules[0].evses.len()), (1, 2));
    let written = toml::to_string(&Config { visibility: visibility.clone(), ..Config::default() }).unwrap();
    assert_eq!(parse(&written, "node.toml", &[]).unwrap().visibility, visibility, "{written}");
    let said = error("[[visibility.rule]]\nevses = [\"DE*ABC\"]\nparties = [\"DE-XYZ\"]\n", &[]);
    assert!(said.starts_with("node.toml, line ") && said.contains("ROLE:ID"), "{said}");
    let missing = error("[[visibility.rule]]\nevses = [\"DE*ABC\"]\n", &[]);
    assert!(missing.contains("parties"), "{missing}");
    let rules = vec![visibility.rules[0].clone(); crate::roaming::VISIBILITY_RULES_MAX + 1];
    let many = Config { visibility: crate::roaming::Visibility { rules }, ..Config::default() };
    assert!(many.check().unwrap_err().to_string().contains("visibility.rule"));
}

#[test]
fn paths_are_relative_to_the_file() {
    let mut config = Config { parties: vec![party("CPO:DE*ABC")], ..Config::default() };
    config.resolve_paths(Path::new("some/where"));
    assert_eq!(config.node.key, Path::new("some/where/keys/node.key"));
    assert_eq!(config.storage.data_dir, Path::new("some/where/data"));
    assert_eq!(config.parties[0].credential, Path::new("some/where/x"));
}

#[test]
fn the_hub_is_read_and_what_is_wrong_is_named_with_its_line() {
    let text = "[hub]\nurl = \"https://hub.example\"\nparties = [\"CPO:DE*ABC\"]\n\n[[hub.route]]\n\
        partner = \"EMP:de-xyz\"\nservice = \"cdr\"\nway = \"direct-then-hub\"\n\n\
        [[hub.route]]\npartner = \"*\"\nservice = \"*\"\nway = \"hub\"\n";
    let hub = parse(text, "node.toml", &[]).unwrap().hub;
    assert_eq!(hub.routes[0].partner, Some(PartyId::parse("EMP:DEXYZ").unwrap()));
    assert!(hub.routes[1].partner.is_none() && hub.routes[1].service.is_none());
    let written = toml::to_string(&Config { hub: hub.clone(), ..Config::default() }).unwrap();
    assert_eq!(parse(&written, "node.toml", &[]).unwrap().hub, hub, "{written}");
    let with = |hub: crate::hub::HubConfig, backends| {
        let facade = crate::facade::Config { backends, ..Default::default() };
        Config { hub, facade, parties: vec![party("CPO:DE*ABC")], ..Config::default() }.check()
    };
    assert!(with(hub.clone(), Vec::new()).is_ok());
    let caller = vec![crate::facade::BackendConfig { hub: true, ..Default::default() }];
    assert!(with(hub.clone(), caller.clone()).is_ok());
    let off = with(crate::hub::HubConfig::default(), caller).unwrap_err().to_string();
    assert!(off.starts_with("facade.backend[0].hub: "), "{off}");
    let stranger = crate::hub::HubConfig { parties: vec!["EMP:DE-ABC".into()], ..hub };
    assert!(with(stranger, Vec::new()).unwrap_err().to_string().starts_with("hub.parties[0]: "));

    let route = |partner, service, way| {
        let lines = format!("partner = \"{partner}\"\nservice = \"{service}\"\nway = \"{way}\"\n");
        error(&format!("[hub]\nurl = \"\"\n\n[[hub.route]]\n{lines}"), &[])
    };
    for (text, line, told) in [
        (route("DE-XYZ", "*", "hub"), 4, "`hub.route.partner`"),
        (route("*", "Parking", "hub"), 4, "`hub.route.service`: \"Parking\""),
        (route("*", "*", "both"), 7, "direct-then-hub"),
        (error("[hub]\nulr = \"x\"\n", &[]), 2, "did you mean `url`?"),
        (error("[hub.limits]\npush_date = 1\n", &[]), 2, "did you mean `push_data`?"),
    ] {
        assert!(text.starts_with(&format!("node.toml, line {line}: ")) && text.contains(told), "{text}");
    }
}
