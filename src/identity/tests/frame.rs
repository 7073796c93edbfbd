//! Damaged, stripped and random bytes against every opener and decoder.

use super::*;
use crate::identity::sealed::Content;

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
