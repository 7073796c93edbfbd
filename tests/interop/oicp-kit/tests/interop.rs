//! `oicp-kit` against the running binary: its clients at our facades, its routers as our backends, its checks over all
//! that we send, its errata as a list to go through, its broker as a hub. What it cannot show is listed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod errata;
mod hub;

use std::time::Duration;

use chargemesh_interop_oicp_kit::backends::{Heard, both};
use chargemesh_interop_oicp_kit::message;
use chargemesh_interop_oicp_kit::network::{Network, binary};
use chargemesh_interop_oicp_kit::verdicts::{Verdicts, skip};
use futures_util::StreamExt as _;
use oicp_kit::client::{ClientConfig, CpoClient, EmpClient, RetryPolicy};
use oicp_kit::cpo::EvseStatus;
use oicp_kit::emp::{Page, PullEvseDataRecord, PullEvseDataRequest};
use oicp_kit::testkit::samples;
use oicp_kit::transport::{HubjectEnv, OicpError, Operation, PageQuery, PathId};
use oicp_kit::types::{Acknowledgement, DateTime, GeoCoordinatesFormat, SessionId, Validate};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const EVSE: &str = "DE*ABC*E1";
const PROVIDER: &str = "DE-DCB";

struct Stage {
    cpo: CpoClient,
    emp: EmpClient,
    cpo_url: String,
    emp_url: String,
    asked_cpo: std::sync::Arc<Heard>,
    asked_emp: std::sync::Arc<Heard>,
    verdicts: Verdicts,
    network: Network,
}

fn config() -> ClientConfig {
    ClientConfig { retry: RetryPolicy::none(), ..ClientConfig::default() }
}

fn custom(url: &str) -> HubjectEnv {
    HubjectEnv::Custom(format!("{url}/api/oicp"))
}

/// Some minutes ago, as OICP writes instants.
fn minutes_ago(minutes: i64) -> String {
    let at = OffsetDateTime::now_utc() - time::Duration::minutes(minutes);
    at.replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap()
}

/// Whether the node said that it has no such service.
fn is_missing<T>(said: &Result<T, OicpError>) -> bool {
    matches!(said, Err(OicpError::Http { status: 404, body, .. }) if body.contains("\"001\""))
}

fn valid<T: Validate>(what: &str, answer: &T) {
    answer.validate().unwrap_or_else(|violations| panic!("{what}: {violations}"));
}

impl Stage {
    async fn new(binary: std::path::PathBuf) -> Stage {
        let [(cpo_backend, asked_cpo), (emp_backend, asked_emp)] = both().await;
        let mut network = Network::new(binary);
        network.make("cpo", "CPO:DE*ABC", &cpo_backend);
        network.make("emp", "EMP:DE-DCB", &emp_backend);
        network.run("boot");
        let (cpo_url, emp_url) = (network.run("cpo").url, network.run("emp").url);
        let cpo = CpoClient::builder()
            .environment(custom(&cpo_url))
            .config(ClientConfig { environment: custom(&cpo_url), ..config() });
        let emp = EmpClient::builder()
            .environment(custom(&emp_url))
            .config(ClientConfig { environment: custom(&emp_url), ..config() });
        Stage {
            cpo: cpo.operator_id("DE*ABC".parse().unwrap()).build().unwrap(),
            emp: emp.provider_id(PROVIDER.parse().unwrap()).build().unwrap(),
            cpo_url,
            emp_url,
            asked_cpo,
            asked_emp,
            verdicts: Verdicts::default(),
            network,
        }
    }

    fn acknowledged(&mut self, what: &str, said: Result<Acknowledgement, OicpError>) {
        let said = said.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(said.is_success(), "{what}: {said:?}");
        valid(what, &said);
        self.verdicts.works(what);
    }

    /// Pulls until the EMP's node shows what is wanted.
    async fn until(&self, wanted: impl Fn(&Page<PullEvseDataRecord>) -> bool) -> Page<PullEvseDataRecord> {
        let request = PullEvseDataRequest::full(PROVIDER.parse().unwrap(), GeoCoordinatesFormat::Google);
        for _ in 0..300 {
            let page = self.emp.pull_evse_data_page(&request, PageQuery::new()).await.unwrap();
            if wanted(&page) {
                return page;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the EMP's node never showed what was pushed");
    }

    /// Waits until a record is as its operator pushed it.
    async fn shown(&self, as_pushed: impl Fn(&PullEvseDataRecord) -> bool) {
        self.until(|page| page.content.iter().any(&as_pushed)).await;
    }

    async fn data(&mut self) {
        let records = || [EVSE, "DE*ABC*E2", "DE*ABC*E3"].map(samples::evse_data_record).to_vec();
        let said = self.cpo.push_evse_data_full_load(records(), "ABC technologies").await;
        self.acknowledged("PushEvseData fullLoad", said);
        let said = self.cpo.push_evse_data_update(records()[..1].to_vec(), "ABC technologies").await;
        self.acknowledged("PushEvseData update", said);
        let extra = vec![samples::evse_data_record("DE*ABC*E4")];
        let said = self.cpo.push_evse_data_insert(extra.clone(), "ABC technologies").await;
        self.acknowledged("PushEvseData insert", said);
        let said = self.cpo.push_evse_data_delete(extra, "ABC technologies").await;
        self.acknowledged("PushEvseData delete", said);
        let page = self.until(|page| page.total_elements == 3).await;
        valid("PullEvseData", &page);
        assert_eq!(page.content[0].plugs, samples::evse_data_record(EVSE).plugs);
        let mut seen = Vec::new();
        let request = PullEvseDataRequest::full(PROVIDER.parse().unwrap(), GeoCoordinatesFormat::Google);
        let mut crawl = Box::pin(self.emp.crawl_evse_data(request, PageQuery::with_size(2)));
        while let Some(record) = crawl.next().await {
            seen.push(record.unwrap().evse_id.canonical());
        }
        drop(crawl);
        assert_eq!(seen.len(), 3);
        self.verdicts.works("PullEvseData full, page by page");
        let since: DateTime = minutes_ago(10).parse().unwrap();
        let request =
            PullEvseDataRequest::delta(PROVIDER.parse().unwrap(), GeoCoordinatesFormat::Google, since);
        let page = self.emp.pull_evse_data_page(&request, PageQuery::new()).await.unwrap();
        valid("PullEvseData delta", &page);
        assert_eq!(page.content.len(), 3);
        self.verdicts.works("PullEvseData delta");
    }

    async fn statuses(&mut self) {
        let push = |action: &str, statuses: &[&str]| {
            let records: Vec<Value> =
                statuses.iter().map(|id| json!({ "EvseID": id, "EvseStatus": "Available" })).collect();
            message(json!({ "ActionType": action, "OperatorEvseStatus": {
                "OperatorID": "DE*ABC", "OperatorName": "ABC technologies", "EvseStatusRecord": records } }))
        };
        let said = self.cpo.push_evse_status(&push("fullLoad", &[EVSE, "DE*ABC*E2"])).await;
        self.acknowledged("PushEvseStatus fullLoad", said);
        let occupied = vec![samples::evse_status_record(EVSE, EvseStatus::Occupied)];
        let said = self.cpo.update_evse_status(occupied).await;
        self.acknowledged("PushEvseStatus update", said);
        let all = message(json!({ "ProviderID": PROVIDER }));
        let mut count = 0;
        for _ in 0..300 {
            let said = self.emp.pull_evse_status(&all).await.unwrap();
            valid("PullEvseStatus", &said);
            let is_occupied = |status: &EvseStatus| *status == EvseStatus::Occupied;
            count = said.records().count();
            if count == 2 && said.records().any(|(_, record)| is_occupied(&record.evse_status)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(count, 2);
        self.verdicts.works("PullEvseStatus");
        let by_id = message(json!({ "ProviderID": PROVIDER, "EvseID": [EVSE, "DE*ABC*E999"] }));
        let said = self.emp.pull_evse_status_by_id(&by_id).await.unwrap();
        valid("PullEvseStatusById", &said);
        let records = &said.evse_status_records.evse_status_record;
        assert_eq!(records[0].evse_status, EvseStatus::Occupied);
        assert_eq!(records[1].evse_status, EvseStatus::EvseNotFound);
        self.verdicts.works("PullEvseStatusById (on the path of PullEvseStatus)");
        let by_operator = message(json!({ "ProviderID": PROVIDER, "OperatorID": ["DE*ABC"] }));
        let said = self.emp.pull_evse_status_by_operator_id(&by_operator).await.unwrap();
        valid("PullEvseStatusByOperatorId", &said);
        assert_eq!(said.records().count(), 2);
        self.verdicts.works("PullEvseStatusByOperatorId (on the path of PullEvseStatus)");
    }

    /// A card is held to the station; the session's id.
    async fn card(&mut self) -> SessionId {
        // The two nodes may still be on their way to each other.
        let request = samples::authorize_start_request(EVSE);
        let mut said = self.cpo.authorize_start(&request).await.unwrap();
        for _ in 0..100 {
            if said.is_authorized() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
            said = self.cpo.authorize_start(&request).await.unwrap();
        }
        assert!(said.is_authorized(), "{said:?}");
        valid("AuthorizeStart", &said);
        said.session_id.unwrap()
    }

    fn cdr(session: &SessionId, hub_provider: Option<&str>) -> Value {
        let mut record = json!({
            "SessionID": session.as_str(), "PartnerProductID": "AC 1", "EvseID": EVSE,
            "Identification": { "RFIDMifareFamilyIdentification": { "UID": "7568290FFF765F" } },
            "SessionStart": minutes_ago(30), "ChargingStart": minutes_ago(29),
            "ChargingEnd": minutes_ago(2), "SessionEnd": minutes_ago(1),
            "MeterValueStart": 0, "MeterValueEnd": 10, "ConsumedEnergy": 10,
        });
        if let Some(field) = hub_provider {
            record[field] = json!("DE-DCB");
        }
        record
    }

    async fn sessions_by_card(&mut self) {
        let session = self.card().await;
        assert!(self.asked_emp.count("AuthorizeStart") > 0);
        self.verdicts.works("AuthorizeStart, and emp_router as backend");
        for (kind, more) in [
            ("Start", json!({ "ChargingStart": minutes_ago(29) })),
            (
                "Progress",
                json!({ "ChargingStart": minutes_ago(29), "EventOccurred": minutes_ago(9),
                "ChargingDuration": 1_200_000, "ConsumedEnergyProgress": 4 }),
            ),
            (
                "End",
                json!({ "ChargingStart": minutes_ago(29), "ChargingEnd": minutes_ago(2), "ConsumedEnergy": 10 }),
            ),
            ("Error", json!({ "ErrorType": "ConnectorError" })),
        ] {
            let mut body = json!({ "Type": kind, "SessionID": session.as_str(), "OperatorID": "DE*ABC", "EvseID": EVSE });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let said = self.cpo.send_charging_notification(&message(body)).await;
            self.acknowledged(&format!("ChargingNotification {kind}, and emp_router as backend"), said);
        }
        assert_eq!(self.asked_emp.count("ChargingNotifications"), 4);
        let stop = samples::authorize_stop_request(EVSE, session.clone());
        let said = self.cpo.authorize_stop(&stop).await.unwrap();
        valid("AuthorizeStop", &said);
        assert_eq!(self.asked_emp.count("AuthorizeStop"), 1, "{said:?}");
        self.verdicts.works("AuthorizeStop, and emp_router as backend");
        let said = self.cpo.send_charge_detail_record(&message(Stage::cdr(&session, None))).await;
        self.acknowledged("ChargeDetailRecord", said);
        for _ in 0..100 {
            if self.asked_emp.count("ChargeDetailRecord") > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(self.asked_emp.count("ChargeDetailRecord"), 1, "{:?}", self.asked_emp.objections());
        self.verdicts.works("ChargeDetailRecord at emp_router");
        let pull = message(json!({ "ProviderID": PROVIDER, "From": minutes_ago(60), "To": minutes_ago(-5) }));
        let page = self.emp.get_charge_detail_records(&pull, PageQuery::new()).await.unwrap();
        valid("GetChargeDetailRecords", &page);
        assert_eq!(page.content.len(), 1);
        let crawled: Vec<_> =
            self.emp.crawl_charge_detail_records(pull, PageQuery::with_size(1)).collect().await;
        assert_eq!(
            crawled.into_iter().map(|record| record.unwrap().session_id).collect::<Vec<_>>(),
            [session]
        );
        self.verdicts.works("GetChargeDetailRecords");
    }

    async fn sessions_by_app(&mut self) {
        let medium = json!({ "RemoteIdentification": { "EvcoID": "DE-DCB-C12345678-X" } });
        let start = json!({ "SessionID": samples::session_id().as_str(), "ProviderID": PROVIDER, "EvseID": EVSE,
            "EMPPartnerSessionID": "E-1", "Identification": medium });
        let said = self.emp.authorize_remote_start(&message(start.clone())).await;
        let session =
            said.as_ref().ok().and_then(|said| said.session_id.clone()).unwrap_or_else(samples::session_id);
        self.acknowledged("AuthorizeRemoteStart, and cpo_router as backend", said);
        assert_eq!(self.asked_cpo.count("AuthorizeRemoteStart"), 1);
        let stop = json!({ "SessionID": session.as_str(), "ProviderID": PROVIDER, "EvseID": EVSE });
        let said = self.emp.authorize_remote_stop(&message(stop)).await;
        self.acknowledged("AuthorizeRemoteStop, and cpo_router as backend", said);
        assert_eq!(self.asked_cpo.count("AuthorizeRemoteStop"), 1);
        // It has no method for reservations; its transport has their paths.
        for field in ["EMPPartnerSessionID", "EMPPartnerSessionId"] {
            let mut start = json!({ "ProviderID": PROVIDER, "EvseID": "DE*ABC*E2", "Duration": 15,
                "Identification": medium });
            start[field] = json!("E-2");
            let said = self.raw(Operation::AuthorizeRemoteReservationStart, &start).await;
            let session = said
                .as_ref()
                .ok()
                .and_then(|said| said.session_id.clone())
                .unwrap_or_else(samples::session_id);
            self.acknowledged(&format!("AuthorizeRemoteReservationStart with {field}, and cpo_router"), said);
            let stop =
                json!({ "SessionID": session.as_str(), "ProviderID": PROVIDER, "EvseID": "DE*ABC*E2" });
            let said = self.raw(Operation::AuthorizeRemoteReservationStop, &stop).await;
            self.acknowledged("AuthorizeRemoteReservationStop, and cpo_router as backend", said);
        }
        assert_eq!(self.asked_cpo.count("AuthorizeRemoteReservationStart"), 2);
        assert_eq!(self.asked_cpo.count("EMPPartnerSessionID of a reservation"), 2);
        assert_eq!(self.asked_cpo.count("AuthorizeRemoteReservationStop"), 2);
    }

    async fn raw(&self, operation: Operation, body: &Value) -> Result<Acknowledgement, OicpError> {
        let (base, id, transport) = if operation.takes_operator_id() {
            (&self.cpo_url, PathId::Operator("DE*ABC".parse().unwrap()), self.cpo.transport())
        } else {
            (&self.emp_url, PathId::Provider(PROVIDER.parse().unwrap()), self.emp.transport())
        };
        let url = operation.url(&format!("{base}/api/oicp"), &id)?;
        transport.post_raw(operation, &url, body).await
    }

    async fn authentication_data(&mut self) {
        let push = message(
            json!({ "ActionType": "fullLoad", "ProviderAuthenticationData": { "ProviderID": PROVIDER,
            "AuthenticationDataRecord": [{ "Identification": { "RFIDMifareFamilyIdentification": { "UID": "7568290FFF765F" } } }] } }),
        );
        let said = self.emp.push_authentication_data(&push).await;
        self.acknowledged("PushAuthenticationData", said);
    }

    async fn pricing(&mut self) {
        let product = json!({ "ProductID": "AC 1", "ReferenceUnit": "KILOWATT_HOUR", "ProductPriceCurrency": "EUR",
            "PricePerReferenceUnit": 0.5, "MaximumProductChargingPower": 22, "IsValid24hours": true,
            "ProductAvailabilityTimes": [] });
        let products =
            message(json!({ "ActionType": "fullLoad", "PricingProductData": { "OperatorID": "DE*ABC",
            "OperatorName": "ABC technologies", "ProviderID": "*", "PricingDefaultPrice": 0,
            "PricingDefaultPriceCurrency": "EUR", "PricingDefaultReferenceUnit": "HOUR",
            "PricingProductDataRecords": [product] } }));
        let said = self.cpo.push_pricing_product_data(&products).await;
        if is_missing(&said) {
            self.verdicts.cannot("the four operations of pricing", "this node does not serve them");
            return;
        }
        self.acknowledged("PushPricingProductData", said);
        let prices = message(json!({ "ActionType": "fullLoad", "EVSEPricing": [{ "OperatorID": "DE*ABC",
            "OperatorName": "ABC technologies", "EVSEPricing": [{ "EvseID": EVSE, "ProviderID": PROVIDER,
            "EvseIDProductList": ["AC 1"] }] }] }));
        let said = self.cpo.push_evse_pricing(&prices).await;
        assert!(matches!(said, Err(OicpError::Http { status: 400, .. })), "{said:?}");
        self.verdicts.cannot(
            "PushEvsePricing by its client",
            "it nests the list in blocks of operators, as pulls do; the specification's table and example do not",
        );
        let prices = json!({ "ActionType": "fullLoad", "EVSEPricing": [{ "EvseID": EVSE, "ProviderID": PROVIDER,
            "EvseIDProductList": ["AC 1"] }] });
        let said = self.raw(Operation::PushEvsePricing, &prices).await;
        self.acknowledged("PushEvsePricing as published, over its transport", said);
        let pull = message(json!({ "OperatorIDs": ["DE*ABC"] }));
        let mut found = 0;
        for _ in 0..200 {
            let said = self.emp.pull_pricing_product_data(&pull).await.unwrap();
            valid("PullPricingProductData", &said);
            found = said.pricing_product_data.len();
            if found == 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(found, 1);
        self.verdicts.works("PullPricingProductData");
        let pull = message(json!({ "ProviderID": PROVIDER, "OperatorIDs": ["DE*ABC"] }));
        for _ in 0..200 {
            let said = self.emp.pull_evse_pricing(&pull).await.unwrap();
            valid("PullEvsePricing", &said);
            found = said.evse_pricing.len();
            if found == 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(found, 1);
        self.verdicts.works("PullEvsePricing");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_the_other_implementation_can_do() {
    let Some(binary) = binary() else {
        skip("SKIPPED: oicp-kit: no chargemesh binary: build it, or name it in CHARGEMESH_BIN\n");
        return;
    };
    let mut stage = Stage::new(binary).await;
    stage.data().await;
    stage.statuses().await;
    stage.sessions_by_card().await;
    stage.sessions_by_app().await;
    stage.authentication_data().await;
    stage.pricing().await;
    stage.errata().await;
    stage.hub().await;
    stage.hub_of_nodes().await;
    for (side, heard) in [("CPO", &stage.asked_cpo), ("EMP", &stage.asked_emp)] {
        assert_eq!(heard.objections(), [""; 0], "the {side}'s backend finds fault with what we sent");
    }
    stage
        .verdicts
        .works("Validate over all that our nodes sent to its routers, and all that its clients got");
    stage.verdicts.cannot("PullAuthenticationData", "it is not in the version that it implements");
    stage
        .verdicts
        .cannot("TLS", "it takes its roots from the system; client certificates are tested elsewhere");
    stage.verdicts.print();
}
