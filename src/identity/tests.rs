//! Attacks on the whole chain, each with its refusal, and random bytes against every decoder.

use std::collections::BTreeSet;

use super::card::{CARD_VALIDITY_S_MAX, CredentialRef};
use super::credential::CREDENTIAL_VALIDITY_S_MAX;
use super::delegation::DELEGATION_VALIDITY_S_MAX;
use super::sealed::Content;
use super::*;

const NETWORK: &str = "test";
const NOW: u64 = 1_800_000_000;
const DAY: u64 = 86_400;

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn issuer_key() -> SecretKey {
    key(1)
}

fn org_key() -> SecretKey {
    key(2)
}

fn message_key() -> SecretKey {
    key(3)
}

fn id(wire: &str) -> CanonicalId {
    CanonicalId::parse(wire).unwrap()
}

fn ids(wires: &[&str]) -> Vec<CanonicalId> {
    wires.iter().map(|wire| id(wire)).collect()
}

fn issuer(key: &SecretKey, class: IssuerClass, grants: &[(&str, Role)]) -> Issuer {
    Issuer {
        key: key.public(),
        name: "Registrar".to_owned(),
        class,
        grants: grants
            .iter()
            .map(|(country, role)| IssuerGrant { country: (*country).to_owned(), role: *role })
            .collect(),
    }
}

/// One registrar that counts for Swiss CPOs.
fn swiss_trust() -> TrustList {
    TrustList {
        issuers: vec![issuer(&issuer_key(), IssuerClass::Registrar, &[("CH", Role::Cpo)])],
        pins: Vec::new(),
        seq: 1,
        valid_until_unix_s: NOW + 365 * DAY,
    }
}

fn terms(role: Role, main: &str, subs: &[&str]) -> CredentialTerms {
    CredentialTerms {
        party: PartyId::new(role, main).unwrap(),
        sub_ids: ids(subs),
        legal_name: "Example Charging AG".to_owned(),
        register_number: "CHE-000.000.000".to_owned(),
        org_key: org_key().public(),
        next_org_key_hash: Some([9; 32]),
        not_before_unix_s: NOW - DAY,
        expires_unix_s: NOW + 300 * DAY,
        serial: vec![1, 2, 3],
    }
}

fn delegation(role: Role, main: &str, prefixes: &[&str]) -> Delegation {
    Delegation {
        party: PartyId::new(role, main).unwrap(),
        peer_id: vec![0, 36, 8, 1],
        message_key: message_key().public(),
        operations: BTreeSet::from([Operation::EvsePublish, Operation::StatusPublish]),
        operations_unknown: BTreeSet::from(["meter.publish".to_owned()]),
        prefixes: ids(prefixes).into_iter().collect(),
        not_before_unix_s: NOW - 3_600,
        expires_unix_s: NOW + 6 * DAY,
        epoch: 4,
        slot: 0,
    }
}

fn chain_of(terms: &CredentialTerms, delegation: &Delegation) -> Chain {
    let credential = Credential::issue(NETWORK, terms, "Registrar", &issuer_key()).unwrap();
    let delegation = delegation.issue(NETWORK, &hash_of(&credential), &org_key()).unwrap();
    Chain { credential, delegation }
}

fn swiss_chain() -> Chain {
    chain_of(
        &terms(Role::Cpo, "CH*SCH", &["CH*ABC", "FR*N54"]),
        &delegation(Role::Cpo, "CH*SCH", &["CH*SCH", "CH*ABC", "FR*N54"]),
    )
}

fn judge_at(chain: &Chain, trust: &TrustList, network: &str, at_unix_s: u64) -> Result<Speaker, ChainError> {
    let revocations = Revocations::none();
    chain.verify(&TrustContext { network, trust, revocations: &revocations, at_unix_s })
}

fn judge(chain: &Chain, trust: &TrustList) -> Result<Speaker, ChainError> {
    judge_at(chain, trust, NETWORK, NOW)
}

fn card_of(chain: &Chain) -> PartyCard {
    PartyCard {
        addresses: vec!["/ip4/192.0.2.1/tcp/4001".to_owned()],
        capabilities: vec!["evse/1".to_owned()],
        ..PartyCard::of_chain(chain, 7, NOW - 60)
    }
}

fn judge_card(bytes: &[u8], fetched: Option<&[u8]>, at_unix_s: u64) -> Result<VerifiedCard, CardError> {
    let (trust, revocations) = (swiss_trust(), Revocations::none());
    let context = TrustContext { network: NETWORK, trust: &trust, revocations: &revocations, at_unix_s };
    PartyCard::verify(bytes, fetched, &context)
}

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
    assert!(judge_at(&chain, &trust, NETWORK, NOW - 3_600 - 60).is_ok(), "clocks differ");

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
fn no_flipped_bit_and_no_missing_or_added_byte_passes() {
    let (chain, trust) = (swiss_chain(), swiss_trust());
    let card = card_of(&chain).issue(NETWORK, &message_key()).unwrap();
    assert!(judge_card(&card, None, NOW).is_ok());
    for at in 0..chain.credential.len().max(chain.delegation.len()) {
        for bit in [0x01, 0x20, 0x80] {
            let flip = |bytes: &[u8]| {
                let mut bytes = bytes.to_vec();
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= bit);
                bytes
            };
            if at < chain.credential.len() {
                let broken = Chain { credential: flip(&chain.credential), ..chain.clone() };
                assert!(judge(&broken, &trust).is_err(), "credential byte {at}");
            }
            if at < chain.delegation.len() {
                let broken = Chain { delegation: flip(&chain.delegation), ..chain.clone() };
                assert!(judge(&broken, &trust).is_err(), "delegation byte {at}");
            }
        }
        let cut = Chain { credential: chain.credential.iter().copied().take(at).collect(), ..chain.clone() };
        assert!(cut.credential.len() == chain.credential.len() || judge(&cut, &trust).is_err());
    }
    for at in 0..card.len() {
        let mut broken = card.clone();
        broken[at] ^= 0x04;
        assert!(judge_card(&broken, None, NOW).is_err(), "card byte {at}");
        assert!(judge_card(&card[..at], None, NOW).is_err(), "card cut at {at}");
    }
    let mut longer = card;
    longer.push(0);
    assert_eq!(judge_card(&longer, None, NOW), Err(CardError::Seal(SealError::Frame)));
}

#[test]
fn stripped_signatures_other_frames_and_unprotected_headers_are_refused() {
    let sealed = seal(Purpose::FeedHead, NETWORK, &[5; 32], &key(1), b"payload").unwrap();
    let unsealed = open(&sealed, Purpose::FeedHead, NETWORK).unwrap();
    assert_eq!(unsealed.verify(&key(1).public()).unwrap(), b"payload");
    assert_eq!(unsealed.verify(&key(2).public()), Err(SealError::Signature));
    assert_eq!(unsealed.signer(), &[5; 32]);

    let frame = |bytes: &[u8]| open(bytes, Purpose::FeedHead, NETWORK).unwrap_err();
    let body = sealed.strip_prefix(&[0xd2]).unwrap();
    assert_eq!(frame(body), SealError::Frame, "without tag");
    let mut other_tag = sealed.clone();
    other_tag[0] = 0xd1;
    assert_eq!(frame(&other_tag), SealError::Frame, "COSE_Mac0 is no signature");
    let unsigned = &sealed[..sealed.len() - 66];
    assert_eq!(frame(unsigned), SealError::Frame);
    let emptied: Vec<u8> = unsigned.iter().copied().chain([0x40]).collect();
    assert_eq!(frame(&emptied), SealError::Frame, "an empty signature");

    // Something smuggled into the unprotected header: {4: h'00'} instead of {}.
    let place = sealed.len() - 66 - (1 + b"payload".len()) - 1;
    assert_eq!(sealed[place], 0xa0);
    let mut smuggled = sealed[..place].to_vec();
    smuggled.extend([0xa1, 0x04, 0x41, 0x00]);
    smuggled.extend(&sealed[place + 1..]);
    assert_eq!(frame(&smuggled), SealError::Frame);

    // The same content with a longer length field would be a second name for one object.
    let mut padded = sealed[..place + 1].to_vec();
    padded.extend([0x58, 0x07]);
    padded.extend(&sealed[place + 2..]);
    assert_eq!(frame(&padded), SealError::Frame);

    let header = peek(&sealed).unwrap();
    assert_eq!((header.purpose, header.network.as_str(), header.version), (Purpose::FeedHead, NETWORK, 1));
    assert!(matches!(
        open(&sealed, Purpose::Receipt, NETWORK).unwrap_err(),
        SealError::Purpose { expected: Purpose::Receipt, found: Purpose::FeedHead }
    ));
}

#[test]
fn other_algorithms_versions_and_extra_header_entries_are_refused() {
    use ciborium::value::Value;
    let entries = |algorithm: i64, version: u64| {
        vec![
            (Value::from(1), Value::from(algorithm)),
            (Value::from(4), Value::Bytes(vec![5; 32])),
            (Value::from("cm-purpose"), Value::from("feed-head")),
            (Value::from("cm-network"), Value::from(NETWORK)),
            (Value::from("cm-version"), Value::from(version)),
        ]
    };
    let framed = |entries: Vec<(Value, Value)>| {
        let mut protected = Vec::new();
        ciborium::into_writer(&Value::Map(entries), &mut protected).unwrap();
        let frame = Value::Tag(
            18,
            Box::new(Value::Array(vec![
                Value::Bytes(protected),
                Value::Map(Vec::new()),
                Value::Bytes(b"payload".to_vec()),
                Value::Bytes(vec![0; 64]),
            ])),
        );
        let mut bytes = Vec::new();
        ciborium::into_writer(&frame, &mut bytes).unwrap();
        open(&bytes, Purpose::FeedHead, NETWORK).map(|_| ())
    };
    const EDDSA: i64 = -8;
    assert_eq!(framed(entries(EDDSA, 1)), Ok(()), "the frame is in order, the signature is not");
    for algorithm in [-7, 0, 5, -37] {
        assert_eq!(framed(entries(algorithm, 1)), Err(SealError::Header), "alg {algorithm}");
    }
    for version in [0, 2, u64::MAX] {
        assert_eq!(framed(entries(EDDSA, version)), Err(SealError::Version { found: version }));
    }
    let mut extra = entries(EDDSA, 1);
    extra.push((Value::from(2), Value::Array(vec![Value::from(99)])));
    assert_eq!(framed(extra), Err(SealError::Header), "crit");
    for at in 0..5 {
        let mut missing = entries(EDDSA, 1);
        missing.remove(at);
        assert_eq!(framed(missing.clone()), Err(SealError::Header));
        missing.push(missing[0].clone());
        assert_eq!(framed(missing), Err(SealError::Header), "one twice, one missing");
    }
}

#[test]
fn a_card_is_believed_only_with_its_chain_and_its_own_key() {
    let chain = swiss_chain();
    let sealed = card_of(&chain).issue(NETWORK, &message_key()).unwrap();
    let card = judge_card(&sealed, None, NOW).unwrap();
    assert_eq!(card.card().addresses, ["/ip4/192.0.2.1/tcp/4001"]);
    assert_eq!(card.speaker().peer_id(), [0, 36, 8, 1]);
    assert_eq!(card.kad_key(NETWORK), kad_key(NETWORK, card.speaker().party(), 0));

    // Somebody else's chain with other addresses.
    let stolen = card_of(&chain).issue(NETWORK, &key(66)).unwrap();
    assert_eq!(judge_card(&stolen, None, NOW), Err(CardError::Seal(SealError::Signature)));
    // Signed by the right key in the name of another delegation.
    let payload = open(&sealed, Purpose::PartyCard, NETWORK).unwrap().payload_unproven();
    let renamed = seal(Purpose::PartyCard, NETWORK, &[1; 32], &message_key(), payload).unwrap();
    assert_eq!(judge_card(&renamed, None, NOW), Err(CardError::Seal(SealError::Signer)));

    for at in [NOW - 60 + CARD_VALIDITY_S_MAX, NOW - 600] {
        let refused = judge_card(&sealed, None, at).unwrap_err();
        assert_eq!(refused, CardError::NotValidThen { at_unix_s: at });
        assert_eq!(refused.verdict(), Verdict::Ignore);
    }
    let mut long = card_of(&chain);
    long.expires_unix_s = long.issued_unix_s + CARD_VALIDITY_S_MAX + 1;
    assert!(long.issue(NETWORK, &message_key()).is_err());
    let many = PartyCard { addresses: vec!["/ip4/192.0.2.1".to_owned(); 17], ..card_of(&chain) };
    assert!(many.issue(NETWORK, &message_key()).is_err());
}

#[test]
fn a_large_credential_is_named_by_hash_and_fetched() {
    let subs: Vec<String> = (0..1_000).map(|n| format!("CA{n:03}")).collect();
    let subs: Vec<&str> = subs.iter().map(String::as_str).collect();
    let chain = chain_of(&terms(Role::Cpo, "CH*SCH", &subs), &delegation(Role::Cpo, "CH*SCH", &["CH*SCH"]));
    // 6 KB of ids fit; a second such list of addresses and the delegation's prefixes do not.
    let mut card = card_of(&chain);
    card.addresses = (0..16).map(|n| format!("/dns4/{}.example/tcp/{n}", "a".repeat(200))).collect();
    let sealed = card.issue(NETWORK, &message_key()).unwrap();
    assert!(sealed.len() <= 8 * 1024);
    let hash = hash_of(&chain.credential);
    assert_eq!(judge_card(&sealed, None, NOW), Err(CardError::CredentialNeeded { hash }));
    let verified = judge_card(&sealed, Some(&chain.credential), NOW).unwrap();
    assert_eq!(verified.card().credential, CredentialRef::ByHash(hash));
    let other = swiss_chain().credential;
    assert_eq!(judge_card(&sealed, Some(&other), NOW), Err(CardError::OtherCredential));

    // Delegation of a thousand ids and long addresses: over the limit even so.
    let chain = chain_of(&terms(Role::Cpo, "CH*SCH", &subs), &delegation(Role::Cpo, "CH*SCH", &subs));
    let too_large = PartyCard { delegation: chain.delegation, ..card };
    let refused = too_large.issue(NETWORK, &message_key()).unwrap_err();
    assert!(matches!(refused, SealError::TooLarge { .. }));
}

#[test]
fn card_places_differ_by_network_role_id_and_slot() {
    let cpo = PartyId::new(Role::Cpo, "DE*GEF").unwrap();
    let emp = PartyId::new(Role::Emp, "DE*GEF").unwrap();
    let other = PartyId::new(Role::Cpo, "DE*GEG").unwrap();
    let places = BTreeSet::from([
        kad_key("a", &cpo, 0),
        kad_key("a", &cpo, 1),
        kad_key("a", &emp, 0),
        kad_key("a", &other, 0),
        kad_key("b", &cpo, 0),
    ]);
    assert_eq!(places.len(), 5);
    assert_eq!(kad_key("a", &PartyId::new(Role::Cpo, "de-gef").unwrap(), 0), kad_key("a", &cpo, 0));
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
fn a_speaker_opens_only_what_its_own_delegation_signed() {
    let speaker = judge(&swiss_chain(), &swiss_trust()).unwrap();
    let head =
        |signer: &Hash, key: &SecretKey| seal(Purpose::FeedHead, NETWORK, signer, key, b"head").unwrap();
    let own = head(speaker.delegation_hash(), &message_key());
    assert_eq!(speaker.open(&own, Purpose::FeedHead, NETWORK), Ok(b"head".as_slice()));
    assert!(speaker.open(&own, Purpose::Receipt, NETWORK).is_err());
    let other = head(&[0; 32], &message_key());
    assert_eq!(speaker.open(&other, Purpose::FeedHead, NETWORK), Err(SealError::Signer));
    let forged = head(speaker.delegation_hash(), &key(99));
    assert_eq!(speaker.open(&forged, Purpose::FeedHead, NETWORK), Err(SealError::Signature));
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

#[test]
fn any_bytes_are_refused_by_every_opener_and_never_panic() {
    bolero::check!().for_each(|input: &[u8]| {
        let _ = peek(input);
        for purpose in Purpose::ALL {
            assert!(open(input, purpose, NETWORK).and_then(|o| o.verify(&key(1).public())).is_err());
        }
        assert!(judge_card(input, None, NOW).is_err());
        assert!(TrustList::open(input, NETWORK, &key(1).public()).is_err());
        let chain = Chain { credential: input.to_vec(), delegation: input.to_vec() };
        assert!(judge(&chain, &swiss_trust()).is_err());
    });
}

#[test]
fn any_signed_payload_is_read_or_refused_and_never_panics() {
    bolero::check!().for_each(|input: &[u8]| {
        let _ = Credential::decode(input);
        let _ = Delegation::decode(input);
        let _ = TrustList::decode(input);
        let _ = PartyCard::decode(input);
    });
}

#[test]
fn damaged_payloads_of_every_kind_are_read_or_refused_and_never_panic() {
    let chain = swiss_chain();
    let card = card_of(&chain).issue(NETWORK, &message_key()).unwrap();
    let list = swiss_trust().issue(NETWORK, &key(20)).unwrap();
    let payload = |bytes: &[u8], purpose| open(bytes, purpose, NETWORK).unwrap().payload_unproven().to_vec();
    let payloads = [
        payload(&chain.credential, Purpose::PartyCredential),
        payload(&chain.delegation, Purpose::NodeDelegation),
        payload(&list, Purpose::TrustList),
        payload(&card, Purpose::PartyCard),
    ];
    bolero::check!().with_type::<(u8, u16, u8, u16)>().for_each(|(which, at, byte, cut)| {
        let mut damaged = payloads[usize::from(*which) % payloads.len()].clone();
        let at = usize::from(*at) % damaged.len();
        damaged[at] = *byte;
        damaged.truncate(usize::from(*cut).max(at + 1));
        let _ = Credential::decode(&damaged);
        let _ = Delegation::decode(&damaged);
        let _ = TrustList::decode(&damaged);
        let _ = PartyCard::decode(&damaged);
    });
}
