//! Rotation: only to the committed key, and with nobody's room taken.

use super::*;
use crate::identity::registry::ROTATIONS_MAX;

#[test]
fn only_the_two_keys_of_the_commitment_rotate() {
    let credential = credential_of(&issuer_key(), "CH*SCH", &[], &key(2), &key(4));
    let bytes = Rotation::issue(NETWORK, &credential, &key(2), &key(4), NOW).unwrap();
    let read = Rotation::open(&bytes, NETWORK).unwrap();
    assert_eq!((read.old_key, read.new_key), (key(2).public(), key(4).public()));
    assert_eq!((&read.party, read.issuer), (&cpo("CH*SCH"), *issuer_key().public().as_bytes()));
    for (old, new) in [(2, 60), (60, 4), (4, 2), (1, 4)] {
        let refused = Rotation::issue(NETWORK, &credential, &key(old), &key(new), NOW);
        assert_eq!(refused, Err(SealError::Signer), "{old} to {new}");
    }
    let mut uncommitted = terms(Role::Cpo, "CH*SCH", &[]);
    uncommitted.next_org_key_hash = None;
    let uncommitted = Credential::issue(NETWORK, &uncommitted, "Issuer", &issuer_key()).unwrap();
    assert_eq!(Rotation::issue(NETWORK, &uncommitted, &key(2), &key(4), NOW), Err(SealError::Signer));

    // The new key's consent in the name of another old key.
    let payload = open(&bytes, Purpose::Rotation, NETWORK).unwrap().payload_unproven().to_vec();
    let thief = key(60).public();
    let moved = seal(Purpose::Rotation, NETWORK, thief.as_bytes(), &key(60), &payload).unwrap();
    assert_eq!(Rotation::open(&moved, NETWORK).unwrap_err(), SealError::Signer);
}

#[test]
fn a_rotated_key_is_no_newcomer_and_a_foreign_one_is() {
    let party = cpo("CH*SCH");
    let first = credential_of(&issuer_key(), "CH*SCH", &[], &key(2), &key(4));
    let second = credential_of(&issuer_key(), "CH*SCH", &[], &key(4), &key(6));
    let mut watcher = Watcher::of(swiss_trust());
    watcher.hold(&first);
    watcher.add(&second).unwrap();
    assert!(watcher.conflict(&party).is_some(), "without the rotation it is a stranger");
    assert!(matches!(watcher.judge(&under(&second, &key(4))), Err(ChainError::Frozen { .. })));

    watcher.hold(&Rotation::issue(NETWORK, &first, &key(2), &key(4), NOW).unwrap());
    assert_eq!(watcher.conflict(&party), None);
    assert!(watcher.judge(&under(&first, &key(2))).is_ok(), "both for a while: no message fails");
    assert!(watcher.judge(&under(&second, &key(4))).is_ok());
    assert!(watcher.registry.follows(&party, &key(2).public(), &key(4).public()));
    assert!(!watcher.registry.follows(&party, &key(4).public(), &key(2).public()), "one way");
    assert!(!watcher.registry.follows(&cpo("CH*OTH"), &key(2).public(), &key(4).public()));

    // Somebody who was held here after the old key and before the new one; then the old key dies.
    let stranger = credential_of(&issuer_key(), "CH*SCH", &[], &key(60), &key(61));
    watcher.add(&stranger).unwrap();
    watcher.hold(&tombstone(&first, Dead::OrgKey, 1, &key(4)).unwrap());
    assert_eq!(watcher.conflict(&party).unwrap().incumbent, key(4).public(), "it has the old key's age");
    assert!(watcher.judge(&under(&second, &key(4))).is_ok());
    assert!(matches!(watcher.judge(&under(&stranger, &key(60))), Err(ChainError::Frozen { .. })));
}

#[test]
fn a_pin_follows_a_rotation() {
    let party = cpo("CH*SCH");
    let first = credential_of(&key(2), "CH*SCH", &[], &key(2), &key(4));
    let second = under(&credential_of(&key(4), "CH*SCH", &[], &key(4), &key(6)), &key(4));
    let mut watcher = Watcher::of(only_pinned(&party, &key(2)));
    watcher.hold(&first);
    assert!(matches!(watcher.judge(&second), Err(ChainError::PinnedOtherwise { .. })));
    watcher.hold(&Rotation::issue(NETWORK, &first, &key(2), &key(4), NOW).unwrap());
    assert_eq!(*watcher.judge(&second).unwrap().assurance(), Assurance::Pinned);
}

#[test]
fn a_pinned_key_says_itself_what_it_followed() {
    let party = cpo("CH*SCH");
    let first = credential_of(&key(2), "CH*SCH", &[], &key(2), &key(4));
    let second = credential_of(&key(4), "CH*SCH", &[], &key(4), &key(6));
    let rotation = Rotation::issue(NETWORK, &first, &key(2), &key(4), NOW).unwrap();
    let mut watcher = Watcher::of(only_pinned(&party, &key(4)));
    assert_eq!(watcher.add(&first), Err(RegistryError::Untrusted), "before the rotation nobody knows it");
    for bytes in [&rotation, &first, &second] {
        watcher.hold(bytes);
    }
    assert!(watcher.registry.follows(&party, &key(2).public(), &key(4).public()));
    assert_eq!(watcher.conflict(&party), None);
    assert!(watcher.judge(&under(&second, &key(4))).is_ok());
    let old = watcher.judge(&under(&first, &key(2)));
    assert!(matches!(old, Err(ChainError::PinnedOtherwise { .. })), "to be proved is not to be believed");

    // A key that the pinned one does not follow, though it committed to it.
    let thief = credential_of(&key(60), "CH*SCH", &[], &key(60), &key(61));
    let stolen = Rotation::issue(NETWORK, &thief, &key(60), &key(61), NOW).unwrap();
    for bytes in [&thief, &stolen] {
        assert_eq!(watcher.add(bytes), Err(RegistryError::Untrusted));
    }
    // Who has the pinned key may say that it follows this and that, within its own room.
    let mut full = false;
    for seed in 100..101 + u8::try_from(ROTATIONS_MAX).unwrap() {
        let other = credential_of(&key(seed), "CH*SCH", &[], &key(seed), &key(4));
        let added = watcher.add(&Rotation::issue(NETWORK, &other, &key(seed), &key(4), NOW).unwrap());
        full |= matches!(added, Err(RegistryError::Full(_)));
    }
    assert!(full);
}

#[test]
fn neither_thief_nor_rogue_issuer_uses_up_a_party_s_rotations() {
    let (party, rogue) = (cpo("CH*SCH"), key(80));
    let mut watcher = Watcher::of(registrars(&[&issuer_key(), &rogue]));
    let first = credential_of(&issuer_key(), "CH*SCH", &[], &key(2), &key(4));
    // The consent of the new key is public: whoever has the old one can wrap it as often as it likes.
    let mut places = BTreeSet::new();
    for at in 0..2 * ROTATIONS_MAX as u64 {
        watcher.add(&Rotation::issue(NETWORK, &first, &key(2), &key(4), NOW + at).unwrap()).unwrap();
        places.insert(watcher.registry.root());
    }
    assert_eq!(watcher.registry.rotations(&party).count(), 1, "one per pair");
    assert!(places.len() < 2 * ROTATIONS_MAX, "a lower one replaces nothing");
    // The rogue issuer lets keys of its own rotate in the party's name until its share is full.
    let mut full = false;
    for seed in 100..100 + u8::try_from(ROTATIONS_MAX).unwrap() + 1 {
        let credential = credential_of(&rogue, "CH*SCH", &[], &key(seed), &key(seed + 1));
        let added =
            watcher.add(&Rotation::issue(NETWORK, &credential, &key(seed), &key(seed + 1), NOW).unwrap());
        full |= matches!(added, Err(RegistryError::Full(_)));
    }
    assert!(full);
    let second = credential_of(&issuer_key(), "CH*SCH", &[], &key(4), &key(6));
    watcher.hold(&Rotation::issue(NETWORK, &second, &key(4), &key(6), NOW).unwrap());
    assert!(watcher.registry.follows(&party, &key(2).public(), &key(6).public()));
}
