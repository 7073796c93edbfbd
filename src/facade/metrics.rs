//! What Prometheus reads: the facade's own counters, and the node's state at the moment of the question.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::engine::{NodeView, SessionOperation};
use crate::identity::Role;
use crate::tls::Used;

/// Upper bounds of the run time classes, in seconds: a status push takes milliseconds, a full load seconds.
const SECONDS: [f64; 9] = [0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 20.0, 60.0];

/// A service of the facade, as a label; a fixed set, so that a caller cannot make new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Service {
    PushEvseData,
    PushEvseStatus,
    PullEvseData,
    PullEvseStatus,
    PullEvseStatusById,
    PullEvseStatusByOperatorId,
    AuthorizeStart,
    AuthorizeStop,
    AuthorizeRemoteStart,
    AuthorizeRemoteStop,
    ReservationStart,
    ReservationStop,
    ChargingNotification,
    PushAuthenticationData,
    ChargeDetailRecord,
    GetChargeDetailRecords,
    PushPricingProductData,
    PushEvsePricing,
    PullPricingProductData,
    PullEvsePricing,
    PullAuthenticationData,
}

impl Service {
    /// What it is about a session, and the role of the party that asks it; `None` for pushes and pulls.
    pub(super) fn session_operation(self) -> Option<(SessionOperation, Role)> {
        match self {
            Service::AuthorizeStart => Some((SessionOperation::AuthorizeStart, Role::Cpo)),
            Service::AuthorizeStop => Some((SessionOperation::AuthorizeStop, Role::Cpo)),
            Service::AuthorizeRemoteStart => Some((SessionOperation::RemoteStart, Role::Emp)),
            Service::AuthorizeRemoteStop => Some((SessionOperation::RemoteStop, Role::Emp)),
            Service::ReservationStart => Some((SessionOperation::ReservationStart, Role::Emp)),
            Service::ReservationStop => Some((SessionOperation::ReservationStop, Role::Emp)),
            Service::ChargingNotification => Some((SessionOperation::Notification, Role::Cpo)),
            _ => None,
        }
    }
}

impl EncodeLabelValue for Service {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        fmt::Write::write_fmt(encoder, format_args!("{self:?}"))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    service: Service,
    http_status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Duration {
    service: Service,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Feed {
    party: String,
    kind: String,
    /// The parties that may see it; empty for the public.
    audience: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Own {
    party: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByWay {
    partner: String,
    way: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByIssuer {
    issuer: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPhase {
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByKind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCertificate {
    r#use: &'static str,
    party: String,
    fingerprint: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByState {
    state: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOperation {
    operation: Option<&'static str>,
}

type FloatGauge = Gauge<f64, AtomicU64>;

/// A number of another part of the node.
#[derive(Clone, Debug, PartialEq)]
pub struct MoreGauge {
    /// Its name without prefix.
    pub name: &'static str,
    /// What it is.
    pub help: &'static str,
    /// The operation that it is about, as a label.
    pub operation: Option<&'static str>,
    /// Its value.
    pub value: f64,
}

/// The facade's counters.
pub(super) struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<Request, Counter>,
    seconds: Family<Duration, Histogram, fn() -> Histogram>,
}

fn run_times() -> Histogram {
    Histogram::new(SECONDS)
}

impl Metrics {
    pub(super) fn new() -> Metrics {
        let requests = Family::<Request, Counter>::default();
        let seconds = Family::<Duration, Histogram, fn() -> Histogram>::new_with_constructor(run_times);
        let mut registry = Registry::with_prefix("chargemesh");
        registry.register("http_requests", "OICP requests by service and HTTP status", requests.clone());
        registry.register("http_request_seconds", "Run time of OICP requests", seconds.clone());
        Metrics { registry: Mutex::new(registry), requests, seconds }
    }

    pub(super) fn record(&self, service: Service, http_status: u16, seconds: f64) {
        self.requests.get_or_create(&Request { service, http_status }).inc();
        self.seconds.get_or_create(&Duration { service }).observe(seconds);
    }

    /// The text format, counters first, then the gauges of the node.
    pub(super) fn text(
        &self,
        view: &NodeView,
        alarms: &BTreeMap<&'static str, u64>,
        certificates: &[Used],
        more: &[MoreGauge],
        now_unix_ms: u64,
    ) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        let mut gauges = gauges(view, now_unix_ms);
        let kinds = Family::<ByKind, FloatGauge>::default();
        for (kind, count) in alarms {
            kinds.get_or_create(&ByKind { kind }).set(*count as f64);
        }
        gauges.register("alarms", "What needs somebody's attention, by kind: see `chargemesh doctor`", kinds);
        let mut families: BTreeMap<&str, (&str, Family<ByOperation, FloatGauge>)> = BTreeMap::new();
        for MoreGauge { name, help, operation, value } in more {
            let (_, family) = families.entry(name).or_insert_with(|| (help, Family::default()));
            family.get_or_create(&ByOperation { operation: *operation }).set(*value);
        }
        for (name, (help, family)) in families {
            gauges.register(name, help, family);
        }
        certificate_ends(&mut gauges, certificates, now_unix_ms);
        encode_registry(&mut text, &gauges)?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}

fn gauges(view: &NodeView, now_unix_ms: u64) -> Registry {
    let mut registry = Registry::with_prefix("chargemesh");
    let mut number = |name: &str, help: &str, value: u64| {
        let gauge = FloatGauge::default();
        gauge.set(value as f64);
        registry.register(name, help, gauge);
    };
    number("view_evses", "EVSEs in the view", view.view_evses);
    number("view_statuses", "Statuses in the view", view.view_statuses);
    number("records_accepted", "Records accepted into others' feeds since the start", view.records_accepted);
    number("records_refused", "Records refused since the start", view.records_refused);
    number("full_loads", "Feeds asked for as a whole since the start", view.full_loads);
    number("conflicts", "EVSEs claimed by several parties", view.conflicts.len() as u64);
    number("peers", "Open connections to peers", view.peers.len() as u64);
    number("partners", "Parties with which money changes hands", view.partners.len() as u64);
    let away = view.partners.iter().filter(|partner| !partner.connected).count();
    number("partners_away", "Partners that are not connected", away as u64);
    number("pushes_held", "Pushes that wait for confirmation", view.held.len() as u64);
    number("overdue_cdrs", "Charge detail records that wait for too long", view.overdue_cdrs);
    number("card_questions", "Questions about cards since the start", view.cards.questions);
    number("card_emps_told", "EMPs that were told of a card, over all questions", view.cards.emps_told);
    let help = "EMPs that were not, because they have said that they cannot know it";
    number("card_emps_spared", help, view.cards.emps_spared);
    let sessions = Family::<ByPhase, FloatGauge>::default();
    for (phase, count) in &view.session_counts {
        sessions.get_or_create(&ByPhase { phase }).set(*count as f64);
    }
    registry.register("sessions", "Sessions of the last day and those that are open, by phase", sessions);

    let cdrs = Family::<ByState, FloatGauge>::default();
    for (state, count) in &view.open_cdrs {
        cdrs.get_or_create(&ByState { state: state.clone() }).set(*count as f64);
    }
    registry.register("open_cdrs", "Charge detail records that are not settled, by state", cdrs);

    let ways = Family::<ByWay, FloatGauge>::default();
    for counted in &view.messages {
        for (way, count) in [("direct", counted.direct), ("hub", counted.hub)] {
            ways.get_or_create(&ByWay { partner: counted.partner.clone(), way }).set(count as f64);
        }
    }
    registry.register("messages", "Messages about sessions to and from a partner, by way", ways);

    let (records, shadowed) = (Family::<Feed, FloatGauge>::default(), Family::<Feed, FloatGauge>::default());
    let (in_sync, age) = (Family::<Feed, FloatGauge>::default(), Family::<Feed, FloatGauge>::default());
    for feed in &view.feeds {
        let audience = (!feed.audience.is_empty()).then(|| feed.audience.join("+"));
        let label = Feed { party: feed.party.clone(), kind: feed.kind.to_owned(), audience };
        records.get_or_create(&label).set(feed.count as f64);
        shadowed.get_or_create(&label).set(feed.shadowed as f64);
        in_sync.get_or_create(&label).set(f64::from(u8::from(feed.in_sync)));
        let age_ms = now_unix_ms.saturating_sub(feed.confirmed_at_unix_ms);
        age.get_or_create(&label).set(age_ms as f64 / 1000.0);
    }
    registry.register("feed_records", "Records of the feed", records);
    registry.register("feed_shadowed_records", "Records that another feed has precedence over", shadowed);
    registry.register("feed_in_sync", "1 if the feed is what its newest head was signed over", in_sync);
    registry.register("feed_age_seconds", "Time since the writer confirmed the feed", age);
    ends(&mut registry, view, now_unix_ms);
    freshness(&mut registry, view, now_unix_ms);
    registry
}

/// How old what this node knows of revocations is.
fn freshness(registry: &mut Registry, view: &NodeView, now_unix_ms: u64) {
    let now_s = now_unix_ms as f64 / 1000.0;
    let compared = FloatGauge::default();
    // Without any since the start: infinitely old, so that an alarm on a limit rings.
    let age_s = view.registry_compared_unix_ms.map(|at_ms| now_s - at_ms as f64 / 1000.0);
    compared.set(age_s.unwrap_or(f64::INFINITY));
    let help = "Time since a peer said what was revoked";
    registry.register("revocations_compared_age_seconds", help, compared);
    let [ages, ends] = std::array::from_fn(|_| Family::<ByIssuer, FloatGauge>::default());
    for list in &view.status_lists {
        let label = ByIssuer { issuer: list.issuer.clone() };
        ages.get_or_create(&label).set(now_s - list.created_unix_s as f64);
        ends.get_or_create(&label).set(list.until_unix_s as f64 - now_s);
    }
    registry.register("status_list_age_seconds", "Age of the issuer's newest status list", ages);
    let help = "Time until the issuer's newest status list is overdue";
    registry.register("status_list_expires_in_seconds", help, ends);
}

/// When certificates end; negative when they have ended.
fn certificate_ends(registry: &mut Registry, certificates: &[Used], now_unix_ms: u64) {
    let ends = Family::<ByCertificate, FloatGauge>::default();
    for used in certificates {
        let label = ByCertificate {
            r#use: used.what_for.as_str(),
            party: used.party.clone(),
            fingerprint: used.certificate.fingerprint.to_string(),
        };
        let left_s = used.certificate.not_after_unix_s as f64 - now_unix_ms as f64 / 1000.0;
        ends.get_or_create(&label).set(left_s);
    }
    let help = "Time until a certificate of HTTPS ends: the facade's, those shown to backends and hub, and their CAs";
    registry.register("certificate_expires_in_seconds", help, ends);
}

/// When what this node speaks and believes under ends; negative when it has ended.
fn ends(registry: &mut Registry, view: &NodeView, now_unix_ms: u64) {
    let left_s = |until_unix_s: u64| until_unix_s as f64 - now_unix_ms as f64 / 1000.0;
    let number = |value: f64| {
        let gauge = FloatGauge::default();
        gauge.set(value);
        gauge
    };
    let [delegations, credentials, revoked] = std::array::from_fn(|_| Family::<Own, FloatGauge>::default());
    for own in &view.own {
        let label = Own { party: own.party.clone() };
        delegations.get_or_create(&label).set(left_s(own.delegation_until_unix_s));
        credentials.get_or_create(&label).set(left_s(own.credential_until_unix_s));
        revoked.get_or_create(&label).set(f64::from(u8::from(own.revoked)));
    }
    registry.register("revoked", "1 if what the party speaks with was declared dead", revoked);
    let help = "Time until the party's delegation to this node ends";
    registry.register("delegation_expires_in_seconds", help, delegations);
    registry.register("credential_expires_in_seconds", "Time until the party's credential ends", credentials);
    let left = number(left_s(view.trust_list.until_unix_s));
    registry.register("trust_list_expires_in_seconds", "Time until the trust list is too old", left);
    registry.register("trust_list_version", "Version of the trust list", number(view.trust_list.seq as f64));
    let signs = number(f64::from(u8::from(view.signs)));
    registry.register("signs", "0 while the clock is wrong and nothing is signed", signs);
    if let Some(off_ms) = view.clock_off_ms {
        let help = "How far the clocks of other parties are ahead of this node's";
        registry.register("clock_off_seconds", help, number(off_ms as f64 / 1000.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_counters_and_gauges_and_one_end() {
        let metrics = Metrics::new();
        let more = ["PullEvseData", "PushEvseData"].map(|operation| MoreGauge {
            name: "hub_calls",
            help: "Calls",
            operation: Some(operation),
            value: 7.0,
        });
        metrics.record(Service::PushEvseData, 200, 0.01);
        let own = crate::engine::OwnPartyView {
            party: "CPO:CHABC".into(),
            epoch: 1,
            delegation_until_unix_s: 90,
            credential_until_unix_s: 190,
            revoked: true,
        };
        let list = crate::engine::StatusListView { issuer: "A".into(), created_unix_s: 30, until_unix_s: 95 };
        let view = NodeView {
            view_evses: 18_425,
            own: vec![own],
            clock_off_ms: Some(-1_500),
            session_counts: [("in doubt", 2)].into(),
            cards: crate::engine::CardsView { emps_told: 49, ..Default::default() },
            messages: vec![crate::engine::MessagesView { partner: "EMP:DEDCB".into(), direct: 7, hub: 2 }],
            registry_compared_unix_ms: Some(40_000),
            status_lists: vec![list],
            ..NodeView::default()
        };
        let certificate = crate::tls::Certificate {
            fingerprint: crate::tls::Fingerprint::of_der(b"one"),
            subject: "CN=one".into(),
            not_before_unix_s: 0,
            not_after_unix_s: 130,
        };
        let certificates = Used::list(crate::tls::Use::Backend, "EMP:DEXYZ", vec![certificate]);
        let text = metrics.text(&view, &[("cdr-waits", 3)].into(), &certificates, &more, 100_000).unwrap();
        let counted = "chargemesh_http_requests_total{service=\"PushEvseData\",http_status=\"200\"} 1";
        assert!(text.contains(counted), "{text}");
        for line in [
            "chargemesh_view_evses 18425",
            "chargemesh_delegation_expires_in_seconds{party=\"CPO:CHABC\"} -10",
            "chargemesh_credential_expires_in_seconds{party=\"CPO:CHABC\"} 90",
            "chargemesh_revoked{party=\"CPO:CHABC\"} 1",
            "chargemesh_clock_off_seconds -1.5",
            "chargemesh_certificate_expires_in_seconds{use=\"backend\",party=\"EMP:DEXYZ\",fingerprint=\"sha256:",
            "\"} 30.0\n",
            "chargemesh_alarms{kind=\"cdr-waits\"} 3",
            "chargemesh_card_emps_told 49",
            "chargemesh_hub_calls{operation=\"PullEvseData\"} 7",
            "chargemesh_hub_calls{operation=\"PushEvseData\"} 7",
            "chargemesh_sessions{phase=\"in doubt\"} 2",
            "chargemesh_messages{partner=\"EMP:DEDCB\",way=\"hub\"} 2",
            "chargemesh_revocations_compared_age_seconds 60",
            "chargemesh_status_list_age_seconds{issuer=\"A\"} 70",
            "chargemesh_status_list_expires_in_seconds{issuer=\"A\"} -5",
        ] {
            assert!(text.contains(line), "{line} is missing in {text}");
        }
        assert_eq!(text.matches("# EOF").count(), 1);
        let never = metrics.text(&NodeView::default(), &BTreeMap::new(), &[], &[], 100_000).unwrap();
        assert!(never.contains("chargemesh_revocations_compared_age_seconds inf"), "{never}");
    }
}
