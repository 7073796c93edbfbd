//! Accounts and the outbox of a node with a million charge detail records: how long each question takes that people,
//! monitors and partners ask. There is no bare peer: what a node asks often must be answered within 10 ms.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use bytes::Bytes;
use chargemesh::identity::{PartyId, hash_of};
use chargemesh::protocol::{CdrRecord, CdrState};
use chargemesh::roaming::change::{LedgerChange, StoredCdr};
use chargemesh::storage::{Account, CdrFilter, Config, Directory, Ledger, Place, Reader, Runner};

use crate::Options;
use crate::measure;

const DAY_MS: u64 = 86_400_000;
/// When the first session ended.
const BEGIN_MS: u64 = 20_700 * DAY_MS;
/// The records are spread over so many days.
const DAYS: u64 = 90;
/// Partners of the CPO, each with as many records.
const PARTNERS: usize = 40;
/// Bytes of a signed record without signed meter values.
const SIGNED_BYTES: usize = 1_200;
/// Records of one commit.
const BATCH: usize = 5_000;
/// Has one record, the first.
const RARE_PARTNER: &str = "EMP:CHRAR";
/// One record in so many waits, and as many were rejected.
const ODD_ONE_IN: usize = 2_000;

/// Runs it with so many records.
///
/// # Errors
/// Whatever goes wrong.
pub(crate) fn run(options: &Options, records: usize) -> Result<()> {
    let dir = options.scratch("accounts")?;
    let (place, config) = (Place::directory(dir.path())?, Config::default());
    let mut ledger = Ledger::open(&place, &config)?;
    fill(&mut ledger, records)?;
    let directory = Directory::open(&place, &config)?;
    let threads = Arc::new(|name: &'static str, work: Box<dyn FnOnce() + Send>| {
        std::thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
    });
    let reader = Reader::start(&directory, &ledger, &config, &Runner::Threads(threads))?;
    let runtime = crate::runtime()?;
    runtime.block_on(ask(options, &reader, records))
}

/// Writes so many records.
///
/// # Errors
/// What the ledger says.
pub(crate) fn fill(ledger: &mut Ledger, records: usize) -> Result<()> {
    let begun = Instant::now();
    let numbers: Vec<usize> = (0..records).collect();
    for batch in numbers.chunks(BATCH) {
        let changes: Result<Vec<LedgerChange>> =
            batch.iter().map(|number| change(*number, records)).collect();
        ledger.commit(&changes?)?;
    }
    println!("  {records} records were written in {:.0} s", begun.elapsed().as_secs_f64());
    Ok(())
}

async fn ask(options: &Options, reader: &Reader, records: usize) -> Result<()> {
    let month_ms = BEGIN_MS + 30 * DAY_MS;
    let (ours, partner) = (ours()?, partner(7)?);
    let account = |days: u64| Account {
        ours: ours.clone(),
        partner: partner.clone(),
        from_unix_ms: month_ms,
        until_unix_ms: month_ms + days * DAY_MS,
    };
    let mut times: Vec<(&str, Vec<f64>)> = Vec::new();
    let mut note = |name: &'static str, begun: Instant| {
        let ms = begun.elapsed().as_secs_f64() * 1e3;
        match times.iter_mut().find(|(known, _)| *known == name) {
            Some((_, times)) => times.push(ms),
            None => times.push((name, vec![ms])),
        }
    };
    let of_partner_a_day = records as u64 / PARTNERS as u64 / DAYS;
    for _ in 0..options.pairs.max(1) * 4 {
        let (mut open, mut next) = (0, None);
        let whole = Instant::now();
        loop {
            let begun = Instant::now();
            let (page, after) = reader.open_cdrs(next).await?;
            note("outbox at a start, a page", begun);
            (open, next) = (open + page.len(), after);
            if next.is_none() {
                break;
            }
        }
        note("outbox at a start, all pages", whole);
        let begun = Instant::now();
        let waiting = reader.waiting_cdrs(u64::MAX / 2).await?;
        note("records that wait (each minute)", begun);
        ensure!(waiting.len().min(open) > 0, "nothing waits");
        let begun = Instant::now();
        let denied = reader.denied_cdrs(BEGIN_MS + (DAYS - 30) * DAY_MS).await?;
        note("records that were rejected (each minute)", begun);
        ensure!(!denied.is_empty(), "nothing was rejected");
        let begun = Instant::now();
        let listed = reader.listed_cdrs(CdrFilter { limit: 100, ..CdrFilter::default() }).await?;
        note("admin list, 100 records", begun);
        ensure!(listed.len() == 100, "{} records were listed", listed.len());
        let (rare, denied) = (PartyId::parse(RARE_PARTNER)?, Some(CdrState::Rejected));
        for (name, filter) in [
            ("admin list of a rare partner", CdrFilter { partner: Some(rare), ..CdrFilter::default() }),
            ("admin list of a rare state", CdrFilter { state: denied, ..CdrFilter::default() }),
        ] {
            let begun = Instant::now();
            let listed = reader.listed_cdrs(CdrFilter { limit: 100, ..filter }).await?;
            note(name, begun);
            ensure!(!listed.is_empty(), "{name}: nothing");
        }
        let begun = Instant::now();
        let marks = reader.account_marks(account(1), 100_000).await?;
        note("one day of a partner (reconciliation)", begun);
        ensure!(marks.len() as u64 >= of_partner_a_day / 2, "{} records of a day", marks.len());
        let begun = Instant::now();
        let (page, _) = reader.account_page(account(30), None).await?;
        note("page of a month of a partner (statement)", begun);
        ensure!(!page.is_empty(), "a month without records");
    }
    for (name, mut times) in times {
        let (middle, late) = (measure::quantile(&mut times, 0.5), measure::quantile(&mut times, 0.99));
        println!("  {name}: p50 {middle:.2} ms, p99 {late:.2} ms");
    }
    Ok(())
}

fn ours() -> Result<PartyId> {
    Ok(PartyId::parse("CPO:CHABC")?)
}

fn partner(number: usize) -> Result<PartyId> {
    Ok(PartyId::parse(&format!("EMP:DE{:03}", number % PARTNERS))?)
}

fn change(number: usize, records: usize) -> Result<LedgerChange> {
    let hash = hash_of(&number.to_be_bytes());
    let at_ms = BEGIN_MS + number as u64 * (DAYS * DAY_MS) / records as u64;
    // SessionIDs come in no order.
    let hex: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    let session =
        format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32));
    let state = match number % ODD_ONE_IN {
        0 => CdrState::Waiting,
        1 => CdrState::Rejected,
        _ => CdrState::Accepted,
    };
    let cdr = StoredCdr {
        session,
        hash,
        incoming: false,
        ours: ours()?,
        partner: if number == 0 { PartyId::parse(RARE_PARTNER)? } else { partner(number / 7)? },
        operator: "CHABC".to_owned(),
        is_open: state == CdrState::Waiting,
        state,
        stored_unix_ms: at_ms + 1_000,
        ended_unix_ms: at_ms,
        replaces: None,
        signed: Some(Bytes::from(vec![7; SIGNED_BYTES])),
        record: CdrRecord { receipts: vec![Bytes::from(vec![8; 300]); 2], ..CdrRecord::default() },
    };
    Ok(LedgerChange::Cdr { cdr: Box::new(cdr) })
}
