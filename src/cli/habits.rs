//! Tips for arguments of other MongoDB tools that cswatch takes as part of the connection string.

use crate::config;

/// Returns the tip for an argument that cswatch does not know, as clap names it.
pub(super) fn tip(argument: &str) -> Option<String> {
    let name = argument.trim_start_matches('-');
    if !argument.starts_with('-') {
        return None;
    }
    let tip = match name.to_lowercase().as_str() {
        "host" | "hostname" | "port" => {
            "give host and port in the connection string: --uri mongodb://HOST:PORT".to_owned()
        }
        "username" | "user" | "u" | "password" | "pass" | "p" => {
            "give user and password in the connection string, with --uri-file or CSWATCH_URI: mongodb://USER:PASSWORD@HOST:PORT"
                .to_owned()
        }
        "authenticationdatabase" => uri_option("authSource"),
        "authenticationmechanism" => uri_option("authMechanism"),
        "sslcafile" => uri_option("tlsCAFile"),
        "sslpemkeyfile" => uri_option("tlsCertificateKeyFile"),
        name => uri_option(config::uri_option(name)?),
    };
    Some(tip)
}

fn uri_option(name: &str) -> String {
    format!(
        "{name} is an option of the connection string: --uri \"mongodb://HOST:PORT/?{name}=VALUE\""
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_connection_string_for_arguments_of_other_tools() {
        for (argument, part) in [
            ("--host", "--uri mongodb://HOST:PORT"),
            ("--password", "mongodb://USER:PASSWORD@HOST"),
            ("-u", "mongodb://USER:PASSWORD@HOST"),
            ("--authenticationDatabase", "?authSource=VALUE"),
            ("--tls", "?tls=VALUE"),
            ("--replicaset", "?replicaSet=VALUE"),
        ] {
            assert!(
                tip(argument).is_some_and(|tip| tip.contains(part)),
                "{argument}"
            );
        }
        assert_eq!(tip("--nonsense"), None);
        assert_eq!(tip("host"), None);
    }
}
