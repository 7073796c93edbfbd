//! Many nodes: connections stay bounded, and what is published still reaches everybody.

use super::*;

const NODES: u8 = 16;
const HIGH: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_nodes_do_not_become_a_full_mesh() {
    let small = |c: &mut Config| {
        (c.connections_high, c.connections_low, c.connections_max) = (HIGH, 6, 64);
        (c.peers_target, c.connection_grace_ms, c.heartbeat_ms) = (4, 500, 500);
    };
    let mut nodes = vec![node_with(1, &[Topic::Status], small).await];
    for seed in 2..=NODES {
        let bootstrap = vec![nodes[0].address.clone()];
        let next = node_with(seed, &[Topic::Status], |c| {
            small(c);
            c.bootstrap = bootstrap;
        });
        nodes.push(next.await);
    }
    let (done, mut heard) = mpsc::channel(64);
    let meshes: Vec<Mesh> = nodes.iter().map(|node| node.mesh.clone()).collect();
    for mut node in nodes {
        let done = done.clone();
        executor()(Box::pin(async move {
            while let Some(event) = node.events.recv().await {
                if let MeshEvent::Gossip { data, token, .. } = event {
                    node.mesh.judge(token, Verdict::Accept);
                    let _ = done.send((node.id(), data)).await;
                }
            }
        }));
    }
    for mesh in &meshes {
        // Gossip grafts up to twelve peers: what is in the gossip mesh is never closed.
        eventually("connected, and few without purpose", || async {
            let peers = mesh.peers().await.unwrap();
            let idle = peers.iter().filter(|peer| peer.purpose == Purpose::None).count();
            peers.len() >= 2 && (peers.len() <= HIGH || idle == 0)
        })
        .await;
    }
    // Gossip alone promises nothing while connections are still being sorted out: repair does. But
    // soon one message must reach everybody.
    let mut rounds = 0u8;
    loop {
        rounds += 1;
        assert!(rounds <= 20, "no message reached everybody");
        meshes[3].try_publish(Topic::Status, vec![rounds].into()).unwrap();
        let mut reached = BTreeSet::new();
        let round = async {
            while reached.len() < usize::from(NODES) - 1 {
                let (node, data) = heard.recv().await.unwrap();
                if data == [rounds].as_slice() {
                    assert!(reached.insert(node), "nobody hears it twice");
                }
            }
        };
        if timeout(Duration::from_secs(3), round).await.is_ok() {
            break;
        }
    }
}

/// Alone but for its partner: nothing else makes it dial anybody.
async fn alone(seed: u8, listen: &str) -> Node {
    let listen = listen.to_owned();
    node_with(seed, &[], |c| {
        (c.peers_target, c.dial_backoff_max_ms) = (0, 200);
        c.listen = vec![listen];
    })
    .await
}

async fn purpose(node: &Node, of: &NodeId) -> Option<Purpose> {
    let peers = node.mesh.peers().await.unwrap();
    peers.into_iter().find(|peer| peer.node == *of).map(|peer| peer.purpose)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partner_is_dialled_and_dialled_again_wherever_it_goes() {
    const ANYWHERE: &str = "/ip4/127.0.0.1/tcp/0";
    let mut one = alone(1, ANYWHERE).await;
    let two = alone(2, ANYWHERE).await;
    let partner = two.id();
    one.mesh.add_known_address(partner.clone(), two.address.clone()).unwrap();
    one.mesh.keep_partners(vec![one.id(), partner.clone()]).unwrap();
    one.up(&partner).await;
    assert_eq!(purpose(&one, &partner).await, Some(Purpose::Partner));

    two.mesh.shutdown().await;
    let down = |e: MeshEvent| matches!(e, MeshEvent::PeerDown { node } if node == partner).then_some(());
    one.until("the partner gone", down).await;
    let two = alone(2, ANYWHERE).await;
    one.mesh.add_known_address(partner.clone(), two.address.clone()).unwrap();
    one.up(&partner).await;
    assert_eq!(purpose(&one, &partner).await, Some(Purpose::Partner));

    one.mesh.keep_partners(Vec::new()).unwrap();
    assert_eq!(purpose(&one, &partner).await, Some(Purpose::None), "the set was replaced");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_node_still_has_room_for_its_partners() {
    let full = |seed| {
        node_with(seed, &[], |c| {
            (c.connections_low, c.connections_high, c.connections_max) = (0, 1, 2);
            (c.peers_target, c.connection_grace_ms) = (0, 60_000);
        })
    };
    let mut one = full(1).await;
    let mut others = Vec::new();
    for seed in 2..=3 {
        let other = alone(seed, "/ip4/127.0.0.1/tcp/0").await;
        one.mesh.add_known_address(other.id(), other.address.clone()).unwrap();
        one.mesh.try_ask(other.id(), RequestId(seed.into()), Bytes::new(), PATIENCE).unwrap();
        one.up(&other.id()).await;
        others.push(other);
    }
    let partner = alone(9, "/ip4/127.0.0.1/tcp/0").await;
    one.mesh.add_known_address(partner.id(), partner.address.clone()).unwrap();
    one.mesh.try_ask(partner.id(), RequestId(9), Bytes::new(), Duration::from_millis(300)).unwrap();
    let failed = |e: MeshEvent| matches!(e, MeshEvent::AskFailed { request: RequestId(9), .. }).then_some(());
    one.until("no room for a stranger", failed).await;
    assert_eq!(purpose(&one, &partner.id()).await, None);
    one.mesh.keep_partners(vec![partner.id()]).unwrap();
    one.up(&partner.id()).await;
    assert_eq!(purpose(&one, &partner.id()).await, Some(Purpose::Partner));
    for other in &others {
        assert!(purpose(&one, &other.id()).await.is_some(), "nobody had to leave");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_dial_each_other_at_once_keep_one_connection() {
    const PAIRS_MAX: u8 = 40;
    let mut trimmed = 0;
    for seed in (1..2 * PAIRS_MAX).step_by(2) {
        let [mut one, mut two] =
            [alone(seed, "/ip4/127.0.0.1/tcp/0").await, alone(seed + 1, "/ip4/127.0.0.1/tcp/0").await];
        one.mesh.add_known_address(two.id(), two.address.clone()).unwrap();
        two.mesh.add_known_address(one.id(), one.address.clone()).unwrap();
        one.mesh.keep_partners(vec![two.id()]).unwrap();
        two.mesh.keep_partners(vec![one.id()]).unwrap();
        let [first, second] = [one.id(), two.id()];
        tokio::join!(one.up(&second), two.up(&first));
        for node in [&one, &two] {
            eventually("one connection", || async {
                node.mesh.counts().await.unwrap().connections_open == 1
            })
            .await;
            trimmed += node.mesh.counts().await.unwrap().connections_trimmed;
        }
        one.mesh.try_ask(second, RequestId(1), Bytes::new(), PATIENCE).unwrap();
        let asked = |event| matches!(event, MeshEvent::Asked { .. }).then_some(());
        two.until("a question over what is left", asked).await;
        let lost = |events: &mut Node| {
            std::iter::from_fn(|| events.events.try_recv().ok())
                .any(|event| matches!(event, MeshEvent::PeerDown { .. }))
        };
        assert!(!lost(&mut one) && !lost(&mut two), "nobody seems to be gone");
        if trimmed > 0 {
            return;
        }
    }
    panic!("none of {PAIRS_MAX} pairs had two connections");
}
