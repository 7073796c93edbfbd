//! From nothing to a trusted party on the command line: with an issuer, and with pins only. Then every wrong
//! use that somebody might try, by mistake or not.

use std::path::Path;

use chargemesh::identity::{
    Chain, Credential, CredentialTerms, KeyPurpose, PartyCard, PartyRequest, PublicKey, SecretKey, TrustList,
};
use chargemesh::outbound::HubClient;

use crate::cli::{Running, call, refused, succeeds, told, wait_for};
use crate::support::{push_data, push_status, runtime, unix_s};

const DAY_S: u64 = 86_400;

/// The words after the colon of `party fingerprint`.
pub(crate) fn words(dir: &Path, path: &str) -> String {
    let said = succeeds(dir, &["party", "fingerprint", path]);
    said.trim().rsplit_once(": ").unwrap().1.to_owned()
}

/// What stands behind a name in the lines that a command prints.
pub(crate) fn said_as(said: &str, name: &str) -> String {
    let line = said.lines().find_map(|line| line.trim().strip_prefix(name)).unwrap();
    line.trim().to_owned()
}

/// A directory made by `party request`, and what was said.
pub(crate) fn requested(dir: &Path, name: &str, party: &str, more: &[&str]) -> String {
    let request =
        ["party", "request", name, "--party", party, "--name", "Example AG", "--network", "friends"];
    succeeds(dir, &[request.as_slice(), more].concat())
}

/// An issuer and a list of this class, and the list's signer.
pub(crate) fn authority(dir: &Path, class: &str) -> String {
    succeeds(dir, &["trust", "issuer", "new", "registrar", "--name", "Registrar of the friends"]);
    let said = succeeds(dir, &["trust", "list", "new", "list", "--network", "friends"]);
    let add = ["trust", "list", "add", "list", "registrar/issuer.pub", "--class", class];
    succeeds(dir, &[add.as_slice(), &["--for", "DE:CPO,*:EMP"]].concat());
    said.lines().map(str::trim).find(|line| line.starts_with("chargemesh-trust-pub-1:")).unwrap().to_owned()
}

const ISSUE: [&str; 4] = ["trust", "issue", "--issuer", "registrar/issuer.key"];

/// The arguments that have a request signed with these words.
pub(crate) fn issue<'a>(request: &'a str, output: &'a str, words: &'a str) -> Vec<&'a str> {
    [ISSUE.as_slice(), &["--request", request, "-o", output, "--words", words]].concat()
}

pub(crate) fn install<'a>(name: &'a str, credential: &'a str, signer: &'a str) -> [&'a str; 8] {
    let list = "list/trust-list.cose";
    ["party", "install", name, credential, "--trust-list", list, "--trust-signer", signer]
}

/// Two nodes run, the operator pushes under both of its ids, and the provider's node shows it.
fn exchange(dir: &Path) {
    let (cpo, emp) = (Running::start(dir, "cpo"), Running::start(dir, "emp"));
    runtime().block_on(async {
        let client = HubClient::new(&cpo.url(), None).unwrap();
        for evse in ["DE*GEF*E1", "DE*XYZ*E1"] {
            let pushed =
                client.push_evse_data("DE*GEF", push_data("insert", "DE*GEF", &[evse])).await.unwrap();
            assert!(pushed.result, "{pushed:?}");
        }
        // Further ids stand in EvseIDs, not in the place of the party's own.
        let pushed =
            client.push_evse_data("DE*XYZ", push_data("insert", "DE*XYZ", &["DE*XYZ*E2"])).await.unwrap();
        assert!(!pushed.result && pushed.status.code == "017", "{pushed:?}");
        let status = push_status("fullLoad", "DE*GEF", &[("DE*GEF*E1", "Occupied")]);
        assert!(client.push_evse_status("DE*GEF", status).await.unwrap().result);
    });
    wait_for("what was pushed, at the provider", || {
        let said = succeeds(dir, &["peers", "--node", &emp.url()]);
        said.contains("shows 2 EVSEs and 1 statuses").then_some(())
    });
    let said = succeeds(dir, &["evse", "DE*XYZ*E1", "--node", &emp.url()]);
    assert!(said.contains("Bern"), "{said}");
}

#[test]
fn an_issuer_vouches_for_two_parties_and_they_meet() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let signer = authority(dir, "registrar");
    let cpo = requested(dir, "cpo", "CPO:DE*GEF", &["--sub", "DE*XYZ", "--register-number", "HRB 1"]);
    requested(dir, "emp", "EMP:DE-DCB", &["--bootstrap", &said_as(&cpo, "reached at")]);
    for name in ["cpo", "emp"] {
        let (request, output) = (format!("{name}/request.cose"), format!("{name}.cose"));
        let said = succeeds(dir, &issue(&request, &output, &words(dir, &request).to_uppercase()));
        assert!(
            said.contains("Asked of Registrar of the friends") && said.contains(&words(dir, name)),
            "{said}"
        );
        let said = succeeds(dir, &install(name, &output, &signer));
        assert!(said.contains("Registrar of the friends vouches for"), "{said}");
        // From here on the node believes others by the list alone, and itself by either.
        std::fs::remove_file(dir.join(name).join("keys/pins.cose")).unwrap();
    }
    assert!(succeeds(dir, &["trust", "list", "show", "cpo/keys/trust-list.cose"]).contains("version 2"));
    assert!(cpo.contains("offline/next-org.key") && !dir.join("cpo/keys/next-org.key").exists());
    exchange(dir);
    let said = succeeds(dir, &["party", "renew", "cpo", "--delegation-days", "3"]);
    assert!(said.contains("(3 days); its credential ends on"), "{said}");
}

#[test]
fn two_companies_need_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    requested(dir, "cpo", "CPO:DE*GEF", &["--sub", "DE*XYZ"]);
    requested(dir, "emp", "EMP:DE-DCB", &[]);
    for name in ["cpo", "emp"] {
        succeeds(dir, &["party", "card", "export", name, "-o", &format!("{name}.card")]);
    }
    // Nobody is pinned yet: neither believes the other.
    let said = succeeds(dir, &["trust", "list", "show", "emp/keys/pins.cose"]);
    assert!(said.contains("version 1") && said.contains("EMP:DEDCB") && !said.contains("CPO"), "{said}");
    // The whole line, as the partner's command prints it and a mail brings it.
    let line = succeeds(dir, &["party", "fingerprint", "emp"]);
    assert!(line.starts_with("EMP:DEDCB: "), "{line}");
    let said = succeeds(dir, &["party", "pin", "cpo", "emp.card", "--words", &line]);
    for part in ["nobody but itself", "Example AG", "The six words agree", "mesh.bootstrap"] {
        assert!(said.contains(part), "{part} is missing in\n{said}");
    }
    // Without its sub id first, then with: nothing is believed that was not named.
    let pin = ["party", "pin", "emp", "cpo.card", "--yes"];
    assert!(succeeds(dir, &pin).contains("Not believed: DE*XYZ"));
    assert!(!succeeds(dir, &[pin.as_slice(), &["--sub", "DE*XYZ"]].concat()).contains("Not believed"));
    let said = succeeds(dir, &["trust", "list", "show", "emp/keys/pins.cose"]);
    assert!(said.contains("version 3") && said.contains("pin CPO:DEGEF, further ids: DE*XYZ"), "{said}");
    exchange(dir);

    assert!(succeeds(dir, &["party", "unpin", "emp", "cpo degef"]).contains("CPO:DEGEF is no longer pinned"));
    let said = succeeds(dir, &["trust", "list", "show", "emp/keys/pins.cose"]);
    assert!(said.contains("version 4") && !said.contains("CPO"), "{said}");
    assert_eq!(call(dir, &["party", "unpin", "emp", "CPO:DE*GEF"]).status.code(), Some(1));
    assert!(refused(dir, &["party", "unpin", "emp", "EMP:DE-DCB"]).contains("would not start"));
}

/// Writes a copy of a file with one byte of its middle changed.
fn damage(dir: &Path, from: &str, to: &str) {
    let mut bytes = std::fs::read(dir.join(from)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(dir.join(to), bytes).unwrap();
}

#[test]
fn an_issuer_signs_only_what_was_asked_by_whom_it_spoke_to() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    authority(dir, "registrar");
    requested(dir, "cpo", "CPO:DE*GEF", &["--sub", "DE*XYZ"]);
    requested(dir, "other", "CPO:DE*GEF", &[]);
    let (right, request) = (words(dir, "cpo"), "cpo/request.cose");
    let wrong = words(dir, "other");
    assert!(refused(dir, &issue(request, "x.cose", &wrong)).contains("these are not the six words"));
    assert!(refused(dir, &issue(request, "x.cose", "a b c d e f")).contains("nothing was done"));
    let unasked = [ISSUE.as_slice(), &["--request", request, "-o", "x.cose"]].concat();
    assert!(refused(dir, &unasked).contains("on the telephone"), "nobody is there to say yes");
    damage(dir, request, "changed.cose");
    assert!(refused(dir, &issue("changed.cose", "x.cose", &right)).contains("ask for it again"));
    let network = [issue(request, "x.cose", &right).as_slice(), &["--network", "other"]].concat();
    assert!(refused(dir, &network).contains("for the network `friends`"));
    assert!(refused(dir, &issue("cpo/keys/delegation.cose", "x.cose", &right)).contains("node-delegation"));
    let mixed = [issue(request, "x.cose", &right).as_slice(), &["--sub", "DE*MNE"]].concat();
    assert!(refused(dir, &mixed).contains("cannot be used with"), "a request is not added to");
    let node_key = ["trust", "issue", "--issuer", "cpo/keys/node.key", "--request", request, "-o", "x.cose"];
    assert!(refused(dir, &node_key).contains("use the right key file"));
    assert!(!dir.join("x.cose").exists(), "nothing was signed");

    succeeds(dir, &issue(request, "x.cose", &right));
    assert!(refused(dir, &issue(request, "x.cose", &right)).contains("nothing is ever overwritten"));

    // The same without a request file, from what the party said on paper.
    let said = succeeds(dir, &[ISSUE.as_slice(), &["--request", request, "-o", "y.cose", "--yes"]].concat());
    let (key, next) = (said_as(&said, "org key"), said_as(&said, "next key hash"));
    let by_hand = ["--operator", "de-gef", "--sub", "DE*XYZ", "--name", "Example AG", "--org-key", &key];
    let more = ["--next-org-key", &next, "--network", "friends", "-o", "z.cose", "--days", "30"];
    succeeds(dir, &[ISSUE.as_slice(), &by_hand, &more].concat());
    assert_eq!(words(dir, "z.cose"), right);
    let typo = key.replace("org-pub", "trust-pub");
    let wrong_key = ["--operator", "DE*GEF", "--name", "x", "--network", "friends", "--org-key", &typo];
    assert!(refused(dir, &[ISSUE.as_slice(), &wrong_key, &["-o", "w.cose"]].concat()).contains("--org-key"));
    assert!(refused(dir, &["party", "install", "other", "z.cose"]).contains("another org key"));
}

#[test]
fn only_the_credential_that_was_asked_for_is_installed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let signer = authority(dir, "registrar");
    requested(dir, "cpo", "CPO:DE*GEF", &["--sub", "DE*XYZ"]);
    requested(dir, "other", "CPO:DE*GEF", &[]);
    requested(dir, "french", "CPO:FR*GEF", &[]);
    for name in ["cpo", "other", "french"] {
        let (request, output) = (format!("{name}/request.cose"), format!("{name}.cose"));
        succeeds(dir, &issue(&request, &output, &words(dir, name)));
    }
    let files = ["keys/credential.cose", "keys/delegation.cose", "node.toml"];
    let state = || files.map(|file| std::fs::read(dir.join("cpo").join(file)).unwrap());
    let before = state();
    assert!(refused(dir, &install("cpo", "other.cose", &signer)).contains("another org key"));
    assert!(refused(dir, &install("cpo", "french.cose", &signer)).contains("another request"));
    assert!(
        refused(dir, &install("french", "french.cose", &signer)).contains("would believe"),
        "not trusted there"
    );
    damage(dir, "cpo.cose", "changed.cose");
    assert!(refused(dir, &install("cpo", "changed.cose", &signer)).contains("is no credential"));
    let key = [install("cpo", "cpo.cose", &signer).as_slice(), &["--org-key", "other/keys/org.key"]].concat();
    assert!(refused(dir, &key).contains("not the org key that the request was made with"));
    let stranger =
        said_as(&succeeds(dir, &["trust", "list", "new", "l2", "--network", "friends"]), "chargemesh-trust");
    let stranger = format!("chargemesh-trust{stranger}");
    assert!(refused(dir, &install("cpo", "cpo.cose", &stranger)).contains("signed by this key"));

    // What an issuer with its own tools might send.
    let read = |file: &str| std::fs::read_to_string(dir.join(file)).unwrap();
    let issuer = SecretKey::from_text(KeyPurpose::Issuer, &read("registrar/issuer.key")).unwrap();
    let good = std::fs::read(dir.join("cpo.cose")).unwrap();
    let good = Credential::open(&good, "friends").unwrap().into_content().terms;
    let made = |network: &str, change: &dyn Fn(&mut CredentialTerms)| {
        let mut terms = good.clone();
        change(&mut terms);
        std::fs::write(dir.join("made.cose"), Credential::issue(network, &terms, "R", &issuer).unwrap())
            .unwrap();
        install("cpo", "made.cose", &signer)
    };
    assert!(refused(dir, &made("other", &|_| {})).contains("another network"));
    let ended = |terms: &mut CredentialTerms| {
        (terms.not_before_unix_s, terms.expires_unix_s) = (unix_s() - 9 * DAY_S, unix_s() - DAY_S);
    };
    assert!(refused(dir, &made("friends", &ended)).contains("ask the issuer for a new one"));
    let next_key = made("friends", &|terms| terms.next_org_key_hash = Some([7; 32]));
    assert!(refused(dir, &next_key).contains("could take over"));
    let more = made("friends", &|terms| terms.sub_ids.push("DE*MNE".parse().unwrap()));
    assert!(refused(dir, &more).contains("not asked for: DE*MNE"));
    assert_eq!(state(), before, "a credential that is refused changes nothing");

    let fewer = call(dir, &made("friends", &|terms| terms.sub_ids.clear()));
    assert!(
        fewer.status.code() == Some(1) && told(&fewer).contains("did not vouch for DE*XYZ"),
        "{}",
        told(&fewer)
    );
    succeeds(dir, &install("cpo", "cpo.cose", &signer));
    assert_ne!(state(), before);
    // An older version of the same list is never taken again.
    std::fs::copy(dir.join("list/trust-list.cose"), dir.join("old.cose")).unwrap();
    succeeds(dir, &["trust", "list", "sign", "list", "--days", "20"]);
    succeeds(dir, &install("cpo", "cpo.cose", &signer));
    std::fs::copy(dir.join("old.cose"), dir.join("list/trust-list.cose")).unwrap();
    assert!(refused(dir, &install("cpo", "cpo.cose", &signer)).contains("never rolled back"));
}

#[test]
fn a_trust_list_is_changed_by_its_key_only_and_each_change_is_a_version() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let signer = authority(dir, "attester");
    requested(dir, "cpo", "CPO:DE*GEF", &[]);
    succeeds(dir, &issue("cpo/request.cose", "cpo.cose", &words(dir, "cpo")));
    let alone = call(dir, &install("cpo", "cpo.cose", &signer));
    assert_eq!(alone.status.code(), Some(1), "{}", told(&alone));
    assert!(told(&alone).contains("One attester alone"), "{}", told(&alone));

    let add = ["trust", "list", "add", "list", "registrar/issuer.pub", "--class", "registrar", "--for"];
    assert!(refused(dir, &[add.as_slice(), &["DE:CPO"]].concat()).contains("remove` it first"));
    let remove = ["trust", "list", "remove", "list", "registrar/issuer.pub"];
    assert!(succeeds(dir, &remove).contains("version 3"));
    assert!(refused(dir, &remove).contains("is not in"));
    for (wrong, said) in [("de:CPO", "country"), ("DE", "COUNTRY:ROLE"), ("DE:cpo", "is no role")] {
        assert!(refused(dir, &[add.as_slice(), &[wrong]].concat()).contains(said), "{wrong}");
    }
    assert!(succeeds(dir, &[add.as_slice(), &["DE:CPO,FR:CPO"]].concat()).contains("version 4"));
    succeeds(dir, &["trust", "list", "new", "l2", "--network", "friends"]);
    let stolen = ["trust", "list", "sign", "list/trust-list.cose", "--key", "l2/trust.key"];
    assert!(refused(dir, &stolen).contains("signed by another key"));
    damage(dir, "list/trust-list.cose", "changed.cose");
    assert!(refused(dir, &["trust", "list", "show", "changed.cose"]).contains("is no trust list"));
    succeeds(dir, &["trust", "list", "sign", "list", "--days", "10"]);
    let bytes = std::fs::read(dir.join("list/trust-list.cose")).unwrap();
    let key = PublicKey::from_text(KeyPurpose::Trust, &signer).unwrap();
    let list = TrustList::open(&bytes, "friends", &key).unwrap();
    assert_eq!((list.seq, list.issuers.len()), (5, 1));
    let days = (list.valid_until_unix_s - unix_s()).div_ceil(DAY_S);
    assert_eq!(days, 10);
}

/// A card that was exported three days ago.
fn old_card(dir: &Path, name: &str) -> Vec<u8> {
    let read = |file: &str| std::fs::read(dir.join(name).join("keys").join(file)).unwrap();
    let chain = Chain { credential: read("credential.cose"), delegation: read("delegation.cose") };
    let key = String::from_utf8(read("message.key")).unwrap();
    let made_unix_s = unix_s() - 3 * DAY_S;
    let card = PartyCard::of_chain(&chain, made_unix_s, made_unix_s);
    card.issue("friends", &SecretKey::from_text(KeyPurpose::Message, &key).unwrap()).unwrap()
}

#[test]
fn nobody_is_pinned_by_accident() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    requested(dir, "cpo", "CPO:DE*GEF", &[]);
    requested(dir, "thief", "CPO:DE*GEF", &[]);
    requested(dir, "twin", "EMP:DE-DCB", &[]);
    requested(dir, "emp", "EMP:DE-DCB", &[]);
    let far = ["party", "request", "far", "--party", "CPO:DE*FAR", "--name", "x", "--network", "other"];
    succeeds(dir, &far);
    for name in ["cpo", "thief", "twin", "far"] {
        succeeds(dir, &["party", "card", "export", name, "-o", &format!("{name}.card")]);
    }
    let state =
        || ["keys/pins.cose", "node.toml"].map(|file| std::fs::read(dir.join("emp").join(file)).unwrap());
    let before = state();
    let pin =
        |card: &'static str, more: &[&'static str]| [["party", "pin", "emp", card].as_slice(), more].concat();
    assert!(refused(dir, &pin("cpo.card", &[])).contains("on the telephone"), "nobody is there to say yes");
    let theirs = words(dir, "cpo");
    let forged = [pin("thief.card", &[]).as_slice(), &["--words", &theirs]].concat();
    assert!(refused(dir, &forged).contains("these are not the six words"));
    assert!(refused(dir, &pin("far.card", &["--yes"])).contains("another network"));
    assert!(refused(dir, &pin("twin.card", &["--yes"])).contains("somebody else claims it"));
    assert!(refused(dir, &pin("cpo.card", &["--yes", "--sub", "DE*XYZ"])).contains("not among the ids"));
    assert!(refused(dir, &pin("cpo/request.cose", &["--yes"])).contains("party-card is expected"));
    damage(dir, "cpo.card", "changed.card");
    refused(dir, &pin("changed.card", &["--yes"]));
    std::fs::write(dir.join("old.card"), old_card(dir, "cpo")).unwrap();
    assert!(refused(dir, &pin("old.card", &["--yes"])).contains("48 hours"));
    assert_eq!(state(), before, "what is refused changes nothing");

    succeeds(dir, &[pin("cpo.card", &[]).as_slice(), &["--words", &theirs]].concat());
    assert!(refused(dir, &pin("thief.card", &["--yes"])).contains("pinned with another org key"));
    assert!(succeeds(dir, &["trust", "list", "show", "emp/keys/pins.cose"]).contains(&theirs));
    // A changed key is a decision.
    succeeds(dir, &pin("thief.card", &["--yes", "--replace"]));
    assert!(!succeeds(dir, &["trust", "list", "show", "emp/keys/pins.cose"]).contains(&theirs));

    // Pins that another node signed are none.
    std::fs::copy(dir.join("twin/keys/pins.cose"), dir.join("emp/keys/pins.cose")).unwrap();
    assert!(refused(dir, &["run", "--config", "emp/node.toml"]).contains("this node's key"));
    assert!(refused(dir, &pin("cpo.card", &["--yes"])).contains("not signed by this node's key"));
    let request = std::fs::read(dir.join("cpo/request.cose")).unwrap();
    let next = PartyRequest::open(&request, "friends").unwrap().next_org_key_hash.unwrap();
    let kept = std::fs::read_to_string(dir.join("cpo/offline/next-org.key")).unwrap();
    assert_eq!(SecretKey::from_text(KeyPurpose::Org, &kept).unwrap().public().id().0, next);
}

#[test]
fn ids_and_addresses_are_taken_as_people_write_them() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let said = requested(dir, "cpo", "cpo:de-gef", &["--sub", "dexyz", "--facade", "8080"]);
    assert!(said.contains("CPO:DEGEF") && !said.contains("CPO DE"), "{said}");
    let settings = std::fs::read_to_string(dir.join("cpo/node.toml")).unwrap();
    assert!(settings.contains("\"127.0.0.1:8080\"") && settings.contains("\"CPO:de-gef\""), "{settings}");
    let wrong = ["party", "request", "x", "--party", "CPO:DE*GEF", "--name", "x", "--network", "n"];
    let said = refused(dir, &[wrong.as_slice(), &["--facade", "example.com"]].concat());
    assert!(said.contains("127.0.0.1:8080"), "{said}");
}

/// A reader that has gone is no reason to panic, nor to leave the work undone.
#[cfg(unix)]
#[test]
fn nobody_has_to_read_what_a_command_says() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    authority(dir, "registrar");
    requested(dir, "cpo", "CPO:DE*GEF", &[]);
    let card = "party card export cpo -o x.card";
    let request = "party request y --party EMP:DE-DCB --name x --network friends";
    let list = "trust list show list";
    let issuer = "trust issuer show registrar/issuer.key";
    for command in [card, request, list, issuer, "renew cpo", "party fingerprint cpo", "lint cpo/node.toml"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_chargemesh"))
            .current_dir(dir)
            .args(command.split(' '))
            .stdout(writer)
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap();
        let said = told(&output);
        assert!(!said.contains("panicked"), "{command}: {said}");
        assert!(output.status.success() || command.starts_with("lint"), "{command}: {said}");
    }
    assert!(dir.join("x.card").exists() && dir.join("y/node.toml").exists());
}
