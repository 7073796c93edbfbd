//! Reads a trace: the statuses at its begin, every change, and the statuses at its end.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, ensure};
use chargemesh::oicp::evse_status::EvseStatus;
use chargemesh::oicp::id::{EvseId, EvseKey, OperatorId};
use chargemesh::oicp::json::{self, Node};
use chargemesh::oicp::reading::Reading;
use chargemesh::oicp::register::RegisterKind;

use super::super::input;
use super::generate::minimal_record;
use super::operator_ids;
use super::screen::Screen;
use super::world::{self, Draft, World, blocks, evse_id, status_record};

/// Most rows of a trace; a week at ten times the measured rate.
const EVENTS_MAX: usize = 4_000_000;

/// How a missing status is written.
const ABSENT: &str = "-";

/// One change as it was observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Time of the sample that showed it, in unix seconds.
    pub(super) at_unix_s: u64,
    /// Index of the operator's node.
    pub(super) operator: usize,
    /// EvseID as received.
    pub(super) evse_id: Box<str>,
    /// Its key.
    pub(super) key: EvseKey,
    /// What is to be done.
    pub(super) change: Change,
}

/// What a change does to the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// There was none.
    Insert(EvseStatus),
    /// There was another.
    Update(EvseStatus),
    /// There is none any more.
    Delete,
}

/// What is replayed, and to what it must lead.
pub(super) struct Trace {
    /// Every row, in the order of the file.
    pub(super) events: Vec<Event>,
    /// Every status at the end.
    pub(super) end: BTreeMap<EvseKey, EvseStatus>,
}

/// A row before its operator is a node.
struct Row<'t> {
    at_unix_s: u64,
    operator: &'t str,
    evse_id: &'t str,
    old: &'t str,
    new: &'t str,
}

/// One operator's statuses: OperatorID as received, name, EvseIDs with status.
struct Block {
    operator: String,
    name: String,
    statuses: Vec<(Box<str>, EvseStatus)>,
}

/// Reads base, events and end, and makes the world that they happen in.
pub(super) fn read(
    folder: &Path,
    register: Option<&Path>,
    seed: u64,
    screen: &Screen,
) -> anyhow::Result<(World, Trace)> {
    let base = read_blocks(&folder.join("base.json.gz"))?;
    let end = read_blocks(&folder.join("end.json.gz"))?;
    let path = folder.join("events.tsv.gz");
    let bytes = input::read(&path)?;
    let text = std::str::from_utf8(&bytes).with_context(|| format!("{} is not UTF-8", path.display()))?;
    let rows = rows(text).with_context(|| format!("{}", path.display()))?;
    let ids = settle(&base, &rows, screen).with_context(|| format!("{}", folder.display()))?;
    let mut records = Records::read(register)?;
    let world = world(&base, &rows, &ids, &mut records, screen)?;
    screen.line(&format!(
        "{} data records are generated (seed {seed} spreads the changes), {} are of the register",
        records.generated, records.taken
    ));
    let place = |id: &OperatorId| {
        world.operators.iter().position(|operator| operator.id.canonical() == id.canonical())
    };
    let places: BTreeMap<&str, usize> =
        ids.iter().filter_map(|(received, id)| Some((received.as_str(), place(id)?))).collect();
    let events = rows.iter().map(|row| event(row, &places)).collect::<anyhow::Result<_>>()?;
    let mut all = BTreeMap::new();
    for (id, status) in end.into_iter().flat_map(|block| block.statuses) {
        all.insert(key_of(&id)?, status);
    }
    Ok((world, Trace { events, end: all }))
}

fn read_blocks(path: &Path) -> anyhow::Result<Vec<Block>> {
    let bytes = input::read(path)?;
    let root = json::parse(&bytes, Reading::Tolerant).with_context(|| format!("{}", path.display()))?;
    let status = |record: &Node<'_>| {
        let status = record.field_any_case(&["EvseStatus"]).and_then(Node::as_str);
        Some((Box::from(evse_id(record)?), EvseStatus::parse(status?)?))
    };
    let block = |block: chargemesh::oicp::register::OperatorBlock<'_, '_>| {
        let statuses = block.records.iter().map(|record| status(record)).collect::<Option<Vec<_>>>();
        Ok(Block {
            statuses: statuses
                .with_context(|| format!("{}: a record without id or status", path.display()))?,
            name: block.operator_name.unwrap_or_else(|| block.operator_id.clone()),
            operator: block.operator_id,
        })
    };
    blocks(&root, RegisterKind::EvseStatus, path)?.into_iter().map(block).collect()
}

fn rows(text: &str) -> anyhow::Result<Vec<Row<'_>>> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    for (index, line) in text.lines().enumerate().skip(1) {
        let number = index + 1;
        let mut fields = line.split('\t');
        let mut next = |name: &str| fields.next().with_context(|| format!("line {number}: no {name}"));
        let at = next("commit_unix")?;
        let row = Row {
            at_unix_s: at.parse().with_context(|| format!("line {number}: {at:?} is no unix time"))?,
            operator: next("operator_id")?,
            evse_id: next("evse_id")?,
            old: next("old_status")?,
            new: next("new_status")?,
        };
        ensure!(
            rows.last().is_none_or(|last| last.at_unix_s <= row.at_unix_s),
            "line {number}: older than the line before; sort the file by commit_unix"
        );
        ensure!(rows.len() < EVENTS_MAX, "more than {EVENTS_MAX} lines: split the trace");
        rows.push(row);
    }
    Ok(rows)
}

/// Valid ids over all that the trace ever mentions.
fn settle(base: &[Block], rows: &[Row<'_>], screen: &Screen) -> anyhow::Result<BTreeMap<String, OperatorId>> {
    let mut evse_ids: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for block in base {
        let ids = block.statuses.iter().map(|(id, _)| &**id);
        evse_ids.entry(block.operator.clone()).or_default().extend(ids);
    }
    for row in rows {
        evse_ids.entry(row.operator.to_owned()).or_default().push(row.evse_id);
    }
    let mut ids = BTreeMap::new();
    for (received, (id, derived)) in operator_ids::settle(&evse_ids)? {
        if derived {
            screen.line(&format!("OperatorID {received} is not valid: derived {id}"));
        }
        ids.insert(received, id);
    }
    Ok(ids)
}

/// The register's records by EVSE.
#[derive(Default)]
struct Records {
    by_key: BTreeMap<EvseKey, Box<str>>,
    taken: usize,
    generated: usize,
}

impl Records {
    fn read(register: Option<&Path>) -> anyhow::Result<Records> {
        let mut records = Records::default();
        let Some(path) = register else { return Ok(records) };
        let bytes = input::read(path)?;
        let root = json::parse(&bytes, Reading::Tolerant).with_context(|| format!("{}", path.display()))?;
        for record in blocks(&root, RegisterKind::EvseData, path)?.iter().flat_map(|block| &block.records) {
            if let Some(Ok(id)) = evse_id(record).map(EvseId::parse) {
                records.by_key.entry(id.key().clone()).or_insert_with(|| record.raw().into());
            }
        }
        Ok(records)
    }

    /// The record of an EVSE; moved out, since each EVSE is published once.
    fn of(&mut self, key: &EvseKey, evse_id: &str, name: &str) -> String {
        match self.by_key.remove(key) {
            Some(raw) => {
                self.taken += 1;
                raw.into()
            }
            None => {
                self.generated += 1;
                minimal_record(evse_id, name)
            }
        }
    }
}

fn world(
    base: &[Block],
    rows: &[Row<'_>],
    ids: &BTreeMap<String, OperatorId>,
    records: &mut Records,
    screen: &Screen,
) -> anyhow::Result<World> {
    let mut drafts: BTreeMap<String, Draft> = BTreeMap::new();
    let mut known: BTreeMap<EvseKey, ()> = BTreeMap::new();
    for block in base {
        let Some(id) = ids.get(&block.operator) else { continue };
        let draft = drafts.entry(id.canonical()).or_insert_with(|| Draft::new(id.clone(), &block.name));
        for (evse_id, status) in &block.statuses {
            let key = key_of(evse_id)?;
            if known.insert(key.clone(), ()).is_none() {
                draft.record(evse_id, &records.of(&key, evse_id, &block.name));
            }
            draft.status(evse_id, &status_record(evse_id, status.as_str()));
        }
    }
    // What appears later is in the register of its operator before it has a status.
    for row in rows {
        let Some(id) = ids.get(row.operator) else { continue };
        let key = key_of(row.evse_id)?;
        if known.insert(key.clone(), ()).is_none() {
            let draft = drafts.entry(id.canonical()).or_insert_with(|| Draft::new(id.clone(), row.operator));
            draft.record(row.evse_id, &records.of(&key, row.evse_id, row.operator));
        }
    }
    world::finish(drafts, screen)
}

fn event(row: &Row<'_>, places: &BTreeMap<&str, usize>) -> anyhow::Result<Event> {
    let status = |text: &str| {
        EvseStatus::parse(text).with_context(|| format!("{text:?} of {} is no status", row.evse_id))
    };
    let change = match (row.old, row.new) {
        (_, ABSENT) => Change::Delete,
        (ABSENT, new) => Change::Insert(status(new)?),
        (_, new) => Change::Update(status(new)?),
    };
    let operator = *places.get(row.operator).with_context(|| format!("no node for {}", row.operator))?;
    Ok(Event {
        at_unix_s: row.at_unix_s,
        operator,
        evse_id: row.evse_id.into(),
        key: key_of(row.evse_id)?,
        change,
    })
}

fn key_of(evse_id: &str) -> anyhow::Result<EvseKey> {
    let id = EvseId::parse(evse_id).with_context(|| format!("the EvseID {evse_id}"))?;
    Ok(id.key().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_in_order_and_errors_name_the_line() {
        let text = "commit_unix\toperator_id\tevse_id\told_status\tnew_status\n\
                    100\tCH*ABC\tCH*ABC*E1\tAvailable\tOccupied\n\
                    101\tCH*ABC\tCH*ABC*E2\t-\tUnknown\n\
                    101\tCH*ABC\tCH*ABC*E1\tOccupied\t-\n";
        let rows = rows(text).unwrap();
        let places = BTreeMap::from([("CH*ABC", 4)]);
        let events: Vec<Event> = rows.iter().map(|row| event(row, &places).unwrap()).collect();
        let changes: Vec<&Change> = events.iter().map(|event| &event.change).collect();
        let expected =
            [Change::Update(EvseStatus::Occupied), Change::Insert(EvseStatus::Unknown), Change::Delete];
        assert_eq!(changes, expected.iter().collect::<Vec<_>>());
        assert!(events.iter().all(|event| event.operator == 4));
        for (bad, said) in [
            ("h\nx\tA\tB\tC\tD\n", "line 2: \"x\" is no unix time"),
            ("h\n1\tA\tB\tC\n", "line 2: no new_status"),
            ("h\n2\tA\tB\tC\tD\n1\tA\tB\tC\tD\n", "line 3: older"),
        ] {
            let error = super::rows(bad).err().unwrap().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn the_world_holds_what_appears_later_without_a_status() {
        let screen = Screen::new(true);
        let base = [Block {
            operator: "CH*SWISSCHARGE".to_owned(),
            name: "swisscharge".to_owned(),
            statuses: vec![("CH*SWI*E1".into(), EvseStatus::Unknown)],
        }];
        let text = "h\n100\tCH*SWISSCHARGE\tCH*SWI*E2\t-\tAvailable\n";
        let rows = rows(text).unwrap();
        let ids = settle(&base, &rows, &screen).unwrap();
        assert_eq!(ids.get("CH*SWISSCHARGE").unwrap().as_str(), "CH*SWI");
        let mut records = Records::default();
        let world = world(&base, &rows, &ids, &mut records, &screen).unwrap();
        let bodies = world.operators[0].bodies.as_ref().unwrap();
        assert_eq!((bodies.records, bodies.statuses, records.generated), (2, 1, 2));
    }
}
