//! Keys, delegations and trust lists change under load, in whole nodes and in the program itself.

use std::time::Duration;

use chargemesh::engine::NodeView;
use chargemesh::node::{Node, NodeError};
use chargemesh::outbound::HubClient;
use chargemesh::roaming::ReloadError;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::support::{PATIENCE, Plan, World, content, push_data, push_status, runtime, until, view};

/// Status pushes in all, and how many a second.
const PUSHES: usize = 1_200;
const PUSHES_PER_S: usize = 200;

/// Parties of the node; the pushes of one are done one after the other.
const PARTIES: [&str; 4] = ["CH*AAA", "CH*BBB", "CH*CCC", "CH*DDD"];

/// EVSEs of each.
const EVSES: usize = 10;

/// Of the one backend of all parties.
const KEY: &str = "0123456789abcdef0123456789abcdef";

const STATUSES: [&str; 3] = ["Available", "Occupied", "OutOfService"];

/// One push: to which party, which EVSE, what.
fn push_of(number: usize) -> (&'static str, String, &'static str) {
    let operator = PARTIES[number % PARTIES.len()];
    let turn = number / PARTIES.len();
    (operator, format!("{operator}*E{}", turn % EVSES), STATUSES[turn / EVSES % STATUSES.len()])
}

/// Sends all pushes at their pace, those of a party in order, and counts the 000.
async fn load(client: &HubClient) -> usize {
    let mut queues = Vec::new();
    let mut parties = JoinSet::new();
    for _ in PARTIES {
        let (queue, mut waiting) = tokio::sync::mpsc::channel::<usize>(PUSHES);
        queues.push(queue);
        let client = client.clone();
        parties.spawn(async move {
            let mut good = 0;
            while let Some(number) = waiting.recv().await {
                let (operator, evse, status) = push_of(number);
                let body = push_status("update", operator, &[(&evse, status)]);
                let answer = client.push_evse_status(operator, body).await.unwrap();
                assert!(answer.result, "push {number}: {answer:?}");
                good += 1;
            }
            good
        });
    }
    let mut pace = interval(Duration::from_secs(1) / u32::try_from(PUSHES_PER_S).unwrap());
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for number in 0..PUSHES {
        pace.tick().await;
        queues[number % PARTIES.len()].try_send(number).unwrap();
    }
    drop(queues);
    parties.join_all().await.into_iter().sum()
}

fn with_key(mut plan: Plan) -> Plan {
    for backend in plan.settings.facade.iter_mut().flat_map(|facade| &mut facade.backends) {
        backend.key = Some(chargemesh::facade::ApiKey::new(KEY));
    }
    plan
}

#[test]
fn keys_rotate_three_times_under_200_pushes_a_second_and_none_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let world = World::new();
        let emp_plan = Plan::new("emp", Some("EMP:DEEMP"), dir.path());
        let emp = world.start(&emp_plan).await;
        let plan = PARTIES[1..].iter().fold(
            Plan::new("cpo", Some("CPO:CHAAA"), dir.path()).bootstrap(emp.mesh_addresses()),
            |plan, party| plan.also(&format!("CPO:{}", party.replace('*', ""))),
        );
        let plan = with_key(plan);
        let cpo = world.start(&plan).await;
        let url = format!("http://{}", cpo.facade_address().unwrap());
        let client = HubClient::new(&url, Some(KEY)).unwrap();
        for operator in PARTIES {
            let ids: Vec<String> = (0..EVSES).map(|evse| format!("{operator}*E{evse}")).collect();
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            let pushed =
                client.push_evse_data(operator, push_data("fullLoad", operator, &ids)).await.unwrap();
            assert!(pushed.result, "{pushed:?}");
            let statuses: Vec<(&str, &str)> = ids.iter().map(|id| (*id, "Unknown")).collect();
            let statuses = push_status("fullLoad", operator, &statuses);
            assert!(client.push_evse_status(operator, statuses).await.unwrap().result);
        }
        let all = PARTIES.len() * EVSES;
        let is_all = |view: &NodeView| view.view_evses == all as u64 && view.view_statuses == all as u64;
        until(&emp, "data and statuses", is_all).await;

        let begun = Instant::now();
        let both = async { tokio::join!(load(&client), rotate(&world, &cpo, plan.clone())) };
        let (good, ()) = timeout(PATIENCE * 2, both).await.unwrap();
        println!("{PUSHES} pushes in {:?}", begun.elapsed());
        assert_eq!(good, PUSHES);

        let sent = content(&view(&cpo).await);
        let told = until(&emp, "all of it", |view| content(view) == sent).await;
        let changes: u64 = told.feeds.iter().filter(|feed| feed.kind == "status").map(|feed| feed.seq).sum();
        assert_eq!(changes, (PUSHES + all) as u64, "every push, each once");
        for node in [&emp, &cpo] {
            assert_eq!(view(node).await.records_refused, 0);
            assert!(node.mesh().blocked().await.unwrap().is_empty());
            let counts = node.mesh().counts().await.unwrap();
            println!("{counts:?}");
        }
        let own = view(&cpo).await;
        assert!(own.own.iter().all(|own| own.epoch == 4), "{:?}", own.own);
        assert_eq!(own.trust_list.seq, 2);
        cpo.shutdown().await;
        emp.shutdown().await;
    });
}

/// Three times other keys and delegations, once with another trust list, and what cannot be taken.
async fn rotate(world: &World, cpo: &Node, mut plan: Plan) {
    let rotations_end = PUSHES / PUSHES_PER_S;
    let wait = Duration::from_secs(rotations_end as u64) / 5;
    let mut trust = world.trust();
    for epoch in 2..=4 {
        sleep(wait).await;
        plan.epoch = epoch;
        if epoch == 3 {
            trust.seq = 2;
        }
        cpo.reload(world.identity(&plan, trust.clone()).unwrap()).await.unwrap();
    }
    sleep(wait).await;
    let mut older = world.identity(&plan, trust.clone()).unwrap();
    older.trust.seq = 1;
    let refused = cpo.reload(older).await.unwrap_err();
    assert!(matches!(refused, NodeError::Reload(ReloadError::TrustListOlder { .. })), "{refused}");
    plan.also.pop();
    let refused = cpo.reload(world.identity(&plan, trust).unwrap()).await.unwrap_err();
    assert!(refused.to_string().contains("restart"), "{refused}");
}
