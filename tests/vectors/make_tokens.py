#!/usr/bin/env python3
"""Records resume tokens of real servers, one JSON line each, in the order of each stream.

    pip install pymongo
    python3 make_tokens.py mongodb://127.0.0.1:27017/?directConnection=true [URI...] > tokens.jsonl

Each URI is the primary of a replica set. The script writes to databases `cswatch_tokens*` there and drops them. The split stage
needs MongoDB 6.0.9 or 7.0; with it, and always on 7.0, tokens are of version 2. The `_id`s are the same in every run; times and UUIDs are not.

Fields of a line: `server` and `stream` (the lines of a stream are adjacent and in its order), `operationType` (null for a post-batch
resume token), `clusterTime`, `ordinal` (position in the transaction), `fragment`, `collectionUUID` (hex; only in expanded streams),
`documentKeyBson` and `operationDescriptionBson` (hex of the event's raw BSON) and `token` (canonical Extended JSON).
"""

import decimal
import json
import random
import struct
import sys

import bson
import pymongo
from bson import json_util
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

SEED = 6027
DATABASE = "cswatch_tokens"
RAW = CodecOptions(document_class=RawBSONDocument)
LARGEST_COEFFICIENT = 10**34 - 1
# A document before and after an update takes twice this size, which does not fit into one event of 16 MiB.
BIG = 9_000_000


# BSON is built by hand: pymongo cannot write deprecated types, duplicate keys or invalid UTF-8.


def document(*elements):
    body = b"".join(elements)
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def element(value, name=b"_id"):
    kind, content = value
    return bytes([kind]) + name + b"\0" + content


def sized(text):
    return struct.pack("<i", len(text) + 1) + text + b"\0"


def double(number):
    return 1, struct.pack("<d", number)


def string(text):
    return 2, sized(text)


def subdocument(*elements):
    return 3, document(*elements)


def array(*values):
    return 4, document(*(element(v, str(i).encode()) for i, v in enumerate(values)))


def binary(subtype, content):
    return 5, struct.pack("<i", len(content)) + bytes([subtype]) + content


def boolean(value):
    return 8, bytes([value])


def date(millis):
    return 9, struct.pack("<q", millis)


def regex(pattern, options):
    return 11, pattern + b"\0" + options + b"\0"


def db_pointer(namespace, oid):
    return 12, sized(namespace) + oid


def code(text):
    return 13, sized(text)


def symbol(text):
    return 14, sized(text)


def code_with_scope(text, scope):
    body = sized(text) + scope
    return 15, struct.pack("<i", len(body) + 4) + body


def int32(number):
    return 16, struct.pack("<i", number)


def timestamp(seconds, increment):
    return 17, struct.pack("<II", increment, seconds)


def int64(number):
    return 18, struct.pack("<q", number)


def decimal128(coefficient, exponent, sign=0):
    bits = sign << 127 | (exponent + 6176) << 113 | coefficient
    return 19, bits.to_bytes(16, "little")


OBJECT_ID = (7, bytes.fromhex("65a1b2c3d4e5f60718293a4b"))
UNDEFINED = (6, b"")
NULL = (10, b"")
MIN_KEY = (0xFF, b"")
MAX_KEY = (0x7F, b"")
DECIMAL_NAN = (19, (0x7C << 120).to_bytes(16, "little"))
DECIMAL_INFINITY = (19, (0x78 << 120).to_bytes(16, "little"))
DECIMAL_MINUS_INFINITY = (19, (0xF8 << 120).to_bytes(16, "little"))


def inside(value):
    """A sub-document: the server accepts more types in it than as `_id` itself."""
    return subdocument(element(value, b"v"))


def nested(levels):
    value = int32(7)
    for level in range(levels):
        value = array(value) if level % 3 == 2 else inside(value)
    return inside(value)


def edges():
    """Every type, and the values around which its encoding changes."""
    yield from (MIN_KEY, MAX_KEY, NULL, OBJECT_ID, boolean(False), boolean(True))
    for number in (0, 1, 127, 128, 2**15 - 1, 2**15, 2**23, 2**31 - 1):
        yield int32(number)
        yield int32(-number)
    yield int32(-(2**31))
    for bits in (0, 6, 7, 8, 15, 16, 31, 39, 47, 53, 54, 55, 56, 62):
        yield int64(2**bits)
        yield int64(-(2**bits) - 1)
    yield from (int64(0), int64(2**63 - 1), int64(-(2**63)), int64(-(2**63) + 1))
    for number in (0.0, 1.0, 0.1, 0.5, 1.5, 255.99, 65535.5, 2.0**52 + 0.5, 2.0**53, 2.0**63, 1e300):
        yield double(number)
        yield double(-number)
    for number in (5e-324, 2.2250738585072009e-308, 2.2250738585072014e-308, 2.0**-256, 2.0**-255):
        yield double(number)
        yield double(-number)
    yield from (double(float(text)) for text in ("nan", "inf", "-inf", "1.7976931348623157e308"))
    for sign in (0, 1):
        for exponent in (-6176, -1, 0, 1, 63, 6111):
            yield decimal128(0, exponent, sign)
        for coefficient, exponent in (
            (1, 0), (10, -1), (100, -2), (15, -1), (1, -1), (10, -2), (5, -1), (3, -10), (1, 33), (10**33, -33),
            (12345678901234567890, -5), (LARGEST_COEFFICIENT, 0), (LARGEST_COEFFICIENT, -34), (LARGEST_COEFFICIENT, 6111),
            (1, -6176), (1, 6111), (10**33, 6111), (2**53 + 1, 0), (2**53 * 10 + 5, -1), (2**55 * 10 + 5, -1), (2**63 * 10 + 5, -1),
            (2**63, 0), (2**64, 0), (10**15, 0), (999999999999999, -15), (9999999999999994, -16), (1, -77), (7, -78), (1, -307),
            (1, -308), (123, -310), (49, -325), (1, -400), (17976931348623157, 292), (17976931348623158, 292), (1, 400),
            # Just below the smallest normal double, to which it must not be rounded.
            (222507385850720138309023271733240, -340),
        ):
            yield decimal128(coefficient, exponent, sign)
    yield from (DECIMAL_NAN, DECIMAL_INFINITY, DECIMAL_MINUS_INFINITY)
    for text in (b"", b"a", b"a\0b", b"\0", b"\0\0x\0", "é\u2028😀".encode(), b"$v", b"\xff\xfe", b"\0\xff", b"x" * 300):
        yield string(text)
        yield symbol(text)
    yield from (date(0), date(-1), date(1700000000000), date(-(2**63)), date(2**63 - 1), date(253402300800000))
    yield from (timestamp(0, 0), timestamp(1, 2), timestamp(2**32 - 1, 2**32 - 1))
    for subtype in (0, 1, 3, 4, 5, 6, 8, 9, 128, 255):
        yield binary(subtype, bytes(range(16)))
    yield from (binary(0, b""), binary(0, b"\xff" * 254), binary(0, b"y" * 255), binary(0, b"z" * 256))
    yield from (binary(2, struct.pack("<i", 3) + b"abc"), binary(2, b"\x63\0\0\0abc"))
    yield from (inside(regex(b"^a.*b$", b"imsx")), inside(regex(b"", b"")), inside(regex(b"x", b"xi")))
    yield from (code(b"function(){}"), code(b"a\0b"), code_with_scope(b"f\0", document(element(double(1.5), b"s"))))
    yield from (inside(UNDEFINED), inside(array()), subdocument(), inside(subdocument()))
    yield inside(db_pointer(b"db.coll", bytes(range(12))))
    yield inside(array(int32(1), double(1.0), int64(1), decimal128(1, 0), string(b"s"), symbol(b"s"), array(array())))
    yield inside(array(*(int32(i) for i in range(12))))
    # More type bits than a length of one byte can hold.
    yield inside(array(*(decimal128(0, -i) for i in range(64))))
    yield subdocument(element(double(1.0), b"a"), element(int64(1), b"a"), element(string(b""), b""))
    yield subdocument(element(int32(1), b"a.b"), element(int32(2), "é".encode()), element(int32(3), b"\xff"))
    yield subdocument(element(int32(1), b"operationType"), element(int32(2), b"documentKey"))
    yield nested(60)


def random_decimal(source):
    digits = source.choice((1, 2, 5, 15, 16, 17, 19, 20, 33, 34))
    coefficient = source.randrange(10 ** (digits - 1), 10**digits)
    if source.random() < 0.3:
        coefficient *= 10 ** source.randrange(0, 35 - digits)
    exponent = source.choice(
        (source.randrange(-6176, 6112), source.randrange(-345, -280), source.randrange(270, 320), -source.randrange(0, 40))
    )
    if source.random() < 0.3:
        near = struct.unpack("<d", struct.pack("<Q", source.randrange(1, 0x7FEF << 48)))[0]
        rounding = source.choice((decimal.ROUND_UP, decimal.ROUND_DOWN))
        context = decimal.Context(prec=source.choice((15, 17, 34)), rounding=rounding)
        rounded = context.create_decimal(decimal.Decimal(near)).as_tuple()
        coefficient, exponent = int("".join(map(str, rounded.digits))), rounded.exponent
    return decimal128(coefficient, max(-6176, min(6111, exponent)), source.randrange(2))


def random_value(source, depth=0):
    bits = source.randrange(1, 63)
    leaves = (
        lambda: double(struct.unpack("<d", struct.pack("<Q", source.randrange(0x7FEF << 48)))[0] * source.choice((1, -1))),
        lambda: double(source.randrange(2**53) / 2.0 ** source.randrange(53)),
        lambda: random_decimal(source),
        lambda: random_decimal(source),
        lambda: int32(source.randrange(-(2**31), 2**31)),
        lambda: int64(source.choice((1, -1)) * source.randrange(2**bits)),
        lambda: string(bytes(source.choice(b"ab\0\xff\xc3") for _ in range(source.randrange(9)))),
        lambda: symbol("".join(source.choice("aé😀\0") for _ in range(source.randrange(9))).encode()),
        lambda: binary(source.choice((0, 2, 4, 128)), source.randbytes(source.randrange(9))),
        lambda: source.choice((NULL, MIN_KEY, MAX_KEY, UNDEFINED, boolean(True))),
        lambda: date(source.randrange(-(2**bits), 2**bits)),
    )
    if depth < 4 and source.random() < 0.3:
        values = [random_value(source, depth + 1) for _ in range(source.randrange(4))]
        if source.random() < 0.5:
            return array(*values)
        return subdocument(*(element(v, source.choice((b"a", b"b", b"_id", b"")), ) for v in values))
    return source.choice(leaves)()


def random_ids(seed):
    source = random.Random(seed)
    for _ in range(30):
        yield random_decimal(source)
    for _ in range(40):
        yield inside(random_value(source))


class Recorder:
    """A change stream that starts now and is read until it is idle."""

    def __init__(self, scope, server, stream, pipeline=(), **options):
        self.names = {"server": server, "stream": stream}
        self.stream = scope.watch(list(pipeline), max_await_time_ms=100, batch_size=1000, **options)

    def lines(self):
        """The events of the stream, with a post-batch resume token before and after them."""
        in_transaction = {}
        yield self.line(None, self.stream.resume_token, 0)
        idle = 0
        while idle < 3 and self.stream.alive:
            event = self.stream.try_next()
            if event is None:
                idle += 1
                continue
            ordinal = 0
            if "txnNumber" in event:
                transaction = event["txnNumber"]
                ordinal = in_transaction.get(transaction, 0)
                in_transaction[transaction] = ordinal + 1
            # In a long transaction, only the events around which the ordinal needs another byte.
            if ordinal in (*range(3), *range(62, 66), *range(126, 130)):
                yield self.line(event, event["_id"], ordinal)
        if self.stream.alive:
            yield self.line(None, self.stream.resume_token, 0)
        self.stream.close()

    def line(self, event, token, ordinal):
        line = dict(self.names, operationType=None, ordinal=ordinal)
        if event is not None:
            line["operationType"] = event.get("operationType")
            if "clusterTime" in event:
                line["clusterTime"] = {"t": event["clusterTime"].time, "i": event["clusterTime"].inc}
            if "splitEvent" in event:
                line["fragment"] = event["splitEvent"]["fragment"]
            if "collectionUUID" in event:
                line["collectionUUID"] = bytes(event["collectionUUID"]).hex()
            for name in ("documentKey", "operationDescription"):
                if name in event:
                    line[name + "Bson"] = event[name].raw.hex()
        token = bson.decode(token.raw)
        line["token"] = json.loads(json_util.dumps(token, json_options=json_util.CANONICAL_JSON_OPTIONS))
        return line


def insert_and_delete(database, value):
    """Deletes too, because equal numbers of different types are the same `_id` to the server."""
    whole = RawBSONDocument(document(element(value)))
    reply = database.command("insert", "ids", documents=[whole], codec_options=RAW)
    if reply["n"] != 1:
        raise ValueError(f"the server refused {whole.raw.hex()}")
    database.ids.delete_many({})


def write_every_kind_of_event(client, database, can_split):
    database.create_collection("a")
    database.a.insert_one({"_id": 1})
    database.a.create_indexes([pymongo.IndexModel("x"), pymongo.IndexModel([("y", -1)], name="y")])
    database.command("collMod", "a", index={"name": "y", "hidden": True})
    database.a.drop_index("y")
    database.a.update_one({"_id": 1}, {"$set": {"x": 2}})
    database.a.replace_one({"_id": 1}, {"x": 3})
    database.a.rename("b")
    database.b.delete_one({"_id": 1})
    database.create_collection("view", viewOn="b", pipeline=[{"$match": {"x": 1.5}}])
    database.create_collection("t", changeStreamPreAndPostImages={"enabled": True})
    with client.start_session() as session, session.start_transaction():
        for number in range(140):
            database.t.insert_one({"_id": number / 2}, session=session)
        database.t.update_one({"_id": 3}, {"$set": {"x": 1}}, session=session)
    if can_split:
        database.t.insert_one({"_id": 2.25, "x": "a" * BIG})
        database.t.update_one({"_id": 2.25}, {"$set": {"y": 1}})
        database.t.replace_one({"_id": 2.25}, {"x": "b" * BIG})
    database.b.drop()
    database.t.insert_one({"_id": "last"})
    client.drop_database(database.name)


def record(uri):
    client = pymongo.MongoClient(uri)
    server = client.server_info()["version"]
    major, minor, patch = map(int, server.split(".")[:3])
    can_split = (major, minor, patch) >= (6, 0, 9)
    split = [{"$changeStreamSplitLargeEvent": {}}] if can_split else []

    def fresh(name):
        client.drop_database(f"{DATABASE}_{name}")
        return client.get_database(f"{DATABASE}_{name}", codec_options=RAW)

    database = fresh("ids")
    only_inserts = [{"$match": {"operationType": "insert"}}]
    recorder = Recorder(database, server, "ids", only_inserts)
    recorder_split = Recorder(database, server, "ids, split", only_inserts + split) if can_split else None
    for value in edges() if can_split else ():
        insert_and_delete(database, value)
    for value in random_ids(SEED + patch):
        insert_and_delete(database, value)
    yield from recorder.lines()
    if recorder_split:
        for number, line in enumerate(recorder_split.lines()):
            if number % 8 == 0:
                yield line
    client.drop_database(database.name)

    database = fresh("events")
    recorders = [
        Recorder(database, server, "events"),
        Recorder(database, server, "events, expanded", show_expanded_events=True),
    ]
    if can_split:
        images = {"full_document": "whenAvailable", "full_document_before_change": "whenAvailable"}
        recorders.append(
            Recorder(database, server, "events, expanded, split", split, show_expanded_events=True, **images)
        )
    write_every_kind_of_event(client, client[database.name], can_split)
    for recorder in recorders:
        yield from recorder.lines()

    ends = {
        "drop": lambda collection: collection.drop(),
        "rename": lambda collection: collection.rename("other"),
        "drop database": lambda collection: client.drop_database(collection.database.name),
    }
    for name, end in ends.items():
        database = fresh("ends")
        database.c.insert_one({"_id": 0})
        pipelines = {"": [], ", split": split} if can_split else {"": []}
        recorders = [Recorder(database.c, server, f"{name}{n}", p) for n, p in pipelines.items()]
        database.c.insert_one({"_id": 1})
        end(client[database.name].c)
        for recorder in recorders:
            yield from recorder.lines()
        client.drop_database(database.name)


for uri in sys.argv[1:]:
    for line in record(uri):
        print(json.dumps(line, separators=(",", ":")))
