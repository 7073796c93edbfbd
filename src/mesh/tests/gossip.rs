//! Announcements over several nodes.

use super::*;

const ALL: [Topic; 1] = [Topic::Data];

async fn message(node: &mut Node) -> (Bytes, GossipToken) {
    node.until("a message", |e| {
        if let MeshEvent::Gossip { data, token, .. } = e { Some((data, token)) } else { None }
    })
    .await
}

/// Three nodes in a line; the ends do not know each other: nobody takes part in Kademlia.
async fn line() -> [Node; 3] {
    let alone = |c: &mut Config| (c.kad_client, c.peers_target) = (true, 0);
    let mut middle = node_with(2, &ALL, alone).await;
    let to = middle.address.clone();
    let keep = |c: &mut Config| (c.kad_client, c.peers_target, c.keep) = (true, 0, vec![to.clone()]);
    let mut left = node_with(1, &[], keep).await;
    let mut right = node_with(3, &ALL, keep).await;
    left.subscribed(&middle.id(), Topic::Data).await;
    right.subscribed(&middle.id(), Topic::Data).await;
    middle.subscribed(&right.id(), Topic::Data).await;
    [left, middle, right]
}

#[tokio::test]
async fn only_what_is_accepted_is_passed_on_and_the_writer_need_not_subscribe() {
    let [left, mut middle, mut right] = line().await;
    for (words, verdict) in
        [("ignored", Verdict::Ignore), ("rejected", Verdict::Reject), ("accepted", Verdict::Accept)]
    {
        left.mesh.try_publish(Topic::Data, words.into()).unwrap();
        let (data, token) = message(&mut middle).await;
        assert_eq!(data, words);
        middle.mesh.judge(token, verdict);
    }
    let (data, _) = message(&mut right).await;
    assert_eq!(data, "accepted", "the first that comes");
    assert_eq!(left.mesh.counts().await.unwrap().published, 3);
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_nobody_listening_is_no_error() {
    let one = node(1, &[], &[]).await;
    let large = Bytes::from(vec![0; crate::protocol::GOSSIP_BYTES_MAX + 1]);
    assert!(matches!(one.mesh.try_publish(Topic::Data, large), Err(Refused::TooLarge { .. })));
    one.mesh.try_publish(Topic::Data, "to nobody".into()).unwrap();
    assert_eq!(one.mesh.counts().await.unwrap().published_to_nobody, 1);
    let mut two = node(2, &ALL, &[&one]).await;
    two.up(&one.id()).await;
    let mut one = one;
    one.subscribed(&two.id(), Topic::Data).await;
    let largest = Bytes::from(vec![1; crate::protocol::GOSSIP_BYTES_MAX]);
    one.mesh.try_publish(Topic::Data, largest.clone()).unwrap();
    assert_eq!(message(&mut two).await.0, largest);
}

#[tokio::test]
async fn five_quiet_nodes_make_a_gossip_mesh_by_themselves() {
    let first = node(1, &ALL, &[]).await;
    let mut nodes = vec![first];
    for seed in 2..=5 {
        let next = node(seed, &ALL, &[&nodes[0]]).await;
        nodes.push(next);
    }
    // Grafts are made by heartbeats: without them nobody would have the purpose `gossip`.
    for node in &nodes {
        eventually("a gossip peer", || async {
            node.mesh.peers().await.unwrap().iter().any(|peer| peer.purpose == Purpose::Gossip)
        })
        .await;
    }
}
