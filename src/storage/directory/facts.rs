//! What a charge detail record is held against: what the records of its EVSE promise, and whether the operator has a
//! price list with its product. Point reads only.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, params};

use super::visible::{CLOSED, PUBLIC};
use crate::identity::{PartyId, Role};
use crate::oicp::id::{EvseKey, OperatorId, ProviderId};
use crate::oicp::price_key::PricedFor;
use crate::protocol::{Audience, Kind, Members};
use crate::roaming::change::{CdrFacts, CdrSubject};
use crate::storage::StorageError;
use crate::storage::value::audience;

/// Reads what the directory says to a subject.
pub(crate) fn cdr_facts(connection: &Connection, subject: &CdrSubject) -> Result<CdrFacts, StorageError> {
    let mut facts = CdrFacts::default();
    let mut operators = BTreeSet::from([format!("{}:{}", Role::Cpo.as_str(), subject.evse.operator())]);
    for (index, visible) in [("data_closed", CLOSED), ("data_view", PUBLIC)] {
        let sql = format!(
            "SELECT d.calibration, f.audience, f.party FROM data d INDEXED BY {index} JOIN feeds f ON f.id = d.feed
             WHERE d.key = ? AND d.visible = {visible} AND d.died IS NULL ORDER BY f.id"
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query([subject.evse.as_str()])?;
        while let Some(row) = rows.next()? {
            let who = audience(row, 1)?;
            if admits(&who, subject) {
                facts.calibration_law.push((who, row.get(0)?));
                // Whoever publishes the EVSE has the price list, under whichever operator id of its the EVSE is.
                operators.insert(row.get(2)?);
            }
        }
    }
    let mut has_prices = true;
    if facts.calibration_law.is_empty() {
        bridged(connection, &subject.evse, &mut facts)?;
        // The hub's prices do not come here.
        has_prices = facts.calibration_law.is_empty();
    }
    if let Some(tag) = subject.product.as_deref().filter(|_| has_prices) {
        let mut lists = Vec::new();
        for operator in &operators {
            lists_with(connection, operator, tag, subject, &mut lists)?;
        }
        facts.product = Some(lists);
    }
    Ok(facts)
}

fn admits(who: &Audience, subject: &CdrSubject) -> bool {
    subject.provider.as_ref().is_none_or(|provider| who.admits(provider))
}

/// The same of what came through the central hub: its partners among the parties of this node see it.
fn bridged(connection: &Connection, evse: &EvseKey, facts: &mut CdrFacts) -> Result<(), StorageError> {
    let sql = "SELECT calibration FROM bridged INDEXED BY bridged_live WHERE key = ? AND died IS NULL";
    let found: Option<Option<Box<str>>> =
        connection.prepare_cached(sql)?.query_row([evse.as_str()], |row| row.get(0)).optional()?;
    let Some(availability) = found else { return Ok(()) };
    let mut statement = connection.prepare_cached("SELECT party FROM hub_partners")?;
    let partners = statement.query_map([], |row| row.get::<_, String>(0))?;
    let partners: Vec<PartyId> = partners
        .filter_map(|text| text.map(|text| PartyId::parse(&text).ok()).transpose())
        .collect::<Result<_, _>>()?;
    if let Ok(partners) = Members::new(partners) {
        facts.calibration_law.push((Audience::Named(partners), availability));
    }
    Ok(())
}

/// Who may see a price list of a party that has the product.
fn lists_with(
    connection: &Connection,
    party: &str,
    tag: &str,
    subject: &CdrSubject,
    lists: &mut Vec<Audience>,
) -> Result<(), StorageError> {
    let Some(operator) = party.split_once(':').and_then(|(_, id)| OperatorId::parse(id).ok()) else {
        return Ok(());
    };
    let mut feeds =
        connection.prepare_cached("SELECT id, audience FROM feeds WHERE party = ? AND kind = ?")?;
    let mut price = connection
        .prepare_cached("SELECT EXISTS(SELECT 1 FROM price WHERE feed = ? AND key = ? AND visible > 0)")?;
    let mut has = |feed: i64, whom: &PricedFor| {
        let key = EvseKey::price_list(&operator, whom).product(tag);
        price.query_row(params![feed, key.as_str()], |row| row.get::<_, bool>(0))
    };
    let mut rows = feeds.query(params![party, Kind::Pricing.code()])?;
    while let Some(row) = rows.next()? {
        let (feed, who): (i64, Audience) = (row.get(0)?, audience(row, 1)?);
        if !admits(&who, subject) {
            continue;
        }
        if has(feed, &PricedFor::Everybody)? {
            lists.push(who);
            continue;
        }
        let named = match (&subject.provider, &who) {
            (Some(provider), _) => std::slice::from_ref(provider),
            (None, Audience::Named(members)) => members.parties(),
            (None, Audience::Public) => &[],
        };
        for member in named {
            let Ok(id) = ProviderId::parse(member.id.as_str()) else { continue };
            if has(feed, &PricedFor::Provider(id))?
                && let Ok(alone) = Members::new([member.clone()])
            {
                lists.push(Audience::Named(alone));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{BridgedChanges, BridgedRecord};
    use super::*;
    use crate::protocol::FeedId;
    use crate::roaming::change::{DirectoryChange, RecordChange};
    use crate::storage::testing::{
        Opened, feed, head_change, key, memory, open, record, records, root, wait,
    };

    const TAG: &str = "0123456789abcdef0123456789abcdef";

    fn emp(id: &str) -> PartyId {
        PartyId::parse(&format!("EMP:{id}")).unwrap()
    }

    fn closed(operator: &str, kind: Kind, members: &[&str]) -> FeedId {
        let members = Members::new(members.iter().map(|id| emp(id))).unwrap();
        FeedId { audience: Audience::Named(members), ..feed(operator, kind) }
    }

    fn evse(number: u32, availability: &str) -> RecordChange {
        let mut record = record(number, 1, availability, None);
        if let Some(summary) = &mut record.summary {
            summary.calibration_law = Some(availability.into());
        }
        record
    }

    fn product(list: &str, tag: &str) -> RecordChange {
        let key = EvseKey::parse_price(&format!("{list}/{tag}")).unwrap();
        RecordChange { key, summary: None, ..record(1, 1, "{}", None) }
    }

    fn put(opened: &mut Opened, feed: &FeedId, kept: Vec<RecordChange>) {
        let (sum, count) = (root(&kept), kept.len() as u64);
        let changes: [DirectoryChange; 2] = [records(feed, kept), head_change(feed, 1, count, sum)];
        opened.directory.commit(&changes, 1_000).unwrap();
    }

    /// CalibrationLawDataAvailability and whether the product is known, as an EMP sees it: once looked up for it
    /// alone, and once for all.
    fn seen(opened: &Opened, number: u32, by: &str) -> (Option<String>, Option<bool>) {
        let read = |provider: Option<PartyId>| {
            let subject = CdrSubject { evse: key(number), product: Some(TAG.to_owned()), provider };
            let facts = wait(opened.reader.cdr_facts(subject)).unwrap();
            let seen = facts.seen_by(&emp(by));
            (seen.calibration_law.map(str::to_owned), seen.product_known)
        };
        let alone = read(Some(emp(by)));
        assert_eq!(alone, read(None), "{number} {by}");
        alone
    }

    fn says(text: &str, known: bool) -> (Option<String>, Option<bool>) {
        (Some(text.to_owned()), Some(known))
    }

    #[test]
    fn each_emp_has_the_facts_that_it_may_see() {
        let mut opened = open(&memory());
        assert_eq!(seen(&opened, 1, "DEMEM"), (None, Some(false)));
        put(&mut opened, &feed("CH*ABC", Kind::Data), vec![evse(1, "Local"), evse(2, "Local")]);
        let members = closed("CH*ABC", Kind::Data, &["DEMEM", "DETWO"]);
        put(&mut opened, &members, vec![evse(1, "External"), evse(3, "External")]);
        for (number, by, text) in [(1, "DEMEM", "External"), (1, "DEOTH", "Local"), (2, "DEMEM", "Local")] {
            assert_eq!(seen(&opened, number, by), says(text, false));
        }
        assert_eq!(seen(&opened, 3, "DEOTH"), (None, Some(false)));
        // A list for one provider, then one for whoever is a member, then one for all.
        let one = closed("CH*ABC", Kind::Pricing, &["DEMEM"]);
        put(&mut opened, &one, vec![product("CHABC/DEMEM", TAG)]);
        let known =
            |opened: &Opened| ["DEMEM", "DETWO", "DEOTH"].map(|by| seen(opened, 2, by).1 == Some(true));
        assert_eq!(known(&opened), [true, false, false]);
        let two = closed("CH*ABC", Kind::Pricing, &["DEMEM", "DETWO"]);
        put(&mut opened, &two, vec![product("CHABC/*", TAG)]);
        assert_eq!(known(&opened), [true, true, false]);
        let all = feed("CH*ABC", Kind::Pricing);
        put(&mut opened, &all, vec![product("CHABC/*", &TAG.replace('0', "1")), product("CHABC/DEOTH", TAG)]);
        let named = CdrSubject { evse: key(2), product: Some(TAG.into()), provider: Some(emp("DEXXX")) };
        assert_eq!(wait(opened.reader.cdr_facts(named)).unwrap().product, Some(Vec::new()), "another's");
        put(&mut opened, &all, vec![product("CHABC/*", TAG)]);
        assert_eq!(known(&opened), [true; 3]);
    }

    #[test]
    fn what_came_through_the_hub_counts_for_its_partners_where_nobody_signed() {
        let mut opened = open(&memory());
        opened.directory.set_hub_partners(&[emp("DEMEM")]).unwrap();
        put(&mut opened, &feed("CH*ABC", Kind::Data), vec![evse(1, "Local")]);
        let bridged = |number| BridgedRecord {
            summary: *evse(number, "External").summary.unwrap(),
            body: "{}".into(),
            operator_id: "CH*ABC".to_owned(),
            operator: "CHABC".to_owned(),
            operator_name: String::new(),
            at_unix_ms: 1,
        };
        let records = vec![bridged(1), bridged(2)];
        let changes = BridgedChanges { records, ..BridgedChanges::default() };
        opened.directory.bridge(&changes, 1_000).unwrap();
        assert_eq!(seen(&opened, 1, "DEMEM"), says("Local", false));
        // Its prices are not known here.
        assert_eq!(seen(&opened, 2, "DEMEM"), (Some("External".to_owned()), None));
        assert_eq!(seen(&opened, 2, "DEOTH"), (None, None));
    }

    #[test]
    fn the_price_list_is_that_of_whoever_publishes_the_evse() {
        let mut opened = open(&memory());
        put(&mut opened, &feed("CH*XYZ", Kind::Data), vec![evse(1, "Local")]);
        put(&mut opened, &feed("CH*XYZ", Kind::Pricing), vec![product("CHXYZ/*", TAG)]);
        assert_eq!(
            (seen(&opened, 1, "DEMEM"), seen(&opened, 2, "DEMEM").1),
            (says("Local", true), Some(false))
        );
        let recommended = CdrSubject { evse: key(1), product: None, provider: None };
        assert_eq!(wait(opened.reader.cdr_facts(recommended)).unwrap().product, None);
    }
}
