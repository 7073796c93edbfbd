//! Everything that travels: what is written is read again, limits hold, and no bytes make a panic.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::identity::{Chain, PartyId, Role, SecretKey};

fn party(id: &str) -> PartyId {
    PartyId::new(Role::Cpo, id).unwrap()
}

fn head() -> Head {
    Head {
        feed: FeedId::public(party("CH*ION"), Kind::Status),
        epoch: 3,
        incarnation: 1_800_000_000,
        seq: 12,
        count: 7,
        root: [5; 32],
        created_unix_ms: 1_800_000_000_000,
        base_seq: 10,
        body: [6; 32],
        operator_id: "CH*ION".to_owned(),
        operator_name: "ü".repeat(100),
    }
}

fn signed(head: &Head) -> SignedHead {
    SignedHead::sign(head, "test", [1; 32], &SecretKey::from_seed(&[9; 32]))
}

fn change(key: &str, value: Option<&[u8]>) -> Change {
    Change { key: key.to_owned(), at_unix_ms: 5, value: value.map(Bytes::copy_from_slice) }
}

fn mark() -> HeadMark {
    HeadMark::of(&head())
}

#[test]
fn a_signed_head_is_read_again_and_by_its_key_alone() {
    let key = SecretKey::from_seed(&[9; 32]);
    let signed = signed(&head());
    assert_eq!(signed.delegation("test").unwrap(), [1; 32]);
    assert_eq!(signed.verify("test", &key.public()).unwrap(), head());
    assert!(signed.verify("test", &SecretKey::from_seed(&[8; 32]).public()).is_err());
    assert!(signed.verify("other", &key.public()).is_err());
}

/// A head for as many named parties as there may be.
fn closed_head() -> Head {
    let members = (0..MEMBERS_MAX).map(|number| PartyId::parse(&format!("EMP:DE{number:03}")).unwrap());
    let audience = Audience::Named(Members::new(members).unwrap());
    Head { feed: FeedId { audience, ..head().feed }, operator_name: "é".repeat(100), ..head() }
}

#[test]
fn a_head_and_a_repair_question_name_the_members_of_a_closed_audience() {
    let key = SecretKey::from_seed(&[9; 32]);
    let closed = closed_head();
    assert_ne!(closed.feed, head().feed);
    assert_eq!(signed(&closed).verify("test", &key.public()).unwrap(), closed);
    let small = SignedHead::from_bytes(signed(&closed).as_bytes().clone());
    assert!(small.is_ok(), "the largest head is within the limit");
    let request = SyncRequest { feed: closed.feed.clone(), have: Have::Nothing };
    assert_eq!(SyncRequest::decode(&request.encode()).unwrap(), request);
    assert!(HeadMark::of(&closed).is_of(&closed) && !HeadMark::of(&closed).is_of(&head()));
    let public = HeadMark { audience: None, ..HeadMark::of(&closed) };
    assert!(!public.is_of(&closed));
}

#[test]
fn heads_that_cannot_be_are_refused() {
    let key = SecretKey::from_seed(&[9; 32]);
    let wrong: [fn(&mut Head); 5] = [
        |head| head.base_seq = head.seq + 1,
        |head| head.operator_id = "X".repeat(65),
        |head| head.operator_name = "X".repeat(401),
        |head| head.count = u64::MAX,
        |head| head.created_unix_ms = 1 << 63,
    ];
    for (index, change) in wrong.into_iter().enumerate() {
        let mut head = head();
        change(&mut head);
        let refused = signed(&head).verify("test", &key.public());
        assert!(matches!(refused, Err(ProtocolError::Invalid { .. })), "{index}: {refused:?}");
    }
    assert!(SignedHead::from_bytes(Bytes::from(vec![0; 2_049])).is_err());
}

#[test]
fn announcements_are_read_again_and_have_limits() {
    let set = ChangeSet::encode(&[change("CHION1", Some(b"x")), change("CHION2", None)]);
    let announcement = Announcement { heads: vec![signed(&head())], changes: Some(set.clone()) };
    assert_eq!(Announcement::decode(&announcement.encode()).unwrap(), announcement);
    assert_eq!(set.decode().unwrap().len(), 2);
    let beat = |heads: usize| Announcement { heads: vec![signed(&head()); heads], changes: None }.encode();
    assert!(Announcement::decode(&beat(16)).is_ok());
    assert!(Announcement::decode(&beat(0)).is_err());
    assert!(Announcement::decode(&beat(17)).is_err());
    let two = Announcement { heads: vec![signed(&head()); 2], changes: Some(set) }.encode();
    assert!(Announcement::decode(&two).is_err(), "changes of two heads");
    let mut long = beat(1).to_vec();
    long.push(0);
    assert!(Announcement::decode(&long).is_err(), "bytes after the end");
    assert!(Announcement::decode(&vec![0; GOSSIP_BYTES_MAX + 1]).is_err());
}

#[test]
fn change_sets_have_limits() {
    let many = |count: usize| ChangeSet::encode(&vec![change("K", None); count]).decode();
    assert_eq!(many(CHANGES_MAX).unwrap().len(), CHANGES_MAX);
    assert!(many(CHANGES_MAX + 1).is_err());
    let refused = |change: Change| ChangeSet::encode(&[change]).decode().is_err();
    assert!(refused(change("", None)));
    assert!(refused(change(&"K".repeat(KEY_BYTES_MAX + 1), None)));
    assert!(refused(change("K", Some(&vec![0; RECORD_BYTES_MAX + 1]))));
    assert!(!refused(change("K", Some(&vec![0; RECORD_BYTES_MAX]))));
    assert!(refused(Change { at_unix_ms: u64::MAX, ..change("K", None) }));
    // Some kilobytes that would become a megabyte and more.
    let bomb: Vec<Change> = (0..40).map(|_| change("K", Some(&vec![0; RECORD_BYTES_MAX]))).collect();
    let bomb = ChangeSet::encode(&bomb);
    assert!(bomb.size_bytes() < 4_096);
    assert!(matches!(bomb.decode(), Err(ProtocolError::TooLarge { .. })));
}

/// A frame that asks for a window of gigabytes gets none.
#[test]
fn decompression_sets_no_memory_aside_for_a_claim() {
    let mut frame = vec![0x28, 0xB5, 0x2F, 0xFD, 0x00, 21 << 3];
    frame.extend([0x01, 0x00, 0x00]);
    assert!(matches!(decompress("x", &frame, 1_024), Err(ProtocolError::Malformed { .. })));
    let plain = vec![7; SYNC_CHUNK_BYTES_MAX];
    assert_eq!(decompress("x", &compress(&plain), SYNC_CHUNK_BYTES_MAX).unwrap(), plain);
    assert!(decompress("x", &compress(&plain), SYNC_CHUNK_BYTES_MAX - 1).is_err());
}

#[test]
fn nesting_is_limited() {
    let mut deep = vec![0x81; 100_000];
    deep.push(0);
    assert!(Announcement::decode(&deep[40_001..]).is_err());
    assert!(Question::decode(&deep).is_err());
    assert!(SyncFrame::decode(&deep).is_err());
}

fn chain(number: u8) -> Chain {
    Chain { credential: vec![number, 1], delegation: vec![number, 2] }
}

fn papers() -> AgreementPapers {
    let end = Some((Bytes::from_static(b"end"), chain(6)));
    AgreementPapers {
        signed: Bytes::from_static(b"signed"),
        offerer: chain(4),
        accepter: Some(chain(5)),
        end,
    }
}

#[test]
fn an_agreement_or_introduction_beyond_its_limits_is_refused() {
    let large = Chain { credential: vec![0; 16 * 1024], delegation: vec![0; 16 * 1024] };
    let object = Bytes::from(vec![0; 4 * 1024]);
    let most = AgreementPapers {
        signed: object.clone(),
        offerer: large.clone(),
        accepter: Some(large.clone()),
        end: Some((object, large.clone())),
    };
    assert_eq!(AgreementPapers::decode(&most.encode()).unwrap(), most);
    let signed = Bytes::from(vec![0; 4 * 1024 + 1]);
    assert!(AgreementPapers::decode(&AgreementPapers { signed, ..papers() }.encode()).is_err());
    let offerer = Chain { credential: vec![0; AGREEMENT_PAPERS_BYTES_MAX], delegation: Vec::new() };
    assert!(AgreementPapers::decode(&AgreementPapers { offerer, ..papers() }.encode()).is_err());
    let crowd = Question::Introduce(vec![large; 20]).encode();
    assert!(crowd.len() < EXCHANGE_FRAME_BYTES_MAX);
    assert!(matches!(Question::decode(&crowd), Ok(Question::Introduce(chains)) if chains.len() == 16));
}

#[test]
fn questions_and_answers_are_read_again() {
    let notice = ConflictNotice {
        key: "CHION1".to_owned(),
        kind: 0,
        shown: Some("CPO:CHION".to_owned()),
        claimed_by: vec!["CPO:CHION".to_owned(), "CPO:CHABC".to_owned()],
    };
    let questions = [
        Question::Heads(vec![mark(), HeadMark::nothing(&head().feed)]),
        Question::HeadsOf(vec![mark()]),
        Question::Chain([4; 32]),
        Question::Conflict(notice.clone()),
        Question::Introduce(vec![chain(1), chain(2)]),
        Question::Agreement(Box::new(papers())),
        Question::Heads(vec![HeadMark::of(&closed_head())]),
        Question::Announce(Box::new(Announcement { heads: vec![signed(&closed_head())], changes: None })),
        Question::Agreement(Box::new(AgreementPapers { accepter: None, end: None, ..papers() })),
    ];
    for question in questions {
        assert_eq!(Question::decode(&question.encode()).unwrap(), question);
    }
    let answers = [
        Answer::Heads(vec![signed(&head()); 3]),
        Answer::Chain(Chain { credential: vec![1, 2], delegation: vec![3] }),
        Answer::Chains(vec![chain(3)]),
        Answer::Noted,
        Answer::Unsupported,
        Answer::NotFound,
    ];
    for answer in answers {
        assert_eq!(Answer::decode(&answer.encode()).unwrap(), answer);
    }
    let crowd = ConflictNotice { claimed_by: vec!["CPO:CHION".to_owned(); 100], ..notice };
    let Ok(Question::Conflict(read)) = Question::decode(&Question::Conflict(crowd).encode()) else {
        panic!("a notice of many parties names some of them");
    };
    assert_eq!(read.claimed_by.len(), 16);
    assert!(Question::decode(b"\x61z").is_err(), "a question of a later version");
}

/// The largest question and the largest answer fit a frame.
#[test]
fn as_many_heads_as_a_node_may_hold_fit_one_frame() {
    let question = Question::Heads(vec![mark(); 20_000]).encode();
    assert!(question.len() < EXCHANGE_FRAME_BYTES_MAX, "{}", question.len());
    assert!(Question::decode(&question).is_ok());
    let cut = Question::Heads(vec![mark(); 20_001]).encode();
    assert!(matches!(Question::decode(&cut), Ok(Question::Heads(marks)) if marks.len() == 20_000));
}

#[test]
fn a_mark_is_outdone_by_newer_heads_and_by_another_root() {
    let outdone = |change: fn(&mut Head)| {
        let mut head = head();
        change(&mut head);
        mark().is_outdone_by(&head)
    };
    assert!(!outdone(|_| {}));
    assert!(outdone(|head| head.seq += 1));
    assert!(outdone(|head| head.root[0] += 1));
    assert!(!outdone(|head| head.seq -= 1));
    assert!(outdone(|head| (head.incarnation, head.seq) = (head.incarnation + 1, 0)));
    assert!(HeadMark::nothing(&head().feed).is_outdone_by(&head()));
}

#[test]
fn sync_messages_are_read_again_and_have_limits() {
    let feed = head().feed;
    let haves = [
        Have::Nothing,
        Have::Since { incarnation: 1, seq: 2 },
        Have::Buckets((0..BUCKETS).map(|n| [n as u8; 32]).collect()),
    ];
    for have in haves {
        let request = SyncRequest { feed: feed.clone(), have };
        assert_eq!(SyncRequest::decode(&request.encode()).unwrap(), request);
    }
    let few = SyncRequest { feed, have: Have::Buckets(vec![[0; 32]; BUCKETS - 1]) };
    assert!(SyncRequest::decode(&few.encode()).is_err());
    let entry = |key: &str| SyncEntry { key: key.to_owned(), seq: 1, at_unix_ms: 2, value: None };
    let chunk = SyncChunk::encode(&[entry("CHION1"), entry("CHION2")]);
    assert_eq!(chunk.decode().unwrap().len(), 2);
    assert!(SyncChunk::encode(&[entry("")]).decode().is_err());
    assert!(SyncChunk::encode(&[SyncEntry { seq: u64::MAX, ..entry("K") }]).decode().is_err());
    assert!(SyncChunk::encode(&vec![entry("K"); 65_537]).decode().is_err());
    let start = |buckets| SyncFrame::Start(SyncStart { head: signed(&head()), buckets });
    let frames = [
        start(None),
        start(Some(vec![0, 255])),
        SyncFrame::Chunk(chunk),
        SyncFrame::End,
        SyncFrame::Unavailable,
    ];
    for frame in frames {
        assert_eq!(SyncFrame::decode(&frame.encode()).unwrap(), frame);
    }
    assert!(SyncFrame::decode(&start(Some(vec![0; BUCKETS + 1])).encode()).is_err());
}

fn decode_everything(bytes: &[u8]) {
    let _refused = Announcement::decode(bytes).map(|announcement| {
        let changes = announcement.changes.map(|set| set.decode());
        let key = SecretKey::from_seed(&[9; 32]).public();
        (changes, announcement.heads.iter().filter(|head| head.verify("test", &key).is_ok()).count())
    });
    let _refused = Question::decode(bytes);
    let _refused = Answer::decode(bytes);
    let _refused = SyncRequest::decode(bytes);
    if let Ok(SyncFrame::Chunk(chunk)) = SyncFrame::decode(bytes) {
        let _refused = chunk.decode();
    }
    let _refused = decompress("x", bytes, 4_096);
}

#[test]
fn no_bytes_make_a_panic() {
    bolero::check!().for_each(|bytes: &[u8]| decode_everything(bytes));
}

/// Bytes that were right but for some.
#[test]
fn no_damage_makes_a_panic() {
    let set = ChangeSet::encode(&[change("CHION1", Some(b"x")), change("CHION2", None)]);
    let whole = [
        Announcement { heads: vec![signed(&head())], changes: Some(set) }.encode(),
        Question::Heads(vec![mark(); 3]).encode(),
        Answer::Heads(vec![signed(&head()); 2]).encode(),
        SyncRequest { feed: head().feed, have: Have::Buckets(vec![[3; 32]; BUCKETS]) }.encode(),
        SyncFrame::Start(SyncStart { head: signed(&head()), buckets: Some(vec![1]) }).encode(),
    ];
    bolero::check!().with_type::<(u8, u16, u8, u16)>().for_each(|(which, at, byte, cut)| {
        let mut bytes = whole[usize::from(*which) % whole.len()].to_vec();
        let at = usize::from(*at) % bytes.len();
        bytes[at] ^= byte;
        bytes.truncate(bytes.len() - usize::from(*cut) % 8);
        decode_everything(&bytes);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changes_are_read_again(changes in prop::collection::vec(
        ("[A-Z0-9*]{1,41}", 0u64..1 << 62, prop::option::of(prop::collection::vec(any::<u8>(), 0..300))), 0..60,
    )) {
        let changes: Vec<Change> = changes.into_iter()
            .map(|(key, at_unix_ms, value)| Change { key, at_unix_ms, value: value.map(Bytes::from) })
            .collect();
        prop_assert_eq!(ChangeSet::encode(&changes).decode().unwrap(), changes);
    }
}
