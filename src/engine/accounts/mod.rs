//! Two parties' accounts: statements, comparisons with the partner's node, and what needs somebody's attention. All of
//! it reads from storage, beside the engine; the engine only carries the questions to the partner.

mod alarms;
mod compare;
mod lost;
mod serve;
mod sessions;
mod sign;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

pub use alarms::{Alarm, AlarmKind, Alarms};
pub use compare::{DifferenceView, Reconciled};
pub(super) use serve::answer;
pub use sessions::{SessionDifferenceView, SessionsCompared};
pub use sign::{CoSigned, SignedView};

use super::clock::Clock;
use super::handle::{Command, Engine, EngineError};
use super::sessions::SessionView;
use super::store::Store;
use crate::identity::{PartyId, Role};
use crate::oicp::charging::ChargeDetailRecord;
use crate::oicp::reading::Reading;
use crate::protocol::{BooksMessage, Digest};
use crate::roaming::ChargingConfig;
use crate::roaming::change::{StoredCdr, oicp_of};
use crate::roaming::reconcile::{BooksAnswer, BooksFailure};
use crate::roaming::statement::{
    Month, STATEMENT_RECORDS_MAX, Standing, Statement, StatementError, StatementLine,
};
use crate::storage::{Account, AccountRow, StorageError};

/// What accounts need of the engine.
pub(crate) enum AccountsCommand {
    /// Ask a partner's node.
    Ask { ours: PartyId, partner: PartyId, message: Box<BooksMessage>, reply: BooksReply },
    /// Send records again.
    Resend { cdrs: Vec<StoredCdr>, reply: oneshot::Sender<()> },
    /// Take a session that this node lost, if this evidence of the partner's log proves it.
    TakeLost { ours: PartyId, partner: PartyId, session: String, evidence: Bytes, reply: LostReply },
    /// Sessions of which nothing was heard since a time.
    Quiet { before_unix_ms: u64, reply: oneshot::Sender<Vec<SessionView>> },
}

/// Where the answer of a partner's node goes.
pub(crate) type BooksReply = oneshot::Sender<Result<BooksAnswer, BooksFailure>>;

/// Where it goes whether a lost session is known now: the records of it that this node refused before, or why not.
pub(crate) type LostReply = oneshot::Sender<Result<Result<Vec<Digest>, String>, EngineError>>;

/// Why an account could not be read or compared.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// Which of several parties?
    #[error("say for which party of this node: {0}")]
    WhichParty(String),
    /// Both are CPOs or EMPs.
    #[error("no party of this node can have an account with {0}: one side is a CPO, the other an EMP")]
    NoSide(PartyId),
    /// The period is empty, too long or too early.
    #[error("{0}")]
    Period(&'static str),
    /// It makes no statement.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The personal data of some records was deleted, and with it what a statement is made of.
    #[error("{0} records of this month were deleted here: the statement can only be made before")]
    Deleted(usize),
    /// A stored record cannot be read.
    #[error("the record of session {0} cannot be read: it is damaged")]
    Damaged(String),
    /// Too much for one comparison.
    #[error("{0}")]
    TooMany(String),
    /// Storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The engine did not answer.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The partner's node did not answer.
    #[error(transparent)]
    Partner(#[from] BooksFailure),
    /// It answered that it cannot.
    #[error("the node of {0} says: {1}")]
    Refused(PartyId, String),
}

/// A handle to the accounts; a cheap clone.
#[derive(Clone)]
pub struct Accounts {
    engine: Engine,
    store: Store,
    clock: Arc<dyn Clock>,
    parties: Arc<[PartyId]>,
    cdr_alarm_ms: u64,
    cdr_overdue_ms: u64,
}

impl Accounts {
    pub(crate) fn new(
        engine: Engine,
        store: Store,
        clock: Arc<dyn Clock>,
        parties: Vec<PartyId>,
        config: &ChargingConfig,
    ) -> Accounts {
        let cdr_alarm_ms = config.cdr_alarm_minutes.saturating_mul(60_000);
        let cdr_overdue_ms = config.cdr_overdue_hours.saturating_mul(3_600_000);
        Accounts { engine, store, clock, parties: parties.into(), cdr_alarm_ms, cdr_overdue_ms }
    }

    /// The party of this node that has an account with a partner.
    ///
    /// # Errors
    /// [`AccountError::WhichParty`], [`AccountError::NoSide`].
    pub fn our_side(&self, ours: Option<PartyId>, partner: &PartyId) -> Result<PartyId, AccountError> {
        let role = match partner.role {
            Role::Cpo => Role::Emp,
            Role::Emp => Role::Cpo,
            Role::Hub => return Err(AccountError::NoSide(partner.clone())),
        };
        let able: Vec<&PartyId> = self.parties.iter().filter(|party| party.role == role).collect();
        match (ours, able.as_slice()) {
            (Some(ours), able) if able.contains(&&ours) => Ok(ours),
            (None, [only]) => Ok((*only).clone()),
            (None, [_, ..]) => {
                let all: Vec<String> = able.iter().map(|party| party.to_text()).collect();
                Err(AccountError::WhichParty(all.join(", ")))
            }
            _ => Err(AccountError::NoSide(partner.clone())),
        }
    }

    /// The statement of a month, made of what is stored here.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn statement(
        &self,
        ours: PartyId,
        partner: PartyId,
        month: Month,
    ) -> Result<Statement, AccountError> {
        statement(&self.store, ours, partner, month).await
    }

    /// Asks a partner's node, or the books of a party of this very node.
    async fn ask(
        &self,
        ours: &PartyId,
        partner: &PartyId,
        message: BooksMessage,
    ) -> Result<BooksAnswer, AccountError> {
        let answer = if self.parties.contains(partner) {
            let (message, _) = answer(&self.store, partner, ours, message, None).await;
            BooksAnswer { message, asked: Bytes::new(), signed: Bytes::new() }
        } else {
            let (ours, partner, message) = (ours.clone(), partner.clone(), Box::new(message));
            let ask = |reply| Command::Accounts(AccountsCommand::Ask { ours, partner, message, reply });
            self.engine.ask(ask).await??
        };
        match answer.message {
            BooksMessage::Refused(why) => Err(AccountError::Refused(partner.clone(), why)),
            _ => Ok(answer),
        }
    }

    fn unexpected(partner: &PartyId) -> AccountError {
        AccountError::Partner(BooksFailure::Silent(partner.clone()))
    }
}

/// The statement of a month, made of what storage holds.
async fn statement(
    store: &Store,
    ours: PartyId,
    partner: PartyId,
    month: Month,
) -> Result<Statement, AccountError> {
    let account = Account {
        ours: ours.clone(),
        partner: partner.clone(),
        from_unix_ms: u64::try_from(month.from_unix_ms()).unwrap_or(0),
        until_unix_ms: u64::try_from(month.until_unix_ms()).unwrap_or(0),
    };
    let (mut lines, mut deleted, mut after) = (Vec::new(), 0, None);
    loop {
        let (rows, next) = store.0.reader.account_page(account.clone(), after).await?;
        for row in rows {
            match line(&row)? {
                Some(line) => lines.push(line),
                None => deleted += 1,
            }
        }
        if lines.len() > STATEMENT_RECORDS_MAX {
            return Err(StatementError::TooMany.into());
        }
        after = next;
        if after.is_none() {
            break;
        }
    }
    if deleted > 0 {
        return Err(AccountError::Deleted(deleted));
    }
    Ok(Statement::new(ours, partner, month, lines)?)
}

/// The line of a stored record; `None` if its content was deleted.
fn line(row: &AccountRow) -> Result<Option<StatementLine>, AccountError> {
    let damaged = || AccountError::Damaged(row.session.clone());
    let Some(signed) = &row.signed else { return Ok(None) };
    let oicp = oicp_of(signed).ok_or_else(damaged)?;
    let cdr = ChargeDetailRecord::parse(&oicp, Reading::Tolerant).map_err(|_| damaged())?;
    let standing = if row.is_rejected { Standing::Rejected } else { Standing::Delivered };
    Ok(Some(StatementLine::of(&cdr, row.hash, standing, row.replaces)))
}
