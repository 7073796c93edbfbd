//! Who calls: from a certificate or key (or from being the only one on loopback) to the parties that it may act for.
//!
//! This stands where the hub compares the client certificate with the id (RULES 1): whoever may not act for
//! the id in the path gets 017, before anything of the body is read.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{PoisonError, RwLock};

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::config::{ApiKey, Config};
use super::error::FacadeError;
use super::tls::Shown;
use crate::identity::{PartyId, Role};
use crate::oicp::pricing::PricingNames;
use crate::oicp::reading::Reading;
use crate::tls::Fingerprint;

/// Longest `Authorization` header that is looked at, in bytes.
const AUTHORIZATION_BYTES_MAX: usize = 1024;

type KeyHash = [u8; 32];

/// A caller as configured.
#[derive(Debug)]
pub(super) struct Backend {
    /// Its place in the configuration; part of a pull's name.
    pub(super) number: usize,
    pub(super) reading: Reading,
    pub(super) pricing_names: PricingNames,
    /// Whether it is the central hub, which names partners and no party of ours.
    pub(super) is_hub: bool,
    parties: BTreeSet<PartyId>,
}

/// Why a caller may not act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No key, or one that nobody has.
    UnknownCaller,
    /// The caller has no such party.
    ForeignId,
}

/// All callers.
pub(super) struct Access {
    backends: Vec<Backend>,
    by_key: BTreeMap<KeyHash, usize>,
    by_certificate: RwLock<BTreeMap<Fingerprint, usize>>,
    keyless: Option<usize>,
    admin_key: Option<KeyHash>,
    on_loopback: bool,
}

impl Access {
    /// Checks the configuration against the parties of the node.
    pub(super) fn new(config: &Config, own: &[PartyId]) -> Result<Access, FacadeError> {
        let on_loopback = config.listen.ip().is_loopback();
        let mut backends = Vec::new();
        let mut by_key = BTreeMap::new();
        let mut keyless = None;
        for (index, entry) in config.backends.iter().enumerate() {
            let number = index + 1;
            if entry.hub && entry.key.is_none() && entry.certificates.is_empty() {
                return Err(FacadeError::HubUnknown { backend: number });
            }
            match &entry.key {
                Some(key) => {
                    check_key(key, || format!("backend {number}"))?;
                    if let Some(first) = by_key.insert(hash(key.expose()), index) {
                        return Err(FacadeError::SameKey { first: first + 1, second: number });
                    }
                }
                None if !entry.certificates.is_empty() => {}
                None if config.backends.len() > 1 => {
                    return Err(FacadeError::KeylessBesideOthers { backend: number });
                }
                None => keyless = Some(index),
            }
            let parties = parties(number, &entry.parties, own)?;
            // What the hub passes on it has read already.
            let reading = if entry.hub { Reading::Tolerant } else { entry.reading };
            let pricing_names = entry.pricing_names;
            backends.push(Backend { number, reading, pricing_names, is_hub: entry.hub, parties });
        }
        if backends.is_empty() {
            let parties = own.iter().cloned().collect();
            let pricing_names = PricingNames::default();
            backends.push(Backend {
                number: 0,
                reading: Reading::Strict,
                pricing_names,
                is_hub: false,
                parties,
            });
            keyless = Some(0);
        }
        if let (Some(index), false, false) = (keyless, on_loopback, config.allow_plain_http) {
            let backend = config.backends.len().min(index + 1);
            return Err(FacadeError::KeyNeeded { address: config.listen, backend });
        }
        if !(on_loopback || config.tls.is_on() || config.allow_plain_http) {
            return Err(FacadeError::PlainHttp { address: config.listen });
        }
        if let Some(key) = &config.admin_key {
            check_key(key, || "the admin API (`admin_key`)".to_owned())?;
        }
        Ok(Access {
            backends,
            by_key,
            by_certificate: RwLock::new(by_certificate(config)?),
            keyless: keyless.filter(|_| on_loopback),
            admin_key: config.admin_key.as_ref().map(|key| hash(key.expose())),
            on_loopback,
        })
    }

    /// The backend of a call: by its certificate, by the key in the path, by HTTP Basic, else the only one on
    /// loopback. A certificate and a key of two backends are nobody's.
    pub(super) fn backend(
        &self,
        path_key: Option<&str>,
        headers: &HeaderMap,
        shown: Option<&Shown>,
        now_unix_ms: u64,
    ) -> Result<&Backend, Refusal> {
        let basic = match path_key {
            Some(_) => None,
            None => basic_password(headers),
        };
        let key = path_key.or(basic.as_deref());
        let by_key = key.map(|key| self.by_key.get(&hash(key)).copied());
        // It was good when the connection began.
        if shown.is_some_and(|shown| shown.not_after_unix_s < now_unix_ms / 1_000) {
            return Err(Refusal::UnknownCaller);
        }
        let index = match (shown.map(|shown| self.owner_of(&shown.fingerprint)), by_key) {
            (Some(Some(owner)), None) => Some(owner),
            (Some(Some(owner)), Some(by_key)) => by_key.filter(|index| *index == owner),
            (_, Some(by_key)) => by_key,
            (Some(None), None) => None,
            (None, None) => self.keyless,
        };
        index.and_then(|index| self.backends.get(index)).ok_or(Refusal::UnknownCaller)
    }

    /// Takes the certificates of the same backends anew.
    pub(super) fn replace_certificates(&self, config: &Config) -> Result<(), FacadeError> {
        let known = by_certificate(config)?;
        *self.by_certificate.write().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(())
    }

    fn owner_of(&self, fingerprint: &Fingerprint) -> Option<usize> {
        self.by_certificate.read().unwrap_or_else(PoisonError::into_inner).get(fingerprint).copied()
    }

    /// Whether the caller may read metrics and use the admin API.
    pub(super) fn is_admin(&self, peer: SocketAddr, headers: &HeaderMap) -> bool {
        match self.admin_key {
            Some(expected) => bearer(headers).is_some_and(|key| hash(key) == expected),
            // A web page in a browser on this machine is on loopback too, but names its origin.
            None => self.on_loopback && peer.ip().is_loopback() && !headers.contains_key(header::ORIGIN),
        }
    }

    /// Whether calls without a key are taken (known by loopback).
    pub(super) fn is_keyless(&self, backend: &Backend) -> bool {
        self.keyless.and_then(|index| self.backends.get(index)).is_some_and(|b| b.number == backend.number)
    }

    /// The party that the caller means with an id of the path or of the body.
    pub(super) fn party(&self, backend: &Backend, role: Role, id: &str) -> Result<PartyId, Refusal> {
        let party = PartyId::new(role, id).map_err(|_| Refusal::ForeignId)?;
        if !backend.parties.contains(&party) {
            return Err(Refusal::ForeignId);
        }
        let alone = backend.parties.iter().filter(|other| other.role == role).count() == 1;
        if self.is_keyless(backend) && !alone {
            return Err(Refusal::UnknownCaller);
        }
        Ok(party)
    }

    /// The party that a call about a session is of: the caller's own, or any that the hub names.
    pub(super) fn speaker(&self, backend: &Backend, role: Role, id: &str) -> Result<PartyId, Refusal> {
        match backend.is_hub {
            true => PartyId::new(role, id).map_err(|_| Refusal::ForeignId),
            false => self.party(backend, role, id),
        }
    }

    /// Whether a caller is the central hub.
    pub(super) fn is_hub(&self, number: usize) -> bool {
        self.numbered(number).is_some_and(|backend| backend.is_hub)
    }

    /// The same for a caller by its number.
    pub(super) fn party_of(&self, number: usize, role: Role, id: &str) -> Result<PartyId, Refusal> {
        self.party(self.numbered(number).ok_or(Refusal::UnknownCaller)?, role, id)
    }

    /// The only party of a role that a caller may act for.
    pub(super) fn only_party(&self, number: usize, role: Role) -> Option<PartyId> {
        let mut parties = self.numbered(number)?.parties.iter().filter(|party| party.role == role);
        let only = parties.next()?;
        parties.next().is_none().then(|| only.clone())
    }

    /// How the lists in a caller's answers are called.
    pub(super) fn pricing_names(&self, number: usize) -> PricingNames {
        self.numbered(number).map_or(PricingNames::default(), |backend| backend.pricing_names)
    }

    fn numbered(&self, number: usize) -> Option<&Backend> {
        self.backends.iter().find(|backend| backend.number == number)
    }
}

/// Which certificate belongs to which backend.
fn by_certificate(config: &Config) -> Result<BTreeMap<Fingerprint, usize>, FacadeError> {
    let mut known = BTreeMap::new();
    for (index, entry) in config.backends.iter().enumerate() {
        let backend = index + 1;
        if !entry.certificates.is_empty() && !config.tls.asks_for_certificates() {
            return Err(FacadeError::NoClientCa { backend });
        }
        for text in &entry.certificates {
            let fingerprint =
                Fingerprint::parse(text).map_err(|source| FacadeError::BadFingerprint { backend, source })?;
            if let Some(first) = known.insert(fingerprint, index).filter(|first| *first != index) {
                return Err(FacadeError::SameCertificate { first: first + 1, second: backend });
            }
        }
    }
    Ok(known)
}

fn check_key(key: &ApiKey, owner: impl Fn() -> String) -> Result<(), FacadeError> {
    if key.is_usable() { Ok(()) } else { Err(FacadeError::BadKey { owner: owner() }) }
}

fn parties(number: usize, texts: &[String], own: &[PartyId]) -> Result<BTreeSet<PartyId>, FacadeError> {
    let mut parties = BTreeSet::new();
    for text in texts {
        let (role, id) = text.split_once(':').unwrap_or(("", text));
        let party = Role::parse(role)
            .and_then(|role| PartyId::new(role, id))
            .map_err(|source| FacadeError::BadParty { backend: number, party: text.clone(), source })?;
        if !own.contains(&party) {
            return Err(FacadeError::ForeignParty { backend: number, party: party.to_text() });
        }
        parties.insert(party);
    }
    Ok(parties)
}

/// Keys are looked up by hash, so that the time of a look-up says nothing about a key.
fn hash(key: &str) -> KeyHash {
    Sha256::digest(key.as_bytes()).into()
}

fn authorization<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (found, rest) = value.split_once(' ')?;
    let usable = value.len() <= AUTHORIZATION_BYTES_MAX && found.eq_ignore_ascii_case(scheme);
    usable.then(|| rest.trim())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    authorization(headers, "bearer")
}

fn basic_password(headers: &HeaderMap) -> Option<String> {
    let decoded = STANDARD.decode(authorization(headers, "basic")?).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':').map(|(_, password)| password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facade::config::BackendConfig;

    const KEY: &str = "0123456789abcdef0123";

    fn own() -> Vec<PartyId> {
        ["CPO:DEABC", "CPO:CHSCH", "EMP:DEDCB"].iter().map(|text| PartyId::parse(text).unwrap()).collect()
    }

    fn backend(key: Option<&str>, parties: &[&str]) -> BackendConfig {
        let parties = parties.iter().map(|text| (*text).to_owned()).collect();
        BackendConfig { key: key.map(ApiKey::new), parties, ..BackendConfig::default() }
    }

    #[test]
    fn a_key_opens_its_parties_only() {
        let backends = vec![backend(Some(KEY), &["CPO:DE*ABC"])];
        let access = Access::new(&Config { backends, ..Config::default() }, &own()).unwrap();
        let mut basic = HeaderMap::new();
        let value = format!("Basic {}", STANDARD.encode(format!("any:{KEY}")));
        basic.insert(header::AUTHORIZATION, value.parse().unwrap());
        for (path_key, headers) in [(Some(KEY), &HeaderMap::new()), (None, &basic)] {
            let caller = access.backend(path_key, headers, None, 0).unwrap();
            for (role, id, allowed) in [
                (Role::Cpo, "DE*ABC", true),
                (Role::Cpo, "DEABC", true),
                (Role::Cpo, "de*abc", true),
                (Role::Emp, "DE*ABC", false),
                (Role::Cpo, "CH*SCH", false),
                (Role::Cpo, "rubbish", false),
                (Role::Emp, "DE-DCB", false),
            ] {
                assert_eq!(access.party(caller, role, id).is_ok(), allowed, "{role} {id}");
            }
        }
        for (path_key, headers) in [(None, &HeaderMap::new()), (Some("other"), &basic), (Some(""), &basic)] {
            assert_eq!(access.backend(path_key, headers, None, 0).err(), Some(Refusal::UnknownCaller));
        }
    }

    #[test]
    fn without_a_key_only_one_party_of_a_role_may_act() {
        let access = Access::new(&Config::default(), &own()).unwrap();
        let caller = access.backend(None, &HeaderMap::new(), None, 0).unwrap();
        assert!(access.party(caller, Role::Emp, "DE-DCB").is_ok());
        assert_eq!(access.party(caller, Role::Cpo, "DE*ABC"), Err(Refusal::UnknownCaller));
    }

    #[test]
    fn a_certificate_opens_its_parties_until_it_ends_and_never_those_of_another_key() {
        const OTHER: &str = "abcdefabcdefabcdefab";
        let fingerprint = Fingerprint::of_der(b"one");
        let mut certified = backend(None, &["CPO:DE*ABC"]);
        certified.certificates = vec![fingerprint.to_string()];
        let mut config =
            Config { backends: vec![certified, backend(Some(OTHER), &["CPO:CH*SCH"])], ..Config::default() };
        config.tls.client_ca = "ca.pem".into();
        let access = Access::new(&config, &own()).unwrap();
        let shown = |fingerprint| Shown { fingerprint, not_after_unix_s: 10 };
        let (good, foreign) = (shown(fingerprint), shown(Fingerprint::of_der(b"other")));
        let none = HeaderMap::new();
        let number = |key, shown, now_s: u64| {
            access.backend(key, &none, shown, now_s * 1_000).map(|backend| backend.number).ok()
        };
        assert_eq!(number(None, Some(&good), 10), Some(1));
        assert_eq!(number(None, Some(&good), 11), None, "it has ended since the handshake");
        assert_eq!(number(Some(OTHER), Some(&good), 10), None, "two backends at once");
        assert_eq!(number(None, Some(&foreign), 10), None);
        assert_eq!(number(Some(OTHER), Some(&foreign), 10), Some(2));
        assert_eq!(number(None, None, 10), None);
        config.backends[0].certificates = vec![foreign.fingerprint.to_string()];
        access.replace_certificates(&config).unwrap();
        assert_eq!((number(None, Some(&good), 10), number(None, Some(&foreign), 10)), (None, Some(1)));
    }

    #[test]
    fn what_cannot_work_is_said_at_the_start() {
        let open = Config { listen: SocketAddr::from(([0, 0, 0, 0], 0)), ..Config::default() };
        let with = |backends| Config { backends, ..Config::default() };
        let certified =
            |text: &str| BackendConfig { certificates: vec![text.to_owned()], ..BackendConfig::default() };
        let one = Fingerprint::of_der(b"one").to_string();
        let asking = |backends| {
            let mut config = with(backends);
            config.tls.client_ca = "ca.pem".into();
            config
        };
        let table: Vec<(Config, &str)> = vec![
            (open.clone(), "other machines"),
            (
                Config { backends: vec![backend(None, &["CPO:DE*ABC"])], ..open.clone() },
                "backend 1 has no key",
            ),
            (Config { backends: vec![backend(Some(KEY), &["CPO:DE*ABC"])], ..open }, "has no TLS"),
            (with(vec![certified("sha256:00")]), "nobody asks it for one"),
            (asking(vec![certified("sha256:00")]), "is no fingerprint"),
            (
                asking(vec![
                    certified(&one),
                    BackendConfig { key: Some(ApiKey::new(KEY)), ..certified(&one) },
                ]),
                "same certificate",
            ),
            (with(vec![backend(Some("short"), &[])]), "16 to 128"),
            (with(vec![backend(Some(KEY), &[]), backend(Some(KEY), &[])]), "the same key"),
            (with(vec![backend(Some(KEY), &[]), backend(None, &[])]), "only backend"),
            (with(vec![backend(Some(KEY), &["DE*ABC"])]), "is not a party"),
            (with(vec![backend(Some(KEY), &["CPO:DE*XXX"])]), "no such party"),
        ];
        let mut stated = with(vec![backend(Some(KEY), &["CPO:DE*ABC"])]);
        (stated.listen, stated.allow_plain_http) = (SocketAddr::from(([0, 0, 0, 0], 0)), true);
        assert!(Access::new(&stated, &own()).is_ok(), "it was said in so many words");
        (stated.allow_plain_http, stated.tls.certificate) = (false, "facade.crt".into());
        assert!(Access::new(&stated, &own()).is_ok());
        for (config, text) in table {
            let error = Access::new(&config, &own()).err().expect(text);
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
