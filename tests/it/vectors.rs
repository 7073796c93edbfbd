//! Test vectors: one file per object of the mesh in `tests/it/vectors/`, made anew here and compared byte for
//! byte, accepted whole, refused with any bit flipped, and checked by a program that shares no code with us.
//! `tests/it/vectors/README.md` says how to use them and how to add one.

mod file;
mod notation;
mod samples;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use file::File;
use samples::{Cast, Sample};

use crate::support::skips::skip;

/// Set to write the files instead of comparing them.
const WRITE: &str = "CHARGEMESH_WRITE_VECTORS";
/// Names the interpreter for `verify.py`; without it `python3`.
const PYTHON: &str = "CHARGEMESH_PYTHON";
/// What `verify.py` exits with if a package is missing.
const EXIT_PACKAGE_MISSING: i32 = 77;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/vectors")
}

#[test]
fn every_vector_is_made_anew_as_its_file_says() {
    let mut expected = BTreeSet::new();
    for sample in samples::all(&Cast::new()) {
        let name = format!("{}.json", sample.name);
        let (path, text) = (folder().join(&name), File::of(&sample).to_text());
        if std::env::var_os(WRITE).is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let stored = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(
            stored == text,
            "{name} is no longer what the code makes. If that is meant, every other implementation has to \
             follow: raise the protocol version, and write the files with {WRITE}=1. Made now:\n{text}"
        );
        assert!(expected.insert(name), "{} is there twice", sample.name);
    }
    let found: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".json"))
        .collect();
    assert_eq!(found, expected, "files on the left, vectors on the right");
}

#[test]
fn every_vector_is_accepted() {
    let cast = Cast::new();
    for sample in samples::all(&cast) {
        (sample.accept)(&cast, &sample.bytes).unwrap_or_else(|error| panic!("{}: {error}", sample.name));
    }
}

/// The bits, counted from the first bit of the first byte, that can be flipped without a refusal.
fn unnoticed(cast: &Cast, sample: &Sample) -> Vec<usize> {
    let mut bytes = sample.bytes.clone();
    let mut unnoticed = Vec::new();
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 0x80 >> (bit % 8);
        if (sample.accept)(cast, &bytes).is_ok() {
            unnoticed.push(bit);
        }
        bytes[bit / 8] ^= 0x80 >> (bit % 8);
    }
    assert_eq!(bytes, sample.bytes);
    unnoticed
}

#[test]
fn a_flipped_bit_is_refused_wherever_it_is() {
    let cast = Cast::new();
    let samples = samples::all(&cast);
    std::thread::scope(|scope| {
        let cast = &cast;
        for sample in &samples {
            scope.spawn(move || {
                assert_eq!(unnoticed(cast, sample), sample.unsigned_bits, "{}", sample.name);
            });
        }
    });
}

#[test]
fn an_independent_program_agrees_with_every_vector() {
    const TEST: &str = "an_independent_program_agrees_with_every_vector";
    let python = std::env::var_os(PYTHON).unwrap_or_else(|| "python3".into());
    let said = match Command::new(&python).arg("-B").arg(folder().join("verify.py")).output() {
        Ok(said) => said,
        Err(error) => return skip(TEST, &format!("no Python ({}: {error})", python.display())),
    };
    let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    if said.status.code() == Some(EXIT_PACKAGE_MISSING) {
        return skip(TEST, out.trim());
    }
    assert!(said.status.success(), "verify.py: {}\n{out}{err}", said.status);
    for sample in samples::all(&Cast::new()) {
        let agreed = format!("{}: agreed", sample.name);
        assert!(out.lines().any(|line| line == agreed), "verify.py passed over {}:\n{out}", sample.name);
    }
}
