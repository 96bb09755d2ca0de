//! Delivery to NATS JetStream.

use std::path::PathBuf;

use clap::Args;

/// Delivery to NATS JetStream.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "NATS JetStream")]
pub(crate) struct NatsArgs {
    /// Deliver to JetStream, each event exactly once.
    ///
    /// The URL of a server, or of several separated by commas, instead of stdout:
    ///
    /// --nats nats://a:4222,nats://b:4222
    ///
    /// tls:// requires TLS. The stream holds the checkpoint: a restart resumes after its last message, so there is no resume file. Of
    /// several cswatch with one stream, one is active; the others stand by. Other users of the machine can read a login given here:
    /// use --nats-creds or CSWATCH_NATS.
    #[arg(
        long,
        env = "CSWATCH_NATS",
        hide_env_values = true,
        value_name = "URL",
        conflicts_with_all = ["output", "resume_file", "no_resume", "pretty"]
    )]
    pub(crate) nats: Option<String>,
    /// Whether --nats was given as an argument, rather than by its environment variable.
    #[arg(skip)]
    pub(crate) is_url_typed: bool,
    /// Log in with a credentials file.
    ///
    /// A file with a user JWT and its nkey seed, as nsc writes it.
    #[arg(
        long,
        env = "CSWATCH_NATS_CREDS",
        hide_short_help = true,
        value_name = "FILE",
        requires = "nats"
    )]
    pub(crate) nats_creds: Option<PathBuf>,
    /// Trust these certificate authorities.
    ///
    /// A PEM file, instead of the certificates of the system.
    #[arg(
        long,
        env = "CSWATCH_NATS_CA",
        hide_short_help = true,
        value_name = "FILE",
        requires = "nats"
    )]
    pub(crate) nats_ca: Option<PathBuf>,
    /// Stream to deliver to.
    ///
    /// If there is none of this name, cswatch creates it: file storage, no limits, subjects PREFIX.>. Only cswatch may publish to it.
    /// The key-value bucket cswatch_NAME holds the checkpoint of idle times and the lease of the active cswatch.
    #[arg(
        long,
        env = "CSWATCH_NATS_STREAM",
        hide_short_help = true,
        value_name = "NAME",
        default_value = "cswatch"
    )]
    pub(crate) nats_stream: String,
    /// Prefix of every subject.
    ///
    /// Subjects are PREFIX.DB.COLL.TYPE, with _ for a name that the event does not have. In names, everything but ASCII letters,
    /// digits, - and _ is percent-encoded, and so is the name _ itself.
    #[arg(
        long,
        env = "CSWATCH_NATS_SUBJECT",
        hide_short_help = true,
        value_name = "PREFIX",
        default_value = "cswatch"
    )]
    pub(crate) nats_subject: String,
    /// Append a partition to every subject.
    ///
    /// PREFIX.DB.COLL.TYPE.PARTITION, from 0 to N-1: FNV-1a (64 bits) of the BSON of documentKey, modulo N; 0 for events without one.
    /// All events of a document have one partition, so a consumer of it reads them in order.
    #[arg(long, env = "CSWATCH_NATS_PARTITIONS", hide_short_help = true, value_name = "N", requires = "nats", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) nats_partitions: Option<u16>,
    /// Replicas of a new stream.
    ///
    /// Of a stream that cswatch creates, and of its bucket, in a cluster of servers.
    #[arg(long, env = "CSWATCH_NATS_REPLICAS", hide_short_help = true, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5))]
    pub(crate) nats_replicas: u8,
    /// Path for cswatch health.
    ///
    /// Without a resume file, this names the path that cswatch health --resume-file takes. Every 5 s cswatch writes a heartbeat file
    /// next to it, also while it stands by.
    #[arg(
        long,
        env = "CSWATCH_NATS_HEALTH_FILE",
        hide_short_help = true,
        value_name = "FILE",
        requires = "nats"
    )]
    pub(crate) nats_health_file: Option<PathBuf>,
}
