//! A link between nodes that can be cut: a TCP proxy. What was under way on it is not lost with it.

#![allow(clippy::disallowed_methods, reason = "a test lives in real time")]

use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chargemesh::backend::{Kind, Operation};

use super::stage::{NOTIFICATION, REMOTE_START, REMOTE_STOP, Stage, notification, remote_start, remote_stop};
use crate::support::{Plan, runtime};

/// The link. Cut, it closes what is open, and is there again at once for who dials anew.
struct Link {
    port: u16,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Link {
    fn to(port: u16) -> Link {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let own = listener.local_addr().unwrap().port();
        let open: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let current = open.clone();
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    current.lock().unwrap().push(from.try_clone().unwrap());
                    std::thread::spawn(move || {
                        let _ended = std::io::copy(&mut from, &mut to);
                        let _gone = to.shutdown(Shutdown::Both);
                    });
                }
            }
        });
        Link { port: own, open }
    }

    fn cut(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _closed_already = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Both nodes, the EMP's behind the link.
async fn linked() -> (Stage, Link) {
    // Time to dial anew, on a busy machine as well.
    let patient = |_, plan: &mut Plan| {
        (plan.settings.charging.remote_ms, plan.settings.charging.notification_ms) = (8_000, 8_000);
    };
    let mut stage = Stage::empty(patient).await;
    stage.start(Kind::Cpo).await;
    let address = stage.cpo.mesh().to_owned();
    let (head, rest) = address.split_once("/tcp/").unwrap();
    let (port, peer) = rest.split_once('/').unwrap();
    let link = Link::to(port.parse().unwrap());
    stage.cpo.set_mesh(format!("{head}/tcp/{}/{peer}", link.port));
    stage.start(Kind::Emp).await;
    stage.connected().await;
    (stage, link)
}

#[test]
fn a_link_that_is_cut_and_heals_during_a_call_costs_time_and_nothing_else() {
    runtime().block_on(async {
        let (stage, link) = linked().await;
        stage.cpo.behave("slow=700");
        let mut calling = stage.begins(Kind::Emp, REMOTE_START, remote_start("CH*ABC*E1"));
        let session = stage.cpo.next_or(&mut calling).await.session.unwrap();
        link.cut();
        let answer = calling.await.unwrap().unwrap();
        assert_eq!(answer.yes(), session, "the answer comes over the next connection");
        assert_eq!(stage.phases().await, ["active"]);

        // A stop and a notification under way, too; neither is carried out twice.
        let mut stopping = stage.begins(Kind::Emp, REMOTE_STOP, remote_stop(&session));
        assert_eq!(stage.cpo.next_or(&mut stopping).await.operation, Operation::RemoteStop);
        link.cut();
        let answer = stopping.await.unwrap().unwrap();
        assert_eq!(answer.yes(), session, "{answer:?}");
        stage.emp.behave("slow=700");
        let mut telling = stage.begins(Kind::Cpo, NOTIFICATION, notification("End", "CH*ABC", &session));
        assert_eq!(stage.emp.next_or(&mut telling).await.operation, Operation::Notification);
        link.cut();
        let answer = telling.await.unwrap().unwrap();
        assert_eq!(answer.yes(), session, "{answer:?}");
        assert_eq!((stage.cpo.backend().received().len(), stage.emp.backend().received().len()), (2, 1));
        stage.end().await;
    });
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a test lives in real time")]
fn starts_on_a_link_that_is_cut_again_and_again_are_each_answered_once_and_in_time() {
    runtime().block_on(async {
        let (stage, link) = linked().await;
        stage.cpo.behave("slow=150");
        let mut calls = Vec::new();
        let mut ticks = tokio::time::interval(Duration::from_millis(60));
        let began = Instant::now();
        for number in 0..40 {
            ticks.tick().await;
            calls.push(stage.begins(Kind::Emp, REMOTE_START, remote_start(&format!("CH*ABC*E{number}"))));
            if number % 10 == 5 {
                link.cut();
            }
        }
        let mut yes = 0;
        for call in calls {
            let answer = call.await.unwrap().unwrap();
            assert!(answer.took < Duration::from_millis(8_500), "{answer:?}");
            yes += usize::from(answer.json()["Result"] == true);
        }
        let sessions = stage.agreed().await;
        println!("{yes} of 40 starts said yes in {:?}; {} sessions", began.elapsed(), sessions.len());
        // Nothing could be sent to a partner that was away: refused at once, and the driver tries again.
        assert!(yes >= 20, "{yes}");
        let active = sessions.values().filter(|phase| *phase == "active").count();
        assert_eq!(
            stage.cpo.got(Operation::RemoteStart).len(),
            active,
            "each call of the backend is a session"
        );
        assert!(active >= yes);
        stage.end().await;
    });
}
