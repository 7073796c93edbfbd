//! Pulls of prices: what operators publish for everybody and for the puller.

use std::collections::BTreeSet;
use std::sync::Arc;

use rusqlite::{Connection, Row, params};

use super::filter::feeds_of;
use super::rows::{Operator, Operators};
use super::visible::{CLOSED, Closed, PUBLIC};
use crate::identity::{CanonicalId, PartyId};
use crate::oicp::id::EvseKey;
use crate::oicp::price_key::EVERYBODY;
use crate::protocol::Kind;
use crate::storage::StorageError;
use crate::storage::value::{blob, key, number};

/// Nodes and backends do not share a clock: a last call counts as this much earlier (`decisions.md` 13).
const MARGIN_MS: u64 = 60_000;

/// Most bytes of records of one answer, which is not paged; the prices of 400,000 EVSEs for everybody.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A pull of prices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriceQuery {
    /// Who asks: what is for one provider is shown to that one alone. `None`: what everybody sees.
    pub puller: Option<PartyId>,
    /// Whose prices; none: nobody's.
    pub operators: Vec<CanonicalId>,
}

/// One record of prices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceRow {
    /// Who publishes it.
    pub operator: CanonicalId,
    /// What it is a price of, and for whom.
    pub key: EvseKey,
    /// Its text as its publisher signed it.
    pub value: Box<str>,
    /// OperatorID as the publisher spells it.
    pub operator_id: Arc<str>,
    /// OperatorName; empty if there is none.
    pub operator_name: Arc<str>,
    /// When this node took it, with the margin that a LastCall has, in unix milliseconds.
    pub changed_unix_ms: u64,
}

/// The prices that the puller may see, by operator and key: a list before its products.
pub(crate) fn prices(
    connection: &Connection,
    query: &PriceQuery,
    rows_max: usize,
) -> Result<Vec<PriceRow>, StorageError> {
    let closed = Closed::of(connection, query.puller.as_ref())?;
    let whom = query.puller.as_ref().map(|party| party.id.as_str());
    let asked: BTreeSet<&CanonicalId> = query.operators.iter().collect();
    let mut statement = connection.prepare_cached(
        "SELECT p.key, p.value, p.changed_unix_ms, p.visible FROM price p JOIN feeds f ON f.id = p.feed
         WHERE p.feed = ? AND f.kind = ? AND p.visible > 0 ORDER BY p.key",
    )?;
    let mut operators = Operators::new(connection);
    let mut answer = Answer { rows: Vec::new(), bytes: 0, rows_max };
    for operator in asked {
        let begin = answer.rows.len();
        for feed in feeds_of(connection, std::slice::from_ref(operator))? {
            let name = operators.of(feed)?;
            let mut rows = statement.query(params![feed, Kind::Pricing.code()])?;
            while let Some(row) = rows.next()? {
                let visible: i64 = row.get(3)?;
                let key = key(row, 0)?;
                // Whatever its writer put where: a price for another is shown to nobody.
                let meant = key.provider().is_some_and(|named| named == EVERYBODY || Some(named) == whom);
                if meant && (visible == PUBLIC || visible == CLOSED && closed.contains(feed)) {
                    answer.take(operator, key, row, &name)?;
                }
            }
        }
        let of_operator = answer.rows.get_mut(begin..).unwrap_or_default();
        of_operator.sort_by(|a, b| a.key.cmp(&b.key));
    }
    Ok(answer.rows)
}

struct Answer {
    rows: Vec<PriceRow>,
    bytes: usize,
    rows_max: usize,
}

impl Answer {
    fn take(
        &mut self,
        operator: &CanonicalId,
        key: EvseKey,
        row: &Row<'_>,
        name: &Operator,
    ) -> Result<(), StorageError> {
        let value = String::from_utf8_lossy(blob(row, 1)?).into_owned();
        self.bytes += value.len();
        if self.rows.len() >= self.rows_max || self.bytes > ANSWER_BYTES_MAX {
            let what = "the prices asked for at once, in bytes";
            return Err(StorageError::TooLarge { what, size: self.bytes, limit: ANSWER_BYTES_MAX });
        }
        self.rows.push(PriceRow {
            operator: operator.clone(),
            key,
            value: value.into(),
            operator_id: name.id.clone(),
            operator_name: name.name.clone(),
            changed_unix_ms: number(row, 2)?.saturating_add(MARGIN_MS),
        });
        Ok(())
    }
}
