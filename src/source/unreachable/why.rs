//! Why one server cannot be reached, by the text of its error.

use mongodb::error::Error;

/// Why a server cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    Unresolved,
    Refused,
    ClosedAfterHandshake,
    Handshake,
    NoMember,
    Closed,
    Silent,
}

/// What is known of TLS.
#[derive(Debug, Clone, Copy)]
pub(super) struct TlsUse {
    /// Whether it is on in the connection string.
    pub(super) is_on: bool,
    /// Whether it is off at a server and on in the connection string, or the other way around.
    pub(super) is_mismatch: bool,
}

impl Why {
    /// Returns the reason, found by words in the text of an error. `is_unresolved`: no host name of the connection string could be resolved.
    pub(super) fn of(error: &str, is_unresolved: bool) -> Self {
        let error = error.to_lowercase();
        let has_any = |signs: &[&str]| signs.iter().any(|sign| error.contains(sign));
        if is_unresolved
            || has_any(&[
                "lookup address",
                "name or service not known",
                "nodename nor servname",
            ])
        {
            Self::Unresolved
        } else if has_any(&["refused"]) {
            Self::Refused
        } else if has_any(&["close_notify"]) {
            Self::ClosedAfterHandshake
        } else if has_any(&["tls handshake eof"]) {
            Self::Closed
        } else if has_any(&[
            "tls",
            "certificate",
            "corrupt message",
            "ssl",
            "fatal alert",
        ]) {
            Self::Handshake
        } else if has_any(&["set name:"]) {
            Self::NoMember
        } else if has_any(&["unexpected end of file", "connection reset", "broken pipe"]) {
            Self::Closed
        } else {
            Self::Silent
        }
    }

    /// Returns the text of the reason and a hint, for a server with this error.
    pub(super) fn text(self, error: &str, tls: TlsUse) -> (&'static str, &'static str) {
        match self {
            Self::Closed | Self::Handshake if tls.is_mismatch => match tls.is_on {
                true => (
                    "the server does not use TLS",
                    "remove tls=true and the other options that begin with tls from --uri (mongodb+srv: add tls=false), or turn on TLS on the server",
                ),
                false => (
                    "the server requires TLS",
                    "add tls=true to --uri, and tlsCAFile=FILE for a private certificate authority",
                ),
            },
            Self::Unresolved => (
                "the host name cannot be resolved",
                "check the host in --uri and the machine's DNS",
            ),
            Self::Refused => (
                "the connection was refused",
                "check that mongod runs there and on that port; --wait keeps trying",
            ),
            // The TLS handshake succeeded, and then the server asked for a certificate.
            Self::ClosedAfterHandshake => (
                "the server closed the connection",
                "check whether the server requires a client certificate from an authority that it trusts: tlsCertificateKeyFile=FILE in --uri",
            ),
            Self::Handshake => ("the TLS handshake failed", tls_hint(&error.to_lowercase())),
            Self::NoMember => (
                "no member of the replica set answered",
                "check replicaSet= in --uri against rs.status(), and that the members' own host names can be reached from here; directConnection=true connects to one server only",
            ),
            Self::Closed if tls.is_on => (
                "the server closed the connection during the TLS handshake",
                "check that the port speaks MongoDB, and whether the server uses TLS; without it, remove tls=true from --uri",
            ),
            Self::Closed => (
                "the server closed the connection",
                "check that the port speaks MongoDB, and whether the server requires TLS: tls=true in --uri",
            ),
            Self::Silent => (
                "no answer",
                "check host and port in --uri and the firewalls in between; --wait keeps trying",
            ),
        }
    }
}

/// Returns whether an error of a server will stay the same for as long as an attempt lasts.
pub(in crate::source) fn is_final(error: &Error) -> bool {
    matches!(
        Why::of(&error.to_string(), false),
        Why::Refused | Why::Unresolved
    )
}

/// Returns a hint, found by words in the text of a TLS error. `error` is in lower case.
fn tls_hint(error: &str) -> &'static str {
    if error.contains("unknownissuer") {
        "the authority that signed the server's certificate is not trusted here: name its certificate as tlsCAFile=FILE in --uri"
    } else if error.contains("not valid for name") {
        "use a host name in --uri that the server's certificate is valid for"
    } else if error.contains("expired") {
        "the server needs a new certificate; check the clocks too"
    } else if error.contains("fatal alert") {
        "the server does not accept this client: check tlsCertificateKeyFile in --uri, and that the server trusts the authority that signed it"
    } else {
        "check tls=true, tlsCAFile and the host name in --uri against the server's certificate"
    }
}
