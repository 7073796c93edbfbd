//! A CPO's and an EMP's node under contract, with backends that say yes to everything, connected over loopback or
//! a slow link.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;

use chargemesh::engine::Event;
use chargemesh::identity::PartyId;
use chargemesh::node::{Node, Settings};
use chargemesh::oicp::push::read_evse_data;
use chargemesh::oicp::reading::Reading;
use chargemesh::outbound::BackendTarget;
use chargemesh::roaming::{Policy, Rule, Whom};
use tokio::sync::broadcast::Receiver;

use crate::evses::World;
use crate::http::Caller;
use crate::parties::PROVIDER;
use crate::{bare_http, parties, slow_link};

/// Longest wait for the nodes to know each other, and for the directory.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a benchmark wants of the pair.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    /// How late everything arrives between the nodes, each way.
    pub(crate) delay: Option<Duration>,
    /// After how long an unused line between them is closed; `None`: as the product does.
    pub(crate) line_idle: Option<Duration>,
}

/// Both nodes.
pub(crate) struct Pair {
    cpo: Node,
    emp: Node,
    evse_ids: Vec<String>,
}

impl Pair {
    /// Starts both, and waits until they know each other and the EMP's node knows the EVSEs of the world's first
    /// operator.
    ///
    /// # Errors
    /// Whatever goes wrong.
    pub(crate) async fn start(world: &World, dir: &Path, wanted: Wanted) -> Result<Pair> {
        let operator = world.operator_id(0);
        let party = format!("CPO:{}", operator.replace('*', ""));
        let settings = |name: &str, party: &str, other: &str, backend, bootstrap: &[String]| -> Result<_> {
            let mut settings = parties::settings(&dir.join(name), Some(party), bootstrap);
            settings.policy = allowing(other)?;
            settings.outbound.backends = vec![target(party, backend)];
            if let Some(idle) = wanted.line_idle {
                settings.mesh.exchange_idle_ms = idle.as_millis() as u64;
            }
            Ok::<Settings, anyhow::Error>(settings)
        };
        let backend = bare_http::yes().await?;
        let cpo = parties::start("cpo", &party, settings("cpo", &party, PROVIDER.0, backend, &[])?).await?;
        publish(&cpo, &party, &operator, world).await?;
        let known = match wanted.delay {
            None => cpo.mesh_addresses().to_vec(),
            Some(delay) => vec![behind(&cpo, delay).await?],
        };
        let emp = settings("emp", PROVIDER.0, &party, backend, &known)?;
        let emp = parties::start("emp", PROVIDER.0, emp).await?;
        let pair = Pair { cpo, emp, evse_ids: world.evses(0).map(|evse| evse.evse_id).collect() };
        pair.until_met(world.evses_of(0) as u64).await?;
        Ok(pair)
    }

    /// A connection of the EMP's backend to its node.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) async fn emp_backend(&self) -> Result<Caller> {
        Caller::connect(self.facade()?).await
    }

    fn facade(&self) -> Result<SocketAddr> {
        self.emp.facade_address().context("the node has no facade")
    }

    /// A connection of the CPO's backend to its node.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) async fn cpo_backend(&self) -> Result<Caller> {
        Caller::connect(self.cpo.facade_address().context("the node has no facade")?).await
    }

    /// What happens at the CPO's node.
    ///
    /// # Errors
    /// If it has no engine.
    pub(crate) fn cpo_events(&self) -> Result<Receiver<Arc<Event>>> {
        Ok(self.cpo.engine().context("a node with a party has an engine")?.events())
    }

    /// Where the EMP's facade listens.
    ///
    /// # Errors
    /// If it has none.
    pub(crate) fn emp_facade(&self) -> Result<SocketAddr> {
        self.facade()
    }

    /// Path and body of the charge detail record of a session that a start began.
    pub(crate) fn cdr(&self, session: &str, number: usize) -> (String, String) {
        let evse = self.evse_ids.get(number % self.evse_ids.len().max(1)).map_or("", String::as_str);
        let operator = evse.splitn(3, '*').take(2).collect::<Vec<_>>().join("*");
        let path = format!("/api/oicp/cdrmgmt/v22/operators/{operator}/charge-detail-record");
        let body = format!(
            r#"{{"SessionID":"{session}","EvseID":"{evse}","Identification":{{"RemoteIdentification":{{"EvcoID":"DE-EMP-C{number:08}-X"}}}},"ChargingStart":"2025-11-21T10:00:00Z","ChargingEnd":"2025-11-21T11:00:00Z","SessionStart":"2025-11-21T10:00:00Z","SessionEnd":"2025-11-21T11:00:01Z","MeterValueStart":1.100,"MeterValueEnd":11.200,"ConsumedEnergy":10.100}}"#
        );
        (path, body)
    }

    /// Starts a session; gives its id.
    ///
    /// # Errors
    /// If the node says no.
    pub(crate) async fn session(&self, caller: &mut Caller, number: usize) -> Result<String> {
        let (path, body) = self.remote_start(number);
        let (status, answer) = caller.post(&path, &body).await?;
        let said: serde_json::Value = serde_json::from_slice(answer)?;
        ensure!(status == 200 && said["Result"] == true, "HTTP {status}: {said}");
        Ok(said["SessionID"].as_str().context("no SessionID")?.to_owned())
    }

    /// Path and body of a remote start.
    pub(crate) fn remote_start(&self, number: usize) -> (String, String) {
        let evse = self.evse_ids.get(number % self.evse_ids.len().max(1)).map_or("", String::as_str);
        let path = format!("/api/oicp/charging/v21/providers/{}/authorize-remote/start", PROVIDER.1);
        let body = format!(
            r#"{{"ProviderID":"{}","EvseID":"{evse}","Identification":{{"RemoteIdentification":{{"EvcoID":"DE-EMP-C{number:08}-X"}}}},"EMPPartnerSessionID":"E-{number}"}}"#,
            PROVIDER.1
        );
        (path, body)
    }

    /// Asks, and insists on a yes.
    ///
    /// # Errors
    /// If the node says no.
    pub(crate) async fn start_one(&self, caller: &mut Caller, number: usize) -> Result<()> {
        let (path, body) = self.remote_start(number);
        let (status, answer) = caller.post(&path, &body).await?;
        let yes = answer.windows(13).any(|part| part == b"\"Result\":true");
        ensure!(status == 200 && yes, "HTTP {status}: {}", String::from_utf8_lossy(answer));
        Ok(())
    }

    async fn until_met(&self, evses: u64) -> Result<()> {
        let began = Instant::now();
        loop {
            let mut met = true;
            for node in [&self.cpo, &self.emp] {
                let view = node.engine().context("a node with a party has an engine")?.view().await?;
                met &= view.partners.iter().any(|partner| partner.connected) && view.view_evses == evses;
            }
            if met {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                bail!("the nodes never came to know each other");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops both.
    pub(crate) async fn stop(self) {
        self.emp.shutdown().await;
        self.cpo.shutdown().await;
    }
}

/// A policy that allows one party everything.
///
/// # Errors
/// If the text names no party.
pub(crate) fn allowing(party: &str) -> Result<Policy> {
    let whom = Whom { party: Some(PartyId::parse(party)?), ..Whom::default() };
    Ok(Policy { rules: vec![Rule { whom, services: BTreeSet::new(), allow: true }] })
}

fn target(party: &str, backend: SocketAddr) -> BackendTarget {
    BackendTarget {
        party: party.to_owned(),
        url: format!("http://{backend}"),
        notifications: true,
        ..BackendTarget::default()
    }
}

/// The address of a node behind a slow link.
async fn behind(node: &Node, delay: Duration) -> Result<String> {
    let address = node.mesh_addresses().first().context("the node listens nowhere")?;
    let (head, rest) = address.split_once("/tcp/").context("no TCP")?;
    let (port, peer) = rest.split_once('/').context("no peer id")?;
    let slow = slow_link::to(port.parse()?, delay).await?;
    Ok(format!("{head}/tcp/{slow}/{peer}"))
}

pub(crate) async fn publish(node: &Node, party: &str, operator: &str, world: &World) -> Result<()> {
    let records: Vec<String> = world.evses(0).map(|evse| evse.json).collect();
    let body = Bytes::from(format!(
        r#"{{"ActionType":"fullLoad","OperatorEvseData":{{"OperatorID":"{operator}","OperatorName":"Operator","EvseDataRecord":[{}]}}}}"#,
        records.join(",")
    ));
    let push = read_evse_data(&body, Reading::Tolerant).map_err(|fault| anyhow::anyhow!("{fault:?}"))?;
    let engine = node.engine().context("a node with a party has an engine")?;
    let outcome = engine.push_data(PartyId::parse(party)?, push, body).await?;
    ensure!(outcome.result, "the full load was refused: {outcome:?}");
    Ok(())
}
