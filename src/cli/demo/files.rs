//! Reading input files, gzipped or not, up to a limit.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context as _, bail};
use flate2::read::MultiGzDecoder;

/// Largest unpacked input in bytes: ten times the register of a whole country.
const UNPACKED_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// First bytes of every gzip file (RFC 1952).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The unpacked bytes of a file.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let mut file = File::open(path).with_context(|| format!("cannot open {shown}: does it exist?"))?;
    let mut magic = Vec::new();
    let packed = file.by_ref().take(2).read_to_end(&mut magic);
    packed.with_context(|| format!("cannot read {shown}"))?;
    let input = BufReader::new(file);
    let whole = magic.as_slice().chain(input);
    let mut bytes = Vec::new();
    let read = if magic == GZIP_MAGIC {
        MultiGzDecoder::new(whole).take(UNPACKED_BYTES_MAX + 1).read_to_end(&mut bytes)
    } else {
        whole.take(UNPACKED_BYTES_MAX + 1).read_to_end(&mut bytes)
    };
    read.with_context(|| format!("cannot read {shown}: is it damaged?"))?;
    if bytes.len() as u64 > UNPACKED_BYTES_MAX {
        bail!("{shown} unpacks to more than {UNPACKED_BYTES_MAX} bytes: split it by operator");
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn plain_and_packed_files_read_alike() {
        let dir = tempfile::tempdir().unwrap();
        let (plain, packed) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&plain, b"[1]").unwrap();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"[1]").unwrap();
        std::fs::write(&packed, encoder.finish().unwrap()).unwrap();
        assert_eq!(read(&plain).unwrap(), b"[1]");
        assert_eq!(read(&packed).unwrap(), b"[1]");
        assert!(read(&dir.path().join("c")).unwrap_err().to_string().contains("does it exist"));
    }
}
