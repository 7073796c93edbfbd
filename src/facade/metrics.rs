//! What Prometheus reads: the facade's own counters, and the node's state at the moment of the question.

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

use crate::engine::NodeView;

/// Upper bounds of the run time classes, in seconds: a status push takes milliseconds, a full load seconds.
const SECONDS: [f64; 9] = [0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 20.0, 60.0];

/// A service of the facade, as a label; a fixed set, so that a caller cannot make new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Service {
    PushEvseData,
    PushEvseStatus,
    PullEvseData,
    PullEvseStatus,
    PullEvseStatusById,
    PullEvseStatusByOperatorId,
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
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Own {
    party: String,
}

type FloatGauge = Gauge<f64, AtomicU64>;

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
    pub(super) fn text(&self, view: &NodeView, now_unix_ms: u64) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        encode_registry(&mut text, &gauges(view, now_unix_ms))?;
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

    let (records, shadowed) = (Family::<Feed, FloatGauge>::default(), Family::<Feed, FloatGauge>::default());
    let (in_sync, age) = (Family::<Feed, FloatGauge>::default(), Family::<Feed, FloatGauge>::default());
    for feed in &view.feeds {
        let label = Feed { party: feed.party.clone(), kind: feed.kind.to_owned() };
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
    registry
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
        metrics.record(Service::PushEvseData, 200, 0.01);
        let own = crate::engine::OwnPartyView {
            party: "CPO:CHABC".into(),
            epoch: 1,
            delegation_until_unix_s: 90,
            credential_until_unix_s: 190,
            revoked: true,
        };
        let view = NodeView {
            view_evses: 18_425,
            own: vec![own],
            clock_off_ms: Some(-1_500),
            ..NodeView::default()
        };
        let text = metrics.text(&view, 100_000).unwrap();
        let counted = "chargemesh_http_requests_total{service=\"PushEvseData\",http_status=\"200\"} 1";
        assert!(text.contains(counted), "{text}");
        for line in [
            "chargemesh_view_evses 18425",
            "chargemesh_delegation_expires_in_seconds{party=\"CPO:CHABC\"} -10",
            "chargemesh_credential_expires_in_seconds{party=\"CPO:CHABC\"} 90",
            "chargemesh_revoked{party=\"CPO:CHABC\"} 1",
            "chargemesh_clock_off_seconds -1.5",
        ] {
            assert!(text.contains(line), "{line} is missing in {text}");
        }
        assert_eq!(text.matches("# EOF").count(), 1);
    }
}
