//! Hints for the driver's errors about connection strings and their options.

/// Hint for an unknown authentication mechanism.
const MECHANISM_HINT: &str = "set authMechanism to SCRAM-SHA-256, SCRAM-SHA-1, MONGODB-X509, PLAIN, MONGODB-AWS or MONGODB-OIDC, or omit it for user and password";

/// Hint for options that exclude each other.
const REMOVE_ONE: &str = "remove one of the two";

/// Returns the reason to print and a hint, given the driver's reason. Replaces reasons that are about the driver's build features, or do not
/// name the option as a connection string does. No hint for an error that is not about an option.
pub(crate) fn reason_and_hint(reason: &str) -> (String, Option<&'static str>) {
    for (sign, shown, hint) in TABLE {
        if reason.contains(sign) {
            let shown = match *shown {
                "" => reason.to_owned(),
                shown if shown.ends_with(": ") => format!("{shown}{reason}"),
                shown => shown.to_owned(),
            };
            return (shown, Some(hint));
        }
    }
    (reason.to_owned(), None)
}

/// A part of the driver's reason (driver 3.9.1), the reason to print instead, and the hint. An empty reason keeps the driver's, one that ends
/// with a colon is put before it.
#[rustfmt::skip]
const TABLE: &[(&str, &str, &str)] = &[
    ("aws-auth", "this build does not support authMechanism=MONGODB-AWS", "rebuild it with cargo install --path . --features aws"),
    ("gssapi-auth", "cswatch does not support authMechanism=GSSAPI", MECHANISM_HINT),
    ("invalid mechanism string", "", MECHANISM_HINT),
    ("cert-key-password", "tlsCertificateKeyFilePassword: cswatch does not support encrypted private keys", "decrypt the key with openssl pkey -in KEY, and let only the owner read the file of tlsCertificateKeyFile"),
    ("socks5-proxy", "cswatch does not support SOCKS5 proxies", "remove the proxy options"),
    ("Unsupported compressor", "", "set compressors to zstd, snappy or zlib; separate several with commas"),
    ("must be a boolean", "", "write true or false"),
    ("must be a non-negative integer", "", "write a number, 0 or more"),
    ("must be a positive integer", "", "write a number, 0 or more"),
    ("argument must be an integer", "", "write a number"),
    ("zlibCompressionLevel", "", "set zlibCompressionLevel to a number from -1 to 9"),
    ("is not a valid read preference tag", "readPreferenceTags: ", "write readPreferenceTags=NAME:VALUE; separate several with commas"),
    ("is not a valid read preference", "readPreference: ", "set readPreference to primary, primaryPreferred, secondary, secondaryPreferred or nearest"),
    ("max staleness", "maxStalenessSeconds: ", "remove maxStalenessSeconds, or add readPreference=secondaryPreferred"),
    ("max_staleness", "maxStalenessSeconds: ", "set maxStalenessSeconds to 90 or more, and at least 10 more than heartbeatFrequencyMS"),
    ("maxStalenessSeconds", "", "set maxStalenessSeconds to 90 or more"),
    ("read preference tags", "readPreferenceTags: ", "remove readPreferenceTags, or add readPreference=secondaryPreferred"),
    ("tags can only", "readPreferenceTags: ", "remove readPreferenceTags, or set readPreference=secondaryPreferred"),
    ("server monitoring mode", "serverMonitoringMode: ", "set serverMonitoringMode to auto, stream or poll"),
    ("with a non-SRV URI", "", "remove it, or use a mongodb+srv connection string"),
    ("cannot both be present", "", REMOVE_ONE),
    ("SRV-style URI with directConnection", "", "remove directConnection=true, or use a mongodb connection string with one host"),
    ("{key}={tls}", "tls=false contradicts the other TLS options", "remove tls=false, or the other options that begin with tls"),
    ("if tls=false", "", "remove tls=false, or the other options that begin with tls"),
    ("when TLS is disabled", "", "remove tls=false, or the other options that begin with tls"),
    ("cannot set both tlsinsecure", "", REMOVE_ONE),
    ("`w` option cannot be a negative", "", "remove w: a watch writes nothing"),
    ("w=0 and j=true", "", "remove w and journal: a watch writes nothing"),
    ("multiple seeds with directConnection", "", "name one host, or remove directConnection=true"),
    ("multiple seeds with loadBalanced", "", "name one host, or remove loadBalanced=true"),
    ("with loadBalanced=true", "", REMOVE_ONE),
    ("load balancing mode", "loadBalanced=true: the server is not behind a load balancer", "remove loadBalanced=true"),
    ("maxConnecting=0", "", "remove maxConnecting, or set it to 1 or more"),
    ("'heartbeat_freq'", "heartbeatFrequencyMS: ", "set heartbeatFrequencyMS to 500 or more"),
    ("empty authSource", "", "set authSource to the database that the user was created in, often admin"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_option_as_a_connection_string_does() {
        let (reason, hint) = reason_and_hint("'second' is not a valid read preference");
        assert_eq!(
            reason,
            "readPreference: 'second' is not a valid read preference"
        );
        assert!(hint.is_some_and(|hint| hint.contains("secondaryPreferred")));
        let (reason, _) = reason_and_hint("cannot set {key}={tls} if TLS is disabled");
        assert_eq!(reason, "tls=false contradicts the other TLS options");
        assert_eq!(reason_and_hint("other"), ("other".to_owned(), None));
    }
}
