//! Party cards: self-certifying, bounded, each in its own place.

use std::collections::BTreeSet;

use super::*;
use crate::identity::card::CARD_VALIDITY_S_MAX;

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
