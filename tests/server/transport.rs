//! Connections as users configure them: TLS with a private authority, X.509, SCRAM, compression, and the errors if one of these is wrong.
//! `mongodb+srv` is in `unreachable`: resolving an existing name would need a DNS server.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use mongodb::bson::{Document, doc};

use testkit::certificates::{Authority, client_subject};
use testkit::cswatch::Cswatch;
use testkit::events::{brief, insert};
use testkit::forbidden_server::ForbiddenServer;
use testkit::guard;
use testkit::mongod::Mongod;
use testkit::mongod_binary::MongodBinary;
use testkit::replica_set::{Options, ReplicaSet, Tls};
use testkit::runtime::block_on;
use testkit::scenario::Scenario;

/// Options that make the driver give up an attempt within a second instead of after 10 s.
const FAIL_FAST: &str = "serverSelectionTimeoutMS=500&connectTimeoutMS=300";

/// The common name of the client certificate that is a user of [`Secured`].
const WATCHER: &str = "watcher";

/// A replica set that requires TLS and a login, for all tests here.
struct Secured {
    authority: Authority,
    set: ReplicaSet,
}

fn secured() -> &'static Secured {
    static SECURED: OnceLock<Secured> = OnceLock::new();
    SECURED.get_or_init(|| {
        let authority = Authority::new("own");
        let set = ReplicaSet::start(Options {
            auth: true,
            tls: Some(tls(&authority, &["127.0.0.1", "localhost"])),
            ..Options::default()
        });
        let create_watcher = doc! {
            "createUser": client_subject(WATCHER),
            "roles": [{ "role": "readAnyDatabase", "db": "admin" }],
        };
        let external = set.client().database("$external");
        block_on(external.run_command(create_watcher)).expect("a user");
        Secured { authority, set }
    })
}

/// Returns the TLS files of a server with a certificate for these names.
fn tls(authority: &Authority, names: &[&str]) -> Tls {
    Tls {
        certificate_key: authority.server(names),
        authority: authority.certificate(),
    }
}

/// Checks that a watch with this connection string prints an insert.
#[track_caller]
fn check_events_are_printed(set: &ReplicaSet, uri: &str) {
    let scenario = Scenario::on(set, "transport");
    let mut running = Cswatch::new()
        .args(["--uri", uri, "--db", scenario.db().name(), "--no-resume"])
        .spawn();
    running.wait_open();
    insert(&scenario.coll("c"), 1..=1);
    assert_eq!(brief(&running.next_line()), "insert 1");
    running.kill();
}

/// Checks that a watch with this connection string ends with this code, message and hint.
#[track_caller]
fn check_failure(uri: &str, code: i32, message: &str, hint: &str) {
    Cswatch::new()
        .args(["--uri", uri, "--db", "db", "--no-resume"])
        .run()
        .expect_failure(code, message, hint);
}

/// Checks that a watch with these options ends with code 2 and exactly this message and hint, and does not connect to the server.
#[track_caller]
fn check_refused(options: &str, message: &str, hint: &str) {
    let server = ForbiddenServer::listen();
    let uri = format!("{}&{options}", server.uri());
    let run = Cswatch::new()
        .args(["--uri", &uri, "--db", "db", "--no-resume"])
        .run()
        .expect_code(2);
    assert_eq!(run.error(), (format!("--uri: {message}").as_str(), hint));
    assert_eq!(run.messages().len(), 2, "{}", run.stderr);
    assert_eq!(run.stdout, [""; 0]);
    server.assert_no_connection();
}

#[test]
fn trusts_a_private_authority_named_as_tls_ca_file() {
    check_events_are_printed(&secured().set, &secured().set.uri());
}

#[test]
fn resumes_over_tls_after_a_restart_of_the_server() {
    let authority = Authority::new("own");
    let set = ReplicaSet::start(Options {
        tls: Some(tls(&authority, &["127.0.0.1"])),
        ..Options::default()
    });
    let scenario = Scenario::on(&set, "restart");
    let mut running = scenario.cswatch(["--no-resume"]).spawn();
    running.wait_open();
    insert(&scenario.coll("c"), 1..=1);
    assert_eq!(brief(&running.next_line()), "insert 1");
    set.primary().restart();
    set.primary();
    insert(&scenario.coll("c"), 2..=2);
    assert_eq!(brief(&running.next_line()), "insert 2");
    running.kill();
}

#[test]
fn logs_in_with_each_scram_mechanism() {
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-1"] {
        let uri = secured().set.uri();
        check_events_are_printed(&secured().set, &format!("{uri}&authMechanism={mechanism}"));
    }
}

#[test]
fn logs_in_with_a_client_certificate_as_the_user_of_its_subject() {
    let Secured { authority, set } = secured();
    let uri = with_certificate(&set.uri_without_login(), &authority.client(WATCHER));
    check_events_are_printed(set, &format!("{uri}&authMechanism=MONGODB-X509"));
}

fn with_certificate(uri: &str, file: &Path) -> String {
    format!("{uri}&tlsCertificateKeyFile={}", file.display())
}

#[test]
fn reports_a_login_with_an_unknown_or_a_missing_certificate() {
    let Secured { authority, set } = secured();
    let stranger = with_certificate(&set.uri_without_login(), &authority.client("stranger"));
    for uri in [stranger, set.uri_without_login()] {
        check_failure(
            &format!("{uri}&authMechanism=MONGODB-X509"),
            8,
            "authentication failed: MONGODB-X509 ",
            "check tlsCertificateKeyFile in --uri, and that the subject of its certificate is a user in $external: openssl x509 -noout -subject -nameopt RFC2253 -in FILE",
        );
    }
}

#[test]
fn names_tls_ca_file_for_a_server_of_an_unknown_authority() {
    let set = &secured().set;
    let host = set.primary().address();
    let stranger = Authority::new("stranger");
    for options in [
        format!("tlsCAFile={}", stranger.certificate().display()),
        // Public authorities only.
        "tls=true".to_owned(),
    ] {
        check_failure(
            &format!("mongodb://{host}/?{options}&{FAIL_FAST}"),
            7,
            &format!("cannot reach MongoDB at {host}: the TLS handshake failed ("),
            "the authority that signed the server's certificate is not trusted here: name its certificate as tlsCAFile=FILE in --uri",
        );
    }
}

#[test]
fn reports_a_certificate_for_another_host_name() {
    let authority = Authority::new("own");
    let tls = tls(&authority, &["elsewhere.example"]);
    let mongod = Mongod::start(MongodBinary::found(), &tls.arguments());
    let host = mongod.address();
    let ca = tls.authority.display();
    check_failure(
        &format!("mongodb://{host}/?tlsCAFile={ca}&{FAIL_FAST}"),
        7,
        &format!("cannot reach MongoDB at {host}: the TLS handshake failed ("),
        "use a host name in --uri that the server's certificate is valid for",
    );
}

#[test]
fn suggests_tls_when_the_server_requires_it() {
    let host = secured().set.primary().address();
    check_failure(
        &format!("mongodb://{host}/?{FAIL_FAST}"),
        7,
        &format!("cannot reach MongoDB at {host}: the server requires TLS ("),
        "add tls=true to --uri, and tlsCAFile=FILE for a private certificate authority",
    );
}

#[test]
fn suggests_a_client_certificate_when_the_server_requires_one() {
    let authority = Authority::new("own");
    let tls = tls(&authority, &["127.0.0.1"]);
    let mongod = Mongod::start(MongodBinary::found(), &tls.arguments());
    let host = mongod.address();
    let ca = tls.authority.display();
    let without_certificate = format!("mongodb://{host}/?tlsCAFile={ca}&{FAIL_FAST}");
    let stranger = Authority::new("stranger");
    for uri in [
        with_certificate(&without_certificate, &stranger.client("client")),
        without_certificate,
    ] {
        check_failure(
            &uri,
            7,
            &format!("cannot reach MongoDB at {host}: the server closed the connection ("),
            "check whether the server requires a client certificate from an authority that it trusts: tlsCertificateKeyFile=FILE in --uri",
        );
    }
}

#[test]
fn refuses_unusable_tls_files_before_connecting() {
    let directory = guard::temp_dir("pem-");
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).expect("a file can be written");
        path
    };
    let authority = Authority::new("own");
    let client = fs::read_to_string(authority.client("client")).expect("a certificate and a key");
    let key_at = client.find("-----BEGIN PRIVATE KEY").expect("a key");
    let (certificate, key) = client.split_at(key_at);
    let damaged = certificate.replacen('M', "!", 1);
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");

    let missing = directory.path().join("missing");
    let empty = file("empty", "");
    let certificate_alone = file("certificate", certificate);
    let key_alone = file("key", key);
    let damaged = file("damaged", &damaged);
    let cut = file("cut", &certificate[..certificate.len() / 2]);
    let encrypted = file("encrypted", &(certificate.to_owned() + &encrypted));
    let no_such_file = "No such file or directory (os error 2)";
    let key_file_hint = "set tlsCertificateKeyFile to a PEM file with the client certificate and its unencrypted private key: cat client.crt client.key > FILE";
    let check = |option: &str, path: &PathBuf, message: &str, hint: &str| {
        let path = path.display();
        let message = message.replace("FILE", &path.to_string());
        check_refused(
            &format!("{option}={path}"),
            &format!("{option}: {message}"),
            hint,
        );
    };
    for (option, hint) in [
        (
            "tlsCAFile",
            "set tlsCAFile to a PEM file with the certificates of the authorities that sign the server certificates",
        ),
        ("tlsCertificateKeyFile", key_file_hint),
    ] {
        let missing_file = format!("cannot read FILE: {no_such_file}");
        check(option, &missing, &missing_file, hint);
        check(option, &empty, "FILE contains no certificate", hint);
        check(option, &key_alone, "FILE contains no certificate", hint);
        for path in [&damaged, &cut] {
            check(option, path, "FILE is not valid PEM", hint);
        }
    }
    for path in [&certificate_alone, &encrypted] {
        let message = "FILE contains no unencrypted private key";
        check("tlsCertificateKeyFile", path, message, key_file_hint);
    }
}

#[test]
fn refuses_a_key_that_does_not_belong_to_its_certificate() {
    let authority = Authority::new("own");
    let half = |name: &str, is_key: bool| {
        let text = fs::read_to_string(authority.client(name)).expect("a certificate and a key");
        let key_at = text.find("-----BEGIN PRIVATE KEY").expect("a key");
        text[if is_key {
            key_at..text.len()
        } else {
            0..key_at
        }]
        .to_owned()
    };
    let directory = guard::temp_dir("pem-");
    let file = directory.path().join("mixed.pem");
    fs::write(&file, half("one", false) + &half("other", true)).expect("a file can be written");
    check_failure(
        &with_certificate(&format!("mongodb://127.0.0.1:1/?{FAIL_FAST}"), &file),
        2,
        "the TLS files in --uri are unusable: ",
        "check tlsCAFile and tlsCertificateKeyFile; the latter holds a client certificate and its private key",
    );
}

#[test]
fn refuses_an_encrypted_key_and_explains_how_to_decrypt_it() {
    check_refused(
        "tlsCertificateKeyFilePassword=s3cret",
        "tlsCertificateKeyFilePassword: cswatch does not support encrypted private keys",
        "decrypt the key with openssl pkey -in KEY, and let only the owner read the file of tlsCertificateKeyFile",
    );
}

/// The compressors that a server supports.
const COMPRESSORS: [&str; 3] = ["zstd", "snappy", "zlib"];

#[test]
fn compresses_with_the_compressor_that_is_named() {
    for name in COMPRESSORS {
        // A server of its own for each: it still compresses the last reply to a client that was killed.
        let set = ReplicaSet::start(Options::default());
        check_events_are_printed(&set, &format!("{}&compressors={name}", set.uri()));
        for other in COMPRESSORS {
            let used = compressed(&set, other).map(|bytes| bytes > 0);
            assert_eq!(used, [name == other; 2], "{other} of {name}");
        }
    }
}

/// Returns the number of bytes that the set has compressed and decompressed with this compressor.
fn compressed(set: &ReplicaSet, name: &str) -> [i64; 2] {
    let status = set.admin(doc! { "serverStatus": 1 });
    let part = |document: &Document, name: &str| {
        let part = document.get_document(name).expect("counters");
        part.clone()
    };
    let counters = part(&part(&part(&status, "network"), "compression"), name);
    ["compressor", "decompressor"].map(|side| {
        let bytes = part(&counters, side);
        bytes.get_i64("bytesIn").expect("a number of bytes")
    })
}

#[test]
fn uses_the_first_compressor_that_the_server_supports() {
    let set = ReplicaSet::start(Options {
        arguments: vec!["--networkMessageCompressors=zlib".to_owned()],
        ..Options::default()
    });
    check_events_are_printed(&set, &format!("{}&compressors=zstd,zlib", set.uri()));
    assert!(compressed(&set, "zlib").iter().all(|bytes| *bytes > 0));
}

#[test]
fn refuses_an_unknown_compressor_and_lists_the_known_ones() {
    check_refused(
        "compressors=brotli",
        "Unsupported compressor: brotli",
        "set compressors to zstd, snappy or zlib; separate several with commas",
    );
}

#[test]
fn refuses_invalid_auth_mechanisms_before_connecting() {
    let mechanisms = "set authMechanism to SCRAM-SHA-256, SCRAM-SHA-1, MONGODB-X509, PLAIN, MONGODB-AWS or MONGODB-OIDC, or omit it for user and password";
    let environment = "add authMechanismProperties=ENVIRONMENT:k8s, or ENVIRONMENT:azure or ENVIRONMENT:gcp with a TOKEN_RESOURCE";
    for (options, message, hint) in [
        (
            "authMechanism=SCRAM",
            "invalid mechanism string: SCRAM",
            mechanisms,
        ),
        (
            "authMechanism=GSSAPI",
            "cswatch does not support authMechanism=GSSAPI",
            mechanisms,
        ),
        (
            "authMechanism=MONGODB-OIDC",
            "authMechanism=MONGODB-OIDC has no ENVIRONMENT",
            environment,
        ),
    ] {
        check_refused(options, message, hint);
    }
}

#[cfg(not(feature = "aws"))]
#[test]
fn refuses_aws_authentication_without_the_feature_aws() {
    check_refused(
        "authMechanism=MONGODB-AWS",
        "this build does not support authMechanism=MONGODB-AWS",
        "rebuild it with cargo install --path . --features aws",
    );
}

#[cfg(not(feature = "oidc"))]
#[test]
fn refuses_cloud_identities_without_the_feature_oidc() {
    for environment in ["azure", "gcp"] {
        check_refused(
            &format!(
                "authMechanism=MONGODB-OIDC&authMechanismProperties=ENVIRONMENT:{environment},TOKEN_RESOURCE:a"
            ),
            &format!(
                "this build does not support authMechanism=MONGODB-OIDC with ENVIRONMENT:{environment}"
            ),
            "rebuild it with cargo install --path . --features oidc",
        );
    }
}
