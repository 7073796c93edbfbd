//! PEM files: read with a limit, and a key only if nobody else can read it.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use zeroize::Zeroizing;

use super::certificate::Certificate;
use super::error::TlsError;

/// Largest PEM file in bytes; the bundle of all public roots has some 250,000.
pub const PEM_BYTES_MAX: u64 = 1024 * 1024;

/// Reads a file with certificates; gives its text when every certificate in it can be read.
///
/// # Errors
/// [`TlsError`] names the file and what to do.
pub fn read_certificates(file: &Path) -> Result<Vec<u8>, TlsError> {
    let pem = read(file)?.to_vec();
    Certificate::all_of_pem(&pem).map_err(|error| error.in_file(file))?;
    Ok(pem)
}

/// Reads a file with a private key, which nobody but its owner may be able to read.
///
/// # Errors
/// [`TlsError`] names the file and what to do.
pub fn read_key(file: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    if is_open(file) {
        return Err(TlsError::OpenKey { file: file.to_owned() });
    }
    let pem = read(file)?;
    super::server::key(&pem).map_err(|error| error.in_file(file))?;
    Ok(pem)
}

fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let mut pem = Zeroizing::new(Vec::new());
    File::open(file)
        .and_then(|open| open.take(PEM_BYTES_MAX + 1).read_to_end(&mut pem))
        .map_err(|source| TlsError::Unreadable { file: file.to_owned(), source })?;
    if pem.len() as u64 > PEM_BYTES_MAX { Err(TlsError::TooLarge(file.to_owned())) } else { Ok(pem) }
}

#[cfg(unix)]
fn is_open(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    const OTHERS: u32 = 0o077;
    std::fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & OTHERS != 0)
}

#[cfg(not(unix))]
fn is_open(_file: &Path) -> bool {
    false
}
