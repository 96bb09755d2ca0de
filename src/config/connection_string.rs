//! Connection strings: parsing, and checks of the TLS files that they name. Never touches the network.
//! Messages about a connection string never repeat its secrets.

use std::collections::HashSet;
use std::path::Path;

use mongodb::error::ErrorKind;
use mongodb::options::{Acknowledgment, AuthMechanism, ConnectionString, ReadConcernLevel, Tls};
use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::Failure;
use crate::files;

use super::option_hints;
use super::uri_options::{self, Warning};

/// Hint for a connection string that cannot be parsed.
const SYNTAX_HINT: &str = "write mongodb://[user:password@]host[:port][,...]/[?options] and percent-encode special characters in user and password";

/// The largest file of `tlsCAFile` and `tlsCertificateKeyFile` that is read, in bytes. All authorities that a system trusts take 0.2 MB.
const MAX_PEM_BYTES: u64 = 16 * 1024 * 1024;

/// Options with secret values, in lower case.
const SECRET_OPTIONS: [&str; 3] = [
    "authmechanismproperties",
    "proxypassword",
    "tlscertificatekeyfilepassword",
];

/// A connection string that was parsed.
#[derive(Debug)]
pub(crate) struct ParsedUri {
    /// The connection string.
    pub(crate) uri: ConnectionString,
    /// Warnings about options that are ignored.
    pub(crate) warnings: Vec<Warning>,
    /// Whether it holds a password.
    pub(crate) has_password: bool,
}

/// Parses the connection string given with `flag`, and checks the TLS files that it names.
///
/// # Errors
/// Exit code 2 when the connection string or one of the files is invalid. The message names the invalid part and holds no secret.
pub(crate) fn parse(flag: &str, text: &str) -> Result<ParsedUri, Failure> {
    ensure_scheme(flag, text)?;
    let reduced = uri_options::reduce(flag, text)?;
    let uri = ConnectionString::parse(&reduced.uri).map_err(|error| {
        let reason = match *error.kind {
            ErrorKind::InvalidArgument { message, .. } => message,
            kind => kind.to_string(),
        };
        let (reason, hint) = option_hints::reason_and_hint(&reason);
        // The driver quotes the part that it could not parse, which may be a part of the password.
        let reason = without_secrets(&reason, text);
        Failure::usage(format!("{flag}: {reason}")).hint(hint.unwrap_or(SYNTAX_HINT))
    })?;
    ensure_concerns(flag, &uri)?;
    ensure_mechanism(flag, &uri)?;
    if let Some(Tls::Enabled(files)) = &uri.tls {
        if let Some(file) = &files.ca_file_path {
            let hint = "set tlsCAFile to a PEM file with the certificates of the authorities that sign the server certificates";
            ensure_pem::<CertificateDer<'_>>(flag, "tlsCAFile", "certificate", file, hint)?;
        }
        if let Some(file) = &files.cert_key_file_path {
            let option = "tlsCertificateKeyFile";
            let hint = "set tlsCertificateKeyFile to a PEM file with the client certificate and its unencrypted private key: cat client.crt client.key > FILE";
            ensure_pem::<CertificateDer<'_>>(flag, option, "certificate", file, hint)?;
            ensure_pem::<PrivateKeyDer<'_>>(flag, option, "unencrypted private key", file, hint)?;
        }
    }
    let has_password = (uri.credential.as_ref())
        .is_some_and(|login| login.password.is_some() || login.mechanism_properties.is_some());
    Ok(ParsedUri {
        uri,
        warnings: reduced.warnings,
        has_password,
    })
}

/// Fails if `text` does not begin as a connection string. The driver would quote the beginning of a file that holds something else.
fn ensure_scheme(flag: &str, text: &str) -> Result<(), Failure> {
    let is_only_line = !text.contains(['\n', '\r']);
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    match scheme {
        Some("mongodb" | "mongodb+srv") if is_only_line => Ok(()),
        None if is_only_line => Err(Failure::usage(format!(
            "{flag}: connection string contains no scheme"
        ))
        .hint(SYNTAX_HINT)),
        _ if is_only_line => Err(Failure::usage(format!(
            "{flag}: the scheme is neither mongodb nor mongodb+srv"
        ))
        .hint(SYNTAX_HINT)),
        _ => Err(Failure::usage(format!(
            "{flag}: more than one line instead of a connection string"
        ))
        .hint("write only the connection string into the file, without comments")),
    }
}

/// Fails if a change stream does not work with the read concern or the write concern.
fn ensure_concerns(flag: &str, uri: &ConnectionString) -> Result<(), Failure> {
    if let Some(concern) = &uri.read_concern
        && concern.level != ReadConcernLevel::Majority
    {
        return Err(Failure::usage(format!(
            "{flag}: readConcernLevel: a change stream reads with majority only"
        ))
        .hint("remove readConcernLevel, or set readConcernLevel=majority"));
    }
    if let Some(concern) = &uri.write_concern
        && concern.w == Some(Acknowledgment::Nodes(0))
    {
        return Err(Failure::usage(format!(
            "{flag}: w=0: the driver does not support unacknowledged writes"
        ))
        .hint("remove w=0: a watch writes nothing"));
    }
    Ok(())
}

/// Returns `text` for use in a message. If `text` is a connection string in the wrong place, only its scheme remains.
pub(crate) fn redacted(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, _)) if !scheme.contains(['@', ':']) => format!("{scheme}://..."),
        Some(_) => "...".to_owned(),
        None => text.to_owned(),
    }
}

/// Fails if the authentication mechanism cannot work. The driver would notice only when it authenticates.
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
            "{flag}: authMechanism=MONGODB-OIDC has no ENVIRONMENT"
        ))
        .hint("add authMechanismProperties=ENVIRONMENT:k8s, or ENVIRONMENT:azure or ENVIRONMENT:gcp with a TOKEN_RESOURCE")),
        Some(environment @ ("azure" | "gcp")) if !cfg!(feature = "oidc") => {
            Err(Failure::usage(format!(
                "{flag}: this build does not support authMechanism=MONGODB-OIDC with ENVIRONMENT:{environment}"
            ))
            .hint("rebuild it with cargo install --path . --features oidc"))
        }
        Some(_) => Ok(()),
    }
}

/// Fails unless `file` contains at least one `item` and every `item` in it is readable. The driver uses the certificates that it can
/// read and silently ignores the others (driver 3.9.1).
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
    // The text of a `PemError` quotes the unreadable line, which may belong to a private key.
    let reason = match items {
        Ok(items) if !items.is_empty() => return Ok(()),
        Ok(_) | Err(PemError::NoItemsFound) => format!("{shown} contains no {item}"),
        Err(PemError::Io(error)) => format!("cannot read {shown}: {error}"),
        Err(_) => format!("{shown} is not valid PEM"),
    };
    Err(Failure::usage(format!("{flag}: {option}: {reason}")).hint(hint))
}

/// Returns `message` with every word that occurs in a secret of `uri` replaced by `***`.
fn without_secrets(message: &str, uri: &str) -> String {
    let secrets: HashSet<String> = secrets(uri)
        .iter()
        .flat_map(|secret| [(*secret).to_owned(), percent_decoded(secret)])
        .flat_map(|secret| words(&secret).map(str::to_lowercase).collect::<Vec<_>>())
        .collect();
    message
        .split_inclusive(is_word_boundary)
        .map(|part| {
            let word = part.trim_end_matches(is_word_boundary);
            if secrets.contains(&word.to_lowercase()) {
                format!("***{}", &part[word.len()..])
            } else {
                part.to_owned()
            }
        })
        .collect()
}

/// Returns the parts of a connection string that may be a secret or a piece of one. A special character that is not percent-encoded
/// splits a password, and its pieces then appear in other parts.
fn secrets(uri: &str) -> Vec<&str> {
    let (scheme, rest) = uri.split_once("://").unwrap_or(("", uri));
    let (authority, options) = rest.split_once('?').unwrap_or((rest, ""));
    let mut secrets = Vec::new();
    if scheme.contains([':', '@']) {
        secrets.push(scheme);
    }
    match authority.rfind('@') {
        Some(end) => secrets.extend(
            authority[..end]
                .split_once(':')
                .map(|(_, password)| password),
        ),
        // user:password without @host parses as a host and its port.
        None => secrets.extend(
            authority
                .split(['/', ','])
                .filter_map(|host| host.split_once(':'))
                .map(|(_, port)| port)
                .filter(|port| !port.bytes().all(|byte| byte.is_ascii_digit())),
        ),
    }
    // The rest of a password that contains a question mark.
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
    text.split(is_word_boundary).filter(|word| !word.is_empty())
}

fn is_word_boundary(character: char) -> bool {
    !character.is_alphanumeric()
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut remaining = text.as_bytes();
    while let [first, rest @ ..] = remaining {
        let encoded = rest
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(encoded.unwrap_or(*first));
        remaining = if encoded.is_some() { &rest[2..] } else { rest };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_every_word_of_a_password_wherever_it_is_split() {
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
    fn shows_only_the_scheme_of_a_misplaced_connection_string() {
        assert_eq!(redacted("shop/2"), "shop/2");
        assert_eq!(redacted("mongodb://user:one@host"), "mongodb://...");
        assert_eq!(redacted("user:one@mongodb://host"), "...");
    }
}
