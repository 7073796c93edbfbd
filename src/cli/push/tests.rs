//! Tests of what `push` makes of answers.

use clap::Parser as _;

use super::*;

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn parsed(line: &[&str]) -> Args {
    Cli::try_parse_from([&["push"], line].concat()).map(|cli| cli.args).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn a_file_or_a_number_to_confirm() {
    let args = parsed(&["FILE", "--node", "http://a:1", "--action", "update"]);
    assert_eq!(args.file, Some("FILE".into()));
    assert_eq!(args.action, Some(ActionType::Update));
    let args = parsed(&["confirm", "7", "--node", "http://a:1"]);
    assert!(matches!(args.command, Some(Subcommand::Confirm { held: 7, node }) if node.node == "http://a:1"));
    // A certificate without its key shows nothing.
    assert!(Cli::try_parse_from(["push", "FILE", "--certificate", "a.crt"]).is_err());
    parsed(&["FILE", "--certificate", "a.crt", "--key-file", "a.key", "--ca", "ca.crt"]);
    assert!(Cli::try_parse_from(["push"]).is_err());
    assert!(Cli::try_parse_from(["push", "FILE", "--action", "replace"]).is_err());
}

#[test]
fn a_held_push_is_told_from_a_refused_one() {
    let info = "held: this push would remove 9 of 9 records. Nothing was changed. To do it: chargemesh push confirm 12";
    let answer = Acknowledgement::refusal(Code::DataTransactionError, info);
    assert_eq!(held(&answer), Some(12));
    assert_eq!(held(&Acknowledgement::refusal(Code::DataTransactionError, "CH*A")), None);
    assert_eq!(held(&Acknowledgement::refusal(Code::InconsistentEvseId, info)), None);
    assert_eq!(held(&Acknowledgement::success()), None);
}

#[test]
fn the_summary_lists_what_needs_a_look_and_no_key() {
    let file =
        br#"[{"EvseID":"CH*AAA*E1"},{"EvseID":"CH*BBB*E1"},{"EvseID":"CH*CCC*E1"},{"EvseID":"CH*DDD*E1"}]"#;
    let plan = plan::read(file, None, None).unwrap();
    let row = |operator: &str, outcome| Row { operator: operator.to_owned(), records: 1, outcome };
    let rows = [
        row("CH*AAA", Outcome::Accepted),
        row("CH*BBB", Outcome::Held(3, "009".into())),
        row("CH*CCC", Outcome::Refused("018 why".into())),
    ];
    let text = summary(&plan, &rows, "http://a:1/k/secret");
    let expected = "CH*BBB: 1 record held: 009\n  to do it: chargemesh push confirm 3 --node http://a:1\nCH*CCC: 1 record refused: 018 why\naccepted 1 record of 1 operator; held 1 record of 1 operator; refused 1 record of 1 operator\nnot sent 1 record\n";
    assert_eq!(text, expected);
}
