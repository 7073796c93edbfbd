//! Charge detail records that come through the hub and directly.

use super::super::cdr::{cdr, yes};
use super::*;
use crate::protocol::CdrState;

#[test]
fn a_record_over_both_ways_counts_once_and_has_all_its_receipts() {
    // Before it came directly, or after.
    for backend_is_late in [false, true] {
        let (mut world, a, b) = both(Some(Routing::DirectThenHub), Some(Routing::Hub));
        world.begun_at_hub(b);
        world.begun_by_hub(a);
        assert_eq!(world.brought(a, &cdr(GIVEN, "10.0")), "000");
        // The hub passes it on; its answer to us is lost, and then it says that it has lost the session.
        assert_eq!(world.hub_brings(b, &cpo(), &cdr(GIVEN, "10.0")), "000");
        if !backend_is_late {
            world.backend_takes(b, yes());
        }
        world.hub_says(a, BackendAnswer::Silent("lost".into()));
        world.run(120_000);
        world.hub_says(a, no(404, "400", "Session is not valid"));
        world.run(10_000);
        if backend_is_late {
            assert_eq!(world.states(a), [(CdrState::Received, true)]);
            world.backend_takes(b, yes());
            world.run(10_000);
        }
        assert_eq!(world.nodes[b].charging.given_ever.len(), 1);
        assert_eq!(world.states(a), [(CdrState::Accepted, false)]);
        assert_eq!(world.states(b), [(CdrState::Accepted, false)]);
        assert_eq!(world.verdicts(a), [["received", "accepted"]]);
        assert_eq!(world.stored(b)[0].record.via, Via::Hub, "it stays what it was");
    }
}
