//! The set as a whole: order of arrival, limits, status lists.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use super::*;
use crate::identity::registry::{
    CREDENTIALS_PER_ISSUER_MAX, DEAD_CREDENTIALS_MAX, DEAD_DELEGATIONS_MAX, PARTIES_MAX,
    PARTIES_PER_ISSUER_MAX,
};

fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    for last in (1..items.len()).rev() {
        items.swap(last, random.next_u64() as usize % (last + 1));
    }
}

fn status_list(seq: u64, revoked: &[&[u8]], by: &SecretKey) -> Vec<u8> {
    let revoked = revoked.iter().map(|bytes| hash_of(bytes)).collect();
    let list = StatusList { seq, created_unix_s: NOW, valid_until_unix_s: NOW + DAY, revoked };
    list.issue(NETWORK, by).unwrap()
}

#[test]
fn the_order_of_arrival_does_not_matter() {
    let (rogue, org, next) = (key(80), key(2), key(4));
    let first = credential_of(&issuer_key(), "CH*SCH", &[], &org, &next);
    let second = credential_of(&issuer_key(), "CH*SCH", &[], &next, &key(6));
    let made = credential_of(&rogue, "CH*SCH", &[], &org, &rogue);
    let other = credential_of(&rogue, "CH*OTH", &[], &key(60), &key(61));
    let accomplice = credential_of(&rogue, "CH*SCH", &[], &key(60), &key(61));
    let delegation = under(&first, &org).delegation_hash();
    let grant = |epoch| {
        let expires_unix_s = NOW + epoch * DAY;
        let terms = SubGrantTerms { grantee: cpo("CH*OTH"), epoch, not_before_unix_s: NOW, expires_unix_s };
        SubGrant::issue(NETWORK, &first, &terms, &org).unwrap()
    };
    let mut objects = vec![first.clone(), second.clone(), made.clone(), other.clone(), accomplice.clone()];
    for epoch in [1, 2, 3] {
        objects.push(tombstone(&first, Dead::Delegation(delegation), epoch, &org).unwrap());
        objects.push(tombstone(&accomplice, Dead::Delegation(delegation), 9 + epoch, &key(60)).unwrap());
        objects.push(tombstone(&made, Dead::OrgKey, 9 + epoch, &rogue).unwrap());
        objects.push(tombstone(&first, Dead::OrgKey, epoch, &next).unwrap());
        objects.push(Rotation::issue(NETWORK, &first, &org, &next, NOW + epoch).unwrap());
        objects.push(grant(epoch));
        objects.push(status_list(epoch, &[&other], &rogue));
    }
    // Two of one number.
    objects.push(tombstone(&made, Dead::Credential, 1, &rogue).unwrap());
    objects.push(Tombstone::issue(NETWORK, &made, Dead::Credential, 1, NOW, "again", &rogue).unwrap());
    objects.push(status_list(3, &[&other, &accomplice], &rogue));

    let outcome = |seed: u64| {
        let mut watcher = Watcher::of(registrars(&[&issuer_key(), &rogue]));
        let mut objects = objects.clone();
        shuffle(&mut objects, seed);
        for bytes in objects.iter().chain(&objects[..9]) {
            watcher.add(bytes).unwrap();
        }
        let dead = [&first, &second, &made, &other, &accomplice]
            .map(|bytes| watcher.registry.is_credential_dead(&Credential::open(bytes, NETWORK).unwrap()));
        let is_dead = watcher.registry.is_delegation_dead(&cpo("CH*SCH"), &org.public(), &delegation);
        let epochs: BTreeSet<u64> = watcher.registry.tombstones(&cpo("CH*SCH")).map(|t| t.epoch).collect();
        let hashes: Vec<Hash> = watcher.registry.hashes().copied().collect();
        assert_eq!(watcher.registry.len(), hashes.len());
        (watcher.registry.root(), dead, is_dead, epochs, watcher.conflict(&cpo("CH*SCH")), hashes)
    };
    let expected = outcome(0);
    assert!(expected.2 && expected.1[0] && !expected.1[1], "{:?}", expected.1);
    assert!(expected.3.contains(&3) && !expected.3.contains(&2), "the highest: {:?}", expected.3);
    for seed in 1..60 {
        assert_eq!(outcome(seed), expected, "seed {seed}");
    }
}

#[test]
fn the_highest_of_too_many_tombstones_are_kept_in_any_order() {
    let credential = credential_of(&issuer_key(), "CH*SCH", &[], &org_key(), &key(4));
    let over = DEAD_DELEGATIONS_MAX + 6;
    let mut objects: Vec<Vec<u8>> = (0..over)
        .map(|n| {
            let dead = Dead::Delegation([u8::try_from(n).unwrap(); 32]);
            tombstone(&credential, dead, n as u64, &org_key()).unwrap()
        })
        .collect();
    let mut outcome = |seed| {
        let mut watcher = Watcher::of(swiss_trust());
        shuffle(&mut objects, seed);
        objects.iter().for_each(|bytes| drop(watcher.add(bytes).unwrap()));
        let lowest = watcher.registry.tombstones(&cpo("CH*SCH")).map(|t| t.epoch).min();
        (watcher.registry.root(), watcher.registry.len(), lowest)
    };
    let expected = outcome(0);
    assert_eq!((expected.1, expected.2), (DEAD_DELEGATIONS_MAX, Some(6)));
    for seed in 1..6 {
        assert_eq!(outcome(seed), expected, "seed {seed}");
    }
}

#[test]
fn nobody_untrusted_fills_it_and_nobody_trusted_takes_another_s_room() {
    let (stranger, rogue) = (key(70), key(80));
    let mut watcher = Watcher::of(registrars(&[&issuer_key(), &rogue]));
    let by_stranger = credential_of(&stranger, "CH*SCH", &[], &org_key(), &stranger);
    let objects = [
        by_stranger.clone(),
        tombstone(&by_stranger, Dead::OrgKey, 1, &org_key()).unwrap(),
        tombstone(&by_stranger, Dead::Credential, 1, &stranger).unwrap(),
        Rotation::issue(NETWORK, &by_stranger, &org_key(), &stranger, NOW).unwrap(),
        status_list(1, &[], &stranger),
    ];
    for bytes in &objects {
        let refused = watcher.add(bytes).unwrap_err();
        assert_eq!((refused.verdict(), refused), (Verdict::Ignore, RegistryError::Untrusted));
    }
    assert!(watcher.registry.is_empty());
    let refused = watcher.add(&under(&by_stranger, &org_key()).delegation).unwrap_err();
    assert_eq!(
        (refused.verdict(), refused),
        (Verdict::Reject, RegistryError::Purpose(Purpose::NodeDelegation))
    );

    // A rogue issuer uses up its own share of a party.
    let numbered = |by: &SecretKey, serial: u8| {
        let mut terms = terms(Role::Cpo, "CH*SCH", &[]);
        terms.serial = vec![serial];
        Credential::issue(NETWORK, &terms, "Issuer", by).unwrap()
    };
    let mut full = 0;
    for serial in 0..60 {
        let credential = numbered(&rogue, serial);
        full += usize::from(matches!(watcher.add(&credential), Err(RegistryError::Full(_))));
        watcher.add(&tombstone(&credential, Dead::Credential, 9, &rogue).unwrap()).unwrap();
    }
    assert_eq!(full, 60 - CREDENTIALS_PER_ISSUER_MAX);
    assert_eq!(watcher.registry.tombstones(&cpo("CH*SCH")).count(), DEAD_CREDENTIALS_MAX);
    let honest = numbered(&issuer_key(), 1);
    watcher.hold(&honest);
    watcher.hold(&tombstone(&honest, Dead::Credential, 1, &issuer_key()).unwrap());
    assert!(is_revoked(watcher.judge(&under(&honest, &org_key()))));
}

#[test]
fn a_status_list_counts_by_its_number_and_its_dead_stay_dead_when_it_is_old() {
    let credential = credential_of(&issuer_key(), "CH*SCH", &[], &org_key(), &key(4));
    let chain = under(&credential, &org_key());
    let mut watcher = Watcher::of(swiss_trust());
    watcher.hold(&status_list(1, &[], &issuer_key()));
    assert!(watcher.judge(&chain).is_ok());
    watcher.hold(&status_list(3, &[&credential], &issuer_key()));
    assert!(is_revoked(watcher.judge(&chain)));
    // Rolled back.
    for seq in [1, 2] {
        assert_eq!(watcher.add(&status_list(seq, &[], &issuer_key())), Ok(Added::Outdone), "{seq}");
    }
    assert!(is_revoked(watcher.judge(&chain)));
    // Withheld: the list runs out, and that is seen; what it said stays.
    let list = watcher.registry.status_list(issuer_key().public().as_bytes()).unwrap();
    assert!(list.is_fresh(NOW + DAY - 1) && !list.is_fresh(NOW + DAY));
    assert!(is_revoked(watcher.judge_at(&chain, NOW + 2 * DAY)));
    // The issuer took it back.
    watcher.hold(&status_list(4, &[], &issuer_key()));
    assert!(watcher.judge(&chain).is_ok());
    assert_eq!(watcher.registry.len(), 1, "one list per issuer");

    let forged = seal(
        Purpose::StatusList,
        NETWORK,
        issuer_key().public().as_bytes(),
        &key(60),
        open(&status_list(9, &[], &issuer_key()), Purpose::StatusList, NETWORK).unwrap().payload_unproven(),
    );
    assert_eq!(watcher.add(&forged.unwrap()), Err(RegistryError::Seal(SealError::Signature)));
}

#[test]
fn any_bytes_are_held_or_refused_and_never_panic() {
    let payload = |bytes: &[u8], purpose| open(bytes, purpose, NETWORK).unwrap().payload_unproven().to_vec();
    let credential = credential_of(&issuer_key(), "CH*SCH", &[], &org_key(), &key(4));
    let terms =
        SubGrantTerms { grantee: cpo("CH*OTH"), epoch: 1, not_before_unix_s: NOW, expires_unix_s: NOW + DAY };
    let objects = [
        (Purpose::Tombstone, tombstone(&credential, Dead::OrgKey, 1, &org_key()).unwrap()),
        (Purpose::Rotation, Rotation::issue(NETWORK, &credential, &org_key(), &key(4), NOW).unwrap()),
        (Purpose::SubGrant, SubGrant::issue(NETWORK, &credential, &terms, &org_key()).unwrap()),
        (Purpose::StatusList, status_list(1, &[&credential], &issuer_key())),
    ];
    let payloads = objects.map(|(purpose, bytes)| (purpose, payload(&bytes, purpose)));
    let mut held = Watcher::of(swiss_trust());
    for (purpose, payload) in &payloads {
        let signer = if *purpose == Purpose::StatusList { issuer_key() } else { org_key() };
        held.hold(&seal(*purpose, NETWORK, signer.public().as_bytes(), &signer, payload).unwrap());
    }
    bolero::check!().with_type::<(u8, u16, u8, u16)>().for_each(|(which, at, byte, cut)| {
        let (purpose, mut damaged) = payloads[usize::from(*which) % payloads.len()].clone();
        let at = usize::from(*at) % damaged.len();
        damaged[at] = *byte;
        damaged.truncate(usize::from(*cut).max(at + 1));
        let mut watcher = Watcher::of(swiss_trust());
        let _ = watcher.add(&damaged);
        let bytes = seal(purpose, NETWORK, org_key().public().as_bytes(), &org_key(), &damaged);
        let _ = bytes.map(|bytes| watcher.add(&bytes));
    });
}

#[test]
fn one_issuer_fills_its_own_room_and_nobody_elses() {
    let rogue = key(80);
    let mut watcher = Watcher::of(registrars(&[&issuer_key(), &rogue]));
    watcher.registry = Registry::with_parties_per_issuer(5);
    let by = |issuer: &SecretKey, number: u32| {
        credential_of(issuer, &format!("CH*A{number:02}"), &[], &key(60), &key(61))
    };
    (0..5).for_each(|number| watcher.hold(&by(&rogue, number)));
    let full = Err(RegistryError::IssuerFull { issuer: *rogue.public().as_bytes(), max: 5 });
    for number in 5..8 {
        assert_eq!(watcher.add(&by(&rogue, number)), full);
    }
    assert_eq!(watcher.registry.parties_of(rogue.public().as_bytes()), 5);
    // Of a party that has a place more is taken, and others have their own places.
    let again = credential_of(&rogue, "CH*A00", &[], &key(60), &key(62));
    watcher.hold(&again);
    watcher.hold(&tombstone(&again, Dead::Credential, 1, &rogue).unwrap());
    (0..5).for_each(|number| watcher.hold(&by(&issuer_key(), number + 3)));
    // The largest planned network has one issuer, and others need room beside it.
    const { assert!(PARTIES_PER_ISSUER_MAX > 10_000 && PARTIES_PER_ISSUER_MAX < PARTIES_MAX) };
}

#[test]
fn of_one_second_the_first_is_the_incumbent_whatever_the_keys() {
    for (first, second) in [(60, 62), (62, 60)] {
        let mut watcher = Watcher::of(swiss_trust());
        for org in [first, second] {
            watcher.hold(&credential_of(&issuer_key(), "CH*SCH", &[], &key(org), &key(org + 1)));
        }
        assert_eq!(watcher.conflict(&cpo("CH*SCH")).unwrap().incumbent, key(first).public());
    }
}
