//! Attacks on agreements: what one party never said must not bind it.

use super::*;
use crate::identity::agreement::{AGREEMENT_VALIDITY_S_MAX, claimed_times};

/// A party with a node, whose keys are made of a number.
struct Side {
    speaker: Speaker,
    key: SecretKey,
}

fn side(role: Role, main: &str, number: u8) -> Side {
    let (org, key) = (key(10 + number), key(50 + number));
    let terms = CredentialTerms { org_key: org.public(), ..terms(role, main, &[]) };
    let delegation = Delegation {
        message_key: key.public(),
        operations: Operation::ALL.into_iter().collect(),
        peer_id: vec![0, 36, 8, number],
        ..delegation(role, main, &[main])
    };
    let credential = Credential::issue(NETWORK, &terms, "Registrar", &issuer_key()).unwrap();
    let delegation = delegation.issue(NETWORK, &hash_of(&credential), &org).unwrap();
    let grants = Role::ALL.map(|role| ("*", role));
    let trust =
        TrustList { issuers: vec![issuer(&issuer_key(), IssuerClass::Registrar, &grants)], ..swiss_trust() };
    Side { speaker: judge(&Chain { credential, delegation }, &trust).unwrap(), key }
}

fn cpo() -> Side {
    side(Role::Cpo, "CH*SCH", 1)
}

fn emp() -> Side {
    side(Role::Emp, "DE-EMP", 2)
}

fn offered() -> AgreementTerms {
    AgreementTerms {
        offerer: cpo().speaker.party().clone(),
        accepter: emp().speaker.party().clone(),
        services: BTreeSet::from([Service::Authorization, Service::Cdr]),
        valid_from_unix_s: NOW,
        valid_until_unix_s: NOW + 365 * DAY,
        created_unix_s: NOW,
        nonce: [7; 16],
    }
}

fn offer() -> Vec<u8> {
    offered().offer(NETWORK, &cpo().speaker, &cpo().key).unwrap()
}

fn accepted() -> Vec<u8> {
    Agreement::accept(NETWORK, &offer(), &cpo().speaker, &emp().speaker, &emp().key, NOW + 5).unwrap()
}

/// Signs any payload as a speaker would, checked by nothing.
fn forged(side: &Side, payload: &[u8]) -> Vec<u8> {
    seal(Purpose::Agreement, NETWORK, side.speaker.delegation_hash(), &side.key, payload).unwrap()
}

fn payload_of(bytes: &[u8], side: &Side) -> Vec<u8> {
    side.speaker.open(bytes, Purpose::Agreement, NETWORK).unwrap().to_vec()
}

#[test]
fn what_two_parties_sign_is_an_agreement() {
    let agreement = Agreement::open(&accepted(), NETWORK, &cpo().speaker, &emp().speaker).unwrap();
    assert_eq!(agreement.terms, offered());
    assert_eq!((agreement.id, agreement.offer.clone()), (hash_of(&offer()), offer()));
    assert_eq!(agreement.accepted_unix_s, NOW + 5);
    assert_eq!(claimed_times(&accepted(), NETWORK), Ok((NOW + 5, Some(NOW))));
    assert_eq!(claimed_times(&offer(), NETWORK), Ok((NOW, None)));
    for (at, valid) in [(NOW - 1, false), (NOW, true), (NOW + 365 * DAY - 1, true), (NOW + 365 * DAY, false)]
    {
        assert_eq!(agreement.terms.is_valid_at(at), valid, "{at}");
    }
}

#[test]
fn the_largest_agreement_fits() {
    let (cpo, emp) = (side(Role::Cpo, "+999*001", 1), side(Role::Emp, "+999*002", 2));
    let terms = AgreementTerms {
        offerer: cpo.speaker.party().clone(),
        accepter: emp.speaker.party().clone(),
        services: Service::ALL.into_iter().collect(),
        valid_until_unix_s: NOW + AGREEMENT_VALIDITY_S_MAX,
        ..offered()
    };
    let offer = terms.offer(NETWORK, &cpo.speaker, &cpo.key).unwrap();
    let all = Agreement::accept(NETWORK, &offer, &cpo.speaker, &emp.speaker, &emp.key, NOW).unwrap();
    assert!(all.len() < Purpose::Agreement.size_bytes_max() / 2, "{} bytes", all.len());
}

#[test]
fn terms_that_make_no_sense_are_not_signed() {
    type Spoil = fn(&mut AgreementTerms);
    let cases: [(&str, Spoil); 5] = [
        ("two CPOs", |terms| terms.accepter = PartyId::new(Role::Cpo, "DE*EMP").unwrap()),
        ("nothing agreed", |terms| terms.services.clear()),
        ("over before it begins", |terms| terms.valid_until_unix_s = terms.valid_from_unix_s),
        ("too long", |terms| terms.valid_until_unix_s += AGREEMENT_VALIDITY_S_MAX),
        ("another offerer", |terms| terms.offerer = PartyId::new(Role::Cpo, "CH*XYZ").unwrap()),
    ];
    for (what, spoil) in cases {
        let mut terms = offered();
        spoil(&mut terms);
        assert!(terms.offer(NETWORK, &cpo().speaker, &cpo().key).is_err(), "{what}");
    }
    let wrong_key = offered().offer(NETWORK, &cpo().speaker, &emp().key);
    assert_eq!(wrong_key, Err(AgreementError::Sealed(SealError::Signer)));
}

#[test]
fn an_offer_for_somebody_else_binds_nobody_here() {
    // A third party accepts what was offered to the EMP.
    let thief = side(Role::Emp, "DE-XYZ", 3);
    let refused = Agreement::accept(NETWORK, &offer(), &cpo().speaker, &thief.speaker, &thief.key, NOW);
    assert!(matches!(refused, Err(AgreementError::OtherParty { .. })), "{refused:?}");
    // It signs the acceptance all the same.
    let payload = payload_of(&accepted(), &emp());
    let stolen = forged(&thief, &payload);
    let refused = Agreement::open(&stolen, NETWORK, &cpo().speaker, &thief.speaker).unwrap_err();
    assert!(matches!(refused, AgreementError::OtherParty { .. }), "{refused}");
    // And says that the EMP had signed.
    let refused = Agreement::open(&stolen, NETWORK, &cpo().speaker, &emp().speaker).unwrap_err();
    assert_eq!(refused, AgreementError::Sealed(SealError::Signer));
}

#[test]
fn the_same_id_in_another_role_is_another_party() {
    let (one, other) = (side(Role::Emp, "DE-EMP", 2), side(Role::Cpo, "DE-EMP", 2));
    assert_eq!(one.speaker.party().id, other.speaker.party().id);
    let payload = payload_of(&accepted(), &emp());
    let refused = Agreement::open(&forged(&other, &payload), NETWORK, &cpo().speaker, &other.speaker);
    assert!(matches!(refused, Err(AgreementError::OtherParty { .. })), "{refused:?}");
}

#[test]
fn altered_services_have_no_signature() {
    let whole = accepted();
    let (from, to) = (b"Authorization", b"Reservatione!");
    let at = whole.windows(from.len()).position(|part| part == from).unwrap();
    let mut altered = whole.clone();
    altered[at..at + to.len()].copy_from_slice(to);
    let refused = Agreement::open(&altered, NETWORK, &cpo().speaker, &emp().speaker).unwrap_err();
    assert_eq!(refused, AgreementError::Sealed(SealError::Signature));
    // The accepter alters what it says was offered, and signs that: the offerer's signature is missing.
    let wider = AgreementTerms { services: Service::ALL.into_iter().collect(), ..offered() };
    let mut unsigned = forged(&cpo(), &wider.encode());
    let last = unsigned.len() - 1;
    unsigned[last] ^= 1;
    let refused = Agreement::accept(NETWORK, &unsigned, &cpo().speaker, &emp().speaker, &emp().key, NOW);
    assert_eq!(refused, Err(AgreementError::Sealed(SealError::Signature)));
    // It offers to itself in the other's name.
    let own = forged(&emp(), &wider.encode());
    let refused = Agreement::accept(NETWORK, &own, &emp().speaker, &emp().speaker, &emp().key, NOW);
    assert!(matches!(refused, Err(AgreementError::OtherParty { .. })), "{refused:?}");
}

#[test]
fn a_stripped_or_foreign_signature_is_refused() {
    let whole = accepted();
    for cut in [whole.len() - 1, whole.len() - 64, whole.len() - 66, 1, 0] {
        let refused = Agreement::open(&whole[..cut], NETWORK, &cpo().speaker, &emp().speaker);
        assert!(refused.is_err(), "{cut} bytes of it passed");
    }
    assert!(Agreement::open(&whole, "other", &cpo().speaker, &emp().speaker).is_err());
    // The offer alone is no agreement, an acceptance no offer, and neither an end.
    assert!(Agreement::open(&offer(), NETWORK, &cpo().speaker, &cpo().speaker).is_err());
    assert!(AgreementTerms::open(&whole, NETWORK, &emp().speaker).is_err());
    let id = hash_of(&offer());
    assert!(AgreementEnd::open(&offer(), NETWORK, &id, &offered(), &cpo().speaker).is_err());
    // Nor does another object of the same signer pass as one.
    let payload = payload_of(&offer(), &cpo());
    let receipt =
        seal(Purpose::Receipt, NETWORK, cpo().speaker.delegation_hash(), &cpo().key, &payload).unwrap();
    assert!(AgreementTerms::open(&receipt, NETWORK, &cpo().speaker).is_err());
}

#[test]
fn a_node_agrees_only_to_what_it_was_delegated() {
    let mut narrow = emp();
    narrow.speaker.operations = BTreeSet::from([Operation::AuthAnswer]);
    let refused = Agreement::accept(NETWORK, &offer(), &cpo().speaker, &narrow.speaker, &narrow.key, NOW);
    assert!(matches!(refused, Err(AgreementError::Scope(ScopeError::Operation { .. }))), "{refused:?}");
    let late =
        Agreement::accept(NETWORK, &offer(), &cpo().speaker, &emp().speaker, &emp().key, NOW + 7 * DAY);
    assert!(matches!(late, Err(AgreementError::Scope(ScopeError::NotValidThen { .. }))), "{late:?}");
}

#[test]
fn only_a_party_of_it_ends_an_agreement_and_only_that_one() {
    let (id, terms) = (hash_of(&offer()), offered());
    let end = AgreementEnd { agreement: id, created_unix_s: NOW + 9 };
    for side in [cpo(), emp()] {
        let bytes = end.issue(NETWORK, &terms, &side.speaker, &side.key).unwrap();
        let opened = AgreementEnd::open(&bytes, NETWORK, &id, &terms, &side.speaker).unwrap();
        assert_eq!(*opened, end);
        let replayed = AgreementEnd::open(&bytes, NETWORK, &[1; 32], &terms, &side.speaker);
        assert!(matches!(replayed, Err(AgreementError::NotItsEnd { .. })), "{replayed:?}");
    }
    let stranger = side(Role::Emp, "DE-XYZ", 3);
    let refused = end.issue(NETWORK, &terms, &stranger.speaker, &stranger.key);
    assert!(matches!(refused, Err(AgreementError::NotItsEnd { .. })), "{refused:?}");
}

#[test]
fn services_are_read_in_any_case_and_nothing_else_passes() {
    for service in Service::ALL {
        assert_eq!(Service::parse(&service.as_str().to_lowercase()), Some(service));
    }
    assert_eq!(Service::parse("Parking"), None);
}
