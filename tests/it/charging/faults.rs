//! Backends that fail, partners that are away, and messages that should not have been sent.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chargemesh::backend::{Kind, Operation};
use chargemesh::facade::ApiKey;
use chargemesh::outbound::BackendClient;

use super::stage::{
    AUTHORIZE_START, NOTIFICATION, REMOTE_START, REMOTE_STOP, Stage, notification, remote_start, remote_stop,
};
use crate::support::runtime;

/// Of a caller that may act for several CPOs.
const KEY: &str = "0123456789abcdef0123456789abcdef";
const UNKNOWN_SESSION: &str = "f98efba4-02d8-4fa0-b810-9a9d50d2c527";

#[test]
fn a_backend_that_says_nothing_leaves_it_unconfirmed_until_a_notification_comes() {
    runtime().block_on(async {
        let stage = Stage::new().await;
        stage.cpo.behave("silent");
        let answer = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await;
        assert_eq!(answer.code(), (200, "310".to_owned()));
        assert!((1_400..2_300).contains(&answer.took.as_millis()), "{answer:?}");
        assert_eq!(stage.phases().await, ["unconfirmed"]);
        let session = stage.cpo.next().await.session.unwrap();
        let answer = stage.cpo_calls(NOTIFICATION, notification("Start", "CH*ABC", &session)).await;
        assert_eq!(answer.yes(), session);
        assert_eq!(stage.phases().await, ["active"]);
        assert_eq!(stage.cpo.got(Operation::RemoteStart).len(), 1);
        stage.end().await;
    });
}

#[test]
fn an_answer_that_is_none_leaves_it_unconfirmed_at_once() {
    runtime().block_on(async {
        let stage = Stage::new().await;
        for (number, behaviour) in
            ["garbage", "http=500", "http=503", "die", "http=301"].into_iter().enumerate()
        {
            stage.cpo.behave(behaviour);
            let evse = format!("CH*ABC*E{number}");
            let answer = stage.emp_calls(REMOTE_START, remote_start(&evse)).await;
            assert_eq!(answer.code(), (200, "310".to_owned()), "{behaviour}");
            assert!(answer.took < Duration::from_millis(1_000), "{behaviour}: {answer:?}");
            assert_eq!(answer.json()["Result"], false);
            assert_eq!(stage.phases().await, vec!["unconfirmed"; number + 1], "{behaviour}");
        }
        assert_eq!(stage.cpo.got(Operation::RemoteStart).len(), 5);
        stage.end().await;
    });
}

#[test]
fn a_backend_that_is_off_is_known_at_once() {
    runtime().block_on(async {
        let mut stage = Stage::new().await;
        stage.cpo.stop_backend().await;
        let answer = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await;
        assert_eq!(answer.code(), (200, "310".to_owned()));
        assert!(answer.took < Duration::from_millis(1_000), "{answer:?}");
        assert_eq!(stage.phases().await, ["refused"]);
        stage.end().await;
    });
}

#[test]
fn a_backend_that_takes_tls_only_answers_nothing_that_can_be_read() {
    runtime().block_on(async {
        let tls = TlsOnly::start();
        let url = tls.url();
        let stage = Stage::with(|kind, plan| {
            if kind == Kind::Cpo {
                plan.settings.outbound.backends[0].url = url.clone();
            }
        })
        .await;
        let answer = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await;
        assert_eq!(answer.code(), (200, "310".to_owned()));
        assert!(answer.took < Duration::from_millis(1_000), "{answer:?}");
        // It has heard bytes: nobody can know what it made of them, and it is not asked again.
        assert_eq!(stage.phases().await, ["unconfirmed"]);
        assert_eq!(tls.asked(), 1);
        stage.end().await;
        let other = BackendClient::new(&url.replace("http:", "ftp:")).err().map(|error| error.to_string());
        assert!(other.is_some_and(|why| why.contains("neither http:// nor https://")));
    });
}

/// A server that speaks TLS: to a request in clear text it answers with an alert, and hangs up.
struct TlsOnly {
    port: u16,
    asked: Arc<AtomicUsize>,
}

impl TlsOnly {
    #[allow(clippy::disallowed_methods, reason = "a test is no part of a node")]
    fn start() -> TlsOnly {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let (port, asked) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let count = asked.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                if stream.read(&mut [0; 1_024]).is_ok_and(|read| read > 0) {
                    count.fetch_add(1, Ordering::Relaxed);
                    // fatal(2), protocol_version(70)
                    let _gone = stream.write_all(&[21, 3, 1, 0, 2, 2, 70]);
                }
            }
        });
        TlsOnly { port, asked }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

#[test]
fn a_partner_that_is_away_is_known_at_once() {
    runtime().block_on(async {
        let mut stage = Stage::new().await;
        stage.cpo.stop().await;
        let gone = |view: &serde_json::Value| view["partners"][0]["connected"] == false;
        stage.until(Kind::Emp, "the partner's end", gone).await;
        let answer = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await;
        assert!(["300", "310"].contains(&answer.code().1.as_str()), "{answer:?}");
        assert!(answer.took < Duration::from_millis(1_000), "{answer:?}");
        stage.start(Kind::Cpo).await;
        stage.connected().await;
        assert!(stage.agreed().await.values().all(|phase| phase == "refused"));
        assert!(stage.cpo.backend().received().is_empty());
        stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await.yes();
        stage.end().await;
    });
}

#[test]
fn a_card_is_refused_in_time_whatever_the_provider_does() {
    let body = r#"{"OperatorID":"CH*ABC","EvseID":"CH*ABC*E1","Identification":{"RFIDMifareFamilyIdentification":{"UID":"04A2B3C4D5E6F7"}}}"#;
    runtime().block_on(async {
        let mut stage = Stage::new().await;
        for behaviour in ["silent", "garbage", "http=500", "die", "slow=3000"] {
            stage.emp.behave(behaviour);
            let answer = stage.cpo_calls(AUTHORIZE_START, body.to_owned()).await;
            assert_eq!(answer.code().0, 200, "{behaviour}");
            assert_eq!(answer.json()["AuthorizationStatus"], "NotAuthorized", "{behaviour}");
            assert!(answer.took < Duration::from_millis(2_300), "{behaviour}: {answer:?}");
        }
        let phases = stage.phases().await;
        assert!(phases.iter().all(|phase| phase == "refused"), "{phases:?}");
        stage.emp.stop_backend().await;
        let answer = stage.cpo_calls(AUTHORIZE_START, body.to_owned()).await;
        assert_eq!(answer.json()["AuthorizationStatus"], "NotAuthorized");
        assert!(answer.took < Duration::from_millis(1_000), "{answer:?}");
        assert!(stage.phases().await.iter().all(|phase| phase == "refused"));
        stage.end().await;
    });
}

#[test]
fn a_stop_that_gets_no_answer_changes_nothing_and_may_be_said_again() {
    runtime().block_on(async {
        let stage = Stage::new().await;
        let session = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await.yes();
        for behaviour in ["silent", "garbage", "die"] {
            stage.cpo.behave(behaviour);
            let answer = stage.emp_calls(REMOTE_STOP, remote_stop(&session)).await;
            assert_eq!(answer.code(), (200, "310".to_owned()), "{behaviour}");
            assert!(answer.took < Duration::from_millis(2_300), "{behaviour}: {answer:?}");
            assert_eq!(answer.json()["SessionID"], session.as_str());
        }
        stage.cpo.behave("answer");
        assert_eq!(stage.emp_calls(REMOTE_STOP, remote_stop(&session)).await.yes(), session);
        assert_eq!(stage.cpo.got(Operation::RemoteStop).len(), 4, "each call once");
        assert_eq!(stage.phases().await, ["active"]);
        stage.end().await;
    });
}

#[test]
fn notifications_of_foreign_and_closed_sessions_are_refused() {
    runtime().block_on(async {
        let also = |kind: Kind, plan: &mut crate::support::Plan| {
            if kind == Kind::Cpo {
                *plan = plan.clone().also("CPO:CHXYZ");
                let backends = plan.settings.facade.iter_mut().flat_map(|facade| &mut facade.backends);
                backends.for_each(|backend| backend.key = Some(ApiKey::new(KEY)));
            }
        };
        let stage = Stage::with(also).await;
        let session = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await.yes();
        stage.cpo.behave("refuse=602");
        drop(stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E2")).await);
        let over = stage.cpo.got(Operation::RemoteStart)[1].session.clone().unwrap();
        let path = format!("/k/{KEY}{NOTIFICATION}");
        for (why, operator, session) in [
            ("never heard of", "CH*ABC", UNKNOWN_SESSION),
            ("another party's", "CH*XYZ", session.as_str()),
            ("over", "CH*ABC", over.as_str()),
        ] {
            for kind in ["Start", "Progress", "End", "Error"] {
                let answer = stage.cpo_calls(&path, notification(kind, operator, session)).await;
                assert_eq!(answer.code(), (404, "400".to_owned()), "{why}, {kind}");
            }
        }
        assert!(stage.emp.backend().received().is_empty());
        stage.end().await;
    });
}

#[test]
fn progress_that_comes_too_often_is_refused() {
    runtime().block_on(async {
        let stage = Stage::with(|_, plan| plan.settings.charging.progress_every_s = 2).await;
        let session = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await.yes();
        let progress = || notification("Progress", "CH*ABC", &session);
        stage.cpo_calls(NOTIFICATION, progress()).await.yes();
        let answer = stage.cpo_calls(NOTIFICATION, progress()).await;
        assert_eq!((answer.http, &answer.json()["Result"]), (200, &false.into()));
        assert!(answer.body.contains("every 2 s"), "{answer:?}");
        stage.cpo_calls(NOTIFICATION, notification("End", "CH*ABC", &session)).await.yes();
        assert_eq!(stage.emp.backend().received().len(), 2);
        let mut ticks = tokio::time::interval(Duration::from_millis(200));
        let again = async {
            while stage.cpo_calls(NOTIFICATION, progress()).await.json()["Result"] == false {
                ticks.tick().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), again).await.expect("the time is over");
        stage.end().await;
    });
}
