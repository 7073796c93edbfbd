//! Two nodes and a hub between them that is played: what goes through it, what goes around it, and what is left when it
//! gives up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use chargemesh::backend::{Kind, Operation};
use chargemesh::facade::{ApiKey, BackendConfig};
use chargemesh::hub::HubConfig;
use chargemesh::oicp::reading::Reading;
use serde_json::{Value, json};

use super::cdr::{cdr, cdrs_of};
use super::stage::{
    AUTHORIZE_START, CPO, EMP, REMOTE_START, REMOTE_STOP, Stage, notification, remote_start, remote_stop,
};
use crate::support::{PATIENCE, http_client, runtime};

const HUB_KEY: &str = "key-of-the-central-hub";
const OWN_KEY: &str = "key-of-our-own-backend";
const CDR: &str = "/api/oicp/cdrmgmt/v22/operators/CH*ABC/charge-detail-record";
const NOTIFICATION: &str = "/api/oicp/notificationmgmt/v11/charging-notifications";
const CARD: &str = r#"{"OperatorID":"CH*ABC","EvseID":"CH*ABC*E1","Identification":{"RFIDMifareFamilyIdentification":{"UID":"04A2B3C4D5E6F7"}}}"#;

/// A hub that knows one CPO and one EMP.
#[derive(Default)]
struct Hub {
    cpo: String,
    emp: String,
    /// Sessions, and whether their record has come.
    sessions: BTreeMap<String, bool>,
    heard: Vec<String>,
    /// It forgets each session that it is asked to begin, before the operator answers.
    gives_up: bool,
}

type Shared = Arc<Mutex<Hub>>;

#[allow(clippy::disallowed_methods, reason = "a test is no part of a node")]
async fn play() -> (Shared, String) {
    let hub = Shared::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(serve).with_state(hub.clone());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (hub, url)
}

async fn serve(State(hub): State<Shared>, uri: Uri, body: String) -> Response {
    let path = uri.path().to_owned();
    let mut message: Value = serde_json::from_str(&body).unwrap();
    let begins = path.ends_with("/start") || path.ends_with("/reservation-start-request");
    let (to, known, gives_up) = {
        let mut hub = hub.lock().unwrap();
        hub.heard.push(path.clone());
        if begins {
            let session = format!("0e5c4b2f-1111-4b2f-9d1c-{:012x}", hub.sessions.len() + 1);
            message["SessionID"] = session.clone().into();
            hub.sessions.insert(session, false);
        }
        let session = message["SessionID"].as_str().unwrap_or_default().to_owned();
        let known = hub.sessions.get(&session).copied();
        if path == CDR {
            hub.sessions.insert(session.clone(), true);
        }
        if begins && hub.gives_up {
            hub.sessions.remove(&session);
        }
        let to = if path.contains("/providers/") { hub.cpo.clone() } else { hub.emp.clone() };
        (to, known, begins && hub.gives_up)
    };
    let refused = |description: &str| {
        let body = json!({ "StatusCode": { "Code": "400", "Description": description } });
        (StatusCode::NOT_FOUND, body.to_string()).into_response()
    };
    match known {
        None => return refused("Session is not valid"),
        Some(true) => return refused("Session found but status is not valid CLOSED!"),
        Some(false) => {}
    }
    let asking = ask(to, path.clone(), if begins { message.to_string() } else { body });
    if gives_up {
        #[allow(clippy::disallowed_methods, reason = "a test is no part of a node")]
        tokio::spawn(asking);
        let body = json!({ "Result": false, "StatusCode": { "Code": "310", "Description": "timeout" } });
        return (StatusCode::OK, body.to_string()).into_response();
    }
    let answer = asking.await;
    (StatusCode::OK, answer).into_response()
}

async fn ask(to: String, path: String, body: String) -> String {
    let client = http_client();
    let request = client.post(format!("{to}{path}")).basic_auth("hub", Some(HUB_KEY));
    let answer = request.header("content-type", "application/json").body(body).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200, "a partner answers the hub with HTTP 200");
    answer.text().await.unwrap()
}

/// A path under the key of the side's own backend.
fn own(path: &str) -> String {
    format!("/k/{OWN_KEY}{path}")
}

fn key(text: &str) -> Option<ApiKey> {
    Some(ApiKey::new(text))
}

/// Both sides are partners of the hub, and know nothing of each other.
async fn apart() -> (Stage, Shared) {
    let (hub, url) = play().await;
    let mut stage = Stage::empty(|kind, plan| {
        let party = if kind == Kind::Cpo { CPO } else { EMP };
        plan.settings.hub =
            HubConfig { url: url.clone(), parties: vec![party.to_owned()], ..HubConfig::default() };
        plan.settings.facade.as_mut().unwrap().backends = vec![
            BackendConfig { key: key(OWN_KEY), parties: vec![party.to_owned()], ..BackendConfig::default() },
            BackendConfig { key: key(HUB_KEY), hub: true, reading: Reading::Strict, ..Default::default() },
        ];
    })
    .await;
    stage.start_knowing(Kind::Cpo, String::new()).await;
    stage.start_knowing(Kind::Emp, String::new()).await;
    let mut known = hub.lock().unwrap();
    (known.cpo, known.emp) = (stage.url(Kind::Cpo).to_owned(), stage.url(Kind::Emp).to_owned());
    drop(known);
    (stage, hub)
}

/// Waits until a side's one record of a session is as the test wants it.
#[allow(clippy::disallowed_methods, reason = "a test lives in real time")]
async fn record(stage: &Stage, kind: Kind, session: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let cdrs = cdrs_of(stage, kind, session).await;
        if let [cdr] = cdrs.as_slice()
            && wanted(cdr)
        {
            return cdr.clone();
        }
        assert!(Instant::now() < end, "waited in vain: {cdrs:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until a side's backend got so many requests of an operation.
#[allow(clippy::disallowed_methods, reason = "a test lives in real time")]
async fn got(stage: &Stage, kind: Kind, operation: Operation, count: usize) {
    let end = Instant::now() + PATIENCE;
    let side = if kind == Kind::Cpo { &stage.cpo } else { &stage.emp };
    while side.got(operation).len() < count {
        assert!(Instant::now() < end, "{operation} never came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn parties_that_only_the_hub_joins_charge_and_settle_through_it() {
    runtime().block_on(async {
        let (stage, hub) = apart().await;
        let session = stage.emp_calls(&own(REMOTE_START), remote_start("CH*ABC*E1")).await.yes();
        assert!(hub.lock().unwrap().sessions.contains_key(&session), "it is the hub's SessionID");
        let asked = stage.cpo.got(Operation::RemoteStart);
        assert_eq!(asked.len(), 1);
        let body: Value = serde_json::from_slice(&asked[0].body).unwrap();
        assert_eq!((&body["SessionID"], &body["x-own"]["price"]), (&json!(session), &json!(1.5)));
        let told = stage.cpo_calls(&own(NOTIFICATION), notification("Start", "CH*ABC", &session)).await;
        assert_eq!(told.code(), (200, "000".to_owned()), "{told:?}");
        assert_eq!(stage.emp.got(Operation::Notification).len(), 1);
        let stopped = stage.emp_calls(&own(REMOTE_STOP), remote_stop(&session)).await;
        assert_eq!(stopped.code(), (200, "000".to_owned()), "{stopped:?}");
        let taken = stage.cpo_calls(&own(CDR), cdr(&session, "10.10")).await;
        assert_eq!(taken.code(), (200, "000".to_owned()), "{taken:?}");
        let sent = record(&stage, Kind::Cpo, &session, |cdr| cdr["is_open"] == false).await;
        assert_eq!(sent["state"], "kept", "the hub stored it, and says no more");
        let came = record(&stage, Kind::Emp, &session, |cdr| cdr["state"] == "accepted").await;
        assert_eq!((&came["attested"], &came["way"]), (&json!("bridge-attested"), &json!("hub")));
        assert_eq!((&came["receipts"], &came["oicp"]), (&json!([]), &json!(cdr(&session, "10.10"))));
        got(&stage, Kind::Emp, Operation::ChargeDetailRecord, 1).await;
        for kind in [Kind::Cpo, Kind::Emp] {
            let list = stage.admin(kind, "sessions").await;
            let of = |view: &&Value| view["session"] == session.as_str();
            let view = list["sessions"].as_array().unwrap().iter().find(of).unwrap().clone();
            assert_eq!((&view["phase"], &view["attested"]), (&json!("closed"), &json!("bridge-attested")));
            let view = stage.admin(kind, "view").await;
            let counted = view["messages"][0].clone();
            assert_eq!(counted["direct"], 0, "{counted}");
            assert!(counted["hub"].as_u64().unwrap() >= 3, "{counted}");
            // Nobody signed anything, so there is no evidence of it.
            let evidence = stage.admin_text(kind, &format!("evidence/{session}")).await;
            assert!(!evidence.contains("CH*ABC*E1"), "{evidence}");
        }
        // A card, asked by the CPO.
        let answer = stage.cpo_calls(&own(AUTHORIZE_START), CARD.to_owned()).await;
        assert_eq!(answer.json()["AuthorizationStatus"], "Authorized", "{answer:?}");
        assert_eq!(answer.json()["ProviderID"], "DE-EMP");
        stage.end().await;
    });
}

#[test]
fn a_reservation_goes_through_the_hub_and_is_given_back_there() {
    runtime().block_on(async {
        let (stage, hub) = apart().await;
        let reservation = "/api/oicp/reservation/v11/providers/DE-EMP/reservation";
        let [start, stop] = ["start", "stop"].map(|step| own(&format!("{reservation}-{step}-request")));
        let body = remote_start("CH*ABC*E1").replacen('{', r#"{"Duration":15,"#, 1);
        let session = stage.emp_calls(&start, body).await.yes();
        assert!(hub.lock().unwrap().sessions.contains_key(&session), "it is the hub's SessionID");
        let asked = stage.cpo.got(Operation::ReservationStart);
        assert_eq!(asked.len(), 1);
        let body: Value = serde_json::from_slice(&asked[0].body).unwrap();
        assert_eq!((&body["SessionID"], &body["Duration"]), (&json!(session), &json!(15)));
        let charging = stage.emp_calls(&own(REMOTE_STOP), remote_stop(&session)).await;
        assert_eq!(charging.code(), (404, "400".to_owned()), "a stop of charging does not end it");
        assert_eq!(stage.emp_calls(&stop, remote_stop(&session)).await.yes(), session);
        let given_back = stage.cpo.got(Operation::ReservationStop);
        assert_eq!(given_back.len(), 1);
        let body: Value = serde_json::from_slice(&given_back[0].body).unwrap();
        assert_eq!(body["SessionID"], json!(session));
        for kind in [Kind::Cpo, Kind::Emp] {
            let list = stage.admin(kind, "sessions").await;
            assert_eq!(list["sessions"][0]["attested"], json!("bridge-attested"), "{list}");
        }
        stage.end().await;
    });
}

#[test]
fn the_hub_may_only_speak_about_sessions_and_its_key_opens_nothing_else() {
    runtime().block_on(async {
        let (stage, _hub) = apart().await;
        let of_hub = |path: &str| format!("/k/{HUB_KEY}{path}");
        let push = "/api/oicp/evsepush/v23/operators/CH*ABC/data-records";
        let pull = "/api/oicp/evsepull/v21/providers/DE-EMP/status-records";
        assert_eq!(stage.cpo_calls(&of_hub(push), "{}".to_owned()).await.code(), (401, "017".to_owned()));
        assert_eq!(stage.emp_calls(&of_hub(pull), "{}".to_owned()).await.code(), (401, "017".to_owned()));
        let unknown = "7bca5b5d-0e5c-4b2f-9d1c-2f5a3a9c1e11";
        let taken = stage.emp_calls(&of_hub(CDR), cdr(unknown, "10.10")).await;
        assert_eq!(taken.code(), (200, "400".to_owned()), "{taken:?}");
        let garbage = stage.cpo_calls(&of_hub(REMOTE_START), "{}".to_owned()).await;
        assert_eq!(garbage.code(), (200, "022".to_owned()), "{garbage:?}");
        let other = "/api/oicp/charging/v21/providers/FR-XYZ/authorize-remote/start";
        let differ = stage.cpo_calls(&of_hub(other), remote_start("CH*ABC*E1")).await;
        assert_eq!(differ.code(), (200, "022".to_owned()), "{differ:?}");
        // Our own backend is none of the hub.
        let foreign = stage.cpo_calls(&own(other), remote_start("CH*ABC*E1")).await;
        assert_eq!(foreign.code(), (401, "017".to_owned()));
        stage.end().await;
    });
}

#[test]
fn a_start_that_the_hub_gave_up_goes_on_and_its_record_goes_directly() {
    runtime().block_on(async {
        let (mut stage, hub) = apart().await;
        hub.lock().unwrap().gives_up = true;
        let heard = stage.emp_calls(&own(REMOTE_START), remote_start("CH*ABC*E1")).await;
        assert_eq!(heard.code(), (200, "310".to_owned()), "{heard:?}");
        got(&stage, Kind::Cpo, Operation::RemoteStart, 1).await;
        let asked = stage.cpo.got(Operation::RemoteStart);
        let session = asked[0].session.clone().unwrap();
        // The EMP's node finds the CPO's.
        stage.emp.stop().await;
        stage.start(Kind::Emp).await;
        stage.connected().await;
        let taken = stage.cpo_calls(&own(CDR), cdr(&session, "10.10")).await;
        assert_eq!(taken.code(), (200, "000".to_owned()), "{taken:?}");
        let sent = record(&stage, Kind::Cpo, &session, |cdr| cdr["state"] == "accepted").await;
        assert_eq!((&sent["way"], &sent["attested"]), (&json!("direct"), &json!("party-signed")));
        record(&stage, Kind::Emp, &session, |cdr| cdr["state"] == "accepted").await;
        assert!(hub.lock().unwrap().heard.iter().any(|path| path == CDR), "the hub was asked first");
        assert_eq!(stage.emp.got(Operation::ChargeDetailRecord).len(), 1);
        stage.end().await;
    });
}

#[test]
fn connected_partners_need_no_hub_and_without_one_nothing_changes() {
    runtime().block_on(async {
        // Nothing listens at the hub's address.
        let stage = Stage::with(|kind, plan| {
            let party = if kind == Kind::Cpo { CPO } else { EMP };
            let url = "http://127.0.0.1:9".to_owned();
            plan.settings.hub = HubConfig { url, parties: vec![party.to_owned()], ..HubConfig::default() };
        })
        .await;
        let session = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await.yes();
        assert_eq!(stage.cpo_calls(CDR, cdr(&session, "10.10")).await.code(), (200, "000".to_owned()));
        let sent = record(&stage, Kind::Cpo, &session, |cdr| cdr["state"] == "accepted").await;
        assert_eq!(sent["attested"], "party-signed");
        let answer = stage.cpo_calls(AUTHORIZE_START, CARD.to_owned()).await;
        assert_eq!(answer.json()["AuthorizationStatus"], "Authorized", "{answer:?}");
        // An EVSE that only the hub could know: it is told at once that it cannot be reached.
        let foreign = stage.emp_calls(REMOTE_START, remote_start("FR*XYZ*E1")).await;
        assert_eq!(foreign.code(), (200, "310".to_owned()));
        assert!(foreign.took < Duration::from_secs(4), "{foreign:?}");
        stage.end().await;
    });
}
