//! Who is believed for what: trust, time, ids and other people's papers.

use std::collections::BTreeSet;

use super::*;
use crate::identity::credential::CREDENTIAL_VALIDITY_S_MAX;
use crate::identity::delegation::DELEGATION_VALIDITY_S_MAX;

#[test]
fn a_whole_chain_makes_a_speaker_with_its_grants() {
    let chain = swiss_chain();
    assert_eq!(chain, swiss_chain(), "the same input signs to the same bytes");
    let speaker = judge(&chain, &swiss_trust()).unwrap();
    assert_eq!(speaker.party().to_text(), "CPO:CHSCH");
    assert_eq!(*speaker.delegation_hash(), chain.delegation_hash());
    assert_eq!(speaker.validity(), (NOW - 3_600, NOW + 6 * DAY));
    let publish = |prefix: &str| speaker.may(Operation::EvsePublish, prefix);
    assert_eq!(publish("CHSCH"), Ok(GrantClass::MainId));
    assert_eq!(publish("ch*sch"), Ok(GrantClass::MainId));
    assert_eq!(publish("CHABC"), Ok(GrantClass::IssuerOnly));
    assert!(GrantClass::MainId < GrantClass::IssuerOnly, "order is precedence");

    let untrusted = publish("FRN54").unwrap_err();
    assert_eq!(untrusted.verdict(), Verdict::Ignore);
    assert!(matches!(untrusted, ScopeError::Untrusted { .. }));
    for foreign in ["DEGEF", "CHSCX", "", "CH", "+41*031", "CHSCH*E1"] {
        let refused = publish(foreign).unwrap_err();
        assert!(matches!(refused, ScopeError::Foreign { .. }), "{foreign}");
        assert_eq!(refused.verdict(), Verdict::Reject);
    }
    let refused = speaker.may(Operation::CdrSend, "CHSCH").unwrap_err();
    assert!(matches!(refused, ScopeError::Operation { .. }));
    assert!(speaker.may_at(NOW).is_ok());
    assert!(speaker.may_at(NOW + 6 * DAY).is_err(), "the end is the first second after");
}

#[test]
fn an_issuer_for_one_country_or_role_gives_nothing_elsewhere() {
    // An issuer trusted for CH grants DE*GEF as a sub id: the chain stands, the prefix does not.
    let chain = chain_of(
        &terms(Role::Cpo, "CH*SCH", &["DE*GEF"]),
        &delegation(Role::Cpo, "CH*SCH", &["CH*SCH", "DE*GEF"]),
    );
    let speaker = judge(&chain, &swiss_trust()).unwrap();
    assert!(matches!(speaker.may(Operation::EvsePublish, "DEGEF"), Err(ScopeError::Untrusted { .. })));
    assert_eq!(speaker.untrusted_prefixes().len(), 1);

    // As main id, in another role, or as the DIN id of the same country: no speaker at all.
    for (role, main) in [(Role::Cpo, "DE*GEF"), (Role::Emp, "CH*SCH"), (Role::Cpo, "+41*031")] {
        let chain = chain_of(&terms(role, main, &[]), &delegation(role, main, &[main]));
        let refused = judge(&chain, &swiss_trust()).unwrap_err();
        assert!(matches!(refused, ChainError::UntrustedIssuer { .. }), "{role} {main}: {refused}");
        assert_eq!(refused.verdict(), Verdict::Ignore, "trust is local");
    }

    // Whoever trusts the issuer for everything gets it all.
    let mut trust = swiss_trust();
    trust.issuers = vec![issuer(&issuer_key(), IssuerClass::Registrar, &[("*", Role::Cpo)])];
    let speaker = judge(&chain, &trust).unwrap();
    assert_eq!(speaker.may(Operation::EvsePublish, "DE*GEF"), Ok(GrantClass::IssuerOnly));
}

#[test]
fn an_unknown_issuer_is_ignored_and_one_attester_is_not_enough() {
    let chain = swiss_chain();
    let mut trust = swiss_trust();
    trust.issuers = vec![issuer(&key(77), IssuerClass::Registrar, &[("*", Role::Cpo)])];
    assert!(matches!(judge(&chain, &trust), Err(ChainError::UntrustedIssuer { .. })));
    trust.issuers = vec![issuer(&issuer_key(), IssuerClass::Attester, &[("CH", Role::Cpo)])];
    let refused = judge(&chain, &trust).unwrap_err();
    assert!(matches!(refused, ChainError::OneAttester { .. }));
    assert_eq!(refused.verdict(), Verdict::Ignore);
    trust = swiss_trust();
    trust.valid_until_unix_s = NOW;
    assert!(matches!(judge(&chain, &trust), Err(ChainError::TrustListExpired { .. })));
}

#[test]
fn a_pin_suffices_for_its_party_and_gives_no_more() {
    let chain = swiss_chain();
    let party = PartyId::new(Role::Cpo, "CHSCH").unwrap();
    let pin = Pin { party: party.clone(), org_key: org_key().public(), sub_ids: BTreeSet::new() };
    let mut trust = TrustList { issuers: Vec::new(), pins: vec![pin], ..swiss_trust() };
    let speaker = judge(&chain, &trust).unwrap();
    assert_eq!(speaker.may(Operation::EvsePublish, "CHSCH"), Ok(GrantClass::MainId));
    assert!(speaker.may(Operation::EvsePublish, "CHABC").is_err(), "nobody vouched for the sub id");

    // What is pinned is the key: an issuer's word for another key does not count against it.
    let mut pinned_otherwise = swiss_trust();
    pinned_otherwise.pins =
        vec![Pin { party: party.clone(), org_key: key(50).public(), sub_ids: BTreeSet::new() }];
    assert!(matches!(judge(&chain, &pinned_otherwise), Err(ChainError::PinnedOtherwise { .. })));

    // Not transitive and not for the other role.
    trust.pins = vec![Pin {
        party: PartyId::new(Role::Emp, "CHSCH").unwrap(),
        org_key: org_key().public(),
        sub_ids: BTreeSet::new(),
    }];
    assert!(matches!(judge(&chain, &trust), Err(ChainError::UntrustedIssuer { .. })));
}

#[test]
fn a_partys_own_word_counts_where_it_is_pinned_and_nowhere_else() {
    let own = terms(Role::Cpo, "CH*SCH", &["CH*ABC"]);
    let credential = Credential::issue(NETWORK, &own, "the party itself", &org_key()).unwrap();
    let delegation = delegation(Role::Cpo, "CH*SCH", &["CH*SCH", "CH*ABC"])
        .issue(NETWORK, &hash_of(&credential), &org_key())
        .unwrap();
    let chain = Chain { credential, delegation };
    assert!(matches!(judge(&chain, &swiss_trust()), Err(ChainError::UntrustedIssuer { .. })));
    let pin = |key: &SecretKey| Pin {
        party: own.party.clone(),
        org_key: key.public(),
        sub_ids: ids(&["CH*ABC"]).into_iter().collect(),
    };
    let speaker = judge(&chain, &swiss_trust().with_pins(vec![pin(&org_key())])).unwrap();
    assert_eq!(speaker.may(Operation::EvsePublish, "CHABC"), Ok(GrantClass::IssuerOnly));
    let other = swiss_trust().with_pins(vec![pin(&org_key())]).with_pins(vec![pin(&key(50))]);
    assert_eq!(other.pins.len(), 1, "the later pin of a party goes over the earlier");
    assert!(matches!(judge(&chain, &other), Err(ChainError::PinnedOtherwise { .. })));
}

#[test]
fn somebody_elses_credential_gives_nothing() {
    let victim = swiss_chain();
    let thief_org = key(60);
    let credential = hash_of(&victim.credential);

    // The victim's credential with a delegation that the thief signed himself.
    let own = delegation(Role::Cpo, "CH*SCH", &["CH*SCH"]).issue(NETWORK, &credential, &thief_org).unwrap();
    let refused = judge(&Chain { delegation: own, ..victim.clone() }, &swiss_trust()).unwrap_err();
    assert_eq!(refused, ChainError::Delegation(SealError::Signature));
    assert_eq!(refused.verdict(), Verdict::Reject);

    // The victim's credential with the thief's honest delegation, made for the thief's own credential.
    let mut own_terms = terms(Role::Cpo, "CH*BAD", &[]);
    own_terms.org_key = thief_org.public();
    let own_credential = Credential::issue(NETWORK, &own_terms, "Registrar", &issuer_key()).unwrap();
    let own_delegation = delegation(Role::Cpo, "CH*BAD", &["CH*BAD"])
        .issue(NETWORK, &hash_of(&own_credential), &thief_org)
        .unwrap();
    let mixed = Chain { credential: victim.credential.clone(), delegation: own_delegation };
    assert_eq!(judge(&mixed, &swiss_trust()), Err(ChainError::NotThisCredential));

    // The thief's credential with a delegation that claims the victim's id or role.
    for (role, main, prefixes) in [
        (Role::Cpo, "CH*SCH", &["CH*BAD"] as &[&str]),
        (Role::Emp, "CH*BAD", &["CH*BAD"]),
        (Role::Cpo, "CH*BAD", &["CH*SCH"]),
    ] {
        let delegation =
            delegation(role, main, prefixes).issue(NETWORK, &hash_of(&own_credential), &thief_org).unwrap();
        let chain = Chain { credential: own_credential.clone(), delegation };
        let refused = judge(&chain, &swiss_trust()).unwrap_err();
        assert!(matches!(refused, ChainError::OtherParty { .. } | ChainError::OutsideCredential { .. }));
        assert_eq!(refused.verdict(), Verdict::Reject);
    }

    // A credential that the thief issued to himself in the registrar's name.
    let forged = seal(
        Purpose::PartyCredential,
        NETWORK,
        issuer_key().public().as_bytes(),
        &thief_org,
        open(&victim.credential, Purpose::PartyCredential, NETWORK).unwrap().payload_unproven(),
    )
    .unwrap();
    let refused = judge(&Chain { credential: forged, ..victim }, &swiss_trust()).unwrap_err();
    assert_eq!(refused, ChainError::Credential(SealError::Signature));
}

#[test]
fn time_network_and_purpose_are_checked() {
    let (chain, trust) = (swiss_chain(), swiss_trust());
    for at in [NOW + 6 * DAY, NOW + 500 * DAY] {
        let refused =
            judge_at(&chain, &TrustList { valid_until_unix_s: u64::MAX, ..trust.clone() }, NETWORK, at);
        assert!(matches!(refused, Err(ChainError::Expired { .. })), "{at}");
    }
    let early = judge_at(&chain, &trust, NETWORK, NOW - 2 * 3_600).unwrap_err();
    assert!(matches!(early, ChainError::NotYetValid { .. }));
    assert_eq!(early.verdict(), Verdict::Ignore);
    let speaker = judge_at(&chain, &trust, NETWORK, NOW - 3_600 - 60).unwrap();
    assert!(speaker.may_at(NOW - 3_600 - 60).is_ok(), "clocks differ");
    assert!(speaker.may_at(NOW - 3_600 - 61).is_err());

    let elsewhere = judge_at(&chain, &trust, "other", NOW).unwrap_err();
    assert_eq!(elsewhere, ChainError::Credential(SealError::Network));
    assert_eq!(elsewhere.verdict(), Verdict::Ignore);

    let swapped = Chain { credential: chain.delegation.clone(), delegation: chain.credential.clone() };
    let refused = judge(&swapped, &trust).unwrap_err();
    assert!(matches!(refused, ChainError::Credential(SealError::Purpose { .. })));
    assert_eq!(refused.verdict(), Verdict::Reject);
}

#[test]
fn what_is_too_long_or_too_much_is_neither_signed_nor_read() {
    let mut long = terms(Role::Cpo, "CH*SCH", &[]);
    long.expires_unix_s = long.not_before_unix_s + CREDENTIAL_VALIDITY_S_MAX + 1;
    assert!(Credential::issue(NETWORK, &long, "Registrar", &issuer_key()).is_err());
    long.expires_unix_s -= 1;
    assert!(Credential::issue(NETWORK, &long, "Registrar", &issuer_key()).is_ok());
    long.expires_unix_s = long.not_before_unix_s;
    assert!(Credential::issue(NETWORK, &long, "Registrar", &issuer_key()).is_err());

    let credential = [0; 32];
    let mut long = delegation(Role::Cpo, "CH*SCH", &["CH*SCH"]);
    long.expires_unix_s = long.not_before_unix_s + DELEGATION_VALIDITY_S_MAX + 1;
    assert!(long.issue(NETWORK, &credential, &org_key()).is_err());
    let wrong_slot = Delegation { slot: 8, ..delegation(Role::Cpo, "CH*SCH", &[]) };
    assert!(wrong_slot.issue(NETWORK, &credential, &org_key()).is_err());

    let sub_ids = |count: usize| {
        (0..count)
            .map(|n| id(&format!("C{}{:03}", char::from(b'A' + (n / 1_000) as u8), n % 1_000)))
            .collect()
    };
    let mut many = terms(Role::Cpo, "CH*SCH", &[]);
    many.sub_ids = sub_ids(1_000);
    assert!(Credential::issue(NETWORK, &many, "Registrar", &issuer_key()).is_ok());
    many.sub_ids = sub_ids(1_001);
    assert!(Credential::issue(NETWORK, &many, "Registrar", &issuer_key()).is_err());

    for network in ["", "Net", "a b", &"n".repeat(33)] {
        let refused = seal(Purpose::FeedHead, network, &[0; 32], &key(1), b"x");
        assert_eq!(refused, Err(SealError::NetworkName));
    }
    let refused = seal(Purpose::FeedHead, NETWORK, &[0; 32], &key(1), &[0; 5_000]).unwrap_err();
    assert!(matches!(refused, SealError::TooLarge { .. }));
}

#[test]
fn a_trust_list_is_believed_only_from_its_own_signer() {
    let mut list = swiss_trust();
    list.pins = vec![Pin {
        party: PartyId::new(Role::Emp, "DE-DCB").unwrap(),
        org_key: key(9).public(),
        sub_ids: BTreeSet::from([id("DE*ABC")]),
    }];
    let bytes = list.issue(NETWORK, &key(20)).unwrap();
    assert_eq!(TrustList::open(&bytes, NETWORK, &key(20).public()), Ok(list.clone()));
    assert_eq!(TrustList::open(&bytes, NETWORK, &key(21).public()), Err(SealError::Signer));
    assert_eq!(TrustList::open(&bytes, "other", &key(20).public()), Err(SealError::Network));

    let twice = TrustList { issuers: [list.issuers.clone(), list.issuers.clone()].concat(), ..list.clone() };
    assert!(twice.issue(NETWORK, &key(20)).is_err(), "one key with two meanings");
    let twice = TrustList { pins: [list.pins.clone(), list.pins.clone()].concat(), ..list.clone() };
    assert!(twice.issue(NETWORK, &key(20)).is_err());
    for country in ["ch", "41", "CHE", "+041", "**", ""] {
        let issuers = vec![issuer(&key(1), IssuerClass::Registrar, &[(country, Role::Cpo)])];
        let misspelt = TrustList { issuers, ..list.clone() };
        assert!(misspelt.issue(NETWORK, &key(20)).is_err(), "{country}");
    }
}

#[test]
fn signed_objects_come_back_as_they_were_made() {
    let mut made = terms(Role::Cpo, "CH*SCH", &["FR*N54", "CH*ABC", "CH*ABC", "CH*SCH"]);
    let bytes = Credential::issue(NETWORK, &made, "Registrar", &issuer_key()).unwrap();
    let read = Credential::open(&bytes, NETWORK).unwrap();
    made.sub_ids = ids(&["CH*ABC", "FR*N54"]);
    assert_eq!(read.terms, made, "sub ids sorted, once each, without the main id");
    assert_eq!(*read.hash(), hash_of(&bytes));
    assert_eq!(read.signer(), issuer_key().public().as_bytes());

    let made = delegation(Role::Emp, "DE-DCB", &["DE-DCB", "+49*810"]);
    let bytes = made.issue(NETWORK, read.hash(), &org_key()).unwrap();
    let read = Unverified::<Delegation>::new(&bytes, NETWORK).unwrap().verify(&org_key().public()).unwrap();
    assert_eq!(*read, made, "unknown operations survive");
}
