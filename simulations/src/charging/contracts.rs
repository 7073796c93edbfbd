//! Who has a contract with whom, and what a node's settings say of it.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use chargemesh::identity::{PartyId, Role, Service};
use chargemesh::node::Settings;
use chargemesh::outbound::BackendTarget;
use chargemesh::roaming::{Policy, Rule, Whom};

use super::Side;
use crate::operators::Operator;
use crate::people::{party_text, provider_id};
use crate::scenario::Scenario;

/// Whether a provider may charge at an operator.
pub(crate) fn has_contract(scenario: &Scenario, provider: u32, operator: u32) -> bool {
    let (contracts, all) = (scenario.sessions.contracts, scenario.nodes.cpo);
    contracts == 0 || (operator + all - provider % all) % all < contracts
}

/// Whether a provider's backend takes charging notifications: not all do.
pub(crate) fn takes_notifications(provider: u32) -> bool {
    provider % 4 != 3
}

/// Settings of a node whose party charges: its contracts as rules of the policy, and that there is a backend.
///
/// # Errors
/// If the scenario's settings are not the product's.
pub(crate) fn settle(
    settings: &mut Settings,
    scenario: &Scenario,
    side: Side,
    operators: &[Operator],
) -> Result<()> {
    if scenario.sessions.per_s <= 0.0 {
        return Ok(());
    }
    let provider = |number: u32| party_text(Role::Emp, &provider_id(number));
    let operator = |number: u32| party_text(Role::Cpo, &operators[number as usize].id);
    let (ours, partners): (String, Vec<String>) = match side {
        Side::Operator(ours) => {
            let with = (0..scenario.nodes.emp).filter(|other| has_contract(scenario, *other, ours));
            (operator(ours), with.map(provider).collect())
        }
        Side::Provider(ours) => {
            let with = (0..scenario.nodes.cpo).filter(|other| has_contract(scenario, ours, *other));
            (provider(ours), with.map(operator).collect())
        }
    };
    let mut charging = scenario.charging.clone();
    if scenario.sessions.filters && matches!(side, Side::Provider(_)) {
        let shown = partners.iter().cloned().map(toml::Value::String).collect();
        charging.insert("card_filter_for".to_owned(), toml::Value::Array(shown));
    }
    settings.charging = charging.try_into().context("charging")?;
    let services: BTreeSet<Service> = [Service::Authorization, Service::Reservation, Service::Cdr].into();
    let rule = |partner: &String| {
        let party = Some(PartyId::parse(partner)?);
        Ok(Rule { whom: Whom { party, ..Whom::default() }, services: services.clone(), allow: true })
    };
    settings.policy = Policy { rules: partners.iter().map(rule).collect::<Result<_>>()? };
    settings.outbound.backends = vec![BackendTarget {
        party: ours,
        url: "http://simulated.invalid".to_owned(),
        notifications: matches!(side, Side::Provider(number) if takes_notifications(number)),
        ..BackendTarget::default()
    }];
    Ok(())
}
