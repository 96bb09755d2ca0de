//! Options of connection strings: which of them cswatch uses, and what becomes of the others.
//! Source: <https://www.mongodb.com/docs/manual/reference/connection-string-options/> and the drivers' URI options specification.

use std::collections::HashMap;

use crate::error::Failure;

use Use::{Driver, MakesStricter, NoRevocation, NotSupported, Renamed, Unused};

/// What cswatch does with an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// The driver uses it.
    Driver,
    /// Nothing depends on it: it is ignored with a warning.
    Unused,
    /// `true` would check less than cswatch does, which is ignored with a warning that names what is checked all the same.
    MakesStricter(&'static str),
    /// `true` turns off a check of revoked certificates that the driver does not have; `false` would turn it on, and is refused.
    NoRevocation,
    /// Security depends on it, and the driver does not have it: it is refused.
    NotSupported,
    /// The driver knows it by this name only, and security depends on it: it is refused.
    Renamed(&'static str),
}

/// The options that the specification or a driver defines.
#[rustfmt::skip]
const OPTIONS: &[(&str, Use)] = &[
    ("appName", Driver),
    ("authMechanism", Driver),
    ("authMechanismProperties", Driver),
    ("authSource", Driver),
    ("compressors", Driver),
    ("connectTimeoutMS", Driver),
    ("directConnection", Driver),
    ("enableOverloadRetargeting", Driver),
    ("heartbeatFrequencyMS", Driver),
    ("journal", Driver),
    ("loadBalanced", Driver),
    ("localThresholdMS", Driver),
    ("maxAdaptiveRetries", Driver),
    ("maxConnecting", Driver),
    ("maxIdleTimeMS", Driver),
    ("maxPoolSize", Driver),
    ("maxStalenessSeconds", Driver),
    ("minPoolSize", Driver),
    ("proxyHost", Driver),
    ("proxyPassword", Driver),
    ("proxyPort", Driver),
    ("proxyUsername", Driver),
    ("readConcernLevel", Driver),
    ("readPreference", Driver),
    ("readPreferenceTags", Driver),
    ("replicaSet", Driver),
    ("retryReads", Driver),
    ("retryWrites", Driver),
    ("serverMonitoringMode", Driver),
    ("serverSelectionTimeoutMS", Driver),
    ("srvMaxHosts", Driver),
    ("srvServiceName", Driver),
    ("ssl", Driver),
    ("tls", Driver),
    ("tlsAllowInvalidCertificates", Driver),
    ("tlsCAFile", Driver),
    ("tlsCertificateKeyFile", Driver),
    ("tlsCertificateKeyFilePassword", Driver),
    ("tlsInsecure", Driver),
    ("w", Driver),
    ("wTimeoutMS", Driver),
    ("zlibCompressionLevel", Driver),

    ("adaptiveRetries", Unused),
    ("fsync", Unused),
    ("gssapiServiceName", Unused),
    ("j", Unused),
    ("maxIdleTime", Unused),
    ("maxLifeTimeMS", Unused),
    ("safe", Unused),
    ("secondaryAcceptableLatencyMS", Unused),
    ("serverSelectionTryOnce", Unused),
    ("slaveOk", Unused),
    // The driver knows the name, and refuses every value (driver 3.9.1).
    ("socketTimeoutMS", Unused),
    ("timeoutMS", Unused),
    // The driver refuses the value `standard` (driver 3.9.1). Events are printed as the server sent them.
    ("uuidRepresentation", Unused),
    ("waitQueueMultiple", Unused),
    // The driver knows the name, and does not use it (driver 3.9.1).
    ("waitQueueTimeoutMS", Unused),
    ("wTimeout", Unused),

    ("sslAllowInvalidHostnames", MakesStricter("host names are checked")),
    ("sslInvalidHostNameAllowed", MakesStricter("host names are checked")),
    ("tlsAllowInvalidHostnames", MakesStricter("host names are checked")),
    ("tlsDisableCertificateRevocationCheck", NoRevocation),
    ("tlsDisableOCSPEndpointCheck", NoRevocation),

    ("ssl_ca_certs", Renamed("tlsCAFile")),
    ("ssl_cert_reqs", Renamed("tlsAllowInvalidCertificates")),
    ("ssl_certfile", Renamed("tlsCertificateKeyFile")),
    ("ssl_keyfile", Renamed("tlsCertificateKeyFile")),
    ("sslAllowInvalidCertificates", Renamed("tlsAllowInvalidCertificates")),
    ("sslCAFile", Renamed("tlsCAFile")),
    ("sslCertificateAuthorityFile", Renamed("tlsCAFile")),
    ("sslClientCertificateKeyFile", Renamed("tlsCertificateKeyFile")),
    ("sslPEMKeyFile", Renamed("tlsCertificateKeyFile")),
    ("sslClientCertificateKeyPassword", NotSupported),
    ("sslPEMKeyPassword", NotSupported),
    ("ssl_crlfile", NotSupported),
    ("sslCRLFile", NotSupported),
    ("tlsCRLFile", NotSupported),
];

/// Beginnings of names on which security depends, in lower case. An option that has one and is unknown is refused.
const SECURITY: [&str; 4] = ["tls", "ssl", "auth", "proxy"];

/// Similarity of two names from which on one counts as a misspelling of the other.
const SIMILAR: f64 = 0.85;

/// A connection string with only the options that the driver uses.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reduced {
    /// The connection string.
    pub(super) uri: String,
    /// What is reported about the others.
    pub(super) warnings: Vec<Warning>,
}

/// A warning about options that are ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Warning {
    /// Which options are ignored.
    pub(crate) message: String,
    /// What to do about it; empty if there is nothing to do.
    pub(crate) hint: String,
}

/// Removes the options that the driver does not use from the connection string given with `flag`. Leaves everything else to the parser.
///
/// # Errors
/// Exit code 2 when an option is given twice, or cannot be ignored because security depends on it. The message holds no value.
pub(super) fn reduce(flag: &str, uri: &str) -> Result<Reduced, Failure> {
    let options_start = uri.find("://").and_then(|scheme| {
        let question_mark = uri[scheme..].find('?')?;
        Some(scheme + question_mark + 1)
    });
    let Some(start) = options_start else {
        return Ok(Reduced {
            uri: uri.to_owned(),
            warnings: Vec::new(),
        });
    };
    let (before, options) = uri.split_at(start);
    let mut kept = Vec::new();
    let mut ignored = Ignored::default();
    let mut values: HashMap<String, &str> = HashMap::new();
    for option in options.split('&').filter(|option| !option.is_empty()) {
        let Some((name, value)) = option.split_once('=') else {
            kept.push(option);
            continue;
        };
        let lower = name.to_lowercase();
        let known = find(&lower);
        if let Some((name, _)) = known
            && *name != "readPreferenceTags"
            && values.insert(lower, value).is_some()
        {
            return Err(Failure::usage(format!("{flag}: {name} is given twice"))
                .hint(format!("keep one {name} and remove the other")));
        }
        match known {
            // No limit, and cswatch needs no more connections than the driver allows by default.
            Some(("maxPoolSize", _)) if value == "0" => {}
            Some((_, Driver)) => kept.push(option),
            Some((name, action)) => ignored.known(flag, name, *action, value)?,
            // A password that is not percent-encoded, and reaches into the options. The parser refuses it.
            None if options.contains('@') || !is_name(name) => kept.push(option),
            None => ignored.unknown(flag, name)?,
        }
    }
    if let (Some(tls), Some(ssl)) = (values.get("tls"), values.get("ssl"))
        && tls != ssl
    {
        return Err(
            Failure::usage(format!("{flag}: tls and ssl contradict each other"))
                .hint("remove ssl, the old name of tls"),
        );
    }
    let question_mark = before.len() - 1;
    let uri = match kept.is_empty() {
        true => before[..question_mark].to_owned(),
        false => format!("{before}{}", kept.join("&")),
    };
    Ok(Reduced {
        uri,
        warnings: ignored.warnings(flag),
    })
}

/// Returns the name of an option as the specification spells it.
pub(crate) fn spelled(name: &str) -> Option<&'static str> {
    find(&name.to_lowercase()).map(|(name, _)| *name)
}

fn find(lower: &str) -> Option<&'static (&'static str, Use)> {
    OPTIONS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(lower))
}

/// Returns whether `name` can be the name of an option, and can be printed.
fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

/// Returns the known option that `name` is most similar to.
fn similar(name: &str) -> Option<&'static str> {
    let lower = name.to_lowercase();
    let similarity = |known: &str| {
        let known = known.to_lowercase();
        // Of short names, one letter is a large part.
        match name.len() >= 3 && strsim::osa_distance(&known, &lower) == 1 {
            true => 1.0,
            false => strsim::jaro_winkler(&known, &lower),
        }
    };
    OPTIONS
        .iter()
        .filter(|(_, action)| *action == Driver)
        .map(|(known, _)| (similarity(known), *known))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}

/// The options that are ignored.
#[derive(Debug, Default)]
struct Ignored {
    unused: Vec<&'static str>,
    unknown: Vec<String>,
    /// The names and values that would check less, and what is checked all the same.
    stricter: Vec<(String, &'static str)>,
}

impl Ignored {
    fn known(
        &mut self,
        flag: &str,
        name: &'static str,
        action: Use,
        value: &str,
    ) -> Result<(), Failure> {
        let is_true = value == "true";
        let refused = |reason: &str| Failure::usage(format!("{flag}: {name}{reason}"));
        match action {
            Driver => {}
            Unused => self.unused.push(name),
            MakesStricter(checked) if is_true => {
                self.stricter.push((format!("{name}=true"), checked));
            }
            MakesStricter(_) => {}
            NoRevocation if is_true => self.unused.push(name),
            NoRevocation => {
                return Err(refused(
                    "=false: cswatch does not check whether certificates are revoked",
                )
                .hint(format!("remove {name}, if this check is not needed")));
            }
            NotSupported => {
                return Err(
                    refused(" is not supported, and cannot be ignored safely").hint(format!(
                        "remove {name}, if the connection is secure without it"
                    )),
                );
            }
            Renamed(new) => {
                return Err(refused(" is not supported by this name")
                    .hint(format!("use {new} instead of {name}")));
            }
        }
        Ok(())
    }

    fn unknown(&mut self, flag: &str, name: &str) -> Result<(), Failure> {
        let similar = similar(name);
        let lower = name.to_lowercase();
        let is_security = |name: &str| {
            let name = name.to_lowercase();
            SECURITY.iter().any(|begin| name.starts_with(begin))
        };
        if is_security(&lower) || similar.is_some_and(is_security) {
            let failure = Failure::usage(format!("{flag}: {name} is an invalid option"));
            return Err(match similar {
                Some(similar) => failure.hint(format!("did you mean {similar}?")),
                None => failure.hint("remove it; the names of TLS options begin with tls, as in tlsCAFile, those of the login with auth, as in authSource"),
            });
        }
        self.unknown.push(name.to_owned());
        Ok(())
    }

    /// Returns at most one warning of each kind.
    fn warnings(self, flag: &str) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let mut warn = |message: String, hint: String| warnings.push(Warning { message, hint });
        match &self.unused[..] {
            [] => {}
            [name] => warn(
                format!("{flag}: option {name} is not used by cswatch and ignored"),
                String::new(),
            ),
            names => warn(
                format!(
                    "{flag}: options {} are not used by cswatch and ignored",
                    names.join(", ")
                ),
                String::new(),
            ),
        }
        for (option, checked) in &self.stricter {
            warn(
                format!("{flag}: option {option} is not supported and ignored: {checked}"),
                "use a host name that the server's certificate is valid for".to_owned(),
            );
        }
        if !self.unknown.is_empty() {
            let hints: Vec<String> = self
                .unknown
                .iter()
                .filter_map(|name| Some(format!("did you mean {}?", similar(name)?)))
                .collect();
            let plural = if self.unknown.len() == 1 { "" } else { "s" };
            warn(
                format!(
                    "{flag}: unknown option{plural} ignored: {}",
                    self.unknown.join(", ")
                ),
                hints.join(" "),
            );
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reduced(options: &str) -> Reduced {
        reduce("--uri", &format!("mongodb://h/?{options}")).expect("valid options")
    }

    fn refused(options: &str) -> (String, String) {
        let failure = reduce("--uri", &format!("mongodb://h/?{options}")).expect_err(options);
        (failure.message, failure.hint)
    }

    #[test]
    fn keeps_the_options_that_the_driver_uses() {
        for uri in [
            "mongodb://h",
            "mongodb://h/db",
            "mongodb://h/?replicaSet=rs0&READPREFERENCE=secondary",
            "mongodb://h/?readPreferenceTags=a:b&readPreferenceTags=",
            "mongodb://user:a@1?b=c@h/",
        ] {
            let reduced = reduce("--uri", uri).expect("valid options");
            assert_eq!(reduced.uri, uri);
            assert_eq!(reduced.warnings, []);
        }
    }

    #[test]
    fn knows_each_option_once() {
        for (name, _) in OPTIONS {
            let same = |other: &&(&str, Use)| other.0.eq_ignore_ascii_case(name);
            assert_eq!(OPTIONS.iter().filter(same).count(), 1, "{name}");
        }
    }

    #[test]
    fn removes_unused_options_with_one_warning() {
        let reduced =
            reduced("socketTimeoutMS=1&tls=true&TIMEOUTMS=2&uuidRepresentation=standard&");
        assert_eq!(reduced.uri, "mongodb://h/?tls=true");
        let messages: Vec<_> = reduced.warnings.iter().map(|w| &w.message[..]).collect();
        assert_eq!(
            messages,
            [
                "--uri: options socketTimeoutMS, timeoutMS, uuidRepresentation are not used by cswatch and ignored"
            ]
        );
        assert_eq!(
            super::reduce("--uri", "mongodb://h/?j=true").unwrap().uri,
            "mongodb://h/"
        );
    }

    #[test]
    fn suggests_a_similar_name_for_an_unknown_option() {
        let warning = reduced("repliaSet=rs0").warnings.remove(0);
        assert_eq!(warning.message, "--uri: unknown option ignored: repliaSet");
        assert_eq!(warning.hint, "did you mean replicaSet?");
        assert_eq!(reduced("nonsense=1").warnings[0].hint, "");
    }

    #[test]
    fn refuses_unknown_options_on_which_security_depends() {
        for (options, hint) in [
            ("tsl=true", "did you mean tls?"),
            ("tlsCAFil=x", "did you mean tlsCAFile?"),
            ("sslCAFile=x", "use tlsCAFile instead of sslCAFile"),
            ("tlsMinimumVersion=1.3", "remove it; "),
            ("tlsCRLFile=x", "remove tlsCRLFile"),
            (
                "tlsDisableOCSPEndpointCheck=false",
                "remove tlsDisableOCSPEndpointCheck",
            ),
        ] {
            let found = refused(options);
            assert!(found.1.starts_with(hint), "{options}: {found:?}");
        }
    }

    #[test]
    fn warns_that_host_names_are_checked_all_the_same() {
        let reduced = reduced("tls=true&tlsAllowInvalidHostnames=true");
        assert_eq!(reduced.uri, "mongodb://h/?tls=true");
        assert!(
            reduced.warnings[0]
                .message
                .ends_with("host names are checked")
        );
        assert_eq!(
            super::reduce("--uri", "mongodb://h/?tlsAllowInvalidHostnames=false")
                .unwrap()
                .warnings,
            []
        );
    }

    #[test]
    fn names_an_option_that_is_given_twice() {
        assert_eq!(
            refused("APPNAME=a&appName=b").0,
            "--uri: appName is given twice"
        );
        assert_eq!(
            refused("tls=false&ssl=true").0,
            "--uri: tls and ssl contradict each other"
        );
    }
}
