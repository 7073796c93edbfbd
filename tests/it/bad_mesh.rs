//! A hostile peer: whatever it sends, the node keeps its view, says so where it matters, and goes on.

use std::time::Duration;

use bytes::Bytes;
use chargemesh::engine::{FeedView, NodeView};
use chargemesh::node::Node;
use chargemesh::protocol::{
    Announcement, Change, ChangeSet, Kind, SignedHead, SyncEntry, SyncFrame, Topic, compress,
};
use ciborium::Value;

use crate::attacker::{Attacker, Pen, canonical};
use crate::support::{Plan, World, client, content, key, push_data, record, runtime, until, view};

const PULL: &str = r#"{"ProviderID":"DE-EMP","GeoCoordinatesResponseFormat":"Google"}"#;

/// An EMP that knows the two EVSEs of an honest CPO, and a hostile peer of the EMP.
struct Scene {
    world: World,
    cpo: Node,
    emp: Node,
    emp_plan: Plan,
    attacker: Attacker,
    honest: Vec<(String, &'static str, u64, String)>,
    _dir: tempfile::TempDir,
}

impl Scene {
    async fn set() -> Scene {
        let (dir, world) = (tempfile::tempdir().unwrap(), World::new());
        let emp_plan = Plan::new("emp", Some("EMP:DEEMP"), dir.path());
        let emp = world.start(&emp_plan).await;
        // The attacker is there first, so that it hears what is gossiped.
        let attacker = Attacker::join("attacker", &emp).await;
        let cpo_plan = Plan::new("cpo", Some("CPO:CHABC"), dir.path()).bootstrap(emp.mesh_addresses());
        let cpo = world.start(&cpo_plan).await;
        let both = push_data("fullLoad", "CH*ABC", &["CH*ABC*E1", "CH*ABC*E2"]);
        assert!(client(&cpo).push_evse_data("CH*ABC", both).await.unwrap().result);
        let known = until(&emp, "two EVSEs", |view| view.view_evses == 2).await;
        Scene { world, cpo, emp, emp_plan, attacker, honest: content(&known), _dir: dir }
    }

    /// The node answers backends, and its view is as it was but for feeds of `others`.
    async fn unharmed(&self, others: &[&str]) {
        let now = view(&self.emp).await;
        let kept: Vec<_> =
            content(&now).into_iter().filter(|(party, ..)| !others.contains(&party.as_str())).collect();
        assert_eq!(kept, self.honest);
        let pulled = client(&self.emp).pull_evse_data("DE-EMP", PULL.into(), 0, 20).await.unwrap();
        let text = String::from_utf8(pulled.body.to_vec()).unwrap();
        assert!(text.contains("CH*ABC*E1") && text.contains("CH*ABC*E2"), "{text}");
        // New statements of the honest writer still come through.
        let pushed =
            client(&self.cpo).push_evse_data("CH*ABC", push_data("update", "CH*ABC", &["CH*ABC*E1"])).await;
        assert!(pushed.unwrap().result);
    }

    /// Announcements of the honest writer, as they came by. What is pushed before gossip has found its
    /// ways is only repaired, so it pushes until something is heard.
    async fn overhear(&mut self) -> Vec<Bytes> {
        for number in 100..200 {
            let update = push_data("update", "CH*ABC", &["CH*ABC*E1"]);
            let update = String::from_utf8(update.to_vec()).unwrap().replace("1.50", &format!("1.{number}"));
            assert!(client(&self.cpo).push_evse_data("CH*ABC", update.into()).await.unwrap().result);
            let heard = self.attacker.until("gossip", |seen| !seen.gossip.is_empty());
            if let Ok(seen) = tokio::time::timeout(Duration::from_millis(300), heard).await {
                let written = content(&view(&self.cpo).await);
                self.honest = content(&until(&self.emp, "the update", |view| content(view) == written).await);
                return seen.gossip;
            }
        }
        panic!("the honest writer's gossip never came by");
    }

    async fn end(self) {
        self.attacker.mesh.shutdown().await;
        self.cpo.shutdown().await;
        self.emp.shutdown().await;
    }

    /// A party with a credential that the victim believes, in the attacker's hands.
    fn evil(&self) -> Pen {
        let pen = Pen::new(&self.world, "evil", "CPO:CHEVL", Kind::Data);
        self.attacker.say(|script| script.chains.push(pen.chain.clone()));
        pen
    }
}

fn feed<'v>(view: &'v NodeView, party: &str) -> Option<&'v FeedView> {
    view.feeds.iter().find(|feed| feed.party == party && feed.kind == "data")
}

#[test]
fn forged_gossip_is_rejected() {
    runtime().block_on(async {
        let mut scene = Scene::set().await;
        let heard = scene.overhear().await;
        let announced = Announcement::decode(heard.last().unwrap()).unwrap();
        let head = announced.heads[0].as_bytes();
        let mut flipped = head.to_vec();
        *flipped.last_mut().unwrap() ^= 1;
        let flipped = Announcement {
            heads: vec![SignedHead::from_bytes(flipped.into()).unwrap()],
            changes: announced.changes.clone(),
        };
        let others = ChangeSet::encode(&[Change {
            key: canonical("CH*ABC*E9"),
            at_unix_ms: 1,
            value: Some(record("CH*ABC*E9").into()),
        }]);
        let swapped = Announcement { heads: announced.heads.clone(), changes: Some(others) };
        // The honest delegation, another key.
        let mut thief = Pen::new(&scene.world, "cpo", "CPO:CHABC", Kind::Data);
        thief.key = key("thief");
        let stolen = thief.write(&["CH*ABC*E9"]);
        // The credential of one, the feed of another.
        let mut foreign = scene.evil();
        foreign.head.feed = thief.head.feed.clone();
        let foreign = foreign.write(&["CH*ABC*E9"]);
        // Its own feed, an EVSE of another.
        let beyond = scene.evil().write(&["CH*ABC*E9"]);
        let mut misfiled = scene.evil();
        let misfiled = misfiled.write_values(&[(canonical("CH*EVL*E1"), record("CH*EVL*E2").into())]);
        let bomb = bomb(scene.evil(), &compress(&vec![0; 64 * 1024 * 1024]));
        let unpacked = self::bomb(scene.evil(), b"no zstd");
        let attacks: Vec<(&str, Bytes)> = vec![
            ("no CBOR", Bytes::from_static(b"rubbish")),
            ("nested CBOR", Bytes::from(vec![0x81; 50_000])),
            ("a flipped bit", flipped.encode()),
            ("other changes under a real head", swapped.encode()),
            ("a stolen delegation", stolen.encode()),
            ("a foreign feed", foreign.encode()),
            ("a foreign EVSE", beyond.encode()),
            ("a record under another's key", misfiled.encode()),
            ("64 MB in a few KB", bomb),
            ("changes that are not compressed", unpacked),
        ];
        for (index, (what, bytes)) in attacks.into_iter().enumerate() {
            // Each from a peer of its own: rejected gossip costs score.
            let attacker = Attacker::join(&format!("attacker {index}"), &scene.emp).await;
            attacker.say(|script| script.chains = vec![scene.evil().chain]);
            let before = view(&scene.emp).await.records_refused;
            attacker.gossip(Topic::Data, bytes);
            until(&scene.emp, what, |view| view.records_refused > before).await;
            attacker.mesh.shutdown().await;
        }
        scene.unharmed(&["CPO:CHEVL"]).await;
        assert!(feed(&view(&scene.emp).await, "CPO:CHEVL").is_none_or(|feed| feed.count == 0));
        scene.end().await;
    });
}

/// An announcement whose changes are these bytes, signed.
fn bomb(mut pen: Pen, changes: &[u8]) -> Bytes {
    pen.head.seq = 1;
    pen.head.body = chargemesh::identity::hash_of(changes);
    let wire = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
    let announcement = Value::Array(vec![Value::Array(vec![wire(pen.sign().as_bytes())]), wire(changes)]);
    let mut bytes = Vec::new();
    ciborium::into_writer(&announcement, &mut bytes).unwrap();
    bytes.into()
}

#[test]
fn replayed_and_older_gossip_changes_nothing_and_costs_nothing() {
    runtime().block_on(async {
        let mut scene = Scene::set().await;
        let old = scene.overhear().await;
        let head = Announcement::decode(&old[0]).unwrap().heads[0].clone();
        let pushed =
            client(&scene.cpo).push_evse_data("CH*ABC", push_data("insert", "CH*ABC", &["CH*ABC*E3"])).await;
        assert!(pushed.unwrap().result);
        until(&scene.emp, "three EVSEs", |view| view.view_evses == 3).await;
        // After a restart nothing remembers the messages themselves.
        let Scene { world, cpo, emp, emp_plan, attacker, .. } = scene;
        attacker.mesh.shutdown().await;
        cpo.shutdown().await;
        emp.shutdown().await;
        let emp = world.start(&emp_plan).await;
        let before = view(&emp).await;
        assert_eq!(before.view_evses, 3);
        let attacker = Attacker::join("replayer", &emp).await;
        attacker.say(|script| script.heads = vec![head]);
        for message in old {
            attacker.gossip(Topic::Data, message);
        }
        believed(&world, &attacker, &emp).await;
        let after = view(&emp).await;
        assert_eq!(after.records_refused, before.records_refused);
        let kept: Vec<_> = content(&after).into_iter().filter(|(party, ..)| party != "CPO:CHEVL").collect();
        assert_eq!(kept, content(&before));
        attacker.mesh.shutdown().await;
        emp.shutdown().await;
    });
}

/// The node takes what this peer says, when it is right: so it has read all before it, and holds no grudge.
async fn believed(world: &World, attacker: &Attacker, emp: &Node) {
    let mut pen = Pen::new(world, "evil", "CPO:CHEVL", Kind::Data);
    attacker.say(|script| script.chains.push(pen.chain.clone()));
    attacker.gossip(Topic::Data, pen.write(&["CH*EVL*E1"]).encode());
    until(emp, "a right message of the same peer", |view| {
        feed(view, "CPO:CHEVL").is_some_and(|feed| feed.count == 1)
    })
    .await;
    assert!(attacker.is_connected());
}

#[test]
fn an_issuer_that_only_the_sender_trusts_is_ignored_and_not_punished() {
    runtime().block_on(async {
        let scene = Scene::set().await;
        let rogue = World::of_issuer("rogue");
        let mut stranger = Pen::new(&rogue, "stranger", "CPO:CHSTR", Kind::Data);
        // The same main id as the honest party, vouched for by nobody known here.
        let mut impostor = Pen::new(&rogue, "impostor", "CPO:CHABC", Kind::Data);
        scene.attacker.say(|script| script.chains.extend([stranger.chain.clone(), impostor.chain.clone()]));
        let before = view(&scene.emp).await;
        for _ in 0..5 {
            scene.attacker.gossip(Topic::Data, stranger.write(&["CH*STR*E1"]).encode());
            scene.attacker.gossip(Topic::Data, impostor.write(&["CH*ABC*E9"]).encode());
        }
        scene.attacker.say(|script| script.heads = vec![stranger.sign(), impostor.sign()]);
        believed(&scene.world, &scene.attacker, &scene.emp).await;
        let after = view(&scene.emp).await;
        assert_eq!(after.records_refused, before.records_refused);
        assert!(feed(&after, "CPO:CHSTR").is_none());
        scene.unharmed(&["CPO:CHEVL"]).await;
        scene.end().await;
    });
}

#[test]
fn an_issuer_trusted_for_one_country_grants_nothing_in_another() {
    runtime().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        // The CPO believes its issuer for everything, the EMP for Switzerland only.
        let emp_plan = Plan::new("emp", Some("EMP:CHEMP"), dir.path());
        let emp = World::believing_in("CH").start(&emp_plan).await;
        let cpo_plan =
            Plan::new("hub", Some("CPO:CHHUB"), dir.path()).subs(&["DE*GEF"]).bootstrap(emp.mesh_addresses());
        let cpo = World::new().start(&cpo_plan).await;
        let pushed = client(&cpo)
            .push_evse_data("CH*HUB", push_data("fullLoad", "CH*HUB", &["CH*HUB*E1", "DE*GEF*E1"]))
            .await;
        assert!(pushed.unwrap().result);
        let known = until(&emp, "the feed", |view| {
            feed(view, "CPO:CHHUB").is_some_and(|feed| feed.in_sync && feed.count == 2)
        })
        .await;
        assert_eq!((known.view_evses, known.records_refused), (1, 0), "in the feed, not in the view");
        let pulled = client(&emp)
            .pull_evse_data("CH-EMP", PULL.replace("DE-EMP", "CH-EMP").into(), 0, 20)
            .await
            .unwrap();
        let text = String::from_utf8(pulled.body.to_vec()).unwrap();
        assert!(text.contains("CH*HUB*E1") && !text.contains("DE*GEF"), "{text}");
        cpo.shutdown().await;
        emp.shutdown().await;
    });
}

#[test]
fn a_gap_is_repaired_and_harms_nobody_while_it_lasts() {
    runtime().block_on(async {
        let mut scene = Scene::set().await;
        let mut pen = scene.evil();
        scene.attacker.gossip(Topic::Data, pen.write(&["CH*EVL*E1"]).encode());
        until(&scene.emp, "the first", |view| feed(view, "CPO:CHEVL").is_some_and(|feed| feed.count == 1))
            .await;
        let _lost = pen.write(&["CH*EVL*E2", "CH*EVL*E3"]);
        scene.attacker.gossip(Topic::Data, pen.write(&["CH*EVL*E4"]).encode());
        // It asks, and gets no answer.
        scene.attacker.until("a repair question", |seen| !seen.syncs.is_empty()).await;
        let behind = view(&scene.emp).await;
        let theirs = feed(&behind, "CPO:CHEVL").unwrap();
        assert_eq!((theirs.count, theirs.in_sync), (1, false), "what was verified stays");
        scene.unharmed(&["CPO:CHEVL"]).await;
        scene.attacker.say(|script| script.serve(&pen, pen.frames(&pen.entries)));
        until(&scene.emp, "all four", |view| {
            feed(view, "CPO:CHEVL").is_some_and(|feed| feed.in_sync && feed.count == 4)
        })
        .await;
        assert!(scene.attacker.is_connected());
        scene.end().await;
    });
}

#[test]
fn a_wrong_root_is_the_writers_fault_and_no_peer_is_blamed() {
    runtime().block_on(async {
        let scene = Scene::set().await;
        let mut pen = scene.evil();
        scene.attacker.gossip(Topic::Data, pen.write(&["CH*EVL*E1"]).encode());
        until(&scene.emp, "the first", |view| feed(view, "CPO:CHEVL").is_some_and(|feed| feed.count == 1))
            .await;
        let before = view(&scene.emp).await;
        let _right = pen.write(&["CH*EVL*E2"]);
        pen.head.root = [7; 32];
        let changes = ChangeSet::encode(&[Change {
            key: canonical("CH*EVL*E2"),
            at_unix_ms: pen.head.created_unix_ms,
            value: Some(record("CH*EVL*E2").into()),
        }]);
        let wrong = pen.announce(changes);
        scene.attacker.gossip(Topic::Data, wrong.encode());
        let told = until(&scene.emp, "inconsistent", |view| {
            feed(view, "CPO:CHEVL").is_some_and(|feed| feed.state == "inconsistent")
        })
        .await;
        assert_eq!(
            (feed(&told, "CPO:CHEVL").unwrap().count, told.view_evses),
            (1, 3),
            "what was verified stays"
        );
        assert_eq!(told.records_refused, before.records_refused);
        scene.unharmed(&["CPO:CHEVL"]).await;
        // The same peer, and the same writer once it is right again, are heard.
        (pen.head.incarnation, pen.head.root) = (pen.head.incarnation + 1, pen.tree.root());
        scene.attacker.say(|script| script.serve(&pen, pen.frames(&pen.entries)));
        scene.attacker.gossip(Topic::Data, pen.write(&["CH*EVL*E3"]).encode());
        scene.attacker.say(|script| script.serve(&pen, pen.frames(&pen.entries)));
        until(&scene.emp, "right again", |view| {
            feed(view, "CPO:CHEVL").is_some_and(|feed| feed.in_sync && feed.count == 3 && feed.state == "ok")
        })
        .await;
        assert!(scene.attacker.is_connected());
        scene.end().await;
    });
}

#[test]
fn a_root_that_matches_nothing_is_never_applied() {
    runtime().block_on(async {
        let mut scene = Scene::set().await;
        let mut pen = scene.evil();
        let _never = pen.write(&["CH*EVL*E1", "CH*EVL*E2"]);
        pen.head.root = [7; 32];
        scene.attacker.say(|script| script.serve(&pen, pen.frames(&pen.entries)));
        scene.attacker.gossip(Topic::Heads, Announcement { heads: vec![pen.sign()], changes: None }.encode());
        // Nobody can tell the writer's fault from the server's here: it is asked again, and never believed.
        scene.attacker.until("asked again, or thrown out", |seen| seen.syncs.len() > 1 || !seen.up).await;
        let told = view(&scene.emp).await;
        let theirs = feed(&told, "CPO:CHEVL").unwrap();
        assert_eq!((theirs.count, theirs.in_sync, told.view_evses), (0, false, 2));
        scene.unharmed(&["CPO:CHEVL"]).await;
        scene.end().await;
    });
}

#[test]
fn two_histories_freeze_the_feed_until_a_higher_incarnation() {
    runtime().block_on(async {
        let scene = Scene::set().await;
        let (mut one, mut two) = (scene.evil(), scene.evil());
        scene.attacker.gossip(Topic::Data, one.write(&["CH*EVL*E1"]).encode());
        until(&scene.emp, "the first history", |view| {
            feed(view, "CPO:CHEVL").is_some_and(|feed| feed.count == 1)
        })
        .await;
        scene.attacker.gossip(Topic::Data, two.write(&["CH*EVL*E2"]).encode());
        let frozen = until(&scene.emp, "frozen", |view| {
            feed(view, "CPO:CHEVL").is_some_and(|feed| feed.state == "equivocated")
        })
        .await;
        assert_eq!(frozen.view_evses, 3, "the first that was heard stays shown");
        scene.attacker.gossip(Topic::Data, one.write(&["CH*EVL*E3"]).encode());
        two.head.incarnation += 1;
        let next = two.write(&["CH*EVL*E4"]);
        scene.attacker.say(|script| script.serve(&two, two.frames(&two.entries)));
        scene.attacker.gossip(Topic::Data, next.encode());
        until(&scene.emp, "thawed", |view| {
            feed(view, "CPO:CHEVL").is_some_and(|feed| feed.state == "ok" && feed.count == 2)
        })
        .await;
        scene.unharmed(&["CPO:CHEVL"]).await;
        scene.end().await;
    });
}

/// Peers that say they hold a feed and serve something else: another record, less, more, nothing.
#[test]
fn a_false_snapshot_is_not_taken_and_its_server_is_thrown_out() {
    runtime().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let world = World::new();
        let emp = world.start(&Plan::new("emp", Some("EMP:DEEMP"), dir.path())).await;
        let mut liar = Attacker::join("liar", &emp).await;
        let pens: Vec<Pen> = (0..4)
            .map(|number| {
                // The heads are what the writers signed; the records are not.
                let mut pen =
                    Pen::new(&world, &format!("writer {number}"), &format!("CPO:CHEV{number}"), Kind::Data);
                let _never = pen.write(
                    &[1, 2, 3].map(|evse| format!("CH*EV{number}*E{evse}")).each_ref().map(String::as_str),
                );
                pen
            })
            .collect();
        for (number, pen) in pens.iter().enumerate() {
            let mut other = pen.entries[1].clone();
            other.value = other
                .value
                .map(|value| String::from_utf8(value.to_vec()).unwrap().replace("Bern", "Thun").into());
            let lie = match number {
                0 => pen.frames(&[pen.entries[0].clone(), other, pen.entries[2].clone()]),
                1 => pen.frames(&pen.entries[..2]),
                2 => pen.frames(&[&pen.entries[..], &[SyncEntry { seq: 99, ..other }]].concat()),
                _ => vec![pen.frames(&[])[0].clone(), SyncFrame::End],
            };
            liar.say(|script| {
                script.serve(pen, lie);
                script.chains.push(pen.chain.clone());
            });
        }
        let heads = pens.iter().map(Pen::sign).collect();
        liar.gossip(Topic::Heads, Announcement { heads, changes: None }.encode());
        liar.until("it is thrown out at the third lie", |seen| seen.syncs.len() >= 3 && !seen.up).await;
        assert_eq!(view(&emp).await.view_evses, 0);
        // A peer that serves what was signed is believed.
        let honest = Attacker::join("honest", &emp).await;
        honest.say(|script| {
            script.heads = pens.iter().map(Pen::sign).collect();
            pens.iter().for_each(|pen| script.serve(pen, pen.frames(&pen.entries)));
            script.chains = pens.iter().map(|pen| pen.chain.clone()).collect();
        });
        until(&emp, "the real records", |view| view.view_evses == 12).await;
        assert!(honest.is_connected());
        liar.mesh.shutdown().await;
        honest.mesh.shutdown().await;
        emp.shutdown().await;
    });
}
