//! Two independent attesters stand for one registrar.

use super::*;

#[test]
fn two_independent_attesters_are_needed_for_each_id() {
    let attester = |seed| issuer(&key(seed), IssuerClass::Attester, &[("CH", Role::Cpo)]);
    let mut foreign = attester(32);
    foreign.grants = [IssuerGrant { country: "DE".to_owned(), role: Role::Cpo }].into();
    let trust = TrustList { issuers: vec![attester(30), attester(31), foreign], ..swiss_trust() };
    let chain =
        under(&credential_of(&key(30), "CH*SCH", &["CH*ABC", "CH*XYZ"], &org_key(), &key(4)), &org_key());
    let said =
        |issuer: u8, subs: &[&str], org: u8| credential_of(&key(issuer), "CH*SCH", subs, &key(org), &key(4));

    // What else is known, who vouches in the end, and whether the sub ids are granted.
    let table = [
        ("one attester alone", vec![], false, [false; 2]),
        ("the same attester twice", vec![said(30, &["CH*ABC"], 2), said(30, &[], 2)], false, [false; 2]),
        ("somebody unknown", vec![said(33, &["CH*ABC"], 2)], false, [false; 2]),
        ("one for another country", vec![said(32, &["CH*ABC"], 2)], false, [false; 2]),
        ("a second one for another org key", vec![said(31, &["CH*ABC"], 60)], false, [false; 2]),
        ("two, the second for the main id", vec![said(31, &[], 2)], true, [false; 2]),
        ("two, both name one sub id", vec![said(31, &["CH*ABC"], 2)], true, [true, false]),
        ("two, both name both", vec![said(31, &["CH*ABC", "CH*XYZ"], 2)], true, [true, true]),
    ];
    for (name, known, believed, subs) in table {
        let mut watcher = Watcher::of(trust.clone());
        for credential in &known {
            let _ = watcher.add(credential);
        }
        let speaker = match watcher.judge(&chain) {
            Ok(speaker) => speaker,
            Err(refused) => {
                assert!(matches!(refused, ChainError::OneAttester { .. }), "{name}: {refused}");
                assert!(!believed, "{name}");
                continue;
            }
        };
        assert!(believed, "{name}");
        assert!(matches!(speaker.assurance(), Assurance::Attesters { names } if names.len() == 2), "{name}");
        let granted = ["CHABC", "CHXYZ"].map(|id| speaker.grants().contains_key(id));
        assert_eq!(granted, subs, "{name}");
    }
}

#[test]
fn a_second_attester_counts_while_its_word_lives() {
    let attester = |seed| issuer(&key(seed), IssuerClass::Attester, &[("CH", Role::Cpo)]);
    let trust = TrustList { issuers: vec![attester(30), attester(31)], ..swiss_trust() };
    let credential = |issuer: u8| credential_of(&key(issuer), "CH*SCH", &[], &org_key(), &key(4));
    let chain = under(&credential(30), &org_key());
    let mut watcher = Watcher::of(trust.clone());
    watcher.hold(&credential(31));
    assert!(watcher.judge(&chain).is_ok());
    watcher.hold(&tombstone(&credential(31), Dead::Credential, 1, &key(31)).unwrap());
    assert!(matches!(watcher.judge(&chain), Err(ChainError::OneAttester { .. })));

    // One whose time has not come, and one that has ended.
    for (from, until) in [(NOW + DAY, NOW + 9 * DAY), (NOW - 9 * DAY, NOW)] {
        let mut terms = terms(Role::Cpo, "CH*SCH", &[]);
        (terms.not_before_unix_s, terms.expires_unix_s) = (from, until);
        let mut watcher = Watcher::of(trust.clone());
        watcher.hold(&Credential::issue(NETWORK, &terms, "Issuer", &key(31)).unwrap());
        assert!(matches!(watcher.judge(&chain), Err(ChainError::OneAttester { .. })));
    }
    // Both vouch for the key, but the paper shown is by somebody unknown.
    let mut watcher = Watcher::of(trust);
    watcher.hold(&credential(30));
    watcher.hold(&credential(31));
    assert!(watcher.judge(&chain).is_ok());
    let unknown = under(&credential(33), &org_key());
    assert!(matches!(watcher.judge(&unknown), Err(ChainError::UntrustedIssuer { .. })));
}
