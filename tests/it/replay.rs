//! Everything that a node once took is sent to it again after its restart, by gossip and over the exchange
//! streams: announcements, tombstone, rotation, the papers of an agreement. Nothing of it is news.

use std::time::Duration;

use bytes::Bytes;
use chargemesh::engine::NodeView;
use chargemesh::identity::{
    Agreement, AgreementEnd, AgreementTerms, Chain, Credential, Dead, PartyId, Registry, Rotation, Service,
    Speaker, Tombstone, TrustContext, hash_of,
};
use chargemesh::mesh::{self, RequestId};
use chargemesh::node::Node;
use chargemesh::protocol::{AgreementPapers, Answer, Kind, Question, Topic};

use crate::attacker::{Attacker, Pen};
use crate::support::{NETWORK, Plan, World, content, key, message_key, runtime, unix_s, until, view};

/// What was recorded, in the order in which it was sent first.
struct Recorded {
    gossip: Vec<(Topic, Bytes)>,
    papers: Vec<AgreementPapers>,
}

impl Recorded {
    /// Sends all of it, the oldest first or last.
    fn send(&self, attacker: &Attacker, victim: &Node, backwards: bool) {
        let mut gossip: Vec<_> = self.gossip.iter().collect();
        let mut papers: Vec<_> = self.papers.iter().collect();
        if backwards {
            gossip.reverse();
            papers.reverse();
        }
        for (topic, bytes) in gossip {
            attacker.gossip(*topic, bytes.clone());
        }
        for (number, papers) in papers.into_iter().enumerate() {
            ask(attacker, victim, number as u64 + 1, papers);
        }
    }
}

fn ask(attacker: &Attacker, victim: &Node, number: u64, papers: &AgreementPapers) {
    let victim = mesh::node_from_text(victim.peer_id()).unwrap();
    let question = Question::Agreement(Box::new(papers.clone()));
    attacker.mesh.try_ask(victim, RequestId(number), question.encode(), Duration::from_secs(10)).unwrap();
}

/// The papers of an agreement of the operator `owner` with the node's provider: offered, agreed, ended.
fn papers(world: &World, owner: &Pen, emp_plan: &Plan) -> [AgreementPapers; 3] {
    let emp = PartyId::parse("EMP:DEEMP").unwrap();
    let emp_chain = world.chain(emp_plan, &emp, 1);
    let emp_key = message_key(emp_plan, 1);
    let speaker = |chain: &Chain| -> Speaker {
        let (trust, registry) = (world.trust(), Registry::empty());
        let context =
            TrustContext { network: NETWORK, trust: &trust, registry: &registry, at_unix_s: unix_s() };
        chain.verify(&context).unwrap()
    };
    let (ours, theirs) = (speaker(&owner.chain), speaker(&emp_chain));
    let now = unix_s();
    let terms = AgreementTerms {
        offerer: ours.party().clone(),
        accepter: emp,
        services: [Service::Cdr].into(),
        valid_from_unix_s: now - 60,
        valid_until_unix_s: now + 86_400,
        created_unix_s: now,
        nonce: [7; 16],
    };
    let offer = terms.offer(NETWORK, &ours, &owner.key).unwrap();
    let accepted = Agreement::accept(NETWORK, &offer, &ours, &theirs, &emp_key, now).unwrap();
    let end = AgreementEnd { agreement: hash_of(&offer), created_unix_s: now };
    let end = end.issue(NETWORK, &terms, &ours, &owner.key).unwrap();
    let offered =
        AgreementPapers { signed: offer.into(), offerer: owner.chain.clone(), accepter: None, end: None };
    let agreed = AgreementPapers { signed: accepted.into(), accepter: Some(emp_chain), ..offered.clone() };
    let ended = AgreementPapers { end: Some((end.into(), owner.chain.clone())), ..agreed.clone() };
    [offered, agreed, ended]
}

/// A credential with a committed next key, the rotation to that key, and the tombstone of a delegation.
fn identity_objects() -> [Bytes; 3] {
    let (org, next) = (key("org rotating"), key("next rotating"));
    let now = unix_s();
    let terms = chargemesh::identity::CredentialTerms {
        party: PartyId::parse("CPO:CHROT").unwrap(),
        sub_ids: Vec::new(),
        legal_name: "Rotating AG".to_owned(),
        register_number: String::new(),
        org_key: org.public(),
        next_org_key_hash: Some(hash_of(next.public().as_bytes())),
        not_before_unix_s: now - 3_600,
        expires_unix_s: now + 86_400,
        serial: vec![2],
    };
    let credential = Credential::issue(NETWORK, &terms, "test", &key("issuer")).unwrap();
    let rotation = Rotation::issue(NETWORK, &credential, &org, &next, now).unwrap();
    let dead = Dead::Delegation([9; 32]);
    let tombstone = Tombstone::issue(NETWORK, &credential, dead, 1, now, "test", &org).unwrap();
    [credential.into(), rotation.into(), tombstone.into()]
}

/// A feed as far as it is content.
type Content = (String, &'static str, u64, String);

/// What a node knows, as far as a replay could change it.
async fn knowledge(node: &Node) -> (Vec<Content>, String, u64, Vec<String>) {
    let view = view(node).await;
    let trust = node.engine().unwrap().trust().await.unwrap();
    (content(&view), trust.root, trust.objects, states(&view))
}

fn states(view: &NodeView) -> Vec<String> {
    view.agreements.iter().map(|agreement| format!("{} {}", agreement.id, agreement.state)).collect()
}

/// Lets the node take everything for the first time.
async fn record(world: &World, emp_plan: &Plan, emp: &Node, owner: &mut Pen) -> Recorded {
    let attacker = Attacker::join("first", emp).await;
    attacker.say(|script| script.chains.push(owner.chain.clone()));
    let mut gossip = Vec::new();
    for (number, evse) in ["CH*ABC*E1", "CH*ABC*E2"].into_iter().enumerate() {
        let bytes = owner.write(&[evse]).encode();
        attacker.gossip(Topic::Data, bytes.clone());
        gossip.push((Topic::Data, bytes));
        until(emp, evse, |view| view.view_evses == number as u64 + 1).await;
    }
    let before = node_objects(emp).await;
    for (number, bytes) in identity_objects().into_iter().enumerate() {
        attacker.gossip(Topic::Identity, bytes.clone());
        gossip.push((Topic::Identity, bytes));
        wait_for_objects(emp, before + number as u64 + 1).await;
    }
    let papers = papers(world, owner, emp_plan);
    for (number, state) in ["offered", "agreed", "ended"].into_iter().enumerate() {
        ask(&attacker, emp, number as u64 + 1, &papers[number]);
        until(emp, state, |view| view.agreements.iter().any(|agreement| agreement.state == state)).await;
    }
    attacker.mesh.shutdown().await;
    Recorded { gossip, papers: papers.to_vec() }
}

async fn node_objects(node: &Node) -> u64 {
    node.engine().unwrap().trust().await.unwrap().objects
}

async fn wait_for_objects(node: &Node, wanted: u64) {
    let waiting = async {
        while node_objects(node).await < wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, waiting).await.unwrap();
}

#[test]
fn nothing_that_was_recorded_is_news_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let world = World::new();
        let plan = Plan::new("emp", Some("EMP:DEEMP"), dir.path());
        let emp = world.start(&plan).await;
        let mut owner = Pen::new(&world, "owner", "CPO:CHABC", Kind::Data);
        let recorded = record(&world, &plan, &emp, &mut owner).await;
        let known = knowledge(&emp).await;
        assert_eq!((known.0.len(), known.3.len()), (1, 1));
        emp.shutdown().await;

        let mut known = known;
        for (backwards, party) in [(false, "CPO:CHNWA"), (true, "CPO:CHNWB")] {
            let emp = world.start(&plan).await;
            assert_eq!(knowledge(&emp).await, known, "nothing was forgotten");
            let mut attacker = Attacker::join("replayer", &emp).await;
            let mut listener = Attacker::join("listener", &emp).await;
            recorded.send(&attacker, &emp, backwards);
            let answered =
                attacker.until("answers", |seen| seen.answers.len() == recorded.papers.len()).await;
            let noted = Answer::Noted.encode();
            assert!(answered.answers.iter().all(|answer| *answer == noted), "{:?}", answered.answers);
            // What is new comes through, behind all that was sent before; only that is passed on.
            let mut fresh = Pen::new(&world, "fresh", party, Kind::Data);
            attacker.say(|script| script.chains.push(fresh.chain.clone()));
            let news = fresh.write(&[&format!("{}*E1", party.replace("CPO:CH", "CH*"))]).encode();
            attacker.gossip(Topic::Data, news.clone());
            let seen = listener.until("what is new", |seen| seen.gossip.contains(&news)).await;
            assert!(recorded.gossip.iter().all(|(_, bytes)| !seen.gossip.contains(bytes)), "nothing else");
            let told = view(&emp).await;
            assert_eq!((told.records_refused, told.records_accepted), (0, 1), "the fresh one alone");
            let now = knowledge(&emp).await;
            let of_owner = |all: &[Content]| -> Vec<Content> {
                all.iter().filter(|(of, ..)| of == "CPO:CHABC").cloned().collect()
            };
            assert_eq!(of_owner(&now.0), of_owner(&known.0));
            assert_eq!(now.2, known.2 + 1, "the fresh party's credential alone");
            assert_eq!(now.3, known.3, "what was ended stays so");
            for (_, bytes) in recorded.gossip.iter().filter(|(topic, _)| *topic == Topic::Identity) {
                let again = emp.engine().unwrap().hand_in(bytes.clone()).await.unwrap();
                assert!(format!("{again:?}").contains("known already"), "{again:?}");
            }
            known = now;
            attacker.mesh.shutdown().await;
            listener.mesh.shutdown().await;
            emp.shutdown().await;
        }
    });
}
