//! How users reach and log in to their servers: TLS with an authority of their own, X.509, SCRAM,
//! compression, and what is said where one of these does not fit. `mongodb+srv` is in
//! `unreachable`: to resolve a name that there is would need a DNS server.

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

/// Options that make the driver give an attempt up within a second, where it takes 10 s otherwise.
const IMPATIENT: &str = "serverSelectionTimeoutMS=500&connectTimeoutMS=300";

/// The common name of the client that is a user of [`Secured`].
const WATCHER: &str = "watcher";

/// A set that speaks TLS alone and wants a login, for all tests here.
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

/// Of a server with a certificate for these names.
fn tls(authority: &Authority, names: &[&str]) -> Tls {
    Tls {
        certificate_key: authority.server(names),
        authority: authority.certificate(),
    }
}

/// What is inserted while it watches by this connection string is printed.
#[track_caller]
fn ensure_events_come(set: &ReplicaSet, uri: &str) {
    let scenario = Scenario::on(set, "transport");
    let mut running = Cswatch::new()
        .args(["--uri", uri, "--db", scenario.db().name(), "--no-resume"])
        .spawn();
    running.wait_open();
    insert(&scenario.coll("c"), 1..=1);
    assert_eq!(brief(&running.next_line()), "insert 1");
    running.kill();
}

/// It ends with this code and one line.
#[track_caller]
fn ensure_fails(uri: &str, code: i32, what: &str, way_out: &str) {
    Cswatch::new()
        .args(["--uri", uri, "--db", "db", "--no-resume"])
        .run()
        .expect_failure(code, what, way_out);
}

/// It ends with code 2 and one line, beside a server that it must not connect to.
#[track_caller]
fn ensure_refused(options: &str, what: &str, way_out: &str) {
    let server = ForbiddenServer::listen();
    let uri = format!("{}&{options}", server.uri());
    ensure_fails(&uri, 2, &format!("--uri: {what}"), way_out);
    server.assert_no_connection();
}

#[test]
fn server_of_an_authority_of_ones_own_is_trusted_by_its_file() {
    ensure_events_come(&secured().set, &secured().set.uri());
}

#[test]
fn watch_over_tls_goes_on_behind_a_restart_of_its_server() {
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
fn user_and_password_log_in_by_each_kind_of_scram() {
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-1"] {
        let uri = secured().set.uri();
        ensure_events_come(&secured().set, &format!("{uri}&authMechanism={mechanism}"));
    }
}

#[test]
fn certificate_of_a_client_logs_in_as_the_user_of_its_subject() {
    let Secured { authority, set } = secured();
    let uri = with_certificate(&set.uri_of_nobody(), &authority.client(WATCHER));
    ensure_events_come(set, &format!("{uri}&authMechanism=MONGODB-X509"));
}

fn with_certificate(uri: &str, file: &Path) -> String {
    format!("{uri}&tlsCertificateKeyFile={}", file.display())
}

#[test]
fn login_by_a_certificate_that_is_no_user_or_is_not_there_is_told_as_such() {
    let Secured { authority, set } = secured();
    let stranger = with_certificate(&set.uri_of_nobody(), &authority.client("stranger"));
    for uri in [stranger, set.uri_of_nobody()] {
        ensure_fails(
            &format!("{uri}&authMechanism=MONGODB-X509"),
            8,
            "authentication failed: MONGODB-X509 ",
            "check tlsCertificateKeyFile in --uri, and that its certificate's subject is a user in $external: openssl x509 -noout -subject -nameopt RFC2253 -in FILE",
        );
    }
}

#[test]
fn server_of_an_authority_that_is_not_known_is_told_which_option_names_it() {
    let set = &secured().set;
    let host = set.primary().address();
    let stranger = Authority::new("stranger");
    for options in [
        format!("tlsCAFile={}", stranger.certificate().display()),
        // Those that browsers know.
        "tls=true".to_owned(),
    ] {
        ensure_fails(
            &format!("mongodb://{host}/?{options}&{IMPATIENT}"),
            7,
            &format!("cannot reach MongoDB at {host}: TLS could not be agreed on ("),
            "name that authority's as tlsCAFile=FILE in --uri",
        );
    }
}

#[test]
fn server_of_another_name_is_told_as_such() {
    let authority = Authority::new("own");
    let tls = tls(&authority, &["elsewhere.example"]);
    let mongod = Mongod::start(MongodBinary::found(), &tls.arguments());
    let host = mongod.address();
    let ca = tls.authority.display();
    ensure_fails(
        &format!("mongodb://{host}/?tlsCAFile={ca}&{IMPATIENT}"),
        7,
        &format!("cannot reach MongoDB at {host}: TLS could not be agreed on ("),
        "use a name in --uri that the server's certificate is for",
    );
}

#[test]
fn server_that_wants_tls_is_told_as_such() {
    let host = secured().set.primary().address();
    ensure_fails(
        &format!("mongodb://{host}/?{IMPATIENT}"),
        7,
        &format!("cannot reach MongoDB at {host}: the connection was closed by the other side ("),
        "whether the server wants TLS: tls=true in --uri",
    );
}

#[test]
fn server_that_wants_a_certificate_of_its_authority_is_told_as_such() {
    let authority = Authority::new("own");
    let tls = tls(&authority, &["127.0.0.1"]);
    let mongod = Mongod::start(MongodBinary::found(), &tls.arguments());
    let host = mongod.address();
    let ca = tls.authority.display();
    let nobody = format!("mongodb://{host}/?tlsCAFile={ca}&{IMPATIENT}");
    let stranger = Authority::new("stranger");
    for uri in [
        with_certificate(&nobody, &stranger.client("client")),
        nobody,
    ] {
        ensure_fails(
            &uri,
            7,
            &format!(
                "cannot reach MongoDB at {host}: the connection was closed by the other side ("
            ),
            "whether the server wants a client's certificate, of an authority that it knows: tlsCertificateKeyFile=FILE in --uri",
        );
    }
}

#[test]
fn files_that_cannot_be_used_are_refused_before_connecting() {
    let folder = guard::temp_dir("pem-");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("a file can be written");
        path
    };
    let authority = Authority::new("own");
    let client = fs::read_to_string(authority.client("client")).expect("a certificate and a key");
    let key_at = client.find("-----BEGIN PRIVATE KEY").expect("a key");
    let (certificate, key) = client.split_at(key_at);
    let damaged = certificate.replacen('M', "!", 1);
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");

    let missing = folder.path().join("missing");
    let empty = file("empty", "");
    let certificate_alone = file("certificate", certificate);
    let key_alone = file("key", key);
    let damaged = file("damaged", &damaged);
    let cut = file("cut", &certificate[..certificate.len() / 2]);
    let encrypted = file("encrypted", &(certificate.to_owned() + &encrypted));
    let no_such_file = "No such file or directory (os error 2)";
    let both = "; name a file with both the client's certificate and its private key, in PEM, the key unencrypted: cat client.crt client.key > FILE";
    let is_damaged = "is damaged, or not in PEM";
    let refused = |option: &str, path: &PathBuf, what: &str, way_out: &str| {
        let path = path.display();
        let what = what.replace("FILE", &path.to_string());
        ensure_refused(
            &format!("{option}={path}"),
            &format!("{option}: {what}; "),
            way_out,
        );
    };
    for (option, way_out) in [
        (
            "tlsCAFile",
            "name a file with the certificates, in PEM, of the authorities that sign the servers'",
        ),
        ("tlsCertificateKeyFile", both),
    ] {
        let missing_file = format!("cannot read FILE: {no_such_file}");
        refused(option, &missing, &missing_file, way_out);
        refused(option, &empty, "FILE holds no certificate", way_out);
        refused(option, &key_alone, "FILE holds no certificate", way_out);
        for path in [&damaged, &cut] {
            refused(option, path, &format!("FILE {is_damaged}"), way_out);
        }
    }
    for path in [&certificate_alone, &encrypted] {
        let what = "FILE holds no unencrypted private key";
        refused("tlsCertificateKeyFile", path, what, both);
    }
}

#[test]
fn key_of_another_certificate_is_refused() {
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
    let folder = guard::temp_dir("pem-");
    let file = folder.path().join("mixed.pem");
    fs::write(&file, half("one", false) + &half("other", true)).expect("a file can be written");
    ensure_fails(
        &with_certificate(&format!("mongodb://127.0.0.1:1/?{IMPATIENT}"), &file),
        2,
        "the TLS files in --uri cannot be used: ",
        "holds a client's certificate and the key that belongs to it",
    );
}

#[test]
fn encrypted_keys_are_refused_with_what_to_do_about_them() {
    ensure_refused(
        "tlsCertificateKeyFilePassword=s3cret",
        "tlsCertificateKeyFilePassword: cswatch reads no encrypted keys",
        "openssl pkey -in KEY",
    );
}

/// What a server can compress with.
const COMPRESSORS: [&str; 3] = ["zstd", "snappy", "zlib"];

#[test]
fn compressor_named_is_the_one_that_carries_what_is_read() {
    let set = ReplicaSet::start(Options::default());
    for name in COMPRESSORS {
        let before = COMPRESSORS.map(|name| compressed(&set, name));
        ensure_events_come(&set, &format!("{}&compressors={name}", set.uri()));
        for (other, before) in COMPRESSORS.iter().zip(before) {
            let after = compressed(&set, other);
            let rose = [0, 1].map(|side| before[side] < after[side]);
            assert_eq!(rose, [name == *other; 2], "{other} of {name}");
        }
    }
}

/// Bytes that this set compressed so, and those that came to it compressed so.
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
fn first_compressor_that_the_server_has_too_is_taken() {
    let set = ReplicaSet::start(Options {
        arguments: vec!["--networkMessageCompressors=zlib".to_owned()],
        ..Options::default()
    });
    ensure_events_come(&set, &format!("{}&compressors=zstd,zlib", set.uri()));
    assert!(compressed(&set, "zlib").iter().all(|bytes| *bytes > 0));
}

#[test]
fn unknown_compressor_is_refused_with_those_that_there_are() {
    ensure_refused(
        "compressors=brotli",
        "Unsupported compressor: brotli",
        "; compressors are zstd, snappy and zlib, with commas between them",
    );
}

#[test]
fn logins_that_cannot_be_are_refused_before_connecting() {
    let mechanisms = "; authMechanism is SCRAM-SHA-256, SCRAM-SHA-1, MONGODB-X509, PLAIN, MONGODB-AWS or MONGODB-OIDC; for user and password it can be left out";
    let environment =
        "; add authMechanismProperties=ENVIRONMENT:k8s, or of azure or gcp with a TOKEN_RESOURCE";
    for (options, what, way_out) in [
        (
            "authMechanism=SCRAM",
            "invalid mechanism string: SCRAM",
            mechanisms,
        ),
        (
            "authMechanism=GSSAPI",
            "there is no authMechanism=GSSAPI in cswatch",
            mechanisms,
        ),
        (
            "authMechanism=MONGODB-OIDC",
            "authMechanism=MONGODB-OIDC does not say whose identity to use",
            environment,
        ),
    ] {
        ensure_refused(options, what, way_out);
    }
}

#[cfg(not(feature = "aws"))]
#[test]
fn aws_is_told_to_be_a_feature() {
    ensure_refused(
        "authMechanism=MONGODB-AWS",
        "this build has no authMechanism=MONGODB-AWS",
        "cargo install --path . --features aws",
    );
}

#[cfg(not(feature = "oidc"))]
#[test]
fn identities_of_cloud_machines_are_told_to_be_a_feature() {
    for environment in ["azure", "gcp"] {
        ensure_refused(
            &format!(
                "authMechanism=MONGODB-OIDC&authMechanismProperties=ENVIRONMENT:{environment},TOKEN_RESOURCE:a"
            ),
            &format!("this build has no authMechanism=MONGODB-OIDC with ENVIRONMENT:{environment}"),
            "cargo install --path . --features oidc",
        );
    }
}
