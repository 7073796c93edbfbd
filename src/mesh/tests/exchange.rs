//! Questions and answers between two nodes.

use super::*;

async fn pair() -> (Node, Node) {
    let mut one = node(1, &[], &[]).await;
    let mut two = node(2, &[], &[&one]).await;
    two.up(&one.id()).await;
    one.up(&two.id()).await;
    (one, two)
}

/// Answers every question with its own words.
fn echo(mut node: Node) {
    executor()(Box::pin(async move {
        while let Some(event) = node.events.recv().await {
            if let MeshEvent::Asked { body, token, .. } = event {
                node.mesh.answer(token, body).unwrap();
            }
        }
    }));
}

#[tokio::test]
async fn two_nodes_ask_and_answer() {
    let (one, mut two) = pair().await;
    let (server, large) = (one.id(), Bytes::from(vec![7; 900_000]));
    echo(one);
    for n in 0..50 {
        let body = Bytes::from(format!("question {n}"));
        two.mesh.try_ask(server.clone(), RequestId(n), body, PATIENCE).unwrap();
    }
    two.mesh.try_ask(server.clone(), RequestId(50), large.clone(), PATIENCE).unwrap();
    let mut answered = BTreeSet::new();
    while answered.len() < 51 {
        let (request, body) = two
            .until("answers", |event| match event {
                MeshEvent::Answered { request, from, body } => Some((request, (from, body))),
                MeshEvent::AskFailed { why, .. } => panic!("{why:?}"),
                _ => None,
            })
            .await;
        assert_eq!(body.0, server);
        let right = if request.0 == 50 { large.clone() } else { format!("question {}", request.0).into() };
        assert_eq!(body.1, right);
        answered.insert(request.0);
    }
    two.mesh.shutdown().await;
    assert_eq!(two.mesh.try_publish(Topic::Data, Bytes::new()), Err(Refused::Stopped));
}

async fn failure(node: &mut Node) -> AskFailure {
    node.until("a failure", |e| match e {
        MeshEvent::AskFailed { why, .. } => Some(why),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn a_question_without_answer_fails_in_its_way() {
    let mut one = node(1, &[], &[]).await;
    let address = one.address.clone();
    let mut two = node_with(2, &[], |config| {
        config.bootstrap = vec![address];
        config.asks_in_flight_max = 64;
    })
    .await;
    two.up(&one.id()).await;
    one.up(&two.id()).await;
    let nobody = node_id_of_seed(&[99; 32]).unwrap();
    two.mesh.try_ask(nobody, RequestId(1), Bytes::new(), PATIENCE).unwrap();
    assert_eq!(failure(&mut two).await, AskFailure::Unreachable);
    two.mesh.try_ask(one.id(), RequestId(2), Bytes::new(), Duration::from_millis(200)).unwrap();
    let token = one
        .until("the question", |e| if let MeshEvent::Asked { token, .. } = e { Some(token) } else { None });
    let token = token.await;
    assert_eq!(failure(&mut two).await, AskFailure::Timeout);
    one.mesh.answer(token, "late".into()).unwrap();
    let late =
        |e| if let MeshEvent::Answered { request, body, .. } = e { Some((request, body)) } else { None };
    assert_eq!(two.until("the late answer", late).await, (RequestId(2), "late".into()));
    for n in 0..65 {
        two.mesh.try_ask(one.id(), RequestId(100 + n), Bytes::new(), PATIENCE).unwrap();
    }
    assert_eq!(failure(&mut two).await, AskFailure::Busy, "the 65th");
    one.mesh.shutdown().await;
    assert_eq!(failure(&mut two).await, AskFailure::Disconnected);
}

#[tokio::test]
async fn a_restarted_peer_is_found_again() {
    let (one, mut two) = pair().await;
    let (id, seed, listen) = (one.id(), one.seed, one.address.clone());
    one.mesh.shutdown().await;
    let down = |e| matches!(e, MeshEvent::PeerDown { .. }).then_some(());
    two.until("peer down", down).await;
    let listen = listen.split("/p2p").next().unwrap().to_string();
    let again = node_with(seed[0], &[], |config| config.listen = vec![listen]).await;
    two.up(&id).await;
    echo(again);
    two.mesh.try_ask(id, RequestId(1), "hello".into(), PATIENCE).unwrap();
    let answer = |e| if let MeshEvent::Answered { body, .. } = e { Some(body) } else { None };
    assert_eq!(two.until("the answer", answer).await, "hello");
}

#[tokio::test]
async fn nodes_of_different_networks_do_not_meet() {
    let mut one = node(1, &[], &[]).await;
    let bootstrap = vec![one.address.clone()];
    let two =
        node_with(2, &[], |config| (config.network, config.bootstrap) = ("other".into(), bootstrap)).await;
    one.mesh.try_ask(two.id(), RequestId(1), Bytes::new(), Duration::from_secs(1)).unwrap();
    let failed = one
        .until("a failure", |e| match e {
            MeshEvent::PeerUp { .. } => panic!("they met"),
            MeshEvent::AskFailed { why, .. } => Some(why),
            _ => None,
        })
        .await;
    assert_ne!(failed, AskFailure::Busy);
}

#[tokio::test]
async fn a_question_dials_a_node_whose_address_is_known() {
    let (one, mut two) = (node(1, &[], &[]).await, node(2, &[], &[]).await);
    let (id, address) = (one.id(), one.address.clone());
    echo(one);
    two.mesh.add_known_address(id.clone(), address).unwrap();
    two.mesh.try_ask(id, RequestId(1), "are you there".into(), PATIENCE).unwrap();
    let answer = |e| match e {
        MeshEvent::Answered { body, .. } => Some(body),
        MeshEvent::AskFailed { why, .. } => panic!("{why:?}"),
        _ => None,
    };
    assert_eq!(two.until("the answer", answer).await, "are you there");
}

#[tokio::test]
async fn the_third_penalty_disconnects_and_blocks() {
    let (mut one, two) = pair().await;
    for _ in 0..3 {
        one.mesh.penalise(two.id(), Penalty::SyncMismatch).unwrap();
    }
    one.until("peer down", |e| matches!(e, MeshEvent::PeerDown { .. }).then_some(())).await;
    assert_eq!(one.mesh.counts().await.unwrap().peers_blocked, 1);
    one.mesh.try_ask(two.id(), RequestId(1), Bytes::new(), PATIENCE).unwrap();
    assert_eq!(failure(&mut one).await, AskFailure::Unreachable);
}

/// yamux 0.14.1 wakes no reader when this end closes the connection: the task that serves a stream would wait
/// for ever, and after some connections the peer would be taken for a flooder.
#[tokio::test]
async fn what_serves_a_stream_ends_with_a_connection_that_we_close() {
    let (mut one, two) = pair().await;
    two.mesh.try_ask(one.id(), RequestId(1), Bytes::new(), PATIENCE).unwrap();
    let asked = |e| if let MeshEvent::Asked { token, .. } = e { Some(token) } else { None };
    let _token = one.until("the question", asked).await;
    assert_eq!(one.mesh.counts().await.unwrap().streams_open, 1);
    for _ in 0..3 {
        one.mesh.penalise(two.id(), Penalty::SyncMismatch).unwrap();
    }
    one.until("peer down", |e| matches!(e, MeshEvent::PeerDown { .. }).then_some(())).await;
    eventually("the stream's place is free again", || async {
        one.mesh.counts().await.unwrap().streams_open == 0
    })
    .await;
}
