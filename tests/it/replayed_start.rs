//! A remote start in the wrong hands, over real sockets: resent by who stole the sender's node key, also after a restart
//! of the receiver; brought by another node; without its signature. The operator's backend charges once.

use std::time::Duration;

use bytes::Bytes;
use chargemesh::backend::{Backend, Config, Kind, Operation};
use chargemesh::engine::SystemClock;
use chargemesh::identity::{Chain, Envelope, MessageId, PartyId, Registry, Speaker, TrustContext};
use chargemesh::mesh::{self, RequestId};
use chargemesh::node::Node;
use chargemesh::outbound::BackendTarget;
use chargemesh::protocol::{Answer, Question, SessionMessage, SessionOperation};
use chargemesh::roaming::{Policy, Replicate, Rule, Whom};

use crate::attacker::Attacker;
use crate::support::{NETWORK, Plan, World, message_key, runtime, unix_s};

const CPO: &str = "CPO:CHABC";
const EMP: &str = "EMP:DEEMP";

/// The operator's node: the provider may start its EVSEs.
fn operator(dir: &std::path::Path, backend: &Backend) -> Plan {
    let mut plan = Plan::new("cpo", Some(CPO), dir);
    let whom = Whom { party: Some(PartyId::parse(EMP).unwrap()), ..Whom::default() };
    plan.settings.policy = Policy { rules: vec![Rule { whom, services: Default::default(), allow: true }] };
    // So that it listens to every topic: the attacker waits for that.
    plan.settings.replication.replicate = Replicate::All;
    plan.settings.outbound.backends = vec![BackendTarget {
        party: CPO.to_owned(),
        url: backend.url(),
        notifications: true,
        ..BackendTarget::default()
    }];
    plan
}

/// A start as the provider's node signs it for the operator's.
fn start(world: &World, chain: &Chain, emp: &Plan, cpo: &Node, number: u8) -> Bytes {
    let (trust, registry) = (world.trust(), Registry::empty());
    let context = TrustContext { network: NETWORK, trust: &trust, registry: &registry, at_unix_s: unix_s() };
    let speaker: Speaker = chain.verify(&context).unwrap();
    let session = format!("7bca5b5d-0e5c-4b2f-9d1c-2f5a3a9c1e{number:02}");
    let oicp = format!(
        r#"{{"SessionID":"{session}","ProviderID":"DE-EMP","EvseID":"CH*ABC*E1","Identification":{{"RemoteIdentification":{{"EvcoID":"DE-EMP-C12345678-X"}}}}}}"#
    );
    let operation = SessionOperation::RemoteStart;
    let message = SessionMessage::Ask { session, operation, budget_ms: 10_000, oicp: oicp.into() };
    let created_unix_ms = unix_s() * 1_000;
    let envelope = Envelope {
        id: MessageId([number; 16]),
        to: PartyId::parse(CPO).unwrap(),
        node: mesh::node_from_text(cpo.peer_id()).unwrap().as_bytes().to_vec(),
        reply_to: None,
        created_unix_ms,
        expires_unix_ms: created_unix_ms + 600_000,
        body: message.encode(),
    };
    envelope.issue(NETWORK, &speaker, &message_key(emp, 1)).unwrap().into()
}

/// Asks the node something and waits for the answer.
async fn ask(attacker: &mut Attacker, node: &Node, question: Question) -> Answer {
    let before = attacker.seen().answers.len();
    let node = mesh::node_from_text(node.peer_id()).unwrap();
    let (number, patience) = (before as u64 + 1, Duration::from_secs(20));
    attacker.mesh.try_ask(node, RequestId(number), question.encode(), patience).unwrap();
    let seen = attacker.until("an answer", |seen| seen.answers.len() > before).await;
    Answer::decode(&seen.answers[before]).unwrap()
}

/// Who has the provider's node key speaks as its node.
async fn as_the_providers_node(cpo: &Node, chain: &Chain) -> Attacker {
    let mut thief = Attacker::join("emp", cpo).await;
    let introduced = ask(&mut thief, cpo, Question::Introduce(vec![chain.clone()])).await;
    assert!(matches!(introduced, Answer::Chains(_)), "{introduced:?}");
    thief
}

fn started(backend: &Backend) -> usize {
    backend.received().iter().filter(|received| received.operation == Operation::RemoteStart).count()
}

#[test]
fn a_stolen_start_charges_once_whatever_is_done_with_it() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let world = World::new();
        let backend = Backend::start(Config::new(Kind::Cpo, SystemClock::start())).await.unwrap();
        let plan = operator(dir.path(), &backend);
        let emp = Plan::new("emp", Some(EMP), dir.path());
        let chain = world.chain(&emp, &PartyId::parse(EMP).unwrap(), 1);
        let cpo = world.start(&plan).await;
        let envelope = start(&world, &chain, &emp, &cpo, 1);
        let message = Question::Message(envelope.clone());

        // Before it was ever sent: by another node, which shows the provider's chain, and without its signature.
        let mut other = Attacker::join("other", &cpo).await;
        ask(&mut other, &cpo, Question::Introduce(vec![chain.clone()])).await;
        assert_eq!(ask(&mut other, &cpo, message.clone()).await, Answer::WhoAreYou);
        let mut thief = as_the_providers_node(&cpo, &chain).await;
        assert_eq!(ask(&mut other, &cpo, message.clone()).await, Answer::NotFound, "now the sender is known");
        let unsigned = [&envelope[..envelope.len() - 66], &[0x40]].concat();
        assert_eq!(ask(&mut thief, &cpo, Question::Message(unsigned.into())).await, Answer::NotFound);
        assert_eq!(started(&backend), 0);

        // It is good: the backend charges. Sent again, the answer is the same and the backend hears nothing.
        for _ in 0..3 {
            let answer = ask(&mut thief, &cpo, message.clone()).await;
            assert!(matches!(answer, Answer::Message(_)), "{answer:?}");
            assert_eq!(started(&backend), 1);
        }
        for attacker in [thief, other] {
            attacker.mesh.shutdown().await;
        }
        cpo.shutdown().await;

        let cpo = world.start(&plan).await;
        let mut thief = as_the_providers_node(&cpo, &chain).await;
        let answer = ask(&mut thief, &cpo, message).await;
        assert!(matches!(answer, Answer::Message(_)), "{answer:?}");
        assert_eq!(started(&backend), 1, "after a restart");
        let another = start(&world, &chain, &emp, &cpo, 2);
        ask(&mut thief, &cpo, Question::Message(another)).await;
        assert_eq!(started(&backend), 2, "a new one still works");
        thief.mesh.shutdown().await;
        cpo.shutdown().await;
        backend.stop().await;
    });
}
