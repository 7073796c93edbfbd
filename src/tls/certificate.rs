//! What a certificate says that we look at: its fingerprint, whose it is and how long it is good.

use std::fmt;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

use super::error::TlsError;

/// Characters of a subject that are shown.
const SUBJECT_CHARACTERS_MAX: usize = 200;

/// SHA-256 over the DER of a certificate; written `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate in DER.
    #[must_use]
    pub fn of_der(der: &[u8]) -> Fingerprint {
        Fingerprint(Sha256::digest(der).into())
    }

    /// Reads `sha256:HEX`; colons between the digits are taken too, as openssl writes them.
    ///
    /// # Errors
    /// [`TlsError::Fingerprint`].
    pub fn parse(text: &str) -> Result<Fingerprint, TlsError> {
        let bad = || TlsError::Fingerprint(text.chars().take(SUBJECT_CHARACTERS_MAX).collect());
        let digits = text.trim().strip_prefix("sha256:").ok_or_else(bad)?;
        let digits: Vec<u8> = digits.bytes().filter(|byte| *byte != b':').collect();
        let (pairs, []) = digits.as_chunks::<2>() else { return Err(bad()) };
        let mut bytes = [0; 32];
        if pairs.len() != bytes.len() {
            return Err(bad());
        }
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low).ok_or_else(bad)?;
        }
        Ok(Fingerprint(bytes))
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A certificate, as far as we look at it. Nothing in it has been verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// Its subject, as in `CN=node.example`; at most 200 characters.
    pub subject: String,
    /// It counts from here, in seconds since 1970.
    pub not_before_unix_s: u64,
    /// It counts until here, in seconds since 1970.
    pub not_after_unix_s: u64,
}

impl Certificate {
    /// Reads DER.
    ///
    /// # Errors
    /// [`TlsError::BadCertificate`].
    pub fn from_der(der: &[u8]) -> Result<Certificate, TlsError> {
        let (_, read) = x509_parser::parse_x509_certificate(der)
            .map_err(|error| TlsError::BadCertificate(error.to_string()))?;
        let unix_s = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
        let subject = read.subject().to_string();
        Ok(Certificate {
            fingerprint: Fingerprint::of_der(der),
            subject: subject.chars().filter(|c| !c.is_control()).take(SUBJECT_CHARACTERS_MAX).collect(),
            not_before_unix_s: unix_s(read.validity().not_before),
            not_after_unix_s: unix_s(read.validity().not_after),
        })
    }

    /// Every certificate of a PEM text, in its order; anything else in it is passed over.
    ///
    /// # Errors
    /// [`TlsError`] if there is none, or one cannot be read.
    pub fn all_of_pem(pem: &[u8]) -> Result<Vec<Certificate>, TlsError> {
        ders(pem)?.iter().map(|der| Certificate::from_der(der)).collect()
    }

    /// Whole days that it counts yet; 0 on its last day and after.
    #[must_use]
    pub fn days_left(&self, now_unix_s: u64) -> u64 {
        const DAY_S: u64 = 86_400;
        self.not_after_unix_s.saturating_sub(now_unix_s) / DAY_S
    }
}

/// The certificates of a PEM text as DER; at least one.
pub(super) fn ders(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let ders: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let ders = ders.map_err(|error| TlsError::BadPem(error.to_string()))?;
    if ders.is_empty() { Err(TlsError::NoCertificate) } else { Ok(ders) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_it_is_written_here_and_by_openssl() {
        let shown = Fingerprint::of_der(b"some certificate").to_string();
        assert_eq!(shown.len(), 7 + 64);
        let read = Fingerprint::parse(&shown).unwrap();
        assert_eq!(read.to_string(), shown);
        let pairs: Vec<String> = shown.as_bytes()[7..]
            .chunks(2)
            .map(|pair| String::from_utf8_lossy(pair).to_uppercase())
            .collect();
        assert_eq!(Fingerprint::parse(&format!("sha256:{}", pairs.join(":"))).unwrap(), read);
        for bad in ["", &shown[7..], &shown[..70], &format!("{shown}0"), &shown.replace("sha256", "sha1")] {
            assert!(Fingerprint::parse(bad).is_err(), "{bad}");
        }
        assert!(Fingerprint::parse(&format!("sha256:{}", "g".repeat(64))).is_err());
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        assert!(matches!(Certificate::all_of_pem(b"hello"), Err(TlsError::NoCertificate)));
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(Certificate::all_of_pem(broken), Err(TlsError::BadCertificate(_))));
        let cut = b"-----BEGIN CERTIFICATE-----\nAAAA\n";
        assert!(Certificate::all_of_pem(cut).is_err());
    }
}
