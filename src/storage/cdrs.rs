//! Charge detail records in the ledger: those that wait for something, those of a session, and pages of the rest.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Result, Row, Transaction, params, params_from_iter};

use super::error::{Database, StorageError};
use super::value::{Number, bytes, damaged, digest, number};
use crate::identity::PartyId;
use crate::protocol::{CdrRecord, CdrState, SessionRecord};
use crate::roaming::change::{CdrsOfSession, StoredCdr};

const COLUMNS: &str = "session, hash, incoming, ours, partner, operator, is_open, state, stored_unix_ms,
    ended_unix_ms, replaces, signed, record";

/// Most records of one page of the list that people read.
pub const CDRS_LISTED_MAX: u64 = 1_000;

/// Records of one page of the outbox: among a million others each lies on a page of its own.
const OPEN_PAGE_MAX: u64 = 100;

/// A place in the outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenPlace {
    stored_unix_ms: u64,
    number: u64,
}

/// A page of the outbox, and where the next one begins; `None` behind the last.
pub type OpenPage = (Vec<StoredCdr>, Option<OpenPlace>);

/// Which received records are asked for: OICP's GetChargeDetailRecords. An empty list filters nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CdrPull {
    /// The EMP.
    pub provider: PartyId,
    /// Taken here at or after this time, unix milliseconds.
    pub from_unix_ms: u64,
    /// ... and at or before this one.
    pub to_unix_ms: u64,
    /// Only of these sessions.
    pub sessions: Vec<String>,
    /// Only of these operators, in canonical spelling: by the CPO that sent it, or by its EvseID.
    pub operators: Vec<String>,
    /// Only those that the EMP's backend took, or all others.
    pub forwarded: Option<bool>,
    /// Whether corrections are among them.
    pub corrections: bool,
    /// Records before the page.
    pub offset: u64,
    /// Records of the page.
    pub limit: u64,
}

/// Which records people want to see; what is `None` filters nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CdrFilter {
    /// SessionID.
    pub session: Option<String>,
    /// The other side.
    pub partner: Option<PartyId>,
    /// How far it has come.
    pub state: Option<CdrState>,
    /// Most records; at most [`CDRS_LISTED_MAX`].
    pub limit: u64,
}

pub(super) fn write(tx: &Transaction<'_>, cdr: &StoredCdr) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO cdrs(session, hash, incoming, ours, partner, operator, is_open, state, stored_unix_ms,
            ended_unix_ms, replaces, signed, record)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
         ON CONFLICT(session, hash, incoming) DO UPDATE SET is_open = ?7, state = ?8, record = ?13",
    )?
    .execute(params![
        cdr.session,
        cdr.hash,
        cdr.incoming,
        cdr.ours.to_text(),
        cdr.partner.to_text(),
        cdr.operator,
        cdr.is_open,
        cdr.state as u8,
        Number(cdr.stored_unix_ms),
        Number(cdr.ended_unix_ms),
        cdr.replaces,
        cdr.signed.as_deref(),
        cdr.record.encode().as_ref(),
    ])
    .map(drop)
}

/// A page of those for which something is still to be done, the oldest first.
pub(super) fn open(
    connection: &Connection,
    after: Option<OpenPlace>,
) -> std::result::Result<OpenPage, StorageError> {
    let after = after.unwrap_or_default();
    let sql = format!(
        "SELECT {COLUMNS}, number FROM cdrs WHERE is_open = 1 AND (stored_unix_ms, number) > (?, ?)
         ORDER BY stored_unix_ms, number LIMIT ?"
    );
    let read = || -> Result<OpenPage> {
        let mut statement = connection.prepare_cached(&sql)?;
        let from = [after.stored_unix_ms, after.number, OPEN_PAGE_MAX].map(integer);
        let rows = statement.query_map(params_from_iter(from), |row| Ok((of_row(row)?, number(row, 13)?)))?;
        let read: Vec<(StoredCdr, u64)> = rows.collect::<Result<_>>()?;
        let full = read.len() as u64 >= OPEN_PAGE_MAX;
        let place = |(cdr, number): &(StoredCdr, u64)| OpenPlace {
            stored_unix_ms: cdr.stored_unix_ms,
            number: *number,
        };
        let next = read.last().filter(|_| full).map(place);
        Ok((read.into_iter().map(|(cdr, _)| cdr).collect(), next))
    };
    read().map_err(failed)
}

/// What is stored of a session: itself, and its records in the order in which they came.
pub(super) fn of_session(
    connection: &Connection,
    session: &str,
) -> std::result::Result<CdrsOfSession, StorageError> {
    let read = || -> Result<CdrsOfSession> {
        let record = connection
            .prepare_cached("SELECT record FROM sessions WHERE session = ?")?
            .query_row([session], |row| bytes(row, 0))
            .optional()?;
        let record = record
            .map(|record| SessionRecord::decode(session, &record).map_err(|error| damaged(0, error)))
            .transpose()?;
        let sql = format!("SELECT {COLUMNS} FROM cdrs WHERE session = ? ORDER BY number");
        let cdrs = connection.prepare_cached(&sql)?.query_map([session], of_row)?.collect::<Result<_>>()?;
        Ok(CdrsOfSession { session: record, cdrs })
    };
    read().map_err(failed)
}

/// One page of the received records, the oldest first, and how many there are on all pages. Those whose content was
/// deleted are left out.
pub(super) fn pulled(
    connection: &Connection,
    pull: &CdrPull,
) -> std::result::Result<(u64, Vec<StoredCdr>), StorageError> {
    let mut clause =
        "ours = ? AND incoming = 1 AND stored_unix_ms BETWEEN ? AND ? AND signed IS NOT NULL".to_owned();
    let mut values: Vec<Value> =
        vec![pull.provider.to_text().into(), integer(pull.from_unix_ms), integer(pull.to_unix_ms)];
    let marks = |wanted: &[String]| vec!["?"; wanted.len()].join(",");
    if !pull.sessions.is_empty() {
        clause.push_str(&format!(" AND session IN ({})", marks(&pull.sessions)));
        values.extend(pull.sessions.iter().cloned().map(Value::from));
    }
    if !pull.operators.is_empty() {
        let marks = marks(&pull.operators);
        clause.push_str(&format!(" AND (operator IN ({marks}) OR partner IN ({marks}))"));
        values.extend(pull.operators.iter().cloned().map(Value::from));
        values.extend(pull.operators.iter().map(|id| Value::from(format!("CPO:{id}"))));
    }
    if let Some(forwarded) = pull.forwarded {
        // One that the backend refused is none (OICP release notes: false is every state but Forwarded).
        clause.push_str(if forwarded { " AND state = ?" } else { " AND state != ?" });
        values.push(Value::from(i64::from(CdrState::Accepted as u8)));
    }
    if !pull.corrections {
        clause.push_str(" AND replaces IS NULL");
    }
    let read = || -> Result<(u64, Vec<StoredCdr>)> {
        let sql = format!("SELECT count(*) FROM cdrs WHERE {clause}");
        let total =
            connection.prepare_cached(&sql)?.query_row(params_from_iter(&values), |row| number(row, 0))?;
        let sql = format!(
            "SELECT {COLUMNS} FROM cdrs WHERE {clause} ORDER BY stored_unix_ms, number LIMIT ? OFFSET ?"
        );
        let mut values = values.clone();
        values.extend([integer(pull.limit), integer(pull.offset)]);
        let mut statement = connection.prepare_cached(&sql)?;
        let cdrs = statement.query_map(params_from_iter(&values), of_row)?.collect::<Result<_>>()?;
        Ok((total, cdrs))
    };
    read().map_err(failed)
}

/// The newest records that fit.
pub(super) fn listed(
    connection: &Connection,
    filter: &CdrFilter,
) -> std::result::Result<Vec<StoredCdr>, StorageError> {
    let mut clauses = Vec::new();
    let mut values: Vec<Value> = Vec::new();
    if let Some(session) = &filter.session {
        clauses.push("session = ?");
        values.push(session.clone().into());
    }
    if let Some(partner) = &filter.partner {
        clauses.push("partner = ?");
        values.push(partner.to_text().into());
    }
    // Without it all of a million are read from the newest on: few of them are open, and few denied.
    let mut index = "";
    if let Some(state) = filter.state {
        clauses.push("state = ?");
        if !state.is_final() {
            clauses.push("is_open = 1");
            index = "INDEXED BY cdrs_open";
        } else if matches!(state, CdrState::Rejected | CdrState::Refused) {
            clauses.push("state IN (4, 5)");
            index = "INDEXED BY cdrs_denied";
        }
        values.push(i64::from(state as u8).into());
    }
    if filter.session.is_some() {
        index = "";
    }
    let clause = if clauses.is_empty() { "1".to_owned() } else { clauses.join(" AND ") };
    values.push(integer(filter.limit.min(CDRS_LISTED_MAX)));
    let sql = format!("SELECT {COLUMNS} FROM cdrs {index} WHERE {clause} ORDER BY number DESC LIMIT ?");
    let read = || -> Result<Vec<StoredCdr>> {
        connection.prepare_cached(&sql)?.query_map(params_from_iter(&values), of_row)?.collect()
    };
    read().map_err(failed)
}

fn of_row(row: &Row<'_>) -> Result<StoredCdr> {
    let party =
        |column| PartyId::parse(&row.get::<_, String>(column)?).map_err(|error| damaged(column, error));
    let state = CdrState::of_code(row.get(7)?);
    Ok(StoredCdr {
        session: row.get(0)?,
        hash: digest(row, 1)?,
        incoming: row.get(2)?,
        ours: party(3)?,
        partner: party(4)?,
        operator: row.get(5)?,
        is_open: row.get(6)?,
        state: state.ok_or_else(|| damaged(7, std::fmt::Error))?,
        stored_unix_ms: number(row, 8)?,
        ended_unix_ms: number(row, 9)?,
        replaces: row.get(10)?,
        signed: row.get::<_, Option<Vec<u8>>>(11)?.map(Into::into),
        record: CdrRecord::decode(&bytes(row, 12)?).map_err(|error| damaged(12, error))?,
    })
}

fn integer(number: u64) -> Value {
    Value::from(i64::try_from(number).unwrap_or(i64::MAX))
}

fn failed(error: rusqlite::Error) -> StorageError {
    StorageError::of(Database::Ledger, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roaming::change::LedgerChange;
    use crate::storage::{Config, Ledger, MemoryDisk, Place};

    fn cdr(number: u8, state: CdrState) -> StoredCdr {
        StoredCdr {
            session: format!("session-{number}"),
            hash: [number; 32],
            incoming: true,
            ours: PartyId::parse("EMP:DEDCB").unwrap(),
            partner: PartyId::parse("CPO:DEGEF").unwrap(),
            operator: if number.is_multiple_of(2) { "DEGEF" } else { "DESUB" }.to_owned(),
            is_open: !state.is_final(),
            state,
            stored_unix_ms: 1_000 + u64::from(number),
            ended_unix_ms: 500,
            replaces: (number == 9).then_some([8; 32]),
            signed: Some(vec![number].into()),
            record: CdrRecord::default(),
        }
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::open(&Place::Memory(MemoryDisk::default()), &Config::default()).unwrap();
        let states = [CdrState::Kept, CdrState::Accepted, CdrState::Received, CdrState::Rejected];
        let cdrs = (0..10).map(|number| cdr(number, states[usize::from(number) % 4]));
        let changes: Vec<_> = cdrs.map(|cdr| LedgerChange::Cdr { cdr: Box::new(cdr) }).collect();
        ledger.commit(&changes).unwrap();
        ledger
    }

    fn everything() -> CdrPull {
        CdrPull {
            provider: PartyId::parse("EMP:DEDCB").unwrap(),
            from_unix_ms: 0,
            to_unix_ms: u64::MAX,
            sessions: Vec::new(),
            operators: Vec::new(),
            forwarded: None,
            corrections: true,
            offset: 0,
            limit: 100,
        }
    }

    #[test]
    fn a_record_is_stored_once_and_changes_in_place() {
        let mut ledger = ledger();
        let mut again = cdr(2, CdrState::Received);
        again.state = CdrState::Accepted;
        again.is_open = false;
        again.record.attempts = 7;
        ledger.commit(&[LedgerChange::Cdr { cdr: Box::new(again.clone()) }]).unwrap();
        let connection = super::super::place::lock(&ledger.connection);
        let found = of_session(&connection, "session-2").unwrap();
        assert_eq!((found.session, found.cdrs), (None, vec![again]));
        let (open, next) = open(&connection, None).unwrap();
        assert_eq!(next, None);
        assert_eq!(open.iter().map(|cdr| cdr.hash[0]).collect::<Vec<_>>(), [6]);
        let newest = listed(&connection, &CdrFilter { limit: 3, ..CdrFilter::default() }).unwrap();
        assert_eq!(newest.iter().map(|cdr| cdr.hash[0]).collect::<Vec<_>>(), [9, 8, 7]);
        let rejected = CdrFilter { state: Some(CdrState::Rejected), limit: 9, ..CdrFilter::default() };
        assert_eq!(listed(&connection, &rejected).unwrap().len(), 2);
        let of_state = |state, session: Option<&str>| {
            let session = session.map(str::to_owned);
            let filter = CdrFilter { session, state: Some(state), limit: 9, ..CdrFilter::default() };
            listed(&connection, &filter).unwrap().iter().map(|cdr| cdr.hash[0]).collect::<Vec<_>>()
        };
        assert_eq!(of_state(CdrState::Received, None), [6]);
        assert_eq!(of_state(CdrState::Received, Some("session-6")), [6]);
        assert_eq!(of_state(CdrState::Received, Some("session-1")), [0; 0]);
    }

    #[test]
    fn a_session_is_loaded_as_long_as_a_record_of_it_is_open() {
        let mut ledger = ledger();
        let over = |number: u8| LedgerChange::Session {
            session: format!("session-{number}"),
            is_over: true,
            changed_unix_ms: 5,
            record: vec![number].into(),
            account: None,
        };
        ledger.commit(&[over(5), over(6)]).unwrap();
        let connection = super::super::place::lock(&ledger.connection);
        for (since_unix_ms, expected) in [(5, vec!["session-5", "session-6"]), (6, vec!["session-6"])] {
            let mut loaded = super::super::ledger::sessions(&connection, since_unix_ms).unwrap();
            loaded.sort();
            assert_eq!(loaded.iter().map(|(session, _)| session).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn pulls_show_what_fits_their_filters_page_by_page() {
        let ledger = ledger();
        let connection = super::super::place::lock(&ledger.connection);
        let pull = |pull: CdrPull| {
            let (total, cdrs) = pulled(&connection, &pull).unwrap();
            (total, cdrs.iter().map(|cdr| cdr.hash[0]).collect::<Vec<_>>())
        };
        assert_eq!(pull(everything()), (10, (0..10).collect()));
        assert_eq!(pull(CdrPull { offset: 8, limit: 4, ..everything() }), (10, vec![8, 9]));
        assert_eq!(pull(CdrPull { from_unix_ms: 1_003, to_unix_ms: 1_004, ..everything() }), (2, vec![3, 4]));
        assert_eq!(pull(CdrPull { corrections: false, ..everything() }).0, 9);
        let sessions = vec!["session-1".to_owned(), "session-5".to_owned(), "none".to_owned()];
        assert_eq!(pull(CdrPull { sessions, ..everything() }), (2, vec![1, 5]));
        let of = |operator: &str| pull(CdrPull { operators: vec![operator.to_owned()], ..everything() }).0;
        assert_eq!((of("DESUB"), of("DEGEF"), of("DEABC")), (5, 10, 0), "a sub id is its CPO's, too");
        assert_eq!(pull(CdrPull { forwarded: Some(true), ..everything() }), (3, vec![1, 5, 9]));
        assert_eq!(pull(CdrPull { forwarded: Some(false), ..everything() }), (7, vec![0, 2, 3, 4, 6, 7, 8]));
        let provider = PartyId::parse("EMP:DEXYZ").unwrap();
        assert_eq!(pull(CdrPull { provider, ..everything() }), (0, vec![]));
    }

    #[test]
    fn the_outbox_is_read_in_pages() {
        let mut ledger = Ledger::open(&Place::Memory(MemoryDisk::default()), &Config::default()).unwrap();
        let count = 2 * OPEN_PAGE_MAX + 7;
        // Many came in the same millisecond.
        let changes = (0..count).map(|at| {
            let (session, stored_unix_ms) = (format!("open-{at}"), at / 50);
            let cdr = StoredCdr { session, stored_unix_ms, ..cdr(6, CdrState::Received) };
            LedgerChange::Cdr { cdr: Box::new(cdr) }
        });
        ledger.commit(&changes.collect::<Vec<_>>()).unwrap();
        let connection = super::super::place::lock(&ledger.connection);
        let (mut sessions, mut pages, mut after) = (Vec::new(), 0, None);
        loop {
            let (page, next) = open(&connection, after).unwrap();
            sessions.extend(page.into_iter().map(|cdr| cdr.session));
            (pages, after) = (pages + 1, next);
            if next.is_none() {
                break;
            }
        }
        assert_eq!(sessions, (0..count).map(|at| format!("open-{at}")).collect::<Vec<_>>());
        assert_eq!(pages, 3);
    }
}
