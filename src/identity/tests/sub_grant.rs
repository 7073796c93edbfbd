//! Sub-operator grants: the holder of a main id lets another party publish under it.

use super::*;
use crate::identity::registry::SUB_GRANTS_MAX;

/// CH*360 publishes FR*N54 (as in the Swiss register); its own issuer counts for CH alone.
struct Scene {
    watcher: Watcher,
    publisher: Chain,
    holder: Vec<u8>,
}

const SWISS: u8 = 1;
const FRENCH: u8 = 40;
const HOLDER: u8 = 41;

fn scene() -> Scene {
    let registrar = |seed, country| issuer(&key(seed), IssuerClass::Registrar, &[(country, Role::Cpo)]);
    let trust = TrustList { issuers: vec![registrar(SWISS, "CH"), registrar(FRENCH, "FR")], ..swiss_trust() };
    let credential = credential_of(&key(SWISS), "CH*360", &["FR*N54"], &org_key(), &key(4));
    Scene {
        watcher: Watcher::of(trust),
        publisher: under(&credential, &org_key()),
        holder: credential_of(&key(FRENCH), "FR*N54", &[], &key(HOLDER), &key(42)),
    }
}

fn grant(credential: &[u8], epoch: u64, until: u64, by: u8) -> Result<Vec<u8>, SealError> {
    let terms =
        SubGrantTerms { grantee: cpo("CH*360"), epoch, not_before_unix_s: NOW - DAY, expires_unix_s: until };
    SubGrant::issue(NETWORK, credential, &terms, &key(by))
}

impl Scene {
    fn class(&self, at_unix_s: u64) -> Option<GrantClass> {
        self.watcher.judge_at(&self.publisher, at_unix_s).unwrap().grants().get("FRN54").copied()
    }
}

#[test]
fn the_holder_s_word_counts_also_where_the_publisher_s_issuer_does_not() {
    let mut scene = scene();
    assert_eq!(scene.class(NOW), None, "a Swiss issuer says nothing about FR*N54");
    scene.watcher.hold(&grant(&scene.holder, 1, NOW + DAY, HOLDER).unwrap());
    assert_eq!(scene.class(NOW), Some(GrantClass::CounterSigned));
    let speaker = scene.watcher.judge(&scene.publisher).unwrap();
    assert_eq!(speaker.counter_signed_until_unix_s(), Some(NOW + DAY));
    assert_eq!(speaker.may(Operation::EvsePublish, "fr*n54"), Ok(GrantClass::CounterSigned));
    assert_eq!(speaker.grants().get("CH360"), Some(&GrantClass::MainId));
    assert_eq!(scene.class(NOW + DAY), None, "it has ended");

    // An issuer that counts for both: the stronger ground wins, and the weaker remains.
    scene.watcher.trust.issuers = vec![
        issuer(&key(SWISS), IssuerClass::Registrar, &[("*", Role::Cpo)]),
        issuer(&key(FRENCH), IssuerClass::Registrar, &[("FR", Role::Cpo)]),
    ];
    assert_eq!(scene.class(NOW), Some(GrantClass::CounterSigned));
    assert_eq!(scene.class(NOW + DAY), Some(GrantClass::IssuerOnly));
    assert!(GrantClass::MainId < GrantClass::CounterSigned, "(a) before (b)");
    assert!(GrantClass::CounterSigned < GrantClass::IssuerOnly, "(b) before (c)");
}

#[test]
fn a_grant_counts_only_from_a_holder_who_is_believed() {
    let (rogue, thief) = (key(80), 60);
    let foreign = credential_of(&rogue, "FR*N54", &[], &key(thief), &key(61));
    let good = |scene: &Scene| grant(&scene.holder, 1, NOW + DAY, HOLDER).unwrap();

    // Signed by somebody else, by an issuer, for oneself, or across roles: wrong for everybody.
    let scene_ = scene();
    for by in [thief, FRENCH, 42] {
        assert_eq!(grant(&scene_.holder, 1, NOW + DAY, by), Err(SealError::Signer), "{by}");
    }
    for grantee in [cpo("FR*N54"), PartyId::new(Role::Emp, "CH*360").unwrap()] {
        let terms = SubGrantTerms { grantee, epoch: 1, not_before_unix_s: NOW, expires_unix_s: NOW + DAY };
        let refused = SubGrant::issue(NETWORK, &scene_.holder, &terms, &key(HOLDER)).unwrap_err();
        assert!(matches!(refused, SealError::Content(_)), "{refused}");
    }
    assert!(grant(&scene_.holder, 1, NOW + 397 * DAY, HOLDER).is_err(), "too long");

    // A holder whom nobody trusted vouches for; then one who is frozen; then one who is dead.
    let mut scene = scene();
    let stolen = grant(&foreign, 9, NOW + DAY, thief).unwrap();
    assert_eq!(scene.watcher.add(&stolen), Err(RegistryError::Untrusted));
    scene.watcher.trust.issuers.push(issuer(&rogue, IssuerClass::Registrar, &[("FR", Role::Cpo)]));
    scene.watcher.hold(&stolen);
    assert_eq!(scene.class(NOW), Some(GrantClass::CounterSigned), "believed while nobody else is known");
    scene.watcher.hold(&scene.holder.clone());
    assert_eq!(scene.class(NOW), None, "frozen");
    scene.watcher.hold(&good(&scene));
    assert_eq!(scene.class(NOW), Some(GrantClass::CounterSigned), "and outdoes nobody's with its epoch");
    scene.watcher.hold(&tombstone(&scene.holder, Dead::OrgKey, 1, &key(HOLDER)).unwrap());
    scene.watcher.trust.issuers.truncate(2);
    assert_eq!(scene.class(NOW), None, "dead");
}

#[test]
fn a_grant_is_withdrawn_for_good_and_outlives_a_renewed_credential() {
    let mut scene = scene();
    let first = grant(&scene.holder, 1, NOW + 350 * DAY, HOLDER).unwrap();
    scene.watcher.hold(&first);
    assert_eq!(scene.class(NOW), Some(GrantClass::CounterSigned));
    let withdrawn = grant(&scene.holder, 2, NOW - 1, HOLDER).unwrap();
    scene.watcher.hold(&withdrawn);
    assert_eq!(scene.class(NOW), None);
    assert_eq!(scene.watcher.add(&first), Ok(Added::Outdone), "rolled back");
    assert_eq!(scene.class(NOW), None);

    // The credential in the grant ends; the holder has a new one with the same org key.
    let mut ending = terms(Role::Cpo, "FR*N54", &[]);
    (ending.org_key, ending.expires_unix_s) = (key(HOLDER).public(), NOW + DAY);
    let old = Credential::issue(NETWORK, &ending, "Issuer", &key(FRENCH)).unwrap();
    scene.watcher.hold(&grant(&old, 3, NOW + 9 * DAY, HOLDER).unwrap());
    assert_eq!((scene.class(NOW), scene.class(NOW + 2 * DAY)), (Some(GrantClass::CounterSigned), None));
    scene.watcher.hold(&scene.holder.clone());
    assert_eq!(scene.class(NOW + 2 * DAY), Some(GrantClass::CounterSigned));
}

#[test]
fn a_party_s_grants_are_bounded() {
    let mut watcher = scene().watcher;
    let holder = scene().holder;
    let mut refused = 0;
    for n in 0..SUB_GRANTS_MAX + 3 {
        let grantee = cpo(&format!("CH{n:03}"));
        let terms = SubGrantTerms { grantee, epoch: 1, not_before_unix_s: NOW, expires_unix_s: NOW + DAY };
        let bytes = SubGrant::issue(NETWORK, &holder, &terms, &key(HOLDER)).unwrap();
        refused += usize::from(matches!(watcher.add(&bytes), Err(RegistryError::Full(_))));
    }
    assert_eq!((refused, watcher.registry.sub_grants(&cpo("FR*N54")).count()), (3, SUB_GRANTS_MAX));
}
