//! Reads the files that commands are given: gzipped or not, from a path or from the standard input.

use std::fs::File;
use std::io::{Read, stdin};
use std::path::Path;

use anyhow::{Context as _, bail};
use flate2::read::MultiGzDecoder;

/// Largest input in bytes after unpacking: twenty times the register of a whole country (23.6 MB, measured).
const UNPACKED_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// First bytes of every gzip file (RFC 1952).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The unpacked bytes of a file; `-` is the standard input. What is gzipped is told by its first bytes, not by
/// its name.
///
/// # Errors
/// The file cannot be opened, read or unpacked, or is larger than 512 MiB.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path == Path::new("-") {
        return unpacked(stdin().lock(), UNPACKED_BYTES_MAX).context("the standard input");
    }
    let shown = path.display();
    let file = File::open(path).with_context(|| format!("{shown} cannot be opened"))?;
    unpacked(file, UNPACKED_BYTES_MAX).with_context(|| format!("{shown}"))
}

fn unpacked(mut input: impl Read, bytes_max: u64) -> anyhow::Result<Vec<u8>> {
    let mut magic = Vec::new();
    input.by_ref().take(GZIP_MAGIC.len() as u64).read_to_end(&mut magic).context("cannot be read")?;
    let whole = magic.as_slice().chain(input);
    let mut bytes = Vec::new();
    if magic == GZIP_MAGIC {
        let mut limited = MultiGzDecoder::new(whole).take(bytes_max + 1);
        limited.read_to_end(&mut bytes).context("is damaged: it begins as gzip but does not unpack")?;
    } else {
        whole.take(bytes_max + 1).read_to_end(&mut bytes).context("cannot be read")?;
    }
    if bytes.len() as u64 > bytes_max {
        bail!("holds more than {bytes_max} bytes: split it by operator");
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn plain_packed_and_twice_packed_members_read_alike() {
        let twice = [packed(b"[1,"), packed(b"2]")].concat();
        for input in [b"[1,2]".to_vec(), packed(b"[1,2]"), twice] {
            assert_eq!(unpacked(input.as_slice(), 5).unwrap(), b"[1,2]");
        }
        assert_eq!(unpacked(b"".as_slice(), 5).unwrap(), b"");
    }

    #[test]
    fn what_is_too_large_or_damaged_is_refused() {
        for input in [b"123456".to_vec(), packed(&[b'1'; 1_000_000])] {
            assert!(unpacked(input.as_slice(), 5).unwrap_err().to_string().contains("split it"));
        }
        let mut damaged = packed(b"[1,2]");
        damaged.truncate(12);
        assert!(unpacked(damaged.as_slice(), 5).unwrap_err().to_string().contains("damaged"));
        let missing = read(Path::new("no/such/file")).unwrap_err();
        assert!(format!("{missing:#}").starts_with("no/such/file cannot be opened: "), "{missing:#}");
    }
}
