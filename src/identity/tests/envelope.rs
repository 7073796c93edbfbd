//! Envelopes: who said it to whom, and for how long it counts.

use super::*;
use crate::identity::envelope::{ENVELOPE_BODY_BYTES_MAX, ENVELOPE_VALIDITY_MS_MAX, Envelope, MessageId};

const NOW_MS: u64 = NOW * 1_000;

fn speaker() -> Speaker {
    judge(&swiss_chain(), &swiss_trust()).unwrap()
}

fn envelope() -> Envelope {
    Envelope {
        id: MessageId([7; 16]),
        to: PartyId::parse("EMP:DEDCB").unwrap(),
        node: vec![5; 38],
        reply_to: None,
        created_unix_ms: NOW_MS,
        expires_unix_ms: NOW_MS + 10_000,
        body: b"start".to_vec(),
    }
}

fn issued(envelope: &Envelope) -> Result<Vec<u8>, SealError> {
    envelope.issue(NETWORK, &speaker(), &message_key())
}

#[test]
fn what_was_said_is_read_by_whom_it_was_said_to() {
    for reply_to in [None, Some(MessageId([9; 16]))] {
        let said = Envelope { reply_to, ..envelope() };
        let bytes = issued(&said).unwrap();
        assert_eq!(Envelope::claimed_signer(&bytes, NETWORK).as_ref(), Ok(speaker().delegation_hash()));
        let read = Envelope::open(&bytes, NETWORK, &speaker()).unwrap();
        assert_eq!(read.into_content(), said);
    }
}

#[test]
fn nothing_of_it_can_be_changed_and_nobody_else_can_have_said_it() {
    let bytes = issued(&envelope()).unwrap();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(Envelope::open(&changed, NETWORK, &speaker()).is_err(), "byte {at}");
    }
    assert!(Envelope::open(&bytes, "other", &speaker()).is_err());
    let forged = envelope().issue(NETWORK, &speaker(), &key(77)).unwrap();
    assert_eq!(Envelope::open(&forged, NETWORK, &speaker()), Err(SealError::Signature));
    let as_receipt =
        seal(Purpose::Receipt, NETWORK, speaker().delegation_hash(), &message_key(), b"x").unwrap();
    assert!(matches!(Envelope::open(&as_receipt, NETWORK, &speaker()), Err(SealError::Purpose { .. })));
}

#[test]
fn it_lives_ten_minutes_at_most_and_is_not_endless() {
    let lives = |expires_unix_ms| issued(&Envelope { expires_unix_ms, ..envelope() });
    assert!(lives(NOW_MS + ENVELOPE_VALIDITY_MS_MAX).is_ok());
    for bad in [0, NOW_MS - 1, NOW_MS, NOW_MS + ENVELOPE_VALIDITY_MS_MAX + 1] {
        assert!(matches!(lives(bad), Err(SealError::Content(_))), "{bad}");
    }
    let to_node = |length| issued(&Envelope { node: vec![1; length], ..envelope() });
    assert!(to_node(64).is_ok() && to_node(0).is_err() && to_node(65).is_err());
    let long = |length| issued(&Envelope { body: vec![1; length], ..envelope() });
    assert!(long(ENVELOPE_BODY_BYTES_MAX).is_ok());
    assert!(matches!(long(ENVELOPE_BODY_BYTES_MAX + 1), Err(SealError::Content(_))));
}
