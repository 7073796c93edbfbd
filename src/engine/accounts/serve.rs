//! What this node answers when a partner's node asks about their common books: from storage, within bounds.

use bytes::Bytes;

use super::super::store::Store;
use super::{AccountError, statement};
use crate::identity::PartyId;
use crate::protocol::{
    BOOKS_DAYS_MAX, BOOKS_MARKS_MAX, BOOKS_OF_DAY_MAX, BooksMessage, CdrMark, DayMark, SessionMark,
    StatementMark,
};
use crate::roaming::change::{LedgerChange, SignedStatement, StoredCdr};
use crate::roaming::statement::{Month, Statement};
use crate::storage::Account;

/// A day in milliseconds.
pub(super) const DAY_MS: u64 = 86_400_000;

/// Days since 1970 that can be asked for: up to the year 9998.
const DAYS_MAX: u32 = 2_932_000;

/// Answers a partner, and says which of our records it lacks; `signed` is its envelope with the time, kept if it signs a statement that is ours as well.
pub(in crate::engine) async fn answer(
    store: &Store,
    ours: &PartyId,
    partner: &PartyId,
    message: BooksMessage,
    signed: Option<(Bytes, u64)>,
) -> (BooksMessage, Vec<StoredCdr>) {
    if let BooksMessage::Missing(marks) = message {
        let again = stored(store, ours, partner, &marks).await;
        let count = u32::try_from(again.len()).unwrap_or(u32::MAX);
        return (BooksMessage::Resending(count), again);
    }
    let answered = match message {
        BooksMessage::AskDays { from, days } => {
            day_marks(store, ours, partner, from, days).await.map(BooksMessage::Days)
        }
        BooksMessage::AskDay { day, after } => {
            marks_of(store, ours, partner, day).await.map(|marks| BooksMessage::Day(page(marks, after)))
        }
        BooksMessage::AskSessionDays { from, days } => {
            session_day_marks(store, ours, partner, from, days).await.map(BooksMessage::Days)
        }
        BooksMessage::AskSessionDay { day, after } => {
            let marks = session_marks_of(store, ours, partner, day).await;
            marks.map(|marks| BooksMessage::Sessions(page(marks, after)))
        }
        BooksMessage::AskSessions(names) => {
            named(store, ours, partner, names).await.map(BooksMessage::Sessions)
        }
        BooksMessage::Statement(theirs) => {
            let known = theirs.clone();
            match of_month(store, ours, partner, &theirs.month).await {
                Ok(statement) => {
                    let mark = mark_of(&statement);
                    if let Some((signed, now_unix_ms)) = signed.filter(|_| mark == known) {
                        note_their_word(store, ours, partner, &mark, signed, now_unix_ms).await;
                    }
                    Ok(BooksMessage::Statement(mark))
                }
                Err(error) => Err(error),
            }
        }
        _ => Ok(BooksMessage::Refused("an answer is no question".to_owned())),
    };
    let answer = answered.unwrap_or_else(|error| {
        tracing::debug!(%partner, %error, "a question of a partner about common books was not answered");
        BooksMessage::Refused(told(&error))
    });
    (answer, Vec::new())
}

/// Our own records with these names, as far as they are stored.
pub(super) async fn stored(
    store: &Store,
    ours: &PartyId,
    partner: &PartyId,
    marks: &[CdrMark],
) -> Vec<StoredCdr> {
    let mut found = Vec::new();
    for mark in marks {
        let fits = |cdr: &StoredCdr| {
            cdr.hash == mark.hash && !cdr.incoming && cdr.ours == *ours && cdr.partner == *partner
        };
        match store.0.reader.cdrs_of(mark.session.clone()).await {
            Ok(of_session) => found.extend(of_session.cdrs.into_iter().filter(fits)),
            Err(error) => tracing::warn!(%error, "a record that a partner lacks was not read"),
        }
    }
    found
}

/// What a partner hears of an error: nothing of the inside of this node.
fn told(error: &AccountError) -> String {
    match error {
        AccountError::Storage(_) | AccountError::Engine(_) | AccountError::Damaged(_) => {
            "its storage cannot be read now".to_owned()
        }
        other => other.to_string(),
    }
}

/// The marks of an answer: behind those that are known.
fn page<Mark>(marks: Vec<Mark>, after: u32) -> Vec<Mark> {
    let after = usize::try_from(after).unwrap_or(usize::MAX);
    marks.into_iter().skip(after).take(BOOKS_MARKS_MAX).collect()
}

/// One mark for each day that has records.
pub(super) async fn day_marks(
    store: &Store,
    ours: &PartyId,
    partner: &PartyId,
    from: u32,
    days: u32,
) -> Result<Vec<DayMark>, AccountError> {
    let of_day = |day| async move {
        let mut marks = marks_of(store, ours, partner, day).await?;
        Ok(DayMark::of(day, &mut marks))
    };
    by_day(from, days, of_day).await
}

/// The records of one day, in order.
pub(super) async fn marks_of(
    store: &Store,
    ours: &PartyId,
    partner: &PartyId,
    day: u32,
) -> Result<Vec<CdrMark>, AccountError> {
    let account = of_day(ours, partner, day)?;
    let mut marks = store.0.reader.account_marks(account, BOOKS_OF_DAY_MAX as u64).await?;
    marks.sort_unstable();
    within_bound(marks, day)
}

/// One mark for each day on which sessions began.
pub(super) async fn session_day_marks(
    store: &Store,
    ours: &PartyId,
    partner: &PartyId,
    from: u32,
    days: u32,
) -> Result<Vec<DayMark>, AccountError> {
    let of_day = |day| async move {
        let mut marks = session_marks_of(store, ours, partner, day).await?;
        Ok(DayMark::of_sessions(day, &mut marks))
    };
    by_day(from, days, of_day).await
}

/// The sessions that began on one day, in order.
pub(super) async fn session_marks_of(
    store: &Store,
    ours: &PartyId,
    partner: &PartyId,
    day: u32,
) -> Result<Vec<SessionMark>, AccountError> {
    let account = of_day(ours, partner, day)?;
    let mut marks = store.0.reader.session_marks(account, BOOKS_OF_DAY_MAX as u64).await?;
    marks.sort_unstable();
    within_bound(marks, day)
}

/// Sessions by name, as far as they are between the two.
pub(super) async fn named(
    store: &Store,
    ours: &PartyId,
    partner: &PartyId,
    names: Vec<String>,
) -> Result<Vec<SessionMark>, AccountError> {
    Ok(store.0.reader.sessions_named((ours.clone(), partner.clone()), names).await?)
}

/// The marks of days that are not empty.
async fn by_day<OfDay: Future<Output = Result<DayMark, AccountError>>>(
    from: u32,
    days: u32,
    of_day: impl Fn(u32) -> OfDay,
) -> Result<Vec<DayMark>, AccountError> {
    if days as usize > BOOKS_DAYS_MAX {
        return Err(AccountError::Period("too many days for one comparison"));
    }
    let mut marks = Vec::new();
    for day in from..from.saturating_add(days) {
        let mark = of_day(day).await?;
        if mark.records > 0 {
            marks.push(mark);
        }
    }
    Ok(marks)
}

fn of_day(ours: &PartyId, partner: &PartyId, day: u32) -> Result<Account, AccountError> {
    if day > DAYS_MAX {
        return Err(AccountError::Period("there is no such day"));
    }
    let from_unix_ms = u64::from(day) * DAY_MS;
    let until_unix_ms = from_unix_ms + DAY_MS;
    Ok(Account { ours: ours.clone(), partner: partner.clone(), from_unix_ms, until_unix_ms })
}

fn within_bound<Mark>(marks: Vec<Mark>, day: u32) -> Result<Vec<Mark>, AccountError> {
    match marks.len() <= BOOKS_OF_DAY_MAX {
        true => Ok(marks),
        false => {
            let why = format!("more than {BOOKS_OF_DAY_MAX} records or sessions on day {day} since 1970");
            Err(AccountError::TooMany(why))
        }
    }
}

async fn of_month(
    store: &Store,
    ours: &PartyId,
    partner: &PartyId,
    month: &str,
) -> Result<Statement, AccountError> {
    let month: Month = month.parse().map_err(|_| AccountError::Period("there is no such month"))?;
    statement(store, ours.clone(), partner.clone(), month).await
}

/// What is signed of a statement.
pub(super) fn mark_of(statement: &Statement) -> StatementMark {
    StatementMark {
        month: statement.month().to_string(),
        digest: *statement.digest(),
        records: statement.total().records,
        energy: statement.total().energy_text(),
    }
}

/// The partner signed a statement that is ours as well. What we sign ourselves travels in the answer.
async fn note_their_word(
    store: &Store,
    ours: &PartyId,
    partner: &PartyId,
    mark: &StatementMark,
    signed: Bytes,
    now_unix_ms: u64,
) {
    let statement = SignedStatement {
        ours: ours.clone(),
        partner: partner.clone(),
        month: mark.month.clone(),
        digest: mark.digest,
        records: mark.records,
        energy: mark.energy.clone(),
        agreed_unix_ms: now_unix_ms,
        signed_by_us: Bytes::new(),
        signed_by_partner: signed,
    };
    let change = LedgerChange::Statement { statement: Box::new(statement) };
    if let Err(error) = store.commit_ledger(vec![change]).await {
        tracing::warn!(%partner, %error, "a partner's signature of a statement was not kept: it can sign again");
    }
}
