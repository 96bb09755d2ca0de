//! A stand-in for your application: inserts, updates, replaces and deletes a document through the official driver, and prints each
//! write on stderr. It is independent of cswatch.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use mongodb::bson::{Document, doc};
use mongodb::error::ErrorKind;
use mongodb::{Client, Collection};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Insert, update, replace and delete a document.
#[derive(Parser)]
struct Args {
    /// Connection string of the deployment to write to.
    #[arg(
        env = "MONGODB_URI",
        hide_env_values = true,
        default_value = "mongodb://localhost:27017"
    )]
    uri: String,
    /// Database to write to.
    #[arg(short, long, default_value = "changestream")]
    db: String,
    /// Collection to write to.
    #[arg(short, long, default_value = "collection")]
    coll: String,
    /// Time between two writes.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    every: Duration,
    /// Drop the collection at the end.
    #[arg(long, conflicts_with = "forever")]
    drop: bool,
    /// Number of documents, one after the other.
    #[arg(long, value_name = "N", default_value_t = 1)]
    documents: u32,
    /// Repeat with new documents until SIGINT or SIGTERM; wait for the server at startup.
    #[arg(long)]
    forever: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let mut interrupt = signal(SignalKind::interrupt())?;
    // The kernel ignores a SIGTERM to the first process of a container unless the process handles it.
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        // In this order: if the server got the same Ctrl-C, the write that failed because of it is not an error.
        biased;
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        done = run(&args) => done,
    }
}

async fn run(args: &Args) -> Result<()> {
    let client = Client::with_uri_str(&args.uri)
        .await
        .context("the connection string")?;
    if args.forever {
        wait_for_server(&client).await?;
    }
    let collection = client.database(&args.db).collection(&args.coll);
    let mut pace = interval(args.every);
    // After an election, do not catch up on delayed writes in a burst.
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);

    let mut id = free_id(&collection).await?;
    let mut written = 0;
    while args.forever || written < args.documents {
        write(&collection, id, &mut pace).await?;
        id += 1;
        written += 1;
    }
    if args.drop {
        pace.tick().await;
        print("drop()");
        collection.drop().await?;
    }
    Ok(())
}

/// Inserts, updates, replaces and deletes one document.
async fn write(collection: &Collection<Document>, id: i32, pace: &mut Interval) -> Result<()> {
    pace.tick().await;
    print(&format!(r#"insertOne({{_id: {id}, hello: "world"}})"#));
    collection
        .insert_one(doc! { "_id": id, "hello": "world" })
        .await?;

    pace.tick().await;
    print(&format!(
        r#"updateOne({{_id: {id}}}, {{$set: {{hello: "mars"}}}})"#
    ));
    collection
        .update_one(doc! { "_id": id }, doc! { "$set": { "hello": "mars" } })
        .await?;

    pace.tick().await;
    print(&format!(r#"replaceOne({{_id: {id}}}, {{bye: "world"}})"#));
    collection
        .replace_one(doc! { "_id": id }, doc! { "bye": "world" })
        .await?;

    pace.tick().await;
    print(&format!("deleteOne({{_id: {id}}})"));
    collection.delete_one(doc! { "_id": id }).await?;
    Ok(())
}

/// Prints a write as `mongosh` syntax before it is made, so that a terminal shows it above its event.
fn print(write: &str) {
    eprintln!("app: {write}");
}

/// Returns an `_id` that is not used yet; 1 in an empty collection. An interrupted run may have left its document.
async fn free_id(collection: &Collection<Document>) -> Result<i32> {
    let last = collection
        .find_one(doc! {})
        .sort(doc! { "_id": -1 })
        .await?;
    let last = last.and_then(|document| document.get_i32("_id").ok());
    Ok(last.unwrap_or(0) + 1)
}

/// Waits until the server replies. Each attempt takes as long as the driver's server selection: 30 s unless the connection string sets
/// another time.
async fn wait_for_server(client: &Client) -> Result<()> {
    let admin = client.database("admin");
    while let Err(error) = admin.run_command(doc! { "ping": 1 }).await {
        match *error.kind {
            ErrorKind::ServerSelection { .. } => eprintln!("app: waiting for the server"),
            _ => return Err(error.into()),
        }
    }
    Ok(())
}

/// Parses a duration such as `500ms` or `1s`.
fn duration(text: &str) -> Result<Duration> {
    let duration = Duration::try_from(text.parse::<jiff::SignedDuration>()?)?;
    if duration.is_zero() {
        bail!("must be longer than zero");
    }
    Ok(duration)
}
