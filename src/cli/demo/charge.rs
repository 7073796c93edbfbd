//! Sessions between random EMPs and charging points, each message over HTTP from one played backend through two
//! nodes to the other, as a driver with an app or a card causes them.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use chargemesh::backend::Operation;
use chargemesh::oicp::charging::{
    AuthorizationStart, AuthorizationStatus, AuthorizationStop, AuthorizeRemoteStart, AuthorizeRemoteStop,
    AuthorizeStart, AuthorizeStop, ChargingNotification, Identification, NotificationKind, PartnerSessions,
    SessionId, Uid, read_acknowledgement,
};
use chargemesh::oicp::evco::EvcoId;
use chargemesh::oicp::id::{EvseId, OperatorId, ProviderId};
use chargemesh::oicp::json::{self, Node};
use chargemesh::oicp::reading::Reading;
use chargemesh::oicp::status_code::StatusCode;
use chargemesh::oicp::time::DateTime;
use tokio::time::Instant;

use super::generate::Dice;
use super::latency::percentile;
use super::nodes::{Network, PartyNode};
use super::screen::Screen;
use super::world::World;

/// Of so many sessions one begins with a card at the charging point; the others begin in an app.
const CARD_EVERY: u32 = 4;

/// Charging points that are looked at for one that can be started from afar: of a real register, four of ten
/// cannot.
const TRIES_MAX: u32 = 200;

/// Which random numbers these are.
const DICE_PURPOSE: u64 = 3_000;

/// What became of the sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Charged {
    /// Sessions that ran from start to stop.
    pub(super) sessions: usize,
    /// Sessions of which something was refused, or not heard exactly once by the other backend.
    pub(super) failed: usize,
    /// How long the successful starts took, by app and by card, ascending.
    starts: Vec<Duration>,
}

impl Charged {
    /// The time that so many of a hundred starts did not exceed.
    pub(super) fn start(&self, percent: usize) -> Option<Duration> {
        percentile(&self.starts, percent)
    }
}

/// The card that an EMP's backend knows, and no other's.
///
/// # Errors
/// A place beyond 255.
pub(super) fn card(emp: usize) -> anyhow::Result<Uid> {
    let place = u8::try_from(emp)?;
    Uid::parse(&format!("04A2B3C4D5E6{place:02X}")).context("the card of an EMP")
}

/// Runs so many sessions, one after the other, and prints each.
pub(super) async fn run(
    network: &Network,
    world: &World,
    seed: u64,
    sessions: u32,
    screen: &Screen,
) -> anyhow::Result<Charged> {
    let mut dice = Dice::new(seed, DICE_PURPOSE);
    let mut charged = Charged::default();
    for number in 1..=sessions {
        let place = dice.below(network.emps.len() as u32) as usize;
        let emp = network.emps.get(place).context("no EMP")?;
        let by_card = number.is_multiple_of(CARD_EVERY);
        let (cpo, evse_id) = charging_point(network, world, &mut dice, emp).await?;
        let pair = Pair { emp, cpo, evse_id, unix_ms: network.clock.now().unix_ms };
        let done = match by_card {
            true => pair.by_card(card(place)?).await,
            false => pair.by_app(number).await,
        };
        let what = if by_card { "card of" } else { "app of" };
        let line = format!("session {number:>3}: {what} {} at {}", emp.id, pair.evse_id.as_str());
        match done {
            Ok(steps) => {
                charged.sessions += 1;
                charged.starts.extend(steps.first().map(|(_, took)| took));
                let times: Vec<String> = steps.iter().map(|(what, took)| timed(what, *took)).collect();
                screen.line(&format!("{line}: {}", times.join(", ")));
            }
            Err(error) => {
                charged.failed += 1;
                screen.line(&format!("{line}: FAILED: {error:#}"));
            }
        }
    }
    charged.starts.sort_unstable();
    Ok(charged)
}

fn timed(what: &str, took: Duration) -> String {
    format!("{what} {:.1} ms", took.as_secs_f64() * 1_000.0)
}

/// A charging point that the EMP's own node shows as that operator's, and as one that can be started.
async fn charging_point<'n>(
    network: &'n Network,
    world: &World,
    dice: &mut Dice,
    emp: &PartyNode,
) -> anyhow::Result<(&'n PartyNode, EvseId)> {
    for _ in 0..TRIES_MAX {
        let place = dice.below(network.cpos.len() as u32) as usize;
        let (Some(cpo), Some(operator)) = (network.cpos.get(place), world.operators.get(place)) else {
            continue;
        };
        let Some(evse_id) = dice.one(&operator.evse_ids) else { continue };
        let evse_id = EvseId::parse(evse_id)?;
        let shown = emp.client.get(&format!("admin/v1/evse/{}", evse_id.as_str())).await?;
        let root = json::parse(&shown.body, Reading::Tolerant)?;
        let compatible = root.field("record").and_then(|record| record.field("IsHubjectCompatible"));
        let of_operator = root.field("operator_id").and_then(Node::as_str) == Some(&cpo.id);
        if of_operator && compatible.and_then(Node::as_bool) == Some(true) {
            return Ok((cpo, evse_id));
        }
    }
    bail!("none of {TRIES_MAX} charging points can be started")
}

/// What was done, and how long each took.
type Steps = Vec<(&'static str, Duration)>;

/// The two sides of a session.
struct Pair<'n> {
    emp: &'n PartyNode,
    cpo: &'n PartyNode,
    evse_id: EvseId,
    unix_ms: u64,
}

impl Pair<'_> {
    /// The EMP's backend starts and stops.
    async fn by_app(&self, number: u32) -> anyhow::Result<Steps> {
        let provider_id = ProviderId::parse(&self.emp.id)?;
        let evco_id = EvcoId::parse(&format!("{}-C{number:08}", self.emp.id))?;
        let start = AuthorizeRemoteStart {
            session_id: None,
            partners: PartnerSessions::default(),
            provider_id: provider_id.clone(),
            evse_id: self.evse_id.clone(),
            identification: Identification::Remote { evco_id },
            product_id: None,
            findings: Vec::new(),
        };
        let path = format!("api/oicp/charging/v21/providers/{}/authorize-remote", self.emp.id);
        let (answer, started) = post(self.emp, &format!("{path}/start"), start.to_json()).await?;
        let answer = read_acknowledgement(&answer).context("the answer to the remote start")?;
        accepted(answer.result, &answer.status).context("remote start")?;
        let session = answer.session().context("the start's answer names no session")?;
        let told = self.notify(session).await?;
        let stop = AuthorizeRemoteStop {
            session_id: session,
            partners: answer.partners(),
            provider_id,
            evse_id: self.evse_id.clone(),
            findings: Vec::new(),
        };
        let (answer, stopped) = post(self.emp, &format!("{path}/stop"), stop.to_json()).await?;
        let answer = read_acknowledgement(&answer).context("the answer to the remote stop")?;
        accepted(answer.result, &answer.status).context("remote stop")?;
        heard_once(self.cpo, session, &[Operation::RemoteStart, Operation::RemoteStop])?;
        heard_once(self.emp, session, &[Operation::Notification])?;
        self.both_agree(session).await?;
        Ok(vec![("remote start", started), ("notification", told), ("remote stop", stopped)])
    }

    /// The driver holds a card to the charging point, twice.
    async fn by_card(&self, uid: Uid) -> anyhow::Result<Steps> {
        let operator_id = OperatorId::parse(&self.cpo.id)?;
        let identification = Identification::MifareFamily { uid };
        let start = AuthorizeStart {
            session_id: None,
            partners: PartnerSessions::default(),
            operator_id: operator_id.clone(),
            evse_id: Some(self.evse_id.clone()),
            identification: identification.clone(),
            product_id: None,
            findings: Vec::new(),
        };
        let path = format!("api/oicp/charging/v21/operators/{}/authorize", self.cpo.id);
        let (answer, started) = post(self.cpo, &format!("{path}/start"), start.to_json()).await?;
        let answer = AuthorizationStart::read(&answer).context("the answer to the card")?;
        accepted(answer.verdict == AuthorizationStatus::Authorized, &answer.status)
            .context("authorize start")?;
        let by = answer.provider_id.as_ref().map(ProviderId::as_str);
        ensure!(by == Some(&self.emp.id), "authorized by {}", by.unwrap_or("nobody"));
        let session = answer.session_id.context("the authorization names no session")?;
        let told = self.notify(session).await?;
        let stop = AuthorizeStop {
            session_id: session,
            partners: answer.partners,
            operator_id,
            evse_id: Some(self.evse_id.clone()),
            identification,
            findings: Vec::new(),
        };
        let (answer, stopped) = post(self.cpo, &format!("{path}/stop"), stop.to_json()).await?;
        let answer = AuthorizationStop::read(&answer).context("the answer to the card at the end")?;
        accepted(answer.verdict == AuthorizationStatus::Authorized, &answer.status)
            .context("authorize stop")?;
        let heard = [Operation::AuthorizeStart, Operation::Notification, Operation::AuthorizeStop];
        heard_once(self.emp, session, &heard)?;
        self.both_agree(session).await?;
        Ok(vec![("authorize start", started), ("notification", told), ("authorize stop", stopped)])
    }

    /// Both nodes hold the session, and say the same of it.
    async fn both_agree(&self, session: SessionId) -> anyhow::Result<()> {
        let [of_emp, of_cpo] = [self.emp, self.cpo].map(|node| phase(node, session));
        let (of_emp, of_cpo) = (of_emp.await?, of_cpo.await?);
        ensure!(of_emp == of_cpo, "the EMP's node says that it is {of_emp}, the CPO's {of_cpo}");
        Ok(())
    }

    /// The charging point says that it charges.
    async fn notify(&self, session: SessionId) -> anyhow::Result<Duration> {
        let now = DateTime::from_unix_ms(i64::try_from(self.unix_ms)?);
        let told = ChargingNotification {
            operator_id: Some(OperatorId::parse(&self.cpo.id)?),
            session_start: Some(now.clone()),
            charging_start: Some(now),
            ..ChargingNotification::new(NotificationKind::Start, session, self.evse_id.clone())
        };
        let path = "api/oicp/notificationmgmt/v11/charging-notifications";
        let (answer, took) = post(self.cpo, path, told.to_json()).await?;
        let answer = read_acknowledgement(&answer).context("the answer to the notification")?;
        accepted(answer.result, &answer.status).context("notification")?;
        Ok(took)
    }
}

/// A message of a backend to its own node: what came back, and how long it took.
async fn post(from: &PartyNode, path: &str, body: String) -> anyhow::Result<(bytes::Bytes, Duration)> {
    let begin = Instant::now();
    let answer = from.client.post(path, "application/json", body.into()).await?;
    Ok((answer.body, begin.elapsed()))
}

fn accepted(yes: bool, status: &StatusCode) -> anyhow::Result<()> {
    let info = status.additional_info.as_deref().or(status.description.as_deref()).unwrap_or_default();
    ensure!(yes, "refused with {}: {info}", status.code);
    Ok(())
}

/// How far a session has come, as a node sees it.
async fn phase(node: &PartyNode, session: SessionId) -> anyhow::Result<&'static str> {
    let sessions = node.engine.sessions(None).await?;
    let known = sessions.into_iter().find(|known| known.session == session.as_str());
    Ok(known.with_context(|| format!("the node of {} does not know the session", node.id))?.phase)
}

/// Whether a backend was asked each of these exactly once for a session.
fn heard_once(by: &PartyNode, session: SessionId, operations: &[Operation]) -> anyhow::Result<()> {
    let received = by.backend.received();
    for operation in operations {
        let of_session = received
            .iter()
            .filter(|one| one.operation == *operation && one.session.as_deref() == Some(session.as_str()));
        let count = of_session.count();
        ensure!(count == 1, "the backend of {} heard {operation} {count} times", by.id);
    }
    Ok(())
}
