//! Tombstones: who may bury what, and that the dead stay dead.

use super::*;

#[test]
fn who_may_bury_what() {
    let (issuer_, org, next, stranger) = (key(1), key(2), key(4), key(60));
    let credential = credential_of(&issuer_, "CH*SCH", &[], &org, &next);
    let chain = under(&credential, &org);
    let delegation = Dead::Delegation(chain.delegation_hash());
    let table = [
        (Dead::Credential, &org, true),
        (Dead::Credential, &next, true),
        (Dead::Credential, &issuer_, true),
        (Dead::Credential, &stranger, false),
        (Dead::OrgKey, &org, true),
        (Dead::OrgKey, &next, true),
        (Dead::OrgKey, &issuer_, false),
        (Dead::OrgKey, &stranger, false),
        (delegation, &org, true),
        (delegation, &next, false),
        (delegation, &issuer_, false),
        (delegation, &stranger, false),
    ];
    for (dead, signer, may) in table {
        let mut watcher = Watcher::of(swiss_trust());
        assert!(watcher.judge(&chain).is_ok());
        let made = tombstone(&credential, dead, 1, signer);
        assert_eq!(made.is_ok(), may, "{dead:?} by {:?}", signer.public());
        match made {
            Ok(bytes) => {
                watcher.hold(&bytes);
                assert!(is_revoked(watcher.judge(&chain)), "{dead:?}");
            }
            Err(refused) => assert_eq!((refused.verdict(), refused), (Verdict::Reject, SealError::Signer)),
        }
    }
}

#[test]
fn an_untrusted_tombstone_says_nothing_here_and_is_nobodys_fault() {
    let credential = credential_of(&key(90), "CH*SCH", &[], &org_key(), &key(4));
    let bytes = tombstone(&credential, Dead::OrgKey, 1, &org_key()).unwrap();
    let mut watcher = Watcher::of(swiss_trust());
    let refused = watcher.add(&bytes).unwrap_err();
    assert_eq!((refused.verdict(), refused), (Verdict::Ignore, RegistryError::Untrusted));
    watcher.trust.issuers.push(issuer(&key(90), IssuerClass::Attester, &[("CH", Role::Cpo)]));
    watcher.hold(&bytes);

    // Damaged: everybody's business.
    let mut damaged = bytes.clone();
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(watcher.add(&damaged).unwrap_err().verdict(), Verdict::Reject);
    assert_eq!(watcher.add(&bytes), Ok(Added::Known));
}

#[test]
fn a_rolled_back_tombstone_replaces_nothing() {
    let credential = credential_of(&issuer_key(), "CH*SCH", &[], &org_key(), &key(4));
    let of_epoch = |epoch| tombstone(&credential, Dead::Credential, epoch, &org_key()).unwrap();
    let mut watcher = Watcher::of(swiss_trust());
    watcher.hold(&of_epoch(5));
    for epoch in [0, 4] {
        assert_eq!(watcher.add(&of_epoch(epoch)), Ok(Added::Outdone), "{epoch}");
    }
    let root = watcher.registry.root();
    let added = watcher.add(&of_epoch(6)).unwrap();
    let five = hash_of(&of_epoch(5));
    assert!(matches!(added, Added::New { outdone: Some(gone), .. } if gone == five));
    assert_ne!(watcher.registry.root(), root);
    assert_eq!(watcher.registry.bytes(&five), None);
    assert_eq!(watcher.add(&of_epoch(5)), Ok(Added::Outdone), "not even the one that was held");
    assert_eq!(watcher.registry.tombstones(&cpo("CH*SCH")).map(|t| t.epoch).collect::<Vec<_>>(), [6]);
    assert!(is_revoked(watcher.judge(&under(&credential, &org_key()))));
}

#[test]
fn an_org_key_buried_by_the_next_one_is_dead_in_every_credential_that_commits_to_it() {
    let (one, two) = (key(1), key(80));
    let by = |issuer: &SecretKey, next: &SecretKey| credential_of(issuer, "CH*SCH", &[], &org_key(), next);
    let mut watcher = Watcher::of(registrars(&[&one, &two]));
    let chains = [by(&one, &key(4)), by(&two, &key(4)), by(&two, &key(5))].map(|c| under(&c, &org_key()));
    assert!(chains.iter().all(|chain| watcher.judge(chain).is_ok()));
    watcher.hold(&tombstone(&by(&one, &key(4)), Dead::OrgKey, 1, &key(4)).unwrap());
    let dead: Vec<bool> = chains.iter().map(|chain| is_revoked(watcher.judge(chain))).collect();
    assert_eq!(dead, [true, true, false]);
    watcher.hold(&tombstone(&by(&one, &key(4)), Dead::OrgKey, 1, &org_key()).unwrap());
    assert!(chains.iter().all(|chain| is_revoked(watcher.judge(chain))), "by itself: everywhere");
}
