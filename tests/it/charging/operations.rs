//! Every operation from one backend to the other: what arrives, and what comes back.

use chargemesh::backend::{Kind, Operation};
use chargemesh::outbound::ReservationPath;

use super::stage::{
    AUTHORIZE_START, NOTIFICATION, REMOTE_START, REMOTE_STOP, Stage, notification, remote_start, remote_stop,
};
use crate::support::{push_data, runtime, unix_s};

const AUTHORIZE_STOP: &str = "/api/oicp/charging/v21/operators/CH*ABC/authorize/stop";
const RESERVATION: &str = "/api/oicp/reservation/v11/providers/DE-EMP/reservation";
const RESERVATION_BY_CHARGING: &str = "/api/oicp/charging/v21/providers/DE-EMP/authorize-remote-reservation";

fn authorize_start(medium: &str) -> String {
    format!(
        r#"{{"OperatorID":"CH*ABC","EvseID":"CH*ABC*E1","CPOPartnerSessionID":"C-1","Identification":{{{medium}}},"x-own":1.50}}"#
    )
}

fn with_references(body: &str, cpo: &str, emp: &str) -> String {
    let both = format!(r#"{{"CPOPartnerSessionID":"{cpo}","EMPPartnerSessionID":"{emp}","#);
    body.replacen('{', &both, 1)
}

#[test]
fn a_remote_start_and_its_stop_arrive_as_they_were_said() {
    runtime().block_on(async {
        let stage = Stage::new().await;
        let answer = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await;
        let session = answer.yes();
        let json = answer.json();
        assert_eq!(json["EMPPartnerSessionID"], "E-7");
        let cpo_reference = json["CPOPartnerSessionID"].as_str().unwrap();
        assert!(cpo_reference.starts_with("CPO-"), "{answer:?}");
        let received = stage.cpo.next().await;
        assert_eq!((received.operation, received.path.as_str()), (Operation::RemoteStart, REMOTE_START));
        let expected =
            remote_start("CH*ABC*E1").replace(r#""SessionID":null"#, &format!(r#""SessionID":"{session}""#));
        assert_eq!(String::from_utf8_lossy(&received.body), expected);
        assert_eq!(stage.phases().await, ["active"]);

        let answer = stage.emp_calls(REMOTE_STOP, remote_stop(&session)).await;
        assert_eq!(answer.yes(), session);
        assert_eq!(answer.json()["EMPPartnerSessionID"], "E-7", "{answer:?}");
        let received = stage.cpo.next().await;
        assert_eq!((received.operation, received.path.as_str()), (Operation::RemoteStop, REMOTE_STOP));
        // Both references are added, whoever leaves them out (RULES 6).
        let expected = with_references(&remote_stop(&session), cpo_reference, "E-7");
        assert_eq!(String::from_utf8_lossy(&received.body), expected);
        assert_eq!(stage.cpo.backend().received().len(), 2);
        stage.end().await;
    });
}

#[test]
fn a_refusal_comes_back_as_the_operator_said_it() {
    runtime().block_on(async {
        let stage = Stage::new().await;
        stage.cpo.behave("refuse=602");
        let answer = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await;
        assert_eq!(answer.code(), (200, "602".to_owned()));
        assert!(answer.body.contains("as this backend was told to"), "{answer:?}");
        assert_eq!(answer.json()["Result"], false);
        let session = stage.cpo.next().await.session.unwrap();
        assert_eq!(stage.phases().await, ["refused"]);
        let stop = stage.emp_calls(REMOTE_STOP, remote_stop(&session)).await;
        assert_eq!(stop.code(), (404, "400".to_owned()));
        assert!(!stop.body.contains("Result"), "{stop:?}");
        stage.end().await;
    });
}

#[test]
fn reservations_go_to_either_path() {
    runtime().block_on(async {
        for (path, setting) in [
            (RESERVATION, ReservationPath::Reservation),
            (RESERVATION_BY_CHARGING, ReservationPath::Charging),
        ] {
            let stage =
                Stage::with(|_, plan| plan.settings.outbound.backends[0].reservation_path = setting).await;
            for facade in [RESERVATION, RESERVATION_BY_CHARGING] {
                let (start, stop) = match facade {
                    RESERVATION => (format!("{facade}-start-request"), format!("{facade}-stop-request")),
                    _ => (format!("{facade}/start"), format!("{facade}/stop")),
                };
                let body = remote_start("CH*ABC*E1").replacen('{', r#"{"Duration":15,"#, 1);
                let answer = stage.emp_calls(&start, body.clone()).await;
                let session = answer.yes();
                let cpo_reference = answer.json()["CPOPartnerSessionID"].as_str().unwrap().to_owned();
                let received = stage.cpo.next().await;
                assert_eq!(received.operation, Operation::ReservationStart);
                assert!(received.path.starts_with(path), "{received:?}");
                let expected = body.replace(r#""SessionID":null"#, &format!(r#""SessionID":"{session}""#));
                assert_eq!(String::from_utf8_lossy(&received.body), expected);
                // A stop of charging is not what ends a reservation.
                let stop_charging = stage.emp_calls(REMOTE_STOP, remote_stop(&session)).await;
                assert_eq!(stop_charging.code(), (404, "400".to_owned()));
                assert_eq!(stage.emp_calls(&stop, remote_stop(&session)).await.yes(), session);
                let received = stage.cpo.next().await;
                assert_eq!(received.operation, Operation::ReservationStop);
                assert!(received.path.starts_with(path), "{received:?}");
                let expected = with_references(&remote_stop(&session), &cpo_reference, "E-7");
                assert_eq!(String::from_utf8_lossy(&received.body), expected);
            }
            assert_eq!(stage.phases().await, ["active", "active"]);
            stage.end().await;
        }
    });
}

#[test]
fn a_card_is_authorized_and_stopped() {
    let card = r#""RFIDMifareFamilyIdentification":{"UID":"04a2b3c4d5e6f7"}"#;
    let contract = r#""PlugAndChargeIdentification":{"EvcoID":"DE-EMP-C12345678-X"}"#;
    runtime().block_on(async {
        let stage = Stage::new().await;
        for medium in [card, contract] {
            let answer = stage.cpo_calls(AUTHORIZE_START, authorize_start(medium)).await;
            let json = answer.json();
            assert_eq!(answer.code(), (200, "000".to_owned()));
            assert_eq!(json["AuthorizationStatus"], "Authorized");
            // Its node names an EMP that does not name itself; what it says itself stays as it is.
            assert_eq!(json["ProviderID"], if medium == card { "DE-EMP" } else { "DEEMP" });
            assert_eq!(json["CPOPartnerSessionID"], "C-1");
            assert!(
                json["EMPPartnerSessionID"].as_str().is_some_and(|id| id.starts_with("EMP-")),
                "{answer:?}"
            );
            let session = json["SessionID"].as_str().unwrap().to_owned();
            let received = stage.emp.next().await;
            let told = String::from_utf8_lossy(&received.body);
            assert_eq!(
                (received.operation, received.path.as_str()),
                (Operation::AuthorizeStart, AUTHORIZE_START)
            );
            // Media are upper-case (RULES 5).
            let expected = authorize_start(&medium.replace("04a2b3c4d5e6f7", "04A2B3C4D5E6F7")).replacen(
                '{',
                &format!(r#"{{"SessionID":"{session}","#),
                1,
            );
            assert_eq!(told, expected);

            let json_of_start = json;
            let stop = authorize_start(medium).replacen('{', &format!(r#"{{"SessionID":"{session}","#), 1);
            let answer = stage.cpo_calls(AUTHORIZE_STOP, stop.clone()).await;
            assert_eq!(answer.code(), (200, "000".to_owned()));
            let json = answer.json();
            assert_eq!(json["AuthorizationStatus"], "Authorized");
            // As the EMP said it: this one names itself only by a contract.
            let provider = if medium == contract { "DEEMP".into() } else { serde_json::Value::Null };
            assert_eq!(json["ProviderID"], provider, "{answer:?}");
            let received = stage.emp.next().await;
            assert_eq!(
                (received.operation, received.path.as_str()),
                (Operation::AuthorizeStop, AUTHORIZE_STOP)
            );
            let stop = stop.replace("04a2b3c4d5e6f7", "04A2B3C4D5E6F7");
            let emp_reference = json_of_start["EMPPartnerSessionID"].as_str().unwrap();
            let expected = stop.replacen('{', &format!(r#"{{"EMPPartnerSessionID":"{emp_reference}","#), 1);
            assert_eq!(String::from_utf8_lossy(&received.body), expected);
        }
        assert_eq!(stage.phases().await, ["active", "active"]);

        let unknown = r#"{"SessionID":"f98efba4-02d8-4fa0-b810-9a9d50d2c527","#;
        let stop = authorize_start(card).replacen('{', unknown, 1);
        assert_eq!(stage.cpo_calls(AUTHORIZE_STOP, stop).await.code(), (404, "400".to_owned()));

        stage.emp.behave("refuse=102");
        let answer = stage.cpo_calls(AUTHORIZE_START, authorize_start(card)).await;
        assert_eq!(answer.code(), (200, "102".to_owned()));
        assert_eq!(answer.json()["AuthorizationStatus"], "NotAuthorized");
        assert!(answer.body.contains(r#""SessionID":null"#), "{answer:?}");
        // What a contract names says itself why not.
        stage.emp.behave("refuse=121");
        let answer = stage.cpo_calls(AUTHORIZE_START, authorize_start(contract)).await;
        assert_eq!(answer.code(), (200, "121".to_owned()));
        assert_eq!(stage.phases().await.iter().filter(|phase| *phase == "refused").count(), 2);
        stage.end().await;
    });
}

/// Both sides have to mean the same driver.
#[test]
fn of_several_media_the_provider_hears_of_one() {
    let card = r#""RFIDMifareFamilyIdentification":{"UID":"04A2B3C4D5E6F7"}"#;
    runtime().block_on(async {
        let stage = Stage::new().await;
        let contract = r#""PlugAndChargeIdentification":{"EvcoID":"DE-EMP-C12345678-X"}"#;
        let answer =
            stage.cpo_calls(AUTHORIZE_START, authorize_start(&format!("{contract},{card}"))).await.json();
        assert_eq!(answer["AuthorizationStatus"], "Authorized");
        let session = answer["SessionID"].as_str().unwrap().to_owned();
        let received = stage.emp.next().await;
        let one = authorize_start(card).replacen('{', &format!(r#"{{"SessionID":"{session}","#), 1);
        assert_eq!(String::from_utf8_lossy(&received.body), one);
        stage.end().await;
    });
}

#[test]
fn notifications_arrive_as_they_were_said() {
    runtime().block_on(async {
        let stage = Stage::new().await;
        let answer = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await;
        let session = answer.yes();
        let json = answer.json();
        let cpo_reference = json["CPOPartnerSessionID"].as_str().unwrap();
        for kind in ["Start", "Progress", "End", "Error"] {
            let body = notification(kind, "CH*ABC", &session);
            let answer = stage.cpo_calls(NOTIFICATION, body.clone()).await;
            assert_eq!(answer.yes(), session, "{kind}");
            let received = stage.emp.next().await;
            assert_eq!((received.operation, received.path.as_str()), (Operation::Notification, NOTIFICATION));
            let expected = with_references(&body, cpo_reference, "E-7");
            assert_eq!(String::from_utf8_lossy(&received.body), expected);
        }
        stage.emp.behave("refuse=022");
        let answer = stage.cpo_calls(NOTIFICATION, notification("End", "CH*ABC", &session)).await;
        assert_eq!(answer.code(), (200, "022".to_owned()));
        assert_eq!(stage.phases().await, ["active"]);
        stage.end().await;

        let stage = Stage::with(|_, plan| plan.settings.outbound.backends[0].notifications = false).await;
        let session = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await.yes();
        let answer = stage.cpo_calls(NOTIFICATION, notification("Start", "CH*ABC", &session)).await;
        assert_eq!(answer.code(), (200, "320".to_owned()));
        assert_eq!(stage.emp.backend().received().len(), 0);
        stage.end().await;
    });
}

#[test]
fn who_may_not_and_what_is_not_there_is_refused_before_anybody_is_asked() {
    runtime().block_on(async {
        let stage = Stage::new().await;
        let body =
            String::from_utf8(push_data("fullLoad", "CH*ABC", &["CH*ABC*E1", "CH*ABC*E2"]).to_vec()).unwrap();
        let at = body.rfind(r#""IsHubjectCompatible":true"#).unwrap();
        let body = format!("{}{}", &body[..at], body[at..].replacen("true", "false", 1));
        let pushed = stage.cpo_calls("/api/oicp/evsepush/v23/operators/CH*ABC/data-records", body).await;
        assert_eq!(pushed.json()["Result"], true, "{pushed:?}");
        stage.until(Kind::Emp, "the records", |view| view["view_evses"] == 2).await;
        for (evse, http, code) in
            [("CH*ABC*E9", 200, "603"), ("CH*ABC*E2", 200, "604"), ("CH*XYZ*E1", 404, "300")]
        {
            let answer = stage.emp_calls(REMOTE_START, remote_start(evse)).await;
            assert_eq!(answer.code(), (http, code.to_owned()), "{evse}: {answer:?}");
        }
        let foreign = remote_start("CH*ABC*E1").replace("DE-EMP\"", "DE-XYZ\"");
        assert_eq!(stage.emp_calls(REMOTE_START, foreign).await.code(), (401, "017".to_owned()));
        let bad = stage.emp_calls(REMOTE_START, "{".to_owned()).await;
        assert!(bad.http == 400 && bad.body.contains("validationErrors"), "{bad:?}");
        assert_eq!(stage.cpo.backend().received().len(), 0);
        stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await.yes();
        stage.end().await;

        let stage = Stage::of_strangers().await;
        let answer = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await;
        assert_eq!((answer.code(), &answer.json()["Result"]), ((200, "210".to_owned()), &false.into()));
        let card = r#""RFIDMifareFamilyIdentification":{"UID":"04A2B3C4D5E6F7"}"#;
        let answer = stage.cpo_calls(AUTHORIZE_START, authorize_start(card)).await;
        assert_eq!(answer.code(), (200, "210".to_owned()));
        assert_eq!(answer.json()["AuthorizationStatus"], "NotAuthorized");
        assert!(stage.cpo.backend().received().is_empty() && stage.emp.backend().received().is_empty());
        assert!(stage.agreed().await.is_empty());

        // An agreement on authorization opens the one and not the other.
        let offer = format!(
            r#"{{"partner":"EMP:DE-EMP","services":["Authorization"],"valid_until_unix_s":{}}}"#,
            unix_s() + 86_400
        );
        assert_eq!(stage.cpo_calls("/admin/v1/agreements", offer).await.http, 200);
        let offered = |view: &serde_json::Value| !view["agreements"][0].is_null();
        let view = stage.until(Kind::Emp, "an offer", offered).await;
        let id = view["agreements"][0]["id"].as_str().unwrap();
        assert_eq!(
            stage.emp_calls(&format!("/admin/v1/agreements/{id}/accept"), String::new()).await.http,
            200
        );
        let agreed = |view: &serde_json::Value| view["agreements"][0]["state"] == "agreed";
        stage.until(Kind::Cpo, "the acceptance", agreed).await;
        stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await.yes();
        let reservation = format!("{RESERVATION}-start-request");
        let answer = stage.emp_calls(&reservation, remote_start("CH*ABC*E1")).await;
        assert_eq!(answer.code(), (200, "210".to_owned()));
        assert_eq!(stage.phases().await, ["active"]);
        stage.end().await;
    });
}
