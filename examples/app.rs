//! A stand-in for your application: inserts, updates, replaces and deletes a document through the official driver, and says each
//! write on stderr. It knows nothing of whoever watches.

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
    /// Time from one write to the next.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    every: Duration,
    /// Drop the collection at the end.
    #[arg(long, conflicts_with = "forever")]
    drop: bool,
    /// Go on with the next document, until SIGINT or SIGTERM; wait for a server that is not there yet.
    #[arg(long)]
    forever: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let mut interrupt = signal(SignalKind::interrupt())?;
    // As the first process of a container it would not get the default treatment of a SIGTERM, which is to end.
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        // In this order: where the server got the same ^C, the write it failed is no error.
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
    // Writes that were held up by an election are not made up for in a burst.
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);

    let mut id = free_id(&collection).await?;
    loop {
        write(&collection, id, &mut pace).await?;
        if !args.forever {
            break;
        }
        id += 1;
    }
    if args.drop {
        pace.tick().await;
        say("drop()");
        collection.drop().await?;
    }
    Ok(())
}

/// The life of one document, in four writes.
async fn write(collection: &Collection<Document>, id: i32, pace: &mut Interval) -> Result<()> {
    pace.tick().await;
    say(&format!(r#"insertOne({{_id: {id}, hello: "world"}})"#));
    collection
        .insert_one(doc! { "_id": id, "hello": "world" })
        .await?;

    pace.tick().await;
    say(&format!(
        r#"updateOne({{_id: {id}}}, {{$set: {{hello: "mars"}}}})"#
    ));
    collection
        .update_one(doc! { "_id": id }, doc! { "$set": { "hello": "mars" } })
        .await?;

    pace.tick().await;
    say(&format!(r#"replaceOne({{_id: {id}}}, {{bye: "world"}})"#));
    collection
        .replace_one(doc! { "_id": id }, doc! { "bye": "world" })
        .await?;

    pace.tick().await;
    say(&format!("deleteOne({{_id: {id}}})"));
    collection.delete_one(doc! { "_id": id }).await?;
    Ok(())
}

/// Says a write, as one would type it in `mongosh`, before it is made: on a terminal it then stands above its event.
fn say(write: &str) {
    eprintln!("app: {write}");
}

/// 1 in an empty collection. A run that was ended between insert and delete has left its document.
async fn free_id(collection: &Collection<Document>) -> Result<i32> {
    let last = collection
        .find_one(doc! {})
        .sort(doc! { "_id": -1 })
        .await?;
    let last = last.and_then(|document| document.get_i32("_id").ok());
    Ok(last.unwrap_or(0) + 1)
}

/// Each attempt lasts as long as the driver looks for a server: 30 s, unless the connection string says otherwise.
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

/// From `500ms` or `1s`.
fn duration(text: &str) -> Result<Duration> {
    let duration = Duration::try_from(text.parse::<jiff::SignedDuration>()?)?;
    if duration.is_zero() {
        bail!("must be longer than zero");
    }
    Ok(duration)
}
