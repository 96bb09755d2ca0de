//! The version of a mongod, and the features that depend on it.

use testkit::mongod_binary::Version;

#[test]
fn reads_the_version_that_mongod_prints() {
    let printed = "db version v6.0.27\nBuild Info: {\n    \"version\": \"6.0.27\",\n";
    assert_eq!(Version::from_printed(printed), Some(Version(6, 0, 27)));
    assert_eq!(
        Version::from_printed("db version v8.1.0-rc0"),
        Some(Version(8, 1, 0))
    );
    assert_eq!(Version::from_printed("mongos version v6.0.27"), None);
}

#[test]
fn knows_the_version_of_the_tokens_of_each_server() {
    for (version, tokens) in [
        (Version(6, 0, 5), 1),
        (Version(6, 0, 27), 1),
        (Version(7, 0, 28), 2),
    ] {
        assert_eq!(version.token_version(), tokens, "{version:?}");
    }
}

#[test]
fn knows_which_versions_split_large_events() {
    for version in [
        Version(6, 0, 9),
        Version(6, 0, 27),
        Version(7, 0, 0),
        Version(8, 0, 1),
    ] {
        assert!(version.has_split(), "{version:?}");
    }
    for version in [Version(6, 0, 0), Version(6, 0, 8), Version(6, 3, 1)] {
        assert!(!version.has_split(), "{version:?}");
    }
}
