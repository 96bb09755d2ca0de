//! Connections through the proxy: forwarded, held back, cut and refused.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use mongodb::Client;
use mongodb::bson::{Document, doc};

use testkit::deadline::DEADLINE;
use testkit::proxy::{Cut, Mode, Proxy};
use testkit::runtime::{block_on, runtime};
use testkit::scenario::Scenario;

/// Returns a client that connects through the proxy.
fn client(proxy: &Proxy) -> Client {
    block_on(Client::with_uri_str(proxy.uri())).expect("a valid connection string")
}

/// Opens a connection through the proxy, and waits for a reply of the server on it.
fn connect(proxy: &Proxy) -> TcpStream {
    let mut connection = TcpStream::connect(proxy.address()).expect("the proxy listens");
    connection
        .set_read_timeout(Some(DEADLINE))
        .expect("a read timeout");
    let hello = doc! { "hello": 1, "$db": "admin" }
        .to_vec()
        .expect("a small document");
    let mut message = vec![0; 16 + 4 + 1];
    let length = i32::try_from(message.len() + hello.len()).expect("a short message");
    message[..4].copy_from_slice(&length.to_le_bytes());
    message[12..16].copy_from_slice(&2013_i32.to_le_bytes());
    message.extend(hello);
    connection.write_all(&message).expect("a request");
    let mut reply = [0; 4];
    connection.read_exact(&mut reply).expect("a reply");
    let length = i32::from_le_bytes(reply).try_into().expect("a length");
    connection
        .read_exact(&mut vec![0_u8; length][4..])
        .expect("the rest of the reply");
    connection
}

#[test]
fn holds_back_everything_in_a_black_hole_until_it_passes_again() {
    let scenario = Scenario::new("proxy_black_hole");
    let proxy = Proxy::start(scenario.set().primary());
    let ping = client(&proxy).database("admin");
    block_on(ping.run_command(doc! { "ping": 1 })).expect("a ping through the proxy");
    proxy.set_mode(Mode::BlackHole);
    let held = runtime().spawn(async move { ping.run_command(doc! { "ping": 1 }).await });
    // Enough time for many replies.
    for _ in 0..20 {
        scenario.set().admin(doc! { "ping": 1 });
    }
    assert!(!held.is_finished());
    proxy.set_mode(Mode::Pass);
    block_on(held)
        .expect("no panic")
        .expect("a late reply to the same ping");
}

#[test]
fn holds_back_only_connections_with_a_get_more() {
    let scenario = Scenario::new("proxy_get_more");
    let proxy = Proxy::start(scenario.set().primary());
    let through = client(&proxy)
        .database(scenario.db().name())
        .collection::<Document>("c");
    let mut stream = block_on(through.watch()).expect("a change stream");
    proxy.set_mode(Mode::BlackHoleGetMore);
    let held = runtime().spawn(async move {
        loop {
            if let Some(event) = stream.next_if_any().await? {
                return mongodb::error::Result::Ok(event);
            }
        }
    });
    block_on(scenario.coll("c").insert_one(doc! { "_id": 1 }))
        .expect("a write that bypasses the proxy");
    let other = client(&proxy).database("admin");
    for _ in 0..20 {
        block_on(other.run_command(doc! { "ping": 1 })).expect("a ping through the proxy");
    }
    assert!(!held.is_finished());
    proxy.set_mode(Mode::Pass);
    let event = block_on(held)
        .expect("no panic")
        .expect("the stream continues");
    assert_eq!(event.document_key, Some(doc! { "_id": 1 }));
}

#[test]
fn closes_resets_and_refuses_connections() {
    let scenario = Scenario::new("proxy_cuts");
    let proxy = Proxy::start(scenario.set().primary());
    let mut closed = connect(&proxy);
    proxy.cut(Cut::Close);
    assert_eq!(closed.read(&mut [0]).expect("the end of the connection"), 0);
    let mut reset = connect(&proxy);
    proxy.cut(Cut::Reset);
    assert_eq!(
        reset.read(&mut [0]).map_err(|error| error.kind()),
        Err(ErrorKind::ConnectionReset)
    );
    proxy.set_mode(Mode::Refuse);
    let refused = TcpStream::connect(proxy.address());
    assert_eq!(
        refused.map_err(|error| error.kind()).err(),
        Some(ErrorKind::ConnectionRefused)
    );
    proxy.set_mode(Mode::Pass);
    connect(&proxy);
}
