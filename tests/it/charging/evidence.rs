//! A session's evidence at both sides: the same messages, files that our binary and an independent program check, and
//! what is left when personal data is deleted.

use std::path::{Path, PathBuf};
use std::process::Command;

use chargemesh::backend::Kind;
use chargemesh::identity::{PartyId, SecretKey};
use chargemesh::protocol::evidence::{EvidenceReport, verify_evidence};

use super::stage::{NOTIFICATION, REMOTE_START, REMOTE_STOP, Stage, notification, remote_start, remote_stop};
use crate::cli::{call, refused, succeeds, told};
use crate::support::runtime;
use crate::support::skips::skip;

/// Names the interpreter for `verify.py`; without it `python3`.
const PYTHON: &str = "CHARGEMESH_PYTHON";
/// What `verify.py` exits with if a package is missing.
const EXIT_PACKAGE_MISSING: i32 = 77;

impl Stage {
    /// A session that began, told of itself, and was stopped.
    async fn charged(&mut self) -> String {
        let session = self.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await.yes();
        let began = self.cpo_calls(NOTIFICATION, notification("Start", "CH*ABC", &session)).await;
        assert_eq!(began.code(), (200, "000".to_owned()));
        assert_eq!(self.emp_calls(REMOTE_STOP, remote_stop(&session)).await.yes(), session);
        session
    }

    /// Exports with the command line, into a file of its own.
    fn export(&self, kind: Kind, session: &str, name: &str) -> PathBuf {
        let file = self.dir().join(name);
        let text = file.to_str().unwrap();
        let said =
            succeeds(self.dir(), &["evidence", "export", session, "--out", text, "--node", self.url(kind)]);
        assert!(said.contains("chargemesh evidence verify"), "{said}");
        file
    }

    fn trust_list(&self) -> PathBuf {
        let file = self.dir().join("trust-list.cose");
        let signer = SecretKey::from_seed(&[77; 32]);
        std::fs::write(&file, self.world.trust().issue("test", &signer).unwrap()).unwrap();
        file
    }

    fn report(&self, file: &Path) -> EvidenceReport {
        verify_evidence(&std::fs::read(file).unwrap(), Some(&self.world.trust())).unwrap()
    }
}

/// Who said what, and when it was signed.
fn said(report: &EvidenceReport) -> Vec<(PartyId, String, u64)> {
    let said = report.told.iter().filter_map(|told| told.said.as_ref());
    let mut said: Vec<_> =
        said.map(|said| (said.from.clone(), said.what.clone(), said.created_unix_ms)).collect();
    // A message and the next one may cross.
    said.sort();
    said
}

#[test]
fn both_sides_prove_the_same_session() {
    runtime().block_on(async {
        let mut stage = Stage::new().await;
        let session = stage.charged().await;
        let files = [(Kind::Cpo, "cpo.evidence"), (Kind::Emp, "emp.evidence")]
            .map(|(kind, name)| stage.export(kind, &session, name));
        let [cpo, emp] = files.each_ref().map(|file| stage.report(file));
        assert_eq!(said(&cpo), said(&emp));
        assert_eq!((cpo.told.len(), cpo.session.as_str()), (6, session.as_str()));

        let list = stage.trust_list();
        let list = list.to_str().unwrap();
        for (file, party) in files.iter().zip(["CPO:CHABC", "EMP:DEEMP"]) {
            let text = file.to_str().unwrap();
            let words = succeeds(stage.dir(), &["evidence", "verify", text, "--trust-list", list]);
            for expected in [
                &format!("From the log of {party} (vouched for by registrar test)"),
                "EMP:DEEMP (emp AG) to CPO:CHABC",
                "asks AuthorizeRemoteStart, EvseID CH*ABC*E1",
                "asks ChargingNotification, Type Start",
                "answers Result true, code 000",
                "Verified: 6 messages",
            ] {
                assert!(words.contains(expected), "{expected:?}: {words}");
            }
            assert!(!words.contains("C12345678") && !words.contains("Note:"), "{words}");
            let full = succeeds(stage.dir(), &["evidence", "verify", text, "--full"]);
            assert!(full.contains("C12345678") && full.contains("no trust list was given"), "{full}");
        }
        tampered_files_are_refused(&stage, &files[0]);
        an_independent_program_agrees(&stage, &files);

        let lines = succeeds(stage.dir(), &["evidence", "list", "--node", stage.url(Kind::Cpo)]);
        assert!(lines.contains("ChargingNotification") && !lines.contains("C12345678"), "{lines}");
        let shown = succeeds(stage.dir(), &["evidence", "show", &session, "--node", stage.url(Kind::Emp)]);
        assert!(shown.contains("Verified: 6 messages"), "{shown}");
        stage.end().await;
    });
}

fn tampered_files_are_refused(stage: &Stage, file: &Path) {
    let bytes = std::fs::read(file).unwrap();
    let bad = stage.dir().join("bad.evidence");
    let verify = |bytes: &[u8]| {
        std::fs::write(&bad, bytes).unwrap();
        let output = call(stage.dir(), &["evidence", "verify", bad.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "{}", told(&output));
        told(&output)
    };
    let of_answer = bytes.windows(8).position(|window| window == b"\"Result\"").unwrap();
    let mut flipped = bytes.clone();
    flipped[of_answer + 2] ^= 1;
    let said = verify(&flipped);
    assert!(said.contains("entry 2, message: the signature does not fit"), "{said}");
    let cut =
        format!("file: evidence file is not readable: it ends too early, after {} bytes", bytes.len() - 1);
    assert!(verify(&bytes[..bytes.len() - 1]).contains(&cut), "{cut}");
    assert!(verify(b"{\"a\":1}").contains("file: this is no evidence file"));
    assert!(verify(b"").contains("it is empty"));
    let missing = stage.dir().join("none.evidence");
    assert!(refused(stage.dir(), &["evidence", "verify", missing.to_str().unwrap()]).contains("cannot read"));
}

fn an_independent_program_agrees(stage: &Stage, files: &[PathBuf]) {
    const TEST: &str = "an independent program agrees with evidence files";
    let python = std::env::var_os(PYTHON).unwrap_or_else(|| "python3".into());
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/evidence/verify.py");
    let issuer = stage.world.trust().issuers[0].key;
    let issuer: String = issuer.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let said = match Command::new(&python).arg("-B").arg(program).arg(issuer).args(files).output() {
        Ok(said) => said,
        Err(error) => return skip(TEST, &format!("no Python ({}: {error})", python.display())),
    };
    let text = told(&said);
    if said.status.code() == Some(EXIT_PACKAGE_MISSING) {
        return skip(TEST, text.trim());
    }
    assert!(said.status.success(), "verify.py: {text}");
    for file in files {
        assert!(text.contains(&format!("{}: agreed", file.display())), "{text}");
    }
    assert_eq!(text.matches("EMP:DEEMP CPO:CHABC").count(), 6, "{text}");
}

#[test]
fn the_log_survives_a_restart_and_loses_only_what_is_deleted() {
    runtime().block_on(async {
        let mut stage = Stage::new().await;
        let session = stage.charged().await;
        let before = stage.export(Kind::Cpo, &session, "before.evidence");
        stage.cpo.stop().await;
        stage.start(Kind::Cpo).await;
        stage.connected().await;
        stage.cpo.behave("refuse=602");
        let answer = stage.emp_calls(REMOTE_START, remote_start("CH*ABC*E1")).await;
        assert_eq!(answer.code().1, "602");
        let sessions = stage.sessions(Kind::Cpo).await;
        let gone = sessions.iter().find(|(_, phase)| *phase == "refused").unwrap().0.clone();
        let after = stage.export(Kind::Cpo, &session, "after.evidence");
        let (before, after) = (stage.report(&before), stage.report(&after));
        assert_eq!((before.head.0, after.head.0), (6, 8));
        assert_eq!(said(&before), said(&after));

        let node = stage.url(Kind::Cpo);
        let unsure = refused(stage.dir(), &["evidence", "erase", &gone, "--node", node]);
        assert!(unsure.contains("--yes"), "{unsure}");
        let open = call(stage.dir(), &["evidence", "erase", &session, "--yes", "--node", node]);
        assert!(open.status.code() == Some(1) && told(&open).contains("not over"), "{}", told(&open));
        succeeds(stage.dir(), &["evidence", "erase", &gone, "--yes", "--node", node]);
        let erased = stage.report(&stage.export(Kind::Cpo, &gone, "gone.evidence"));
        assert!(erased.told.len() == 2 && said(&erased).is_empty());
        let kept = stage.report(&stage.export(Kind::Cpo, &session, "kept.evidence"));
        assert_eq!(said(&kept), said(&before));
        let unknown = "b2688855-7f00-4002-6d8e-48d883f6abb6";
        let none = call(stage.dir(), &["evidence", "export", unknown, "--node", stage.url(Kind::Cpo)]);
        assert!(
            none.status.code() == Some(1) && told(&none).contains("nothing is logged"),
            "{}",
            told(&none)
        );
        stage.end().await;
    });
}
