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
