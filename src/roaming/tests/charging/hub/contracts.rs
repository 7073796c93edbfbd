//! Media that name an EMP which only the hub reaches.

use super::super::named::{plug, refusal};
use super::super::references::question;
use super::*;

#[test]
fn the_refusal_of_a_named_medium_comes_in_the_hubs_words() {
    let (mut world, a, _) = both(Some(Routing::Hub), None);
    let no_of_emp = |code: &str| BackendAnswer::Answered { http_status: 200, body: refusal(code).into() };
    for (answer, code, is_its) in [
        (no_of_emp("121"), "121", true),
        (no_of_emp("106"), "106", true),
        (no(200, "210", "its words"), "210", true),
        // It speaks of us, or not at all.
        (no(401, "017", "its words"), "105", false),
        (no(404, "300", "its words"), "105", false),
        (BackendAnswer::Silent("timed out".into()), "106", false),
    ] {
        let what = format!("{answer:?} {code}");
        let call = world.charge(a, SessionOperation::AuthorizeStart, &question(&plug("fr-xyz-c12345678-x")));
        let (_, _, asked) = world.hub_says(a, answer);
        assert!(asked.contains("FR-XYZ-C12345678-X"), "{asked}");
        let (http, said) = world.heard(a, call).unwrap();
        assert!(http == 200 && said.contains(&format!(r#""Code":"{code}""#)), "{what}: {said}");
        assert_eq!(said.contains("its words"), is_its, "{what}: {said}");
        assert!(said.contains(r#""SessionID":null,"CPOPartnerSessionID":"C-1""#), "{what}: {said}");
    }
}

#[test]
fn what_the_emp_says_counts_for_more_than_what_the_hub_says() {
    for emp_first in [true, false] {
        let (mut world, a, b) = both(Some(Routing::DirectThenHub), None);
        let call = world.charge(a, SessionOperation::AuthorizeStart, &question(&plug("CH-EMP-C12345678-X")));
        // Half of the time is over: the hub is asked as well.
        world.run(4_500);
        let from_hub = BackendAnswer::Answered { http_status: 200, body: refusal("106").into() };
        if emp_first {
            world.backend_says(b, &refusal("121"));
            world.run(1_000);
            world.hub_says(a, from_hub);
        } else {
            world.hub_says(a, from_hub);
            world.backend_says(b, &refusal("121"));
            world.run(1_000);
        }
        let (_, said) = world.heard(a, call).unwrap();
        assert!(said.contains(r#""Code":"121""#), "{emp_first}: {said}");
    }
}
