//! Speed of the Extended JSON writer on several kinds of events, compared with a conversion through
//! `bson::Document` and `serde_json`. MB/s count the bytes of BSON.
//!
//! `cargo bench --bench extjson`

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bson::oid::ObjectId;
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, DateTime, Decimal128, Document, Timestamp, doc};
use cswatch::extjson::{self, Mode};
use divan::Bencher;
use divan::counter::BytesCount;

fn main() {
    divan::main();
}

const KINDS: [&str; 8] = [
    "typical", "deep", "text", "numbers", "prose", "cjk", "arabic", "emoji",
];

static EVENTS: LazyLock<BTreeMap<&str, Vec<u8>>> = LazyLock::new(|| {
    [
        ("typical", typical()),
        ("deep", deep()),
        ("text", text()),
        ("numbers", numbers()),
        ("prose", prose(PROSE)),
        ("cjk", prose(CJK)),
        ("arabic", prose(ARABIC)),
        ("emoji", prose(EMOJI)),
    ]
    .map(|(kind, document)| (kind, insert_event(document)))
    .into()
});

#[divan::bench(args = KINDS)]
fn canonical(bencher: Bencher<'_, '_>, kind: &str) {
    write(bencher, kind, Mode::Canonical);
}

#[divan::bench(args = KINDS)]
fn relaxed(bencher: Bencher<'_, '_>, kind: &str) {
    write(bencher, kind, Mode::Relaxed);
}

#[divan::bench(args = KINDS)]
fn bson_and_serde_json(bencher: Bencher<'_, '_>, kind: &str) {
    let event = &EVENTS[kind];
    let mut out = Vec::new();
    bencher
        .counter(BytesCount::new(event.len()))
        .bench_local(|| {
            out.clear();
            let document = Document::from_reader(divan::black_box(event.as_slice())).unwrap();
            let json = Bson::Document(document).into_canonical_extjson();
            serde_json::to_writer(&mut out, &json).unwrap();
            out.len()
        });
}

fn write(bencher: Bencher<'_, '_>, kind: &str, mode: Mode) {
    let event = &EVENTS[kind];
    let mut out = Vec::new();
    bencher
        .counter(BytesCount::new(event.len()))
        .bench_local(|| {
            out.clear();
            let fidelity = extjson::write_document(divan::black_box(event), mode, &mut out);
            (fidelity, out.len())
        });
}

/// Returns the event of an insert of `document`.
fn insert_event(document: Document) -> Vec<u8> {
    let time = Timestamp {
        time: 1_760_000_000,
        increment: 7,
    };
    let token = "8268E7B4000000000729295A100423D4A5E5B8AB46F3A3F9D0D6F1E2C3B4463C6F7065726174696F\
                 6E54797065003C696E736572740046646F63756D656E744B65790046645F69640064\
                 68E7B40012AB34CD56EF7890000004";
    let event = doc! {
        "_id": { "_data": token },
        "operationType": "insert",
        "clusterTime": time,
        "wallTime": DateTime::from_millis(1_760_000_000_123),
        "fullDocument": document.clone(),
        "ns": { "db": "shop", "coll": "orders" },
        "documentKey": { "_id": document.get("_id").cloned().unwrap_or(Bson::Null) },
    };
    event.to_vec().unwrap()
}

fn object_id() -> ObjectId {
    ObjectId::from_bytes(*b"\x68\xe7\xb4\x00\x12\xab\x34\xcd\x56\xef\x78\x90")
}

/// Returns an order of a shop: about 600 bytes with its event.
fn typical() -> Document {
    doc! {
        "_id": object_id(),
        "customer": 4_711_i64,
        "status": "paid",
        "email": "jane.doe@example.com",
        "total": 129.95,
        "currency": "EUR",
        "created": DateTime::from_millis(1_759_999_999_000),
        "express": false,
        "items": [
            { "sku": "A-1009-B", "quantity": 2, "price": 49.99 },
            { "sku": "C-77", "quantity": 1, "price": 29.97 },
        ],
        "note": "please leave it at the door.",
    }
}

/// Returns a hundred levels with one field each, so that the nesting dominates the cost.
fn deep() -> Document {
    let inner = doc! { "leaf": true };
    (0..100).fold(
        inner,
        |inner, level| doc! { "level": level, "inner": inner },
    )
}

/// Returns long plain text, text with many escapes, and text outside ASCII.
fn text() -> Document {
    doc! {
        "_id": object_id(),
        "plain": "The quick brown fox jumps over the lazy dog. ".repeat(40),
        "log": "{\"level\":\"info\",\"path\":\"C:\\\\temp\"}\n".repeat(20),
        "umlauts": "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. ".repeat(10),
        "japanese": "色は匂へど散りぬるを我が世誰ぞ常ならむ".repeat(10),
    }
}

/// English with typographic quotes, dashes and ellipses: their UTF-8 begins like that of invisible characters.
const PROSE: &str = "“Don’t,” she said – and ‘no’ meant “no”… The café’s price: 5\u{a0}€. ";

/// Japanese, Chinese and Korean with their punctuation.
const CJK: &str = "「色は匂へど散りぬるを」、我が世誰ぞ常ならむ。你好,世界!안녕하세요. ";

/// Arabic and Persian.
const ARABIC: &str = "مرحبا بالعالم، كيف حالك؟ سلام دنیا، حال شما چطور است؟ ";

/// Emoji between words.
const EMOJI: &str = "Shipped 🚀 on time 🎉, thank you ❤️ and see you soon 👋🏽. ";

/// Returns a long text and many short ones.
fn prose(text: &str) -> Document {
    doc! {
        "_id": object_id(),
        "long": text.repeat(20),
        "short": vec![text; 20],
    }
}

/// Returns measurements: arrays of every number type, a few decimals, dates and binaries.
fn numbers() -> Document {
    let doubles: Vec<f64> = (0..50).map(|n| f64::from(n) * 1.1).collect();
    let small: Vec<i32> = (0..50).map(|n| n * n * 37).collect();
    let large: Vec<i64> = (0..50).map(|n| n * 1_000_000_007_000).collect();
    let dates: Vec<DateTime> = (0..10)
        .map(|n| DateTime::from_millis(1_760_000_000_000 + n))
        .collect();
    let price: Decimal128 = "1234.50".parse().unwrap();
    doc! {
        "_id": object_id(),
        "doubles": doubles,
        "small": small,
        "large": large,
        "dates": dates,
        "prices": vec![Bson::Decimal128(price); 10],
        "raw": Binary { subtype: BinarySubtype::Generic, bytes: vec![0xa5; 64] },
    }
}
