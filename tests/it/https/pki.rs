//! Certificates for tests: a CA, what it signs, and what it does not.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chargemesh::outbound::Tls;
use chargemesh::tls::{Certificate, Fingerprint};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};

use crate::support::unix_s;

/// A day in seconds.
pub(crate) const DAY_S: u64 = 86_400;

/// A CA with its key.
pub(crate) struct Ca {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

/// A certificate with its key, in PEM.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// When a certificate counts, in days from now.
#[derive(Clone, Copy)]
pub(crate) struct Days(pub(crate) i64, pub(crate) i64);

/// A year, from yesterday.
pub(crate) const GOOD: Days = Days(-1, 365);

/// What a certificate is for.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Server,
    Client,
}

fn params(name: &str, side: Side, days: Days) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![match side {
        Side::Server => ExtendedKeyUsagePurpose::ServerAuth,
        Side::Client => ExtendedKeyUsagePurpose::ClientAuth,
    }];
    let at = |days: i64| {
        let unix_s = unix_s().checked_add_signed(days * DAY_S as i64).unwrap();
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(unix_s)
    };
    (params.not_before, params.not_after) = (at(days.0), at(days.1));
    params
}

impl Ca {
    pub(crate) fn new(name: &str) -> Ca {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Ca { certificate: params.self_signed(&key).unwrap(), key }
    }

    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub(crate) fn issue(&self, name: &str, side: Side, days: Days) -> Issued {
        let key = KeyPair::generate().unwrap();
        let certificate = params(name, side, days).signed_by(&key, &self.certificate, &self.key).unwrap();
        Issued { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

impl Issued {
    pub(crate) fn self_signed(name: &str, side: Side) -> Issued {
        let key = KeyPair::generate().unwrap();
        let certificate = params(name, side, GOOD).self_signed(&key).unwrap();
        Issued { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        Certificate::all_of_pem(self.certificate.as_bytes()).unwrap()[0].fingerprint
    }

    /// Writes `NAME.crt` and `NAME.key`; gives their paths.
    pub(crate) fn write(&self, directory: &Path, name: &str) -> (PathBuf, PathBuf) {
        let (certificate, key) =
            (directory.join(format!("{name}.crt")), directory.join(format!("{name}.key")));
        std::fs::write(&certificate, &self.certificate).unwrap();
        write_secret(&key, &self.key);
        (certificate, key)
    }
}

pub(crate) fn write_secret(file: &Path, text: &str) {
    std::fs::write(file, text).unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

/// A client that believes this CA and shows this certificate.
pub(crate) fn tls(roots: &Ca, identity: Option<&Issued>) -> Tls {
    let pem = |issued: &Issued| format!("{}{}", issued.certificate, issued.key).into_bytes();
    Tls { roots_pem: roots.pem().into_bytes(), identity_pem: identity.map(pem) }
}
