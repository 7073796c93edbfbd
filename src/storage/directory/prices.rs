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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Audience, FeedId, Have, Members, SyncRequest};
    use crate::roaming::change::RecordChange;
    use crate::storage::testing::{Opened, feed, head_change, memory, open, record, records, root, wait};

    fn price(key: &str, seq: u64, value: &str) -> RecordChange {
        let key = EvseKey::parse_price(key).unwrap();
        RecordChange { key, summary: None, ..record(1, seq, value, None) }
    }

    fn emp(id: &str) -> PartyId {
        PartyId::parse(&format!("EMP:{id}")).unwrap()
    }

    fn closed() -> FeedId {
        let audience = Audience::Named(Members::new([emp("DEMEM")]).unwrap());
        FeedId { audience, ..feed("CH*ABC", Kind::Pricing) }
    }

    fn pulled(opened: &Opened, puller: Option<PartyId>, operator: &str) -> Vec<(String, u64)> {
        let operators = vec![CanonicalId::parse(operator).unwrap()];
        let rows = wait(opened.reader.prices(PriceQuery { puller, operators })).unwrap();
        rows.into_iter().map(|row| (row.value.into(), row.changed_unix_ms - MARGIN_MS)).collect()
    }

    #[test]
    fn each_puller_sees_what_is_for_it_with_the_time_when_it_came_here() {
        let mut opened = open(&memory());
        let public = feed("CH*ABC", Kind::Pricing);
        // The last one is not where it belongs: its writer put it into everybody's feed.
        let all =
            vec![price("CHABC/*", 1, "list"), price("CHABCE1/*", 2, "all"), price("CHABCE1/DEXXX", 3, "x")];
        let members = vec![price("CHABCE1/DEMEM", 1, "member")];
        let (sum, closed_sum) = (root(&all), root(&members));
        let changes = [
            records(&public, all),
            head_change(&public, 1, 3, sum),
            records(&closed(), members),
            head_change(&closed(), 1, 1, closed_sum),
        ];
        opened.directory.commit(&changes, 1_000).unwrap();
        let text = |text: &str, at: u64| (text.to_owned(), at);
        let everybodys = vec![text("list", 1_000), text("all", 1_000)];
        let mut members = everybodys.clone();
        members.push(text("member", 1_000));
        for (puller, seen) in
            [(None, &everybodys), (Some(emp("DEMEM")), &members), (Some(emp("DEOTH")), &everybodys)]
        {
            assert_eq!(&pulled(&opened, puller.clone(), "CHABC"), seen, "{puller:?}");
            assert_eq!(pulled(&opened, puller, "CHXYZ"), []);
        }
        let cpo = PartyId::parse("CPO:DEMEM").unwrap();
        assert_eq!(pulled(&opened, Some(cpo), "CHABC"), everybodys, "a member has a role");

        // A change has its own time; what another claims is hidden, and has it when it is back.
        opened.directory.commit(&[records(&public, vec![price("CHABCE1/*", 4, "new")])], 2_000).unwrap();
        assert_eq!(pulled(&opened, None, "CHABC"), [text("list", 1_000), text("new", 2_000)]);
        let show = |visible| {
            let key = EvseKey::parse_price("CHABC/*").unwrap();
            crate::roaming::change::DirectoryChange::Visibility { feed: public.clone(), key, visible }
        };
        opened.directory.commit(&[show(false)], 3_000).unwrap();
        assert_eq!(pulled(&opened, None, "CHABC"), [text("new", 2_000)]);
        opened.directory.commit(&[show(true)], 4_000).unwrap();
        opened.directory.commit(&[show(true)], 5_000).unwrap();
        assert_eq!(pulled(&opened, None, "CHABC"), [text("list", 4_000), text("new", 2_000)]);
        let deleted = RecordChange { value: None, hash: [0; 32], ..price("CHABCE1/*", 5, "") };
        opened.directory.commit(&[records(&public, vec![deleted])], 6_000).unwrap();
        assert_eq!(pulled(&opened, None, "CHABC"), [text("list", 4_000)]);
    }

    #[test]
    fn prices_are_repaired_from_here_and_outlive_a_start() {
        let mut opened = open(&memory());
        let (public, all) =
            (feed("CH*ABC", Kind::Pricing), vec![price("CHABC/*", 1, "list"), price("CHABCE1/*", 2, "all")]);
        let sum = root(&all);
        opened.directory.commit(&[records(&public, all), head_change(&public, 1, 2, sum)], 1_000).unwrap();
        let request = SyncRequest { feed: public.clone(), have: Have::Nothing };
        assert_eq!(wait(opened.reader.feed_answer(request)).unwrap().unwrap().chunks.len(), 1);
        let restored = wait(opened.reader.restore_directory()).unwrap();
        assert_eq!((restored.len(), restored[0].entries.len()), (1, 2));
        let keys: Vec<EvseKey> = restored[0].entries.iter().map(|entry| entry.key.clone()).collect();
        let values = wait(opened.reader.data_values(public.clone(), keys)).unwrap();
        assert_eq!(values.into_iter().flatten().map(|v| v.len()).collect::<Vec<_>>(), [4, 3]);
        let dropped = crate::roaming::change::DirectoryChange::Dropped { feed: public };
        opened.directory.commit(&[dropped], 2_000).unwrap();
        assert_eq!(pulled(&opened, None, "CHABC"), []);
    }
}
