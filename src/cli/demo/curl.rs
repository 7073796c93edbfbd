//! Where to look: the URL of every facade and a command to try on it.

use super::nodes::Network;
use super::screen::Screen;
use super::world::{Operator, World};

/// CPO nodes that are listed; a register has dozens.
const CPOS_LISTED_MAX: usize = 8;

/// Prints URLs and curl lines.
pub(super) fn show(network: &Network, world: &World, screen: &Screen) {
    screen.line("");
    for emp in &network.emps {
        screen.line(&format!("EMP {} at http://{}", emp.id, emp.address));
        screen.line(&format!("  {}", pull(&emp.address.to_string(), &emp.id)));
        screen.line(&format!("  curl -s http://{}/admin/v1/view", emp.address));
    }
    for (cpo, operator) in network.cpos.iter().zip(&world.operators).take(CPOS_LISTED_MAX) {
        screen.line(&format!("CPO {} ({}) at http://{}", cpo.id, cpo.name, cpo.address));
        match push(&cpo.address.to_string(), operator) {
            Some(push) => screen.line(&format!("  {push}")),
            None => screen.line(&format!("  curl -s http://{}/healthz", cpo.address)),
        }
    }
    let more = network.cpos.len().saturating_sub(CPOS_LISTED_MAX);
    if more > 0 {
        screen.line(&format!("... and {more} more CPO nodes"));
    }
    screen.line("Metrics are at /metrics of each. Ctrl-C ends the demo and removes its files.");
    screen.line("");
}

/// Sets one charging point to `Reserved`; `None` if the operator has none with a status.
fn push(address: &str, operator: &Operator) -> Option<String> {
    let (id, evse_id) = (operator.id.as_str(), operator.evse_ids.first()?);
    let body = format!(
        r#"{{"ActionType":"update","OperatorEvseStatus":{{"OperatorID":"{id}","EvseStatusRecord":[{{"EvseID":"{evse_id}","EvseStatus":"Reserved"}}]}}}}"#
    );
    Some(format!(
        "curl -s 'http://{address}/api/oicp/evsepush/v21/operators/{id}/status-records' \
         -H 'content-type: application/json' -d '{body}'"
    ))
}

fn pull(address: &str, provider_id: &str) -> String {
    let body = format!(r#"{{"ProviderID":"{provider_id}","GeoCoordinatesResponseFormat":"DecimalDegree"}}"#);
    format!(
        "curl -s 'http://{address}/api/oicp/evsepull/v23/providers/{provider_id}/data-records?size=1' \
         -H 'content-type: application/json' -d '{body}'"
    )
}
