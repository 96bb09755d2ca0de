//! A certificate authority of the tests' own, and what it signs for servers and clients, as the PEM
//! files that mongod and connection strings name. Knows neither of them.

use std::fs;
use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;

use crate::guard;

/// The subject of a client's certificate with this common name, as the server calls its user:
/// RFC 2253, which begins at the end.
pub fn client_subject(name: &str) -> String {
    format!("CN={name},OU=clients,O=cswatch tests")
}

/// An authority. Its files go with it.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    /// Creates an authority with this common name.
    pub fn new(name: &str) -> Authority {
        let mut params = params(&[(DnType::CommonName, name)], &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority = Authority {
            issuer: CertifiedIssuer::self_signed(params, key()).expect("a certificate"),
            folder: guard::temp_dir("certificates-"),
        };
        let path = authority.certificate();
        fs::write(path, authority.issuer.pem()).expect("a certificate can be written");
        authority
    }

    /// The file with its own certificate, which those have who trust it.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The file with certificate and key of a server that is reached by these names and addresses.
    pub fn server(&self, names: &[&str]) -> PathBuf {
        // One whose O, OU and DC are those of the servers would be taken for one of them.
        let subject = [
            (DnType::OrganizationName, "cswatch test servers"),
            (DnType::CommonName, names[0]),
        ];
        self.sign("server", params(&subject, names))
    }

    /// The file with certificate and key of a client; see [`client_subject`].
    pub fn client(&self, name: &str) -> PathBuf {
        let subject = [
            (DnType::OrganizationName, "cswatch tests"),
            (DnType::OrganizationalUnitName, "clients"),
            (DnType::CommonName, name),
        ];
        self.sign(name, params(&subject, &[]))
    }

    fn sign(&self, file: &str, mut params: CertificateParams) -> PathBuf {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // A member of a replica set is both.
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = key();
        let certificate = params.signed_by(&key, &self.issuer);
        let certificate = certificate.expect("a certificate").pem();
        let path = self.folder.path().join(format!("{file}.pem"));
        fs::write(&path, certificate + &key.serialize_pem()).expect("a certificate can be written");
        path
    }
}

fn params(subject: &[(DnType, &str)], names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names of hosts");
    params.distinguished_name = DistinguishedName::new();
    for (part, value) in subject {
        params.distinguished_name.push(part.clone(), *value);
    }
    params
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}
