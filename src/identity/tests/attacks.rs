//! Attacks of the list in the design: each is first shown, then refused.

use super::*;

const HONEST: u8 = 1;
const ROGUE: u8 = 80;

/// The holder of DE*GEF, believed by everybody who trusts the honest registrar.
fn holder() -> Vec<u8> {
    credential_of(&key(HONEST), "DE*GEF", &[], &key(2), &key(4))
}

#[test]
fn a_foreign_id_at_first_contact() {
    let thief = key(60);
    let by =
        |issuer: u8, org: &SecretKey| under(&credential_of(&key(issuer), "DE*GEF", &[], org, &key(61)), org);
    let mut watcher = Watcher::of(registrars(&[&key(HONEST)]));
    // The attack would do: whoever gets the registrar's signature is believed by those who know nobody else.
    assert!(watcher.judge(&by(HONEST, &thief)).is_ok());

    // Issued by himself, or by somebody unknown.
    for issuer in [60, 81] {
        let refused = watcher.judge(&by(issuer, &thief)).unwrap_err();
        assert!(matches!(refused, ChainError::UntrustedIssuer { .. }), "{refused}");
        assert_eq!(refused.verdict(), Verdict::Ignore);
    }
    // With another org key where the holder is known: also if it was never held before.
    watcher.hold(&holder());
    let refused = watcher.judge(&by(HONEST, &thief)).unwrap_err();
    assert!(matches!(refused, ChainError::Frozen { .. }), "{refused}");
    assert_eq!(refused.verdict(), Verdict::Ignore);
    assert!(watcher.judge(&under(&holder(), &key(2))).is_ok(), "the incumbent goes on");

    // A pin holds against every issuer, also if nothing of the party is held.
    let mut trust = registrars(&[&key(HONEST)]);
    trust.pins = only_pinned(&cpo("DE*GEF"), &key(2)).pins;
    let mut watcher = Watcher::of(trust);
    assert!(matches!(watcher.judge(&by(HONEST, &thief)), Err(ChainError::PinnedOtherwise { .. })));
    watcher.hold(&by(HONEST, &thief).credential);
    let conflict = watcher.conflict(&cpo("DE*GEF")).unwrap();
    assert_eq!((conflict.incumbent, conflict.newcomers.len()), (key(2).public(), 1), "the alarm is raised");
}

#[test]
fn a_replayed_credential() {
    let (thief, victim) = (key(60), under(&holder(), &key(2)));
    let mut watcher = Watcher::of(registrars(&[&key(HONEST)]));
    watcher.hold(&victim.credential);
    assert!(watcher.judge(&victim).is_ok(), "the same paper in the right hand");

    let replayed = under(&victim.credential, &thief);
    assert_eq!(watcher.judge(&replayed), Err(ChainError::Delegation(SealError::Signature)));
    assert_eq!(watcher.judge(&replayed).unwrap_err().verdict(), Verdict::Reject);
    // His own honest delegation beside it.
    let own = under(&credential_of(&key(HONEST), "DE*BAD", &[], &thief, &key(61)), &thief);
    assert!(watcher.judge(&own).is_ok());
    let mixed = Chain { credential: victim.credential, delegation: own.delegation };
    assert_eq!(watcher.judge(&mixed), Err(ChainError::NotThisCredential));
}

#[test]
fn separators_case_and_role_are_no_way_around() {
    let thief = key(60);
    for spelling in ["DE*GEF", "DE-GEF", "DEGEF", "de*gef", "De-gEf"] {
        let lookalike = under(&credential_of(&key(HONEST), spelling, &[], &thief, &key(61)), &thief);
        let mut watcher = Watcher::of(registrars(&[&key(HONEST)]));
        let speaker = watcher.judge(&lookalike).unwrap();
        assert_eq!(speaker.party(), &cpo("DE*GEF"), "{spelling}: the same subject");
        watcher.hold(&holder());
        assert!(matches!(watcher.judge(&lookalike), Err(ChainError::Frozen { .. })), "{spelling}");
    }

    // EMP DE-GEF is somebody else: no conflict, and no way to speak as the CPO.
    let mut emp = terms(Role::Emp, "DE-GEF", &[]);
    emp.org_key = thief.public();
    let credential = Credential::issue(NETWORK, &emp, "Issuer", &key(HONEST)).unwrap();
    let issue = |role| {
        let mut made = delegation(role, "DE-GEF", &["DE-GEF"]);
        made.operations.insert(Operation::CdrAccept);
        made.issue(NETWORK, &hash_of(&credential), &thief).unwrap()
    };
    let as_emp = Chain { credential: credential.clone(), delegation: issue(Role::Emp) };
    let as_cpo = Chain { credential: credential.clone(), delegation: issue(Role::Cpo) };
    let mut watcher = Watcher::of(registrars(&[&key(HONEST)]));
    watcher.hold(&holder());
    assert!(matches!(watcher.judge(&as_emp), Err(ChainError::UntrustedIssuer { .. })), "trusted for CPOs");
    watcher.trust.issuers =
        vec![issuer(&key(HONEST), IssuerClass::Registrar, &[("DE", Role::Cpo), ("DE", Role::Emp)])];
    watcher.hold(&credential);
    assert_eq!(watcher.conflict(&cpo("DE*GEF")), None);
    assert_eq!(watcher.judge(&as_emp).unwrap().party().role, Role::Emp);
    let refused = watcher.judge(&as_cpo).unwrap_err();
    assert!(matches!(refused, ChainError::OtherParty { .. }), "{refused}");
}

#[test]
fn a_stolen_node_key() {
    let (org, credential) = (key(2), holder());
    let mut watcher = Watcher::of(registrars(&[&key(HONEST)]));
    watcher.hold(&credential);
    let stolen = under(&credential, &org);
    assert!(watcher.judge(&stolen).is_ok(), "the thief speaks for DE*GEF");

    // He has the message key, not the org key: he can neither renew nor bury.
    let renewed = under(&credential, &message_key());
    assert_eq!(watcher.judge(&renewed), Err(ChainError::Delegation(SealError::Signature)));
    let dead = Dead::Delegation(stolen.delegation_hash());
    assert_eq!(tombstone(&credential, dead, 1, &message_key()), Err(SealError::Signer));

    watcher.hold(&tombstone(&credential, dead, 1, &org).unwrap());
    let refused = watcher.judge(&stolen);
    assert_eq!(refused.as_ref().unwrap_err().verdict(), Verdict::Ignore, "others may not have heard of it");
    assert!(is_revoked(refused));
    let mut next = delegation(Role::Cpo, "DE*GEF", &["DE*GEF"]);
    next.message_key = key(5).public();
    let next = next.issue(NETWORK, &hash_of(&credential), &org).unwrap();
    assert!(watcher.judge(&Chain { credential, delegation: next }).is_ok(), "the party goes on");
}

#[test]
fn a_stolen_org_key() {
    let (stolen, next, thief) = (key(2), key(4), key(60));
    let credential = holder();
    let mut watcher = Watcher::of(registrars(&[&key(HONEST)]));
    watcher.hold(&credential);
    assert!(watcher.judge(&under(&credential, &stolen)).is_ok(), "the thief delegates to himself");

    // He cannot choose the next key: not from the true credential, not from one that he wrote himself.
    assert_eq!(Rotation::issue(NETWORK, &credential, &stolen, &thief, NOW), Err(SealError::Signer));
    let written = credential_of(&stolen, "DE*GEF", &[], &stolen, &thief);
    let rotation = Rotation::issue(NETWORK, &written, &stolen, &thief, NOW).unwrap();
    for bytes in [&written, &rotation] {
        assert_eq!(watcher.add(bytes), Err(RegistryError::Untrusted));
    }
    // The issuer alone buries its credential, not the key; the next key buries it.
    assert_eq!(tombstone(&credential, Dead::OrgKey, 9, &key(HONEST)), Err(SealError::Signer));
    assert_eq!(tombstone(&credential, Dead::OrgKey, 9, &thief), Err(SealError::Signer));
    watcher.hold(&tombstone(&credential, Dead::OrgKey, 1, &next).unwrap());
    assert!(is_revoked(watcher.judge(&under(&credential, &stolen))));

    watcher.hold(&Rotation::issue(NETWORK, &credential, &stolen, &next, NOW).unwrap());
    let renewed = credential_of(&key(HONEST), "DE*GEF", &[], &next, &key(6));
    watcher.hold(&renewed);
    assert!(watcher.judge(&under(&renewed, &next)).is_ok(), "the holder goes on with the committed key");
    assert_eq!(watcher.conflict(&cpo("DE*GEF")), None);
}

#[test]
fn a_stolen_org_key_that_is_pinned_somewhere() {
    let (stolen, next, thief) = (key(2), key(4), key(60));
    let (party, own) = (cpo("DE*GEF"), |next| credential_of(&key(2), "DE*GEF", &[], &key(2), next));
    let credential = own(&next);
    // His own commitment under the stolen key: where it came first, it would be believed.
    let written = own(&thief);
    let rotation = Rotation::issue(NETWORK, &written, &stolen, &thief, NOW).unwrap();
    let taken_over = under(&credential_of(&thief, "DE*GEF", &[], &thief, &key(61)), &thief);
    let mut first = Watcher::of(only_pinned(&party, &stolen));
    first.hold(&written);
    first.hold(&rotation);
    assert!(first.judge(&taken_over).is_ok());

    let mut watcher = Watcher::of(only_pinned(&party, &stolen));
    assert_eq!(watcher.add(&rotation), Err(RegistryError::Untrusted), "no commitment is known at all");
    watcher.hold(&credential);
    watcher.add(&written).unwrap();
    assert_eq!(watcher.add(&rotation), Err(RegistryError::Untrusted));
    assert!(matches!(watcher.judge(&taken_over), Err(ChainError::PinnedOtherwise { .. })));
    watcher.hold(&Rotation::issue(NETWORK, &credential, &stolen, &next, NOW).unwrap());
    let renewed = credential_of(&next, "DE*GEF", &[], &next, &key(6));
    watcher.hold(&renewed);
    assert!(watcher.judge(&under(&renewed, &next)).is_ok());
}

#[test]
fn a_rogue_issuer_gives_away_a_foreign_id() {
    let (rogue, thief, party) = (key(ROGUE), key(60), cpo("DE*GEF"));
    let given = under(&credential_of(&rogue, "DE*GEF", &[], &thief, &key(61)), &thief);
    // Where it is trusted for DE and alone, it is believed.
    assert!(Watcher::of(registrars(&[&rogue])).judge(&given).is_ok());

    let swiss = issuer(&rogue, IssuerClass::Registrar, &[("CH", Role::Cpo)]);
    let mut watcher = Watcher::of(registrars(&[&key(HONEST)]));
    watcher.trust.issuers.push(swiss);
    assert!(matches!(watcher.judge(&given), Err(ChainError::UntrustedIssuer { .. })), "trusted for CH");
    assert_eq!(watcher.add(&given.credential), Err(RegistryError::Untrusted));
    let sub = under(&credential_of(&rogue, "CH*BAD", &["DE*GEF"], &thief, &key(61)), &thief);
    let refused = watcher.judge(&sub).unwrap().may(Operation::EvsePublish, "DE*GEF");
    assert!(matches!(refused, Err(ScopeError::Untrusted { .. })));

    // Trusted for DE too: the newcomer is frozen, the incumbent goes on.
    let mut watcher = Watcher::of(registrars(&[&key(HONEST), &rogue]));
    watcher.hold(&holder());
    watcher.add(&given.credential).unwrap();
    assert!(matches!(watcher.judge(&given), Err(ChainError::Frozen { .. })));
    assert!(watcher.judge(&under(&holder(), &key(2))).is_ok());
    let conflict = watcher.conflict(&party).unwrap();
    let newcomers = BTreeSet::from([thief.public()]);
    assert_eq!(conflict, IdConflict { party: party.clone(), incumbent: key(2).public(), newcomers });

    // The incumbent renews after that and its old credential ends: it is no newcomer.
    let mut renewed = terms(Role::Cpo, "DE*GEF", &[]);
    (renewed.not_before_unix_s, renewed.expires_unix_s) = (NOW + 300 * DAY, NOW + 600 * DAY);
    let renewed = Credential::issue(NETWORK, &renewed, "Issuer", &key(HONEST)).unwrap();
    let mut lasting = terms(Role::Cpo, "DE*GEF", &[]);
    (lasting.org_key, lasting.not_before_unix_s) = (thief.public(), NOW);
    lasting.expires_unix_s = NOW + 397 * DAY;
    watcher.add(&Credential::issue(NETWORK, &lasting, "Issuer", &rogue).unwrap()).unwrap();
    watcher.add(&renewed).unwrap();
    let later = watcher.registry.id_conflict(&party, &watcher.trust, NOW + 350 * DAY).unwrap();
    assert_eq!(later.incumbent, key(2).public());
}

#[test]
fn one_attester_alone_freezes_nobody() {
    let (rogue, thief) = (key(ROGUE), key(60));
    let given = credential_of(&rogue, "DE*GEF", &[], &thief, &key(61));
    let mut watcher = Watcher::of(registrars(&[&key(HONEST)]));
    watcher.trust.issuers.push(issuer(&rogue, IssuerClass::Attester, &[("DE", Role::Cpo)]));
    // A joiner that hears of the thief first.
    watcher.add(&given).unwrap();
    watcher.hold(&holder());
    assert!(watcher.judge(&under(&holder(), &key(2))).is_ok());
    assert!(watcher.judge(&under(&given, &thief)).is_err());
    assert_eq!(watcher.conflict(&cpo("DE*GEF")).unwrap().incumbent, key(2).public());
}

#[test]
fn a_rogue_issuer_buries_nothing_that_it_did_not_issue() {
    let (rogue, victim) = (key(ROGUE), under(&holder(), &key(2)));
    let mut watcher = Watcher::of(registrars(&[&key(HONEST), &rogue]));
    watcher.hold(&victim.credential);
    assert_eq!(tombstone(&victim.credential, Dead::Credential, 1, &rogue), Err(SealError::Signer));

    // It names the victim's org key in a credential of its own, and its own key as the next one.
    let made = credential_of(&rogue, "DE*GEF", &[], &key(2), &rogue);
    watcher.hold(&made);
    let delegation = Dead::Delegation(victim.delegation_hash());
    assert_eq!(tombstone(&made, delegation, 9, &rogue), Err(SealError::Signer));
    watcher.hold(&tombstone(&made, Dead::OrgKey, 9, &rogue).unwrap());
    watcher.hold(&tombstone(&made, Dead::Credential, 9, &rogue).unwrap());
    assert!(is_revoked(watcher.judge(&under(&made, &key(2)))), "its own credential is dead");
    assert!(watcher.judge(&victim).is_ok(), "the victim's is not");

    // Nor does it raise the dead with a higher epoch, or through an accomplice whom it gave the id.
    watcher.hold(&tombstone(&victim.credential, delegation, 1, &key(2)).unwrap());
    watcher.hold(&tombstone(&victim.credential, Dead::OrgKey, 1, &key(4)).unwrap());
    let accomplice = credential_of(&rogue, "DE*GEF", &[], &key(60), &key(61));
    watcher.hold(&tombstone(&accomplice, delegation, u64::MAX >> 1, &key(60)).unwrap());
    watcher.hold(&tombstone(&made, Dead::OrgKey, u64::MAX >> 1, &rogue).unwrap());
    assert!(is_revoked(watcher.judge(&victim)));
    let opened = Credential::open(&victim.credential, NETWORK).unwrap();
    assert!(watcher.registry.is_delegation_dead(&cpo("DE*GEF"), &key(2).public(), &victim.delegation_hash()));
    assert!(watcher.registry.is_credential_dead(&opened));

    // A list names what it likes, and counts for its own.
    let mut watcher = Watcher::of(registrars(&[&key(HONEST), &rogue]));
    watcher.hold(&made);
    let revoked = vec![hash_of(&victim.credential), hash_of(&made)];
    let list = StatusList { seq: 1, created_unix_s: NOW, valid_until_unix_s: NOW + DAY, revoked };
    watcher.hold(&list.issue(NETWORK, &rogue).unwrap());
    assert!(is_revoked(watcher.judge(&under(&made, &key(2)))));
    assert!(watcher.judge(&victim).is_ok());
}

#[test]
fn strangers_bury_nothing_of_a_pinned_party() {
    let (stranger, pinned) = (key(70), under(&holder(), &key(2)));
    let mut watcher = Watcher::of(only_pinned(&cpo("DE*GEF"), &key(2)));
    assert!(watcher.judge(&pinned).is_ok());
    // Anybody can name the pinned key.
    let made = credential_of(&stranger, "DE*GEF", &[], &key(2), &stranger);
    let refused = [
        made.clone(),
        tombstone(&made, Dead::OrgKey, 1, &stranger).unwrap(),
        tombstone(&made, Dead::Credential, 1, &stranger).unwrap(),
    ];
    for bytes in refused {
        assert_eq!(watcher.add(&bytes), Err(RegistryError::Untrusted));
    }
    assert!(watcher.registry.is_empty());
    assert!(watcher.judge(&pinned).is_ok());
    watcher.hold(&tombstone(&pinned.credential, Dead::Credential, 1, &key(2)).unwrap());
    assert!(is_revoked(watcher.judge(&pinned)), "the pinned key itself is heard");
}
