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

#[tokio::test]
async fn a_quiet_node_keeps_its_heartbeats() {
    let quiet = |c: &mut Config| {
        (c.heartbeat_ms, c.tick_ms) = (100, 50);
        // Nothing but the tick wakes the swarm's task.
        (c.review_interval_ms, c.ping_interval_ms, c.kad_client) = (3_600_000, 3_600_000, true);
    };
    let mut reader = node_with(1, &ALL, quiet).await;
    let keep = vec![reader.address.clone()];
    let mut writer = node_with(2, &[], |c| {
        quiet(c);
        c.keep = keep;
    })
    .await;
    writer.subscribed(&reader.id(), Topic::Data).await;
    writer.mesh.try_publish(Topic::Data, "hello".into()).unwrap();
    let (_, token) = message(&mut reader).await;
    // Twelve heartbeats forget a message: without them it would be passed on whenever it is judged.
    let silence = timeout(Duration::from_secs(4), message(&mut reader)).await;
    assert!(silence.is_err());
    reader.mesh.judge(token, Verdict::Accept);
    assert_eq!(reader.mesh.counts().await.unwrap().verdicts_late, 1);
}

#[tokio::test]
async fn whoever_passes_on_what_is_wrong_for_everybody_is_blocked() {
    let [left, mut middle, right] = line().await;
    for number in 0..3u8 {
        assert!(middle.mesh.blocked().await.unwrap().is_empty());
        left.mesh.try_publish(Topic::Data, vec![number].into()).unwrap();
        let (_, token) = message(&mut middle).await;
        middle.mesh.judge(token, Verdict::Reject);
    }
    eventually("blocked", || async { middle.mesh.blocked().await.unwrap() == [left.id()] }).await;
    assert_eq!(middle.mesh.counts().await.unwrap().peers_blocked, 1);
    right.mesh.try_publish(Topic::Data, "the others go on".into()).unwrap();
    assert_eq!(message(&mut middle).await.0, "the others go on");
}
