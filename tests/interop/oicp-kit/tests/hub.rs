//! Its broker as a hub: what is pushed to it by our client, and as the `[hub]` of nodes that know nobody else.

use std::time::Duration;

use chargemesh_interop_oicp_kit::message;
use chargemesh_interop_oicp_kit::network::{Network, Node, binary};
use oicp_kit::client::{ClientConfig, CpoClient, EmpClient};
use oicp_kit::cpo::EvseStatus;
use oicp_kit::testkit::{MockEmp, MockHubject, MockHubjectServer, samples};
use oicp_kit::transport::PageQuery;
use serde_json::json;

use super::{EVSE, PROVIDER, Stage, config, custom, minutes_ago, valid};

/// A backend that nobody listens as: the broker has no route by which it would ask one.
const NO_BACKEND: &str = "http://127.0.0.1:9";

async fn broker() -> (MockHubjectServer, String) {
    let mut hub = MockHubject::new();
    hub.register_emp(MockEmp::permissive(PROVIDER.parse().unwrap()));
    let server = MockHubjectServer::start(hub).await.unwrap();
    let url = server.base_url().trim_end_matches("/api/oicp").to_owned();
    (server, url)
}

/// A node of one party that knows the hub and nobody else.
fn alone(name: &str, party: &str, hub: &str) -> (Network, Node) {
    let mut network = Network::new(binary().unwrap());
    network.make(name, party, NO_BACKEND);
    network.set(name, &format!("\n[hub]\nurl = \"{hub}\"\nparties = [\"{party}\"]\n"));
    network.run("boot");
    let node = network.run(name);
    (network, node)
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    for _ in 0..300 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{what} never came");
}

impl Stage {
    /// Our client pushes to it.
    pub(super) async fn hub(&mut self) {
        let (server, url) = broker().await;
        let record = serde_json::to_value(samples::evse_data_record(EVSE)).unwrap();
        let data = json!({ "ActionType": "fullLoad", "OperatorEvseData": { "OperatorID": "DE*ABC",
            "OperatorName": "ABC technologies", "EvseDataRecord": [record] } });
        let status = json!({ "ActionType": "fullLoad", "OperatorEvseStatus": { "OperatorID": "DE*ABC",
            "OperatorName": "ABC technologies", "EvseStatusRecord": [{ "EvseID": EVSE, "EvseStatus": "Reserved" }] } });
        for (name, body) in [("data.json", data), ("status.json", status)] {
            std::fs::write(self.network.dir.path().join(name), body.to_string()).unwrap();
            self.network.call(&["push", name, "--node", &url]);
        }
        assert_eq!(server.hubject().evse_count(), 1);
        let status = server.hubject().status_of(&EVSE.parse().unwrap()).unwrap();
        assert_eq!(status.evse_status, EvseStatus::Reserved);
        self.verdicts.works("MockHubjectServer takes what `chargemesh push` sends: data and status");
        server.stop().await;
    }

    /// Nodes have it as their hub: a CPO's, then an EMP's that hears of the CPO by it alone.
    pub(super) async fn hub_of_nodes(&mut self) {
        let (server, url) = broker().await;
        let (_network, node) = alone("cpo", "CPO:DE*ABC", &url);
        let client = CpoClient::builder()
            .environment(custom(&node.url))
            .config(ClientConfig { environment: custom(&node.url), ..config() });
        let cpo = client.operator_id("DE*ABC".parse().unwrap()).build().unwrap();
        self.hub_of_a_cpo(&server, &cpo).await;
        let (_network, node) = alone("emp", "EMP:DE-DCB", &url);
        let client = EmpClient::builder()
            .environment(custom(&node.url))
            .config(ClientConfig { environment: custom(&node.url), ..config() });
        let emp = client.provider_id(PROVIDER.parse().unwrap()).build().unwrap();
        let all = message(json!({ "ProviderID": PROVIDER }));
        until("the status by the hub", async || {
            let said = emp.pull_evse_status(&all).await.unwrap();
            valid("PullEvseStatus of what came by the hub", &said);
            said.records().any(|(_, record)| record.evse_status == EvseStatus::Occupied)
        })
        .await;
        let pull = message(json!({ "ProviderID": PROVIDER, "GeoCoordinatesResponseFormat": "Google" }));
        let page = emp.pull_evse_data_page(&pull, PageQuery::new()).await.unwrap();
        valid("PullEvseData of what came by the hub", &page);
        assert_eq!(page.total_elements, 1);
        self.verdicts.works("MockHubjectServer as the hub of an EMP's node: data and status are pulled");
        self.verdicts.cannot(
            "MockHubjectServer for reservations, pricing, GetChargeDetailRecords, PushAuthenticationData, \
             remote starts of a partner over HTTP",
            "its server has no route for them",
        );
        server.stop().await;
    }

    async fn hub_of_a_cpo(&mut self, server: &MockHubjectServer, cpo: &CpoClient) {
        let hub = server.hubject();
        let said =
            cpo.push_evse_data_full_load(vec![samples::evse_data_record(EVSE)], "ABC technologies").await;
        self.acknowledged("PushEvseData to a node with a hub", said);
        until("the data at the hub", async || hub.evse_count() == 1).await;
        let occupied = json!([{ "EvseID": EVSE, "EvseStatus": "Occupied" }]);
        let push = message(json!({ "ActionType": "fullLoad", "OperatorEvseStatus": { "OperatorID": "DE*ABC",
            "OperatorName": "ABC technologies", "EvseStatusRecord": occupied } }));
        self.acknowledged("PushEvseStatus to a node with a hub", cpo.push_evse_status(&push).await);
        until("the status at the hub", async || hub.status_of(&EVSE.parse().unwrap()).is_some()).await;
        self.verdicts.works("MockHubjectServer as the hub of a CPO's node: data and status are pushed");

        let said = cpo.authorize_start(&samples::authorize_start_request(EVSE)).await.unwrap();
        assert!(said.is_authorized(), "{said:?}");
        valid("AuthorizeStart over the hub", &said);
        let session = said.session_id.unwrap();
        let started = json!({ "Type": "Start", "SessionID": session.as_str(), "OperatorID": "DE*ABC",
            "EvseID": EVSE, "ChargingStart": minutes_ago(29) });
        let said = cpo.send_charging_notification(&message(started)).await;
        self.acknowledged("ChargingNotification over the hub", said);
        assert_eq!(hub.notifications().len(), 1);
        let stop = samples::authorize_stop_request(EVSE, session.clone());
        valid("AuthorizeStop over the hub", &cpo.authorize_stop(&stop).await.unwrap());
        assert!(hub.sessions().iter().all(|session| session.stopped), "{:?}", hub.sessions());
        let said = cpo.send_charge_detail_record(&message(Stage::cdr(&session, None))).await;
        self.acknowledged("ChargeDetailRecord over the hub", said);
        until("the record at the hub", async || hub.cdrs().len() == 1).await;
        self.verdicts.works(
            "MockHubjectServer as the hub of a CPO's node: AuthorizeStart and Stop, notification, record",
        );
    }
}
