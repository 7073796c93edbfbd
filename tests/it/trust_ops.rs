//! Running nodes are asked who is who, and told who is no longer: what one node is handed, all know.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use chargemesh::outbound::HubClient;

use crate::cli::{BINARY, Running, call, refused, succeeds, told, wait_for};
use crate::support::{push_data, runtime, unix_s};
use crate::trust_cli::{authority, install, issue, requested, said_as, words};

/// An operator and a provider that an issuer vouches for.
pub(crate) fn vouched_for(dir: &Path) {
    let signer = authority(dir, "registrar");
    let cpo = requested(dir, "cpo", "CPO:DE*GEF", &[]);
    requested(dir, "emp", "EMP:DE-DCB", &["--bootstrap", &said_as(&cpo, "reached at")]);
    for name in ["cpo", "emp"] {
        let (request, output) = (format!("{name}/request.cose"), format!("{name}.cose"));
        succeeds(dir, &issue(&request, &output, &words(dir, &request)));
        succeeds(dir, &install(name, &output, &signer));
        std::fs::remove_file(dir.join(name).join("keys/pins.cose")).unwrap();
    }
}

/// Waits until `trust show` of every node has a line with all these parts.
pub(crate) fn all_show(dir: &Path, nodes: &[&Running], parts: &[&str]) {
    for node in nodes {
        wait_for(&format!("{parts:?} at {}", node.url()), || {
            let said = told(&call(dir, &["trust", "show", "--node", &node.url()]));
            said.lines().any(|line| parts.iter().all(|part| line.contains(part))).then_some(())
        });
    }
}

fn pushed(node: &Running, evse: &str) {
    let client = HubClient::new(&node.url(), None).unwrap();
    let answer =
        runtime().block_on(client.push_evse_data("DE*GEF", push_data("insert", "DE*GEF", &[evse]))).unwrap();
    assert!(answer.result, "{answer:?}");
}

fn shows(dir: &Path, node: &Running, evses: &str) {
    wait_for(evses, || {
        let said = succeeds(dir, &["peers", "--node", &node.url()]);
        said.contains(&format!("shows {evses}")).then_some(())
    });
}

/// A node tells its own people when nobody believes it any more.
fn says_that_it_is_revoked(dir: &Path, node: &Running, revoked: bool) {
    wait_for(&format!("revoked = {revoked} at {}", node.url()), || {
        let said = succeeds(dir, &["peers", "--node", &node.url()]);
        (said.contains("REVOKED") == revoked).then_some(())
    });
}

const BURY: [&str; 6] = ["trust", "bury", "--credential", "cpo.cose", "--key", "cpo/keys/org.key"];

#[test]
fn what_is_dead_is_dead_at_every_node() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    vouched_for(dir);
    let (cpo, emp) = (Running::start(dir, "cpo"), Running::start(dir, "emp"));
    let both = [&cpo, &emp];
    all_show(
        dir,
        &both,
        &["CPO:DEGEF", "Example AG", "live", "Registrar of the friends", &words(dir, "cpo")],
    );
    all_show(dir, &both, &["EMP:DEDCB", "live", &words(dir, "emp")]);
    all_show(dir, &both, &["Registrar of the friends", "registrar", "none seen"]);
    assert!(succeeds(dir, &["trust", "watch", "--once", "--node", &emp.url()]).contains("2 parties"));
    pushed(&cpo, "DE*GEF*E1");
    shows(dir, &emp, "1 EVSEs");

    let delegation = [BURY.as_slice(), &["--delegation", "cpo/keys/delegation.cose"]].concat();
    succeeds(dir, &[delegation.as_slice(), &["--reason", "stolen", "-o", "dead.cose"]].concat());
    assert!(refused(dir, &[delegation.as_slice(), &["-o", "dead.cose"]].concat()).contains("overwritten"));
    assert!(refused(dir, &delegation).contains("--output"), "it goes somewhere");
    let foreign = ["trust", "bury", "--credential", "cpo.cose", "--key", "emp/keys/org.key", "-o", "x.cose"];
    assert!(refused(dir, &foreign).contains("may not say this"));
    let by_issuer =
        ["trust", "bury", "--credential", "cpo.cose", "--key", "registrar/issuer.key", "--org-key"];
    assert!(refused(dir, &[by_issuer.as_slice(), &["-o", "x.cose"]].concat()).contains("may not say this"));
    assert!(!dir.join("x.cose").exists());
    let said = succeeds(dir, &["trust", "submit", "dead.cose", "--node", &emp.url()]);
    assert!(said.contains("tombstone") && said.contains("told to everybody"), "{said}");
    wait_for("that the other node knows it", || {
        let said = succeeds(dir, &["trust", "submit", "dead.cose", "--node", &cpo.url()]);
        said.contains("known already").then_some(())
    });
    // From a dead delegation nothing is taken; from the next one all that was missed.
    says_that_it_is_revoked(dir, &cpo, true);
    pushed(&cpo, "DE*GEF*E2");
    let since = unix_s();
    wait_for("three seconds", || {
        let said = succeeds(dir, &["peers", "--node", &emp.url()]);
        assert!(!said.contains("shows 2 EVSEs"), "{said}");
        (unix_s() > since + 3).then_some(())
    });
    succeeds(dir, &["renew", "cpo"]);
    shows(dir, &emp, "2 EVSEs");
    says_that_it_is_revoked(dir, &cpo, false);

    // The issuer ends it all.
    let url = cpo.url();
    let list = ["trust", "status-list", "--issuer", "registrar/issuer.key", "--revoked", "cpo.cose"];
    let foreign = ["trust", "status-list", "--issuer", "registrar/issuer.key", "--revoked", "dead.cose"];
    assert!(
        refused(dir, &[foreign.as_slice(), &["--first", "-o", "x.cose"]].concat())
            .contains("is no credential")
    );
    let first = [list.as_slice(), &["--first", "-o", "list.cose", "--node", &url]].concat();
    assert!(refused(dir, &[list.as_slice(), &["-o", "x.cose"]].concat()).contains("--first"));
    let said = succeeds(dir, &first);
    assert!(said.contains("1 dead credential") && said.contains("told to everybody"), "{said}");
    all_show(dir, &both, &["CPO:DEGEF", "revoked"]);
    says_that_it_is_revoked(dir, &cpo, true);
    says_that_it_is_revoked(dir, &emp, false);
    all_show(dir, &both, &["Registrar of the friends", "registrar", "good for 23 h"]);
    // What was dead in one list is so in the next.
    let next = [
        "trust",
        "status-list",
        "--issuer",
        "registrar/issuer.key",
        "--previous",
        "list.cose",
        "--valid-hours",
        "30",
    ];
    let said = succeeds(dir, &[next.as_slice(), &["-o", "next.cose", "--node", &url]].concat());
    assert!(said.contains("1 dead credential"), "{said}");
    // A list that knows nothing of those before would bring the dead back to life.
    let forgets = ["trust", "status-list", "--issuer", "registrar/issuer.key", "--network", "friends"];
    for before in [["--first"].as_slice(), &["--previous", "list.cose", "--valid-hours", "48"]] {
        let said = refused(dir, &[forgets.as_slice(), before, &["--node", &url]].concat());
        assert!(said.contains("holds a later status list"), "{before:?}: {said}");
    }
    all_show(dir, &both, &["CPO:DEGEF", "revoked"]);
}

#[test]
fn the_holder_of_an_id_hears_that_somebody_else_claims_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    vouched_for(dir);
    let (cpo, emp) = (Running::start(dir, "cpo"), Running::start(dir, "emp"));
    all_show(dir, &[&cpo, &emp], &["CPO:DEGEF", "live"]);
    let grant = ["party", "grant", "--to", "CPO:DE*MNE", "--org-key", "cpo/keys/org.key"];
    let url = cpo.url();
    let grant = [grant.as_slice(), &["--credential", "cpo.cose", "--node", &url]].concat();
    assert!(succeeds(dir, &[grant.as_slice(), &["--days", "30"]].concat()).contains("until"));
    assert!(refused(dir, &grant).contains("--days"));

    // Who was here first is told by the second.
    let since = unix_s();
    wait_for("another second", || (unix_s() > since + 1).then_some(()));
    requested(dir, "thief", "CPO:DE*GEF", &[]);
    succeeds(dir, &issue("thief/request.cose", "thief.cose", &words(dir, "thief")));
    succeeds(dir, &["trust", "submit", "thief.cose", "--node", &emp.url()]);
    let theirs = words(dir, "thief");
    all_show(dir, &[&cpo, &emp], &["CPO:DEGEF", "frozen", &theirs]);
    for command in [["trust", "show"].as_slice(), &["trust", "watch"]] {
        let claimed = call(dir, &[command, &["--node", &cpo.url()]].concat());
        let said = told(&claimed);
        assert!(claimed.status.code() == Some(1) && said.contains("ALARM: CPO:DEGEF is YOUR id"), "{said}");
        assert!(said.contains(&theirs) && said.contains("vouched for by Registrar of the friends"), "{said}");
    }
    // Somebody else's conflict is shown, and no alarm.
    let said = succeeds(dir, &["trust", "show", "--node", &emp.url()]);
    assert!(said.contains("Conflict: CPO:DEGEF") && !said.contains("ALARM"), "{said}");
    // A grant that was withdrawn in a later second goes over the first.
    let said = succeeds(dir, &[grant.as_slice(), &["--withdraw"]].concat());
    assert!(said.contains("no longer") && said.contains("told to everybody"), "{said}");
}

/// The org key is replaced while both run; the second push is signed under the new one.
fn rotated(dir: &Path, cpo: &Running, emp: &Running, issued: bool) {
    let old = words(dir, "cpo");
    pushed(cpo, "DE*GEF*E1");
    shows(dir, emp, "1 EVSEs");
    let said = succeeds(dir, &["party", "rotate", "cpo", "--node", &cpo.url()]);
    assert!(
        dir.join("cpo/keys")
            .read_dir()
            .unwrap()
            .any(|file| { file.unwrap().file_name().to_string_lossy().starts_with("org-until-") })
    );
    if issued {
        assert!(said.contains("send cpo/request.cose to the issuer"), "{said}");
        succeeds(dir, &issue("cpo/request.cose", "cpo-2.cose", &words(dir, "cpo/request.cose")));
        succeeds(dir, &["party", "install", "cpo", "cpo-2.cose"]);
    }
    let new = words(dir, "cpo");
    assert!(new != old && said.contains(&new), "{said}");
    all_show(dir, &[cpo, emp], &["CPO:DEGEF", "live", &new]);
    all_show(dir, &[cpo, emp], &["CPO:DEGEF", "replaced", &old]);
    pushed(cpo, "DE*GEF*E2");
    shows(dir, emp, "2 EVSEs");
    let said = succeeds(dir, &["trust", "show", "--node", &emp.url()]);
    // A column: `frozen` is one of the words of fingerprints too.
    assert!(!said.contains("  frozen  ") && !said.contains("Conflict"), "{said}");
    succeeds(dir, &["renew", "cpo"]);
    succeeds(dir, &["party", "rotate", "cpo", "-o", "again.cose"]);
}

#[test]
fn a_new_org_key_follows_under_an_issuer() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    vouched_for(dir);
    let (cpo, emp) = (Running::start(dir, "cpo"), Running::start(dir, "emp"));
    rotated(dir, &cpo, &emp, true);
}

/// An operator and a provider who pinned each other.
fn pinned(dir: &Path) {
    for (name, party) in [("cpo", "CPO:DE*GEF"), ("emp", "EMP:DE-DCB")] {
        requested(dir, name, party, &[]);
        succeeds(dir, &["party", "card", "export", name, "-o", &format!("{name}.card")]);
    }
    succeeds(dir, &["party", "pin", "cpo", "emp.card", "--yes"]);
    succeeds(dir, &["party", "pin", "emp", "cpo.card", "--yes"]);
}

#[test]
fn a_new_org_key_follows_for_those_who_pinned_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    pinned(dir);
    let (cpo, emp) = (Running::start(dir, "cpo"), Running::start(dir, "emp"));
    rotated(dir, &cpo, &emp, false);
    // Also after a new start.
    drop(cpo);
    let cpo = Running::start(dir, "cpo");
    pushed(&cpo, "DE*GEF*E3");
    shows(dir, &emp, "3 EVSEs");
}

/// The file modes that others may not have.
#[cfg(unix)]
fn is_private(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(file).unwrap().permissions().mode() & 0o077 == 0
}

#[test]
fn a_node_with_a_new_key_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let emp = requested(dir, "emp", "EMP:DE-DCB", &[]);
    requested(dir, "cpo", "CPO:DE*GEF", &["--bootstrap", &said_as(&emp, "reached at")]);
    for (name, partner) in [("cpo", "emp"), ("emp", "cpo")] {
        succeeds(dir, &["party", "card", "export", partner, "-o", &format!("{partner}.card")]);
        let pin = ["party", "pin", name, &format!("{partner}.card"), "--yes", "--no-bootstrap"];
        succeeds(dir, &pin);
    }
    let (cpo, emp) = (Running::start(dir, "cpo"), Running::start(dir, "emp"));
    pushed(&cpo, "DE*GEF*E1");
    shows(dir, &emp, "1 EVSEs");
    let read = |file: &str| std::fs::read(dir.join("cpo/keys").join(file)).unwrap();
    let (key, pins) = (read("node.key"), read("pins.cose"));
    // Without the org key nothing changes.
    let wrong = ["renew", "cpo", "--new-node-key", "--org-key", "emp/keys/org.key"];
    assert!(refused(dir, &wrong).contains("not signed by this org key"));
    assert!(read("node.key") == key && !dir.join("cpo/keys/node.key.next").exists());

    let said = succeeds(dir, &["renew", "cpo", "--new-node-key"]);
    assert!(said.contains("RESTART") && said.contains("peer id"), "{said}");
    assert!(read("node.key") != key && read("pins.cose") != pins);
    let old = dir.join("cpo/keys").read_dir().unwrap().map(|file| file.unwrap().path());
    let old = old.filter(|file| file.to_string_lossy().contains("node-until-")).collect::<Vec<_>>();
    assert!(old.len() == 1 && std::fs::read(&old[0]).unwrap() == key, "{old:?}");
    #[cfg(unix)]
    assert!(is_private(&old[0]) && is_private(&dir.join("cpo/keys/node.key")));
    // The node that runs goes on until it is restarted.
    pushed(&cpo, "DE*GEF*E2");
    shows(dir, &emp, "2 EVSEs");
    drop(cpo);
    let cpo = Running::start(dir, "cpo");
    pushed(&cpo, "DE*GEF*E3");
    shows(dir, &emp, "3 EVSEs");
    let said = succeeds(dir, &["peers", "--node", &cpo.url()]);
    let peer_id = said_as(&said, "Node ");
    let said = succeeds(dir, &["peers", "--node", &emp.url()]);
    assert!(said.contains(&peer_id), "{peer_id} is missing in\n{said}");
    assert!(succeeds(dir, &["trust", "list", "show", "cpo/keys/pins.cose"]).contains("EMP"));
}

#[test]
fn a_new_node_key_is_found_again_after_a_crash_and_a_damaged_delegation_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    requested(dir, "cpo", "CPO:DE*GEF", &[]);
    let file = |name: &str| dir.join("cpo/keys").join(name);
    let (key, before) =
        (std::fs::read(file("node.key")).unwrap(), std::fs::read(file("delegation.cose")).unwrap());
    succeeds(dir, &["renew", "cpo", "--new-node-key"]);
    // As after a crash before the last step: all is signed for the new key, and it waits beside the old one.
    std::fs::rename(file("node.key"), file("node.key.next")).unwrap();
    std::fs::write(file("node.key"), &key).unwrap();
    let new = std::fs::read(file("node.key.next")).unwrap();
    assert!(call(dir, &["party", "card", "export", "cpo", "-o", "x.card"]).status.code() == Some(2));
    succeeds(dir, &["renew", "cpo", "--new-node-key"]);
    assert!(std::fs::read(file("node.key")).unwrap() == new && !file("node.key.next").exists());
    succeeds(dir, &["party", "card", "export", "cpo", "-o", "x.card"]);

    let mut damaged = before;
    damaged.truncate(100);
    std::fs::write(file("delegation.cose"), damaged).unwrap();
    let said = refused(dir, &["renew", "cpo"]);
    let (_, rest) = said.split_once("(mv ").unwrap();
    let words: Vec<&str> = rest.split(')').next().unwrap().split(' ').collect();
    std::fs::rename(dir.join(words[0]), dir.join(words[1])).unwrap();
    succeeds(dir, &["renew", "cpo"]);
    succeeds(dir, &["party", "card", "export", "cpo", "-o", "y.card"]);
}

#[test]
fn who_was_away_hears_of_a_rotation_from_a_party_that_was_restarted() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    pinned(dir);
    let (cpo, emp) = (Running::start(dir, "cpo"), Running::start(dir, "emp"));
    pushed(&cpo, "DE*GEF*E1");
    shows(dir, &emp, "1 EVSEs");
    drop(emp);
    let old = words(dir, "cpo");
    succeeds(dir, &["party", "rotate", "cpo", "--node", &cpo.url()]);
    drop(cpo);
    // It pins its new key now, and still holds how it came to it.
    let cpo = Running::start(dir, "cpo");
    let new = words(dir, "cpo");
    all_show(dir, &[&cpo], &["CPO:DEGEF", "replaced", &old]);
    all_show(dir, &[&cpo], &["CPO:DEGEF", "live", &new]);
    let emp = Running::start(dir, "emp");
    pushed(&cpo, "DE*GEF*E2");
    shows(dir, &emp, "2 EVSEs");
    all_show(dir, &[&emp], &["CPO:DEGEF", "live", &new]);
}

#[test]
fn an_older_trust_list_is_refused_after_a_restart_too() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    vouched_for(dir);
    let list = dir.join("emp/keys/trust-list.cose");
    let older = std::fs::read(&list).unwrap();
    drop(Running::start(dir, "emp"));
    succeeds(dir, &["trust", "list", "sign", "list"]);
    std::fs::copy(dir.join("list/trust-list.cose"), &list).unwrap();
    let emp = Running::start(dir, "emp");
    let said = succeeds(dir, &["trust", "show", "--node", &emp.url()]);
    assert!(said.contains("(the trust list, version 3,"), "{said}");
    drop(emp);
    // Somebody puts the old one back while the node is down.
    std::fs::write(&list, &older).unwrap();
    let started = std::panic::catch_unwind(|| Running::start(dir, "emp"));
    assert!(started.is_err(), "it does not run with an older list");
    let said = std::fs::read_to_string(dir.join("emp.log")).unwrap();
    assert!(said.contains("has the version 2") && said.contains("has used version 3"), "{said}");
    std::fs::copy(dir.join("list/trust-list.cose"), &list).unwrap();
    drop(Running::start(dir, "emp"));
}

#[test]
fn watch_ends_when_its_reader_has_gone_though_there_is_nothing_to_tell() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    vouched_for(dir);
    let cpo = Running::start(dir, "cpo");
    let mut watch = Command::new(BINARY);
    watch.args(["trust", "watch", "--node", &cpo.url()]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut watch = watch.spawn().unwrap();
    let mut reader = BufReader::new(watch.stdout.take().unwrap());
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    assert!(first.starts_with("Watching: "), "{first}");
    drop(reader);
    let ended = wait_for("the end of the watch", || watch.try_wait().unwrap());
    assert!(ended.success(), "{ended}");
}

#[test]
fn rules_of_the_policy_are_taken_while_the_node_runs_and_others_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    vouched_for(dir);
    let cpo = Running::start(dir, "cpo");
    let checked = || told(&call(dir, &["agreement", "check", "EMP:DE-DCB", "--node", &cpo.url()]));
    assert!(checked().contains("no contract"), "{}", checked());
    let settings = dir.join("cpo/node.toml");
    let before = std::fs::read_to_string(&settings).unwrap();
    let rule = "\n[[policy.rule]]\nparty = \"EMP:DE-DCB\"\nservices = [\"Cdr\"]\nallow = true\n";
    std::fs::write(&settings, format!("{before}{rule}")).unwrap();
    // It looks by itself, too, every few seconds.
    cpo.send("HUP");
    wait_for("the new rule", || {
        let said = checked();
        said.lines().any(|line| line.contains("Cdr") && line.contains("allowed")).then_some(())
    });
    let other = "\n[visibility]\n[[visibility.rule]]\nevses = [\"DE*GEF*E1\"]\nparties = [\"EMP:DE-DCB\"]\n";
    std::fs::write(&settings, format!("{before}{rule}{other}")).unwrap();
    cpo.send("HUP");
    wait_for("a word about what needs a restart", || {
        let logged = cpo.logged();
        (logged.contains("[visibility]") && logged.contains("need a restart")).then_some(())
    });
    std::fs::write(&settings, format!("{before}\n[[policy.rule]]\nallow = true\n")).unwrap();
    cpo.send("HUP");
    wait_for("a word about a wrong rule", || cpo.logged().contains("goes on with what it had").then_some(()));
    assert!(checked().contains("allowed"));
}
