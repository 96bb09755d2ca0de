//! Finds out whether a server uses TLS.

use std::time::Duration;

use bson::doc;
use mongodb::Client;
use mongodb::options::{ClientOptions, ServerAddress, Tls, TlsOptions};

use crate::source::messages::describe;

/// Time to find out whether a server uses TLS.
const TLS_TEST_TIMEOUT: Duration = Duration::from_secs(2);

/// Returns whether a server replies with TLS, or without.
pub(super) async fn speaks(address: &ServerAddress, tls: bool) -> bool {
    let tls = match tls {
        // Nothing secret is sent, so the certificate does not matter.
        true => Tls::Enabled(
            TlsOptions::builder()
                .allow_invalid_certificates(true)
                .build(),
        ),
        false => Tls::Disabled,
    };
    let is_tls = matches!(tls, Tls::Enabled(_));
    let options = ClientOptions::builder()
        .hosts(vec![address.clone()])
        .direct_connection(true)
        .tls(tls)
        .server_selection_timeout(TLS_TEST_TIMEOUT / 2)
        .build();
    let Ok(client) = Client::with_options(options) else {
        return false;
    };
    let admin = client.database("admin");
    let hello = admin.run_command(doc! { "hello": 1 });
    match tokio::time::timeout(TLS_TEST_TIMEOUT, hello.into_future()).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => {
            // A server with TLS may require a certificate.
            let error = describe(&error).to_lowercase();
            is_tls && (error.contains("fatal alert") || error.contains("close_notify"))
        }
        Err(_) => false,
    }
}
