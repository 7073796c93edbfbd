//! HTTPS: who may act with which certificate, new certificates while connections are open, when they end, HTTP/2, and
//! compressed answers.

pub(crate) mod pki;
mod wire;

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use chargemesh::facade::{ApiKey, BackendConfig, TlsConfig};
use chargemesh::node::Node;
use chargemesh::outbound::{BackendClient, CallFailure, HubClient, OutboundError};

use crate::cli::{BINARY, Running, call, succeeds, told, wait_for};
use crate::support::{PATIENCE, Plan, World, push_data, runtime, until};
use pki::{Ca, DAY_S, Days, GOOD, Issued, Side, tls, write_secret};

/// The key of the provider's backend.
const KEY: &str = "0123456789abcdef0123456789abcdef";
const PULL: &str = r#"{"ProviderID":"DE-DCB","GeoCoordinatesResponseFormat":"Google"}"#;
const PULL_PATH: &str = "api/oicp/evsepull/v23/providers/DE-DCB/data-records?page=0&size=2000";
const STATUS_PATH: &str = "api/oicp/evsepull/v21/providers/DE-DCB/status-records";
const PUSH_PATH: &str = "api/oicp/evsepush/v23/operators/DE*ABC/data-records";

/// The CA of everybody, and the files of a node.
struct Place {
    ca: Ca,
    operator: Issued,
    provider: Issued,
    plan: Plan,
}

impl Place {
    /// A CPO known by its certificate, and an EMP known by its certificate or its key.
    fn new(dir: &Path, server: Days) -> Place {
        let ca = Ca::new("CA of the test");
        let (operator, provider) = (ca.issue("CPO", Side::Client, GOOD), ca.issue("EMP", Side::Client, GOOD));
        let mut plan = Plan::new("both", Some("CPO:DEABC"), dir).also("EMP:DEDCB");
        let (certificate, key) = ca.issue("facade", Side::Server, server).write(dir, "facade");
        let client_ca = dir.join("ca.crt");
        std::fs::write(&client_ca, ca.pem()).unwrap();
        let facade = plan.settings.facade.as_mut().unwrap();
        facade.tls = TlsConfig { certificate, key, client_ca, handshake_timeout_ms: 1_000 };
        let backend = |key: Option<&str>, shows: &Issued, party: &str| BackendConfig {
            key: key.map(ApiKey::new),
            certificates: vec![shows.fingerprint().to_string()],
            parties: vec![party.to_owned()],
            ..BackendConfig::default()
        };
        facade.backends =
            vec![backend(None, &operator, "CPO:DE*ABC"), backend(Some(KEY), &provider, "EMP:DE-DCB")];
        Place { ca, operator, provider, plan }
    }

    async fn start(&self) -> Node {
        World::new().start(&self.plan).await
    }

    fn client(&self, node: &Node, identity: Option<&Issued>, key: Option<&str>) -> HubClient {
        HubClient::with_tls(&node.facade_url().unwrap(), key, &tls(&self.ca, identity)).unwrap()
    }

    /// A node with so many EVSEs.
    async fn filled(&self, evses: usize) -> Node {
        let node = self.start().await;
        let ids: Vec<String> = (0..evses).map(|number| format!("DE*ABC*E{number}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let client = self.client(&node, Some(&self.operator), None);
        let pushed = client.push_evse_data("DE*ABC", push_data("fullLoad", "DE*ABC", &ids)).await.unwrap();
        assert!(pushed.result, "{pushed:?}");
        until(&node, "what was pushed", |view| view.view_evses == evses as u64).await;
        node
    }
}

/// HTTP status and code of a call, or `None` if there was no connection.
async fn outcome(client: &HubClient, path: &str, body: Bytes) -> Option<(u16, String)> {
    match client.post(path, "application/json", body).await {
        Ok(answer) => {
            let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            Some((answer.http_status, json["StatusCode"]["Code"].as_str().unwrap_or_default().to_owned()))
        }
        Err(OutboundError::Unreachable { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn each_certificate_opens_what_the_configuration_says_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let place = Place::new(dir.path(), GOOD);
        let node = place.start().await;
        let issue = |days| place.ca.issue("late", Side::Client, days);
        let other = Ca::new("another CA").issue("CPO", Side::Client, GOOD);
        let nobody = place.ca.issue("nobody", Side::Client, GOOD);
        let (expired, early) = (issue(Days(-30, -1)), issue(Days(1, 30)));
        let own = Issued::self_signed("CPO", Side::Client);
        let server = place.ca.issue("CPO", Side::Server, GOOD);
        let (yes, no) = (Some((200, "000")), Some((401, "017")));
        let push = push_data("fullLoad", "DE*ABC", &["DE*ABC*E1"]);
        // Which certificate, with which key: what the CPO's push and the EMP's pull get.
        let table: [(&str, Option<&Issued>, Option<&str>, _, _); 13] = [
            ("the CPO's", Some(&place.operator), None, yes, no),
            ("the EMP's", Some(&place.provider), None, no, yes),
            ("the EMP's with its key", Some(&place.provider), Some(KEY), no, yes),
            ("the CPO's with the EMP's key", Some(&place.operator), Some(KEY), no, no),
            ("one that no backend names", Some(&nobody), None, no, no),
            ("one that no backend names, and the EMP's key", Some(&nobody), Some(KEY), no, yes),
            ("none", None, None, no, no),
            ("none, and the EMP's key", None, Some(KEY), no, yes),
            ("expired", Some(&expired), Some(KEY), None, None),
            ("not yet good", Some(&early), Some(KEY), None, None),
            ("self-signed", Some(&own), Some(KEY), None, None),
            ("of another CA", Some(&other), Some(KEY), None, None),
            ("a server's", Some(&server), Some(KEY), None, None),
        ];
        for (name, identity, key, pushed, pulled) in table {
            let client = place.client(&node, identity, key);
            let expected = |outcome: Option<(u16, &str)>| outcome.map(|(http, code)| (http, code.to_owned()));
            let got = outcome(&client, PUSH_PATH, push.clone()).await;
            assert_eq!(got, expected(pushed), "{name}: push");
            let got = outcome(&client, PULL_PATH, PULL.into()).await;
            assert_eq!(got, expected(pulled), "{name}: pull");
        }
        // The same for the client of backends.
        let url = node.facade_url().unwrap();
        let path = format!("/{PUSH_PATH}");
        for (identity, http) in [(Some(&place.operator), 200), (None, 401)] {
            let client = BackendClient::with_tls(&url, &tls(&place.ca, identity)).unwrap();
            assert_eq!(client.post(&path, push.clone(), PATIENCE).await.unwrap().http_status, http);
        }
        let plain = HubClient::new(&url.replace("https:", "http:"), Some(KEY)).unwrap();
        assert_eq!(
            outcome(&plain, PULL_PATH, PULL.into()).await,
            None,
            "TLS is spoken there and nothing else"
        );
        node.shutdown().await;
    });
}

#[test]
fn a_push_from_the_command_line_shows_its_certificate() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let place = Place::new(dir.path(), GOOD);
        let node = place.start().await;
        place.operator.write(dir.path(), "operator");
        place.provider.write(dir.path(), "provider");
        std::fs::write(dir.path().join("evses.json"), push_data("fullLoad", "DE*ABC", &["DE*ABC*E1"]))
            .unwrap();
        let url = node.facade_url().unwrap();
        let push =
            |more: &[&str]| call(dir.path(), &[&["push", "evses.json", "--node", &url], more].concat());
        let provider = ["--ca", "ca.crt", "--certificate", "provider.crt", "--key-file", "provider.key"];
        let other_key = ["--ca", "ca.crt", "--certificate", "operator.crt", "--key-file", "provider.key"];
        let of_nobody = ["--certificate", "operator.crt", "--key-file", "operator.key"];
        let table: [(&[&str], _, &str); 5] = [
            (&["--ca", "ca.crt"], 1, "017"),
            (&provider, 1, "017"),
            (&other_key, 2, "is the key that of the first certificate"),
            (&of_nobody, 2, "certificate"),
            (&["--ca", "absent.crt"], 2, "absent.crt"),
        ];
        for (args, code, expected) in table {
            let output = push(args);
            let said = told(&output);
            assert!(output.status.code() == Some(code) && said.contains(expected), "{args:?}: {said}");
        }
        let good = ["--ca", "ca.crt", "--certificate", "operator.crt", "--key-file", "operator.key"];
        let output = push(&good);
        assert!(output.status.success(), "{}", told(&output));
        until(&node, "what was pushed", |view| view.view_evses == 1).await;
        node.shutdown().await;
    });
}

#[test]
fn a_client_believes_only_the_right_server_and_follows_it_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        for (name, days, believed) in [("good", GOOD, true), ("expired", Days(-9, -1), false)] {
            let place = Place::new(dir.path(), days);
            let node = place.start().await;
            let url = node.facade_url().unwrap();
            let client = place.client(&node, None, Some(KEY));
            assert_eq!(outcome(&client, PULL_PATH, PULL.into()).await.is_some(), believed, "{name}");
            let other = HubClient::with_tls(&url, Some(KEY), &tls(&Ca::new("another CA"), None)).unwrap();
            assert_eq!(outcome(&other, PULL_PATH, PULL.into()).await, None, "{name}: another CA");
            let host = url.replace("127.0.0.1", "localhost");
            let other = HubClient::with_tls(&host, Some(KEY), &tls(&place.ca, None)).unwrap();
            assert_eq!(outcome(&other, PULL_PATH, PULL.into()).await, None, "{name}: another name");
            // Nothing was said to it.
            let other = BackendClient::with_tls(&url, &tls(&Ca::new("another CA"), None)).unwrap();
            let failed = other.post("/", Bytes::new(), PATIENCE).await.err();
            assert!(matches!(failed, Some(CallFailure::NotSent(_))), "{failed:?}");
            node.shutdown().await;
        }
        let moved = wire::answering(
            "HTTP/1.1 307 Moved\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n",
        );
        let url = format!("http://{moved}");
        let by_hub = HubClient::new(&url, None).unwrap().post("a", "application/json", Bytes::new()).await;
        let by_backend = BackendClient::new(&url).unwrap().post("/a", Bytes::new(), PATIENCE).await;
        assert_eq!((by_hub.unwrap().http_status, by_backend.unwrap().http_status), (307, 307));
    });
}

#[test]
fn files_that_cannot_be_used_are_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let mut place = Place::new(dir.path(), GOOD);
        let data_dir = place.plan.settings.storage.data_dir.clone();
        let (certificate, key) = (dir.path().join("facade.crt"), dir.path().join("facade.key"));
        let another = place.ca.issue("other", Side::Server, GOOD);
        let good = std::fs::read_to_string(&key).unwrap();
        let mut start = async |expected: &str| {
            // What was begun before it failed may still hold the databases.
            place.plan.settings.storage.data_dir = data_dir.join(expected);
            let error = World::new().try_start(&place.plan).await.err().map(|error| error.to_string());
            assert!(error.as_ref().is_some_and(|error| error.contains(expected)), "{expected}: {error:?}");
        };
        #[cfg(unix)]
        {
            let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(&key, mode(0o644)).unwrap();
            start("chmod 600").await;
            std::fs::set_permissions(&key, mode(0o600)).unwrap();
        }
        write_secret(&key, &another.key);
        start("is the key that of the first certificate").await;
        write_secret(&key, "no key");
        start("no private key").await;
        write_secret(&key, &good);
        std::fs::write(&certificate, "").unwrap();
        start("no certificate in it").await;
        std::fs::remove_file(&certificate).unwrap();
        start("facade.crt").await;
    });
}

#[test]
fn new_certificates_are_taken_while_connections_go_on_and_broken_ones_are_not() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let mut place = Place::new(dir.path(), GOOD);
        let node = place.filled(1).await;
        let address = node.facade_address().unwrap();
        let of_facade = |node: &Node| {
            let used = node.certificates();
            used.into_iter().find(|used| used.what_for.as_str() == "facade").unwrap().certificate.fingerprint
        };
        let first = of_facade(&node);
        let mut open = wire::Connection::open(address, &place.ca, Some(&place.operator), "http/1.1").await;
        assert_eq!(open.server, first);
        assert!(open.ask().await.starts_with("HTTP/1.1 200"));

        // Another certificate of the facade, another CA, another certificate of the CPO.
        let next = Ca::new("the next CA");
        let operator = next.issue("CPO", Side::Client, GOOD);
        let facade = place.ca.issue("facade", Side::Server, GOOD);
        facade.write(dir.path(), "facade");
        std::fs::write(dir.path().join("ca.crt"), next.pem()).unwrap();
        let backends = &mut place.plan.settings.facade.as_mut().unwrap().backends;
        backends[0].certificates.push(operator.fingerprint().to_string());
        assert!(node.reload_certificates(&place.plan.settings).is_empty());
        assert_eq!(of_facade(&node), facade.fingerprint());

        assert!(open.ask().await.starts_with("HTTP/1.1 200"), "an open connection goes on");
        let new = wire::Connection::open(address, &place.ca, Some(&operator), "http/1.1").await;
        assert_eq!(new.server, facade.fingerprint());
        let push = push_data("fullLoad", "DE*ABC", &["DE*ABC*E1"]);
        for (identity, expected) in [(&operator, Some((200, "000".to_owned()))), (&place.operator, None)] {
            let client = place.client(&node, Some(identity), None);
            assert_eq!(outcome(&client, PUSH_PATH, push.clone()).await, expected);
        }

        // What is broken changes nothing.
        for broken in ["", "no certificate", &place.operator.certificate] {
            std::fs::write(dir.path().join("facade.crt"), broken).unwrap();
            let failed = node.reload_certificates(&place.plan.settings);
            assert_eq!(failed.len(), 1, "{failed:?}");
            let again = wire::Connection::open(address, &place.ca, Some(&operator), "http/1.1").await;
            assert_eq!(again.server, facade.fingerprint());
        }
        assert!(open.ask().await.starts_with("HTTP/1.1 200"));
        node.shutdown().await;
    });
}

#[cfg(unix)]
#[test]
fn the_program_takes_new_files_by_itself_and_says_what_it_does_not_take() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let ca = Ca::new("CA of the test");
    let first = ca.issue("facade", Side::Server, Days(-1, 6));
    succeeds(dir, &["init", "cpo", "--party", "CPO:DE*ABC", "--name", "A", "--facade", "127.0.0.1:0"]);
    first.write(&dir.join("cpo"), "facade");
    let settings = dir.join("cpo/node.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    let tls = "\n[facade.tls]\ncertificate = \"facade.crt\"\nkey = \"facade.key\"\n";
    std::fs::write(&settings, format!("{text}{tls}")).unwrap();
    let node = Running::start(dir, "cpo");
    let url = node.url();
    let address = url.strip_prefix("https://").unwrap().parse().unwrap();
    let shown = || {
        let open = async { wire::Connection::open(address, &ca, None, "h2").await.server };
        runtime().block_on(open)
    };
    assert_eq!(shown(), first.fingerprint());
    wait_for("a word that it ends", || node.logged().contains("ends in 144 hours").then_some(()));

    let second = ca.issue("facade", Side::Server, GOOD);
    second.write(&dir.join("cpo"), "facade");
    wait_for("the new certificate", || (shown() == second.fingerprint()).then_some(()));
    std::fs::write(dir.join("cpo/facade.crt"), "broken").unwrap();
    wait_for("a word", || node.logged().contains("the node goes on with what it had").then_some(()));
    wait_for("what was taken", || {
        node.logged().contains("only those of which nothing is said").then_some(())
    });
    let all = "trust list, delegations, keys, certificates and policy were loaded anew";
    assert_eq!(node.logged().matches(all).count(), 1, "of what is broken only the truth: {}", node.logged());
    assert_eq!(shown(), second.fingerprint());
}

#[test]
fn whoever_makes_no_handshake_holds_up_nobody_and_is_let_go() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let place = Place::new(dir.path(), GOOD);
        let node = place.start().await;
        let address = node.facade_address().unwrap();
        let silent: Vec<_> = (0..200).map(|_| wire::silent(address)).collect();
        let client = place.client(&node, Some(&place.operator), None);
        let push = push_data("fullLoad", "DE*ABC", &["DE*ABC*E1"]);
        assert_eq!(outcome(&client, PUSH_PATH, push).await, Some((200, "000".to_owned())));
        for stream in silent {
            assert_eq!(wire::rest(stream).await, 0, "closed by the facade");
        }
        node.shutdown().await;
    });
}

#[test]
fn the_end_of_certificates_is_in_metrics_and_on_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let mut place = Place::new(dir.path(), Days(-1, 5));
        let (certificate, key) =
            place.ca.issue("to the EMP", Side::Client, Days(-1, 20)).write(dir.path(), "out");
        place.plan.settings.outbound.backends = vec![chargemesh::outbound::BackendTarget {
            party: "EMP:DE-DCB".to_owned(),
            url: "https://127.0.0.1:9".to_owned(),
            ca: dir.path().join("ca.crt"),
            certificate,
            key,
            ..Default::default()
        }];
        let node = place.start().await;
        let url = node.facade_url().unwrap();
        let metrics = place.client(&node, None, None).get("metrics").await.unwrap();
        let text = String::from_utf8_lossy(&metrics.body).into_owned();
        let days_left = |what: &str| {
            let begin = format!("chargemesh_certificate_expires_in_seconds{{use=\"{what}\"");
            let line = text
                .lines()
                .find(|line| line.starts_with(&begin))
                .unwrap_or_else(|| panic!("{what}: {text}"));
            let seconds: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            (seconds / DAY_S as f64).round() as i64
        };
        assert_eq!((days_left("facade"), days_left("backend")), (5, 20));
        assert!(days_left("client_ca") > 10_000 && days_left("backend_ca") > 10_000);

        let ca = dir.path().join("ca.crt");
        let said = |args: &[&str]| {
            let mut command = Command::new(BINARY);
            let output =
                command.args(args).args(["--node", &url]).env("CHARGEMESH_CA", &ca).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let (listed, doctor) = tokio::task::block_in_place(|| (said(&["certificates"]), said(&["doctor"])));
        assert!(listed.contains("the facade's certificate") && listed.contains("to the EMP"), "{listed}");
        let shown = node.certificates()[0].certificate.fingerprint.to_string();
        assert!(listed.contains(&shown), "{shown} whole, to be copied: {listed}");
        assert!(
            doctor.contains("the backend of EMP:DEDCB") && doctor.contains("without a restart"),
            "{doctor}"
        );
        node.shutdown().await;
    });
}

#[test]
fn http_2_and_compression_give_what_http_1_gives() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let place = Place::new(dir.path(), GOOD);
        let node = place.filled(60).await;
        let plain = place.client(&node, None, Some(KEY));
        let (url, roots) = (node.facade_url().unwrap(), tls(&place.ca, None));
        let two = HubClient::over_http2(&url, Some(KEY), &roots).unwrap();
        let json = "application/json";
        for (path, body) in [(PULL_PATH, PULL), (STATUS_PATH, r#"{"ProviderID":"DE-DCB"}"#)] {
            let expected = plain.post(path, json, body.into()).await.unwrap();
            assert_eq!(expected.http_status, 200);
            // More at once than one connection carries.
            let calls = (0..100).map(|_| two.post(path, json, body.into()));
            for answer in futures::future::join_all(calls).await {
                assert_eq!(answer.unwrap(), expected, "{path}");
            }
            for (accepts, encoding) in
                [("gzip", "gzip"), ("zstd", "zstd"), ("gzip, zstd;q=0.5", "gzip"), ("br", "")]
            {
                let mut open =
                    wire::Connection::open(node.facade_address().unwrap(), &place.ca, None, "http/1.1").await;
                let (head, packed) = open.pull(path, body, KEY, accepts).await;
                let is_large = expected.body.len() >= 4_096;
                let encoding = if is_large { encoding } else { "" };
                let expected_head = format!("content-encoding: {encoding}\r\n");
                assert_eq!(
                    head.contains("content-encoding"),
                    !encoding.is_empty(),
                    "{path} {accepts}: {head}"
                );
                assert!(encoding.is_empty() || head.contains(&expected_head), "{head}");
                assert_eq!(head.contains("vary: accept-encoding"), is_large, "{head}");
                assert_eq!(wire::unpacked(encoding, &packed), expected.body, "{path} {accepts}");
                assert!(
                    encoding.is_empty() || packed.len() * 4 < expected.body.len(),
                    "{} bytes",
                    packed.len()
                );
            }
        }
        node.shutdown().await;

        // Without TLS, HTTP/2 begins at once.
        let dir = dir.path().join("plain");
        let node = World::new().start(&Plan::new("plain", Some("CPO:DEABC"), &dir)).await;
        let url = node.facade_url().unwrap();
        let push = || push_data("fullLoad", "DE*ABC", &["DE*ABC*E1"]);
        for client in [HubClient::over_http2(&url, None, &Default::default()), HubClient::new(&url, None)] {
            assert!(client.unwrap().push_evse_data("DE*ABC", push()).await.unwrap().result);
        }
        node.shutdown().await;
    });
}
