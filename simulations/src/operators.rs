//! Operators and their charging points: made up, or from the Swiss register.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use chargemesh::oicp::id::{EvseId, EvseKey};
use chargemesh::oicp::reading::Reading;
use chargemesh::oicp::{json, register};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

use crate::people::operator_id;
use crate::scenario::{Scenario, Source};

/// One operator.
#[derive(Clone, Debug)]
pub(crate) struct Operator {
    /// OperatorID, such as `DE*A07`.
    pub(crate) id: String,
    /// Its charging points.
    pub(crate) evses: Vec<Evse>,
}

/// One charging point.
#[derive(Clone, Debug)]
pub(crate) struct Evse {
    /// The EVSE.
    pub(crate) key: EvseKey,
    /// EvseID as the operator spells it.
    pub(crate) evse_id: String,
    /// The record (OICP 2.3 `EvseDataRecord`), version 0.
    json: String,
}

impl Evse {
    fn new(evse_id: String, json: String) -> Result<Evse> {
        let key = EvseId::parse(&evse_id).with_context(|| evse_id.clone())?.key().clone();
        Ok(Evse { key, evse_id, json })
    }

    /// A version of the record.
    pub(crate) fn record(&self, version: u32) -> Bytes {
        match (version, self.json.rfind('}')) {
            (1.., Some(end)) => Bytes::from(format!(r#"{},"x-version":{version}}}"#, &self.json[..end])),
            _ => Bytes::from(self.json.clone()),
        }
    }
}

/// The operators of a scenario: one for each CPO node.
///
/// # Errors
/// If the register cannot be read.
pub(crate) fn operators(scenario: &Scenario, seed: u64) -> Result<Vec<Operator>> {
    match scenario.source {
        Source::MadeUp => made_up(scenario.nodes.cpo, scenario.evses),
        Source::Register => {
            let operators = whole_register()?;
            let (found, nodes) = (operators.len(), scenario.nodes.cpo);
            ensure!(found == nodes as usize, "the register has {found} operators, the scenario {nodes} cpo");
            Ok(operators)
        }
        Source::RegisterSample => sample(whole_register()?, scenario, seed),
    }
}

/// Operators with that many charging points together.
///
/// # Errors
/// If an id is none: a fault of the simulation.
pub(crate) fn made_up(operators: u32, evses: u32) -> Result<Vec<Operator>> {
    let of = |number: u32| {
        let id = operator_id(number);
        let count = made_up_count(number, operators, evses);
        let evses = (0..count).map(|evse| made_up_evse(format!("{id}*E{evse:06}"))).collect::<Result<_>>()?;
        Ok(Operator { id, evses })
    };
    (0..operators).map(of).collect()
}

/// How many of the charging points a made-up operator has, by its number.
pub(crate) fn made_up_count(number: u32, operators: u32, evses: u32) -> u32 {
    (evses + operators - 1 - number) / operators
}

fn made_up_evse(evse_id: String) -> Result<Evse> {
    let json = format!(
        r#"{{"EvseID":"{evse_id}","Address":{{"City":"Ort","Country":"DEU","Street":"Weg"}},"GeoCoordinates":{{"Google":{{"Coordinates":"50.1 8.6"}}}},"Plugs":["Type 2 Outlet"],"AuthenticationModes":["REMOTE"],"Accessibility":"Unspecified","IsOpen24Hours":true}}"#
    );
    Evse::new(evse_id, json)
}

fn register_file() -> PathBuf {
    let shared = std::env::var_os("CHARGEMESH_SHARED").map(PathBuf::from);
    let shared = shared.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared").into());
    shared.join("data/switzerland/EVSEData.2026-04-03.json.gz")
}

/// The operators of the Swiss register with the records that name them.
fn whole_register() -> Result<Vec<Operator>> {
    let path = register_file();
    let packed = std::fs::File::open(&path).with_context(|| format!("opening {}", path.display()))?;
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(packed).read_to_end(&mut text).context("unpacking the register")?;
    let root = json::parse(&text, Reading::Tolerant).map_err(|fault| anyhow::anyhow!("{fault:?}"))?;
    let register = register::read(&root)?;
    let mut operators: BTreeMap<String, BTreeMap<EvseKey, Evse>> = BTreeMap::new();
    for record in register.blocks.iter().flat_map(|block| &block.records) {
        let Some(evse_id) = record.field_any_case(&["EvseID"]).and_then(|id| id.as_str()) else { continue };
        // An operator is who its EvseIDs name: blocks of the register are not all valid ids.
        let Ok(id) = EvseId::parse(evse_id) else { continue };
        let operator = chargemesh::oicp::id::operator_for_display(id.key().operator());
        let evse = Evse::new(evse_id.to_owned(), record.raw().to_owned())?;
        operators.entry(operator).or_default().insert(evse.key.clone(), evse);
    }
    let operator = |(id, evses): (String, BTreeMap<EvseKey, Evse>)| Operator {
        id,
        evses: evses.into_values().collect(),
    };
    Ok(operators.into_iter().map(operator).collect())
}

/// Records sampled evenly; the largest operators are halved until there is one for each node. What a half
/// publishes gets its own OperatorID.
fn sample(register: Vec<Operator>, scenario: &Scenario, seed: u64) -> Result<Vec<Operator>> {
    let mut chance = ChaCha8Rng::seed_from_u64(seed ^ 0x5a3b_1e00);
    let mut all: Vec<(usize, Evse)> = Vec::new();
    for (number, operator) in register.into_iter().enumerate() {
        all.extend(operator.evses.into_iter().map(|evse| (number, evse)));
    }
    let wanted = scenario.evses as usize;
    ensure!(all.len() >= wanted, "the register has only {} EVSEs", all.len());
    for index in 0..wanted {
        let other = index + (chance.next_u64() % (all.len() - index) as u64) as usize;
        all.swap(index, other);
    }
    all.truncate(wanted);
    let mut groups: BTreeMap<usize, Vec<Evse>> = BTreeMap::new();
    all.into_iter().for_each(|(operator, evse)| groups.entry(operator).or_default().push(evse));
    let mut groups: Vec<Vec<Evse>> = groups.into_values().collect();
    while groups.len() < scenario.nodes.cpo as usize {
        let largest = groups.iter_mut().max_by_key(|group| group.len()).context("no operator")?;
        let half = largest.split_off(largest.len() / 2);
        groups.push(half);
    }
    ensure!(groups.len() == scenario.nodes.cpo as usize, "more operators were sampled than there are nodes");
    let of = |(number, group): (usize, Vec<Evse>)| {
        let id = operator_id(number as u32);
        let evse = |(index, evse): (usize, Evse)| {
            let evse_id = format!("{id}*E{index:06}");
            let json = renamed(&evse, &evse_id)
                .with_context(|| format!("a record without EvseID: {}", evse.json))?;
            Evse::new(evse_id, json)
        };
        let evses = group.into_iter().enumerate().map(evse).collect::<Result<_>>()?;
        Ok(Operator { id, evses })
    };
    groups.into_iter().enumerate().map(of).collect()
}

/// The record with another EvseID; that of its charging station may be the same, and stands before it.
fn renamed(evse: &Evse, evse_id: &str) -> Option<String> {
    const NAME: &str = r#""EvseID""#;
    let (before, from) = evse.json.split_once(NAME)?;
    Some(format!("{before}{NAME}{}", from.replacen(&evse.evse_id, evse_id, 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_gets_another_evse_id_whatever_stands_before_it() {
        let json = r#"{"ChargingStationId": "CH*CCI*E1", "EvseID": "CH*CCI*E1", "Plugs": []}"#;
        let evse = Evse::new("CH*CCI*E1".to_owned(), json.to_owned()).unwrap();
        let wanted = r#"{"ChargingStationId": "CH*CCI*E1", "EvseID": "DE*A00*E000001", "Plugs": []}"#;
        assert_eq!(renamed(&evse, "DE*A00*E000001").as_deref(), Some(wanted));
    }
}
