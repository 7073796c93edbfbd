//! Syncs: order, back-pressure, limits.

use super::*;

async fn pair() -> (Node, Node) {
    let mut one = node(1, &[], &[]).await;
    let mut two = node(2, &[], &[&one]).await;
    two.up(&one.id()).await;
    one.up(&two.id()).await;
    (one, two)
}

async fn asked(node: &mut Node) -> (Bytes, SyncResponder) {
    let pick = |e| {
        if let MeshEvent::SyncAsked { request, responder, .. } = e {
            Some((request, responder))
        } else {
            None
        }
    };
    node.until("a sync", pick).await
}

#[tokio::test]
async fn frames_come_in_order_and_then_the_end() {
    let (mut server, mut asker) = pair().await;
    asker.mesh.try_sync(server.id(), SyncId(1), "what is missing".into()).unwrap();
    let (request, mut responder) = asked(&mut server).await;
    assert_eq!(request, "what is missing");
    executor()(Box::pin(async move {
        for n in 0..20u8 {
            responder.send(vec![n; 100_000].into()).await.unwrap();
        }
        responder.finish().await;
    }));
    let mut next = 0u8;
    let done = |event| match event {
        MeshEvent::SyncFrame { frame, .. } => {
            assert_eq!(frame, vec![next; 100_000]);
            next += 1;
            None
        }
        MeshEvent::SyncEnded { sync, .. } => Some(sync),
        MeshEvent::SyncFailed { why, .. } => panic!("{why:?}"),
        _ => None,
    };
    assert_eq!(asker.until("the end", done).await, SyncId(1));
    assert_eq!(next, 20);
}

#[tokio::test]
async fn a_slow_reader_slows_the_server_and_is_cut() {
    let mut server = node_with(1, &[], |config| config.frame_deadline_ms = 500).await;
    let mut asker = node(2, &[], &[&server]).await;
    asker.up(&server.id()).await;
    asker.mesh.try_sync(server.id(), SyncId(1), Bytes::new()).unwrap();
    let (_, mut responder) = asked(&mut server).await;
    // The asker keeps its credits and takes nothing more.
    let frame = Bytes::from(vec![1; 1024 * 1024]);
    let mut sent = 0;
    while responder.send(frame.clone()).await.is_ok() {
        sent += 1;
        assert!(sent < 64, "the server was not slowed down");
    }
    drop(responder);
    let mut held = Vec::new();
    let broken = |event| match event {
        MeshEvent::SyncFrame { credit, .. } => {
            held.push(credit);
            (held.len() == 2).then_some(())
        }
        _ => None,
    };
    asker.until("two frames", broken).await;
    assert!(asker.events.try_recv().is_err(), "no third frame without a credit");
    drop(held);
    let failed = |e| if let MeshEvent::SyncFailed { why, .. } = e { Some(why) } else { None };
    assert_eq!(asker.until("the break", failed).await, SyncFailure::Disconnected);
}

#[tokio::test]
async fn the_fifth_sync_of_a_peer_is_refused_and_cancelling_frees_a_place() {
    let (mut server, mut asker) = pair().await;
    let mut held = Vec::new();
    for n in 0..4 {
        asker.mesh.try_sync(server.id(), SyncId(n), Bytes::new()).unwrap();
        held.push(asked(&mut server).await.1);
    }
    asker.mesh.try_sync(server.id(), SyncId(4), Bytes::new()).unwrap();
    let failed = |e| if let MeshEvent::SyncFailed { sync, why, .. } = e { Some((sync, why)) } else { None };
    assert_eq!(asker.until("a refusal", failed).await, (SyncId(4), SyncFailure::Refused));
    asker.mesh.cancel_sync(SyncId(0)).unwrap();
    held.remove(0).finish().await;
    asker.mesh.try_sync(server.id(), SyncId(5), Bytes::new()).unwrap();
    let (_, responder) = asked(&mut server).await;
    drop(responder);
    assert_eq!(asker.until("a broken sync", failed).await.0, SyncId(5));
}
