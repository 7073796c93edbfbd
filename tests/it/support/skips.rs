//! Tests that cannot run here say so, and CI lists them.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use flate2::read::MultiGzDecoder;

/// Says that a test is skipped and why, also in the file that `CHARGEMESH_SKIPS` names: CI ends with its lines,
/// and fails on one that says `no shared/...` although the shared material is there.
pub(crate) fn skip(test: &str, why: &str) {
    let line = format!("SKIPPED: {test}: {why}\n");
    print!("{line}");
    if let Some(list) = std::env::var_os("CHARGEMESH_SKIPS") {
        let mut list = OpenOptions::new().create(true).append(true).open(list).unwrap();
        list.write_all(line.as_bytes()).unwrap();
    }
}

/// A file or folder of the shared material (`../shared`, or where `CHARGEMESH_SHARED` says); if it is missing
/// the test is skipped.
pub(crate) fn shared(test: &str, path: &str) -> Option<PathBuf> {
    let root = std::env::var("CHARGEMESH_SHARED")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../shared").to_owned());
    let found = PathBuf::from(root).join(path);
    if !found.exists() {
        skip(test, &format!("no shared/{path}"));
        return None;
    }
    Some(found)
}

/// The unpacked bytes of a gzipped file.
pub(crate) fn unpacked(path: &std::path::Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    MultiGzDecoder::new(std::fs::File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
    bytes
}
