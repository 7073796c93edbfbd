//! Credentials of everybody: how large they are on disk, and how long a node takes to verify them at its start.
//! There is no bare peer: the figures are for a plan of 10,000 parties in 25 MB and under 2 s.

use std::time::Instant;

use anyhow::{Result, ensure};
use chargemesh::identity::{
    CanonicalId, Credential, CredentialTerms, Dead, Issuer, IssuerClass, IssuerGrant, PartyId, Registry,
    Role, Rotation, SecretKey, Tombstone, TrustList, hash_of,
};
use rusqlite::Connection;
use sha2::{Digest, Sha256};

use crate::{Options, measure};

const NETWORK: &str = "bench";
const NOW_UNIX_S: u64 = 1_800_000_000;
const DAY_S: u64 = 86_400;

/// Sub ids of each party; the Swiss register has two on average and up to 20.
const SUB_IDS: usize = 3;

/// One party in so many has rotated its org key, and another one in so many has buried a delegation.
const ROTATED_ONE_IN: usize = 10;

/// Runs it for so many parties.
///
/// # Errors
/// Whatever goes wrong.
pub(crate) fn run(options: &Options, parties: usize) -> Result<()> {
    let dir = options.scratch("credentials")?;
    let path = dir.path().join("registry.sqlite");
    let issuer = key("issuer", 0);
    let objects = write(&path, &issuer, parties)?;
    let on_disk_mb = std::fs::metadata(&path)?.len() as f64 / 1e6;
    let trust = trust(&issuer)?;
    println!("{parties} parties, {objects} objects: {on_disk_mb:.1} MB on disk (goal 25 for 10000)");
    println!("load average {}", measure::load_average());

    for round in 1..=options.pairs {
        let (begun, cpu_before_s) = (Instant::now(), measure::cpu_s()?);
        let file = Connection::open(&path)?;
        let mut registry = Registry::empty();
        let mut rows = file.prepare("SELECT bytes FROM registry ORDER BY rowid")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let bytes: Vec<u8> = row.get(0)?;
            registry.add(&bytes, NETWORK, &trust)?;
        }
        let read_s = begun.elapsed().as_secs_f64();
        let cpu_s = measure::cpu_s()? - cpu_before_s;
        ensure!(registry.len() == objects, "{} of {objects} objects were held", registry.len());

        let begun = Instant::now();
        let conflicts = registry
            .parties()
            .filter(|party| registry.id_conflict(party, &trust, NOW_UNIX_S).is_some())
            .count();
        ensure!(conflicts == 0, "{conflicts} parties are in conflict");
        let watched_s = begun.elapsed().as_secs_f64();
        println!(
            "  round {round}: read and verified in {read_s:.2} s, {cpu_s:.2} s of CPU (goal 2), ID watch over all in \
             {watched_s:.3} s"
        );
    }
    Ok(())
}

/// Writes the objects as a node would hold them and gives their number.
fn write(path: &std::path::Path, issuer: &SecretKey, parties: usize) -> Result<usize> {
    let mut file = Connection::open(path)?;
    file.execute("CREATE TABLE registry (hash BLOB PRIMARY KEY, bytes BLOB NOT NULL, received INTEGER)", [])?;
    let transaction = file.transaction()?;
    let mut objects = 0;
    for number in 0..parties {
        let (org, next) = (key("org", number), key("next", number));
        let mut signed = vec![Credential::issue(NETWORK, &terms(number, &org, &next)?, "Registrar", issuer)?];
        if number % ROTATED_ONE_IN == 0 {
            signed.push(Rotation::issue(NETWORK, &signed[0], &org, &next, NOW_UNIX_S)?);
        }
        if number % ROTATED_ONE_IN == 1 {
            let dead = Dead::Delegation(hash_of(&signed[0]));
            signed.push(Tombstone::issue(NETWORK, &signed[0], dead, 1, NOW_UNIX_S, "stolen", &org)?);
        }
        for bytes in &signed {
            let values = (&hash_of(bytes)[..], bytes, NOW_UNIX_S.cast_signed());
            transaction.execute("INSERT INTO registry VALUES (?1, ?2, ?3)", values)?;
        }
        objects += signed.len();
    }
    transaction.commit()?;
    Ok(objects)
}

fn trust(issuer: &SecretKey) -> Result<TrustList> {
    let grant = IssuerGrant { country: "*".to_owned(), role: Role::Cpo };
    let registrar = Issuer {
        key: issuer.public(),
        name: "Registrar".to_owned(),
        class: IssuerClass::Registrar,
        grants: [grant].into(),
    };
    let valid_until_unix_s = NOW_UNIX_S + DAY_S;
    Ok(TrustList { issuers: vec![registrar], pins: Vec::new(), seq: 1, valid_until_unix_s })
}

fn terms(number: usize, org: &SecretKey, next: &SecretKey) -> Result<CredentialTerms> {
    let sub_ids = (1..=SUB_IDS).map(|sub| CanonicalId::parse(&id(number + sub * 1_000)));
    Ok(CredentialTerms {
        party: PartyId::new(Role::Cpo, &id(number))?,
        sub_ids: sub_ids.collect::<Result<_, _>>()?,
        legal_name: format!("Charging company number {number} AG"),
        register_number: format!("CHE-{number:09}"),
        org_key: org.public(),
        next_org_key_hash: Some(hash_of(next.public().as_bytes())),
        not_before_unix_s: NOW_UNIX_S - DAY_S,
        expires_unix_s: NOW_UNIX_S + 300 * DAY_S,
        serial: number.to_be_bytes().to_vec(),
    })
}

/// `AAAAA`, `AAAAB`, ...: an id for each number, the country included.
fn id(number: usize) -> String {
    let letter = |power: u32| char::from(b'A' + (number / 26_usize.pow(power) % 26) as u8);
    (0..5).rev().map(letter).collect()
}

fn key(name: &str, number: usize) -> SecretKey {
    let seed = Sha256::new().chain_update(name).chain_update(number.to_be_bytes()).finalize();
    SecretKey::from_seed(&seed.into())
}
