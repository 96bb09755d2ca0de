//! The connection string: read, and checked together with the TLS files that it names. Nothing that is said of it holds a secret.
//! Touches no network.

use std::collections::HashSet;
use std::path::Path;

use mongodb::error::ErrorKind;
use mongodb::options::{AuthMechanism, ConnectionString, Tls};
use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::Failure;
use crate::files;

/// How a connection string is written.
const FORM: &str = "write mongodb://[user:password@]host[:port][,...]/[?options], special characters in user and password percent-encoded";

/// How one logs in.
const MECHANISMS: &str = "authMechanism is SCRAM-SHA-256, SCRAM-SHA-1, MONGODB-X509, PLAIN, MONGODB-AWS or MONGODB-OIDC; for user and password it can be left out";

/// The largest file of `tlsCAFile` and `tlsCertificateKeyFile` that is read, in bytes. All authorities that a system trusts take 0.2 MB.
const MAX_PEM_BYTES: u64 = 16 * 1024 * 1024;

/// Options whose values are secrets, in lower case.
const SECRET_OPTIONS: [&str; 3] = [
    "authmechanismproperties",
    "proxypassword",
    "tlscertificatekeyfilepassword",
];

/// Reads the connection string that came with `flag`.
///
/// # Errors
/// A usage failure (exit code 2) that names the part which cannot be, the way out, and no secret.
pub(crate) fn parse(flag: &str, text: &str) -> Result<ConnectionString, Failure> {
    let uri = ConnectionString::parse(text).map_err(|error| {
        let reason = match *error.kind {
            ErrorKind::InvalidArgument { message, .. } => message,
            kind => kind.to_string(),
        };
        let (reason, hint) = explained(&reason);
        // The driver quotes the part that it could not read, which may be one of the password.
        let reason = without_secrets(reason, text);
        Failure::usage(format!("{flag}: {reason}")).hint(hint)
    })?;
    ensure_mechanism(flag, &uri)?;
    if let Some(Tls::Enabled(files)) = &uri.tls {
        if let Some(file) = &files.ca_file_path {
            let hint = "name a file with the certificates, in PEM, of the authorities that sign the servers'";
            ensure_pem::<CertificateDer<'_>>(flag, "tlsCAFile", "certificate", file, hint)?;
        }
        if let Some(file) = &files.cert_key_file_path {
            let option = "tlsCertificateKeyFile";
            let hint = "name a file with both the client's certificate and its private key, in PEM, the key unencrypted: cat client.crt client.key > FILE";
            ensure_pem::<CertificateDer<'_>>(flag, option, "certificate", file, hint)?;
            ensure_pem::<PrivateKeyDer<'_>>(flag, option, "unencrypted private key", file, hint)?;
        }
    }
    Ok(uri)
}

/// `text` as it can be told, though it may be a connection string in the wrong place.
pub(crate) fn redacted(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, _)) if !scheme.contains(['@', ':']) => format!("{scheme}://..."),
        Some(_) => "...".to_owned(),
        None => text.to_owned(),
    }
}

/// What the driver says, and the way out; in other words where its own are about how it was built.
fn explained(reason: &str) -> (&str, &'static str) {
    let has = |sign: &str| reason.contains(sign);
    if has("aws-auth") {
        (
            "this build has no authMechanism=MONGODB-AWS",
            "build it with cargo install --path . --features aws",
        )
    } else if has("gssapi-auth") {
        ("there is no authMechanism=GSSAPI in cswatch", MECHANISMS)
    } else if has("invalid mechanism string") {
        (reason, MECHANISMS)
    } else if has("cert-key-password") {
        (
            "tlsCertificateKeyFilePassword: cswatch reads no encrypted keys",
            "decrypt it for the file of tlsCertificateKeyFile, which its owner alone may read: openssl pkey -in KEY",
        )
    } else if has("socks5-proxy") {
        (
            "there is no SOCKS5 proxy in cswatch",
            "leave the options of the proxy out",
        )
    } else if has("Unsupported compressor") {
        (
            reason,
            "compressors are zstd, snappy and zlib, with commas between them",
        )
    } else {
        (reason, FORM)
    }
}

/// What the driver would find out only when it logs in.
fn ensure_mechanism(flag: &str, uri: &ConnectionString) -> Result<(), Failure> {
    let Some(credential) = &uri.credential else {
        return Ok(());
    };
    if credential.mechanism != Some(AuthMechanism::MongoDbOidc) {
        return Ok(());
    }
    let environment = credential
        .mechanism_properties
        .as_ref()
        .and_then(|properties| properties.get_str("ENVIRONMENT").ok());
    match environment {
        None => Err(Failure::usage(format!(
            "{flag}: authMechanism=MONGODB-OIDC does not say whose identity to use"
        ))
        .hint("add authMechanismProperties=ENVIRONMENT:k8s, or of azure or gcp with a TOKEN_RESOURCE")),
        Some(environment @ ("azure" | "gcp")) if !cfg!(feature = "oidc") => {
            Err(Failure::usage(format!(
                "{flag}: this build has no authMechanism=MONGODB-OIDC with ENVIRONMENT:{environment}"
            ))
            .hint("build it with cargo install --path . --features oidc"))
        }
        Some(_) => Ok(()),
    }
}

/// Fails unless `file` holds at least one `item`. Of a file with certificates the driver takes those that it can read, and says
/// nothing of the rest (driver 3.9.1).
fn ensure_pem<T: PemObject>(
    flag: &str,
    option: &str,
    item: &str,
    file: &Path,
    hint: &str,
) -> Result<(), Failure> {
    let items: Result<Vec<T>, PemError> = files::read_regular(file, MAX_PEM_BYTES)
        .map_err(PemError::Io)
        .and_then(|text| T::pem_slice_iter(&text).collect());
    let shown = file.display();
    // Not in the words of `PemError`, which hold the line that cannot be read: it may be of a key.
    let what = match items {
        Ok(items) if !items.is_empty() => return Ok(()),
        Ok(_) | Err(PemError::NoItemsFound) => format!("{shown} holds no {item}"),
        Err(PemError::Io(error)) => format!("cannot read {shown}: {error}"),
        Err(_) => format!("{shown} is damaged, or not in PEM"),
    };
    Err(Failure::usage(format!("{flag}: {option}: {what}")).hint(hint))
}

/// `message` without the words of it that stand in a secret of `uri`.
fn without_secrets(message: &str, uri: &str) -> String {
    let secrets: HashSet<String> = secrets(uri)
        .iter()
        .flat_map(|secret| [(*secret).to_owned(), percent_decoded(secret)])
        .flat_map(|secret| words(&secret).map(str::to_lowercase).collect::<Vec<_>>())
        .collect();
    message
        .split_inclusive(is_no_letter)
        .map(|part| {
            let word = part.trim_end_matches(is_no_letter);
            if secrets.contains(&word.to_lowercase()) {
                format!("***{}", &part[word.len()..])
            } else {
                part.to_owned()
            }
        })
        .collect()
}

/// The parts of a connection string that may be a password or a piece of one: any special character in it that is not encoded
/// ends it somewhere else.
fn secrets(uri: &str) -> Vec<&str> {
    let (scheme, rest) = uri.split_once("://").unwrap_or(("", uri));
    let (before, options) = rest.split_once('?').unwrap_or((rest, ""));
    let mut secrets = Vec::new();
    if scheme.contains([':', '@']) {
        secrets.push(scheme);
    }
    match before.rfind('@') {
        Some(end) => secrets.extend(before[..end].split_once(':').map(|(_, password)| password)),
        // user:password without @host is read as the host and its port.
        None => secrets.extend(
            before
                .split(['/', ','])
                .filter_map(|host| host.split_once(':'))
                .map(|(_, port)| port)
                .filter(|port| !port.bytes().all(|byte| byte.is_ascii_digit())),
        ),
    }
    // The rest of a password with a question mark.
    secrets.extend(options.rfind('@').map(|end| &options[..end]));
    for option in options.split('&') {
        match option.split_once('=') {
            None => secrets.push(option),
            Some((key, value)) if SECRET_OPTIONS.contains(&key.to_lowercase().as_str()) => {
                secrets.push(value);
            }
            Some(_) => {}
        }
    }
    secrets
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_no_letter).filter(|word| !word.is_empty())
}

fn is_no_letter(character: char) -> bool {
    !character.is_alphanumeric()
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let encoded = behind
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(encoded.unwrap_or(*first));
        rest = if encoded.is_some() {
            &behind[2..]
        } else {
            behind
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_each_word_of_a_password_wherever_it_is_cut() {
        for (uri, message, shown) in [
            (
                "mongodb://user:one/db",
                "invalid server address user:one: got one",
                "invalid server address user:***: got ***",
            ),
            (
                "mongodb://user:one@2?three@host/",
                "not a 'key=value' pair: three@host/",
                "not a 'key=value' pair: ***@***/",
            ),
            (
                "mongodb://user:one@2?Three=4@host/",
                "three is an invalid option",
                "*** is an invalid option",
            ),
            (
                "mongodb://user@host/?authMechanismProperties=TOKEN:one%2Ctwo",
                "a colon-separated key-value pair, got two",
                "a colon-separated key-value pair, got ***",
            ),
            (
                "mongodb://user:one@host:99x/?appName=a@b",
                "invalid server address host:99x",
                "invalid server address host:99x",
            ),
        ] {
            assert_eq!(without_secrets(message, uri), shown, "{uri}");
        }
    }

    #[test]
    fn shows_no_more_of_a_misplaced_connection_string_than_its_scheme() {
        assert_eq!(redacted("shop/2"), "shop/2");
        assert_eq!(redacted("mongodb://user:one@host"), "mongodb://...");
        assert_eq!(redacted("user:one@mongodb://host"), "...");
    }
}
