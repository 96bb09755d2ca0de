//! The server, database and collections.

use std::path::PathBuf;

use clap::Args;

use super::boolish;

/// The server, database and collections.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArgs {
    /// Server URI.
    ///
    /// The connection string of a replica set or a sharded cluster; a standalone server has no change streams. Driver options are part
    /// of it:
    ///
    /// --uri 'mongodb://a,b,c/?replicaSet=rs0&readPreference=secondary'
    ///
    /// A database in it, as in mongodb://host/shop, is the
    /// default of --db, except admin, config and local. Other users of the machine can read a password given here: use --uri-file or
    /// CSWATCH_URI.
    #[arg(
        long,
        env = "CSWATCH_URI",
        hide_env_values = true,
        value_name = "URI",
        default_value = "mongodb://localhost:27017"
    )]
    pub(crate) uri: String,
    /// Whether --uri was given as an argument, rather than by its environment variable or its default.
    #[arg(skip)]
    pub(crate) is_uri_typed: bool,
    /// Read the connection string from a file.
    ///
    /// For example from a container secret. Unlike --uri, it keeps a password off the command line, which other users can read.
    #[arg(
        long,
        env = "CSWATCH_URI_FILE",
        value_name = "FILE",
        conflicts_with = "uri"
    )]
    pub(crate) uri_file: Option<PathBuf>,
    /// Database to watch (default: the whole deployment).
    ///
    /// If the connection string names a database, that one is the default.
    #[arg(short, long, env = "CSWATCH_DB", value_name = "DB")]
    pub(crate) db: Option<String>,
    /// Collection to watch; repeatable.
    ///
    /// Requires a database. One collection: a stream of that collection, which ends when it is dropped, renamed or replaced by a rename onto it. Several,
    /// also as A,B: one stream of the database, filtered by collection name, which continues after a drop, and prints renames from
    /// and to them. A backslash before a comma, or before a space at either end, makes it part of the name.
    #[arg(short, long = "coll", env = "CSWATCH_COLL", value_name = "COLL")]
    pub(crate) coll: Vec<String>,
    /// Print only events of these namespaces; repeatable.
    ///
    /// DB.COLL, where * stands for any characters:
    ///
    /// --ns-include 'shop.*' --ns-include '*.orders'
    ///
    /// A backslash makes the next
    /// character literal. The database ends at the first dot. Filters the stream of the database with --db, else of the whole
    /// deployment. A rename is printed if its source or its target matches, the drop of a database if a pattern's database does.
    #[arg(long, env = "CSWATCH_NS_INCLUDE", value_name = "PATTERN")]
    pub(crate) ns_include: Vec<String>,
    /// Omit events of these namespaces; repeatable.
    ///
    /// A pattern as with --ns-include, which it overrides:
    ///
    /// --ns-include 'shop.*' --ns-exclude 'shop.tmp_*'
    ///
    /// The drop of a database is
    /// omitted only by DB.*.
    #[arg(long, env = "CSWATCH_NS_EXCLUDE", value_name = "PATTERN")]
    pub(crate) ns_exclude: Vec<String>,
    /// Wait for a server at startup.
    ///
    /// For a sidecar that may start before its database. Without it, the first connection is attempted once.
    #[arg(long, env = "CSWATCH_WAIT", value_parser = boolish())]
    pub(crate) wait: bool,
    /// Maximum time without a server.
    ///
    /// cswatch gives up after it. A number and its unit, as in 30s or 10m, or forever; 0s never retries. An error reply of which it
    /// is unknown whether another attempt helps is retried for 30s at most.
    #[arg(
        long,
        env = "CSWATCH_RETRY_FOR",
        value_name = "DURATION",
        default_value = "forever"
    )]
    pub(crate) retry_for: String,
}
