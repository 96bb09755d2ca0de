//! A certificate authority for tests, and the certificates that it signs for servers and clients, as PEM files for mongod and for
//! connection strings. Knows nothing about either of them.

use std::fs;
use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;

use crate::guard;

/// Returns the subject of a client certificate with this common name. It is the name of the user on the server, in the format of RFC 2253,
/// which starts with the last part.
pub fn client_subject(name: &str) -> String {
    format!("CN={name},OU=clients,O=cswatch tests")
}

/// A certificate authority. Its files are removed on drop.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

impl Authority {
    /// Creates an authority with this common name.
    pub fn new(name: &str) -> Authority {
        let mut params = params(&[(DnType::CommonName, name)], &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority = Authority {
            issuer: CertifiedIssuer::self_signed(params, key()).expect("a certificate"),
            directory: guard::temp_dir("certificates-"),
        };
        let path = authority.certificate();
        fs::write(path, authority.issuer.pem()).expect("a certificate can be written");
        authority
    }

    /// Returns the file with the certificate of the authority, for the side that trusts it.
    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Creates a certificate for a server with these host names and addresses, and returns the file with it and its key.
    pub fn server(&self, names: &[&str]) -> PathBuf {
        // The O differs from that of the clients: mongod takes a client whose O, OU and DC match its own for a member of the set.
        let subject = [
            (DnType::OrganizationName, "cswatch test servers"),
            (DnType::CommonName, names[0]),
        ];
        self.sign("server", params(&subject, names))
    }

    /// Creates a certificate for a client with the subject of [`client_subject`], and returns the file with it and its key.
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
        // A member of a replica set is both a server and a client.
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = key();
        let certificate = params.signed_by(&key, &self.issuer);
        let certificate = certificate.expect("a certificate").pem();
        let path = self.directory.path().join(format!("{file}.pem"));
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
