#!/usr/bin/env python3
"""Writes extjson.jsonl next to this script: documents as BSON, and as the Extended JSON of pymongo's json_util.

json_util is independent of cswatch's writer. The file was written with `pip install pymongo==4.20.0`; the same seed
gives the same file. Content that pymongo cannot represent (duplicate keys, invalid UTF-8, symbols, ...) is tested in
Rust, by hand.
"""

import base64
import json
import pathlib
import random
import re
import struct
import uuid

import bson
from bson import json_util
from bson.binary import Binary, UuidRepresentation
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp

SEED = 20_251_107
RANDOM_DOCUMENTS = 240
MAX_LEVEL = 4

CODEC = bson.CodecOptions(uuid_representation=UuidRepresentation.STANDARD)
CANONICAL = json_util.JSONOptions(
    json_mode=json_util.JSONMode.CANONICAL, uuid_representation=UuidRepresentation.STANDARD
)
RELAXED = json_util.JSONOptions(
    json_mode=json_util.JSONMode.RELAXED, uuid_representation=UuidRepresentation.STANDARD
)

KEYS = [
    "_id", "", " ", "a", "b", "name", "a.b", ".", "$", "$set", "$oid", "$numberLong", "$date", "$ref", "$id",
    'quo"te', "back\\slash", "new\nline", "tab\t", "\x01\x1f\x7f", "ä", "ключ", "鍵", "\u2028\u2029", "😀key",
    "operationType", "sixteen_bytes_16", "seventeen_bytes17", "a key that is longer than thirty-two bytes by far",
]
PIECES = [
    "a", "text", " ", "\"", "\\", "/", "\b\f\n\r\t", "\x00", "\x01", "\x1e\x1f", "\x7f", "\x80", "é", "ß", "日本語",
    "\u2028", "\ufeff", "\uffff", "😀", "𝄞", "<script>", "0123456789abcdef", "The quick brown fox. ",
]
DOUBLES = [
    0.0, -0.0, 1.0, -1.0, 0.1, -0.5, 1.5e300, 1e300, -1e-300, 5e-324, 2.2250738585072014e-308, 2.225073858507201e-308,
    1.7976931348623157e308, 1e15, 1e16, 1e17, 1e20, 1e21, 1e22, 9007199254740991.0, 9007199254740993.0,
    9999999999999998.0, 123456789012345680.0, 1e-3, 1e-4, 9.9e-5, 1e-5, 1.5e-5, 1e-6, 1e-7, 3.141592653589793,
    1.2345678921232e18, -1.2345678921232e18, float("inf"), float("-inf"), float("nan"), 4.35, 100.0, 4294967296.0,
]
DECIMALS = [
    "0", "-0", "0.0", "0E+3", "0E-6176", "0E+6111", "1", "-1", "1E+3", "1.0", "1.00", "0.1", "0.001", "0.000001",
    "0.0000001", "1.0E-7", "12345.6789", "1E-6176", "9.999999999999999999999999999999999E+6144", "NaN", "-NaN",
    "sNaN", "Infinity", "-Infinity", "1234567890123456789012345678901234", "-1.234567890123456789012345678901234",
    "1E+6111", "10E+3", "0.1000000000000000000000000000000000",
]
MILLIS = [
    0, 1, -1, 999, 1000, 86_399_999, 86_400_000, 951_782_400_000, 951_868_800_000, 4_107_542_400_000, 1_356_351_330_501,
    1_356_351_330_001, -284_643_869_501, -62_135_596_800_000, 253_402_300_799_999, 253_402_300_800_000, 2**62, -(2**62),
    2**63 - 1, -(2**63), 1_709_164_800_000, 1_709_251_200_000, 4_102_444_799_010,
]
INTEGERS = [0, 1, -1, 7, 10, 99, 100, 2**31 - 1, -(2**31)]
LONGS = [0, 1, -1, 2**31, -(2**31) - 1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)]
REGEXES = [("", ""), ("abc", "i"), ("a/b\\d\"", "xmi"), ("^ä\n$", "ilmsux"), ("日", "u")]


def dates(rng):
    if rng.random() < 0.5:
        return DatetimeMS(rng.choice(MILLIS))
    return DatetimeMS(rng.randrange(-(2**42), 2**48))


def double(rng):
    if rng.random() < 0.5:
        return rng.choice(DOUBLES)
    return struct.unpack("<d", rng.randbytes(8))[0] if rng.random() < 0.5 else rng.uniform(-1e6, 1e6)


def decimal(rng):
    if rng.random() < 0.5:
        return Decimal128(rng.choice(DECIMALS))
    digits = rng.randrange(10 ** rng.randrange(1, 35))
    return Decimal128(f"{rng.choice(['', '-'])}{digits}E{rng.randrange(-60, 60)}")


def text(rng):
    return "".join(rng.choice(PIECES) for _ in range(rng.choice([0, 1, 2, 3, 5, 9])))


def binary(rng):
    subtype = rng.choice([0, 1, 2, 3, 5, 6, 7, 8, 9, 0x7F, 0x80, 0xFF])
    return Binary(rng.randbytes(rng.randrange(0, 40)), subtype)


def regex(rng):
    pattern, options = rng.choice(REGEXES)
    flags = sum(getattr(re, flag.upper()) for flag in options)
    return Regex(pattern, flags)


def code(rng, level):
    body = text(rng)
    return Code(body, document(rng, level + 1)) if rng.random() < 0.5 else Code(body)


def document(rng, level):
    return {rng.choice(KEYS): value(rng, level) for _ in range(rng.randrange(level == 0, 8))}


def value(rng, level):
    leaves = [
        lambda: double(rng),
        lambda: text(rng),
        lambda: binary(rng),
        lambda: uuid.UUID(bytes=rng.randbytes(16)),
        lambda: ObjectId(rng.randbytes(12)),
        lambda: rng.random() < 0.5,
        lambda: dates(rng),
        lambda: None,
        lambda: regex(rng),
        lambda: rng.choice(INTEGERS),
        lambda: rng.randrange(-(2**31), 2**31),
        lambda: Timestamp(rng.choice([0, 1, 2**31, 2**32 - 1]), rng.randrange(2**32)),
        lambda: Int64(rng.choice(LONGS)),
        lambda: Int64(rng.randrange(-(2**63), 2**63)),
        lambda: decimal(rng),
        lambda: MinKey(),
        lambda: MaxKey(),
    ]
    branches = [
        lambda: document(rng, level + 1),
        lambda: [value(rng, level + 1) for _ in range(rng.randrange(0, 5))],
        lambda: code(rng, level),
        lambda: DBRef(text(rng).replace("\0", ""), ObjectId(rng.randbytes(12)), rng.choice([None, "db"]), extra=1),
    ]
    return rng.choice(leaves + branches * 2 if level < MAX_LEVEL else leaves)()


def nested(levels, array):
    inner = {"leaf": None}
    for _ in range(levels):
        inner = {"n": [inner]} if array else {"n": inner}
    return inner


def handmade():
    yield {}
    yield {"": ""}
    yield {key: index for index, key in enumerate(KEYS)}
    yield {"documents": [{}, {"a": {}}, [], [[]], [[], {}]]}
    yield {"doubles": DOUBLES}
    yield {"decimals": [Decimal128(decimal) for decimal in DECIMALS]}
    yield {"dates": [DatetimeMS(millis) for millis in MILLIS]}
    yield {"integers": INTEGERS, "longs": [Int64(long) for long in LONGS]}
    yield {"texts": PIECES, "all": "".join(PIECES), "controls": "".join(map(chr, range(0x20)))}
    # Every length around the block sizes in which text is copied, alone and with a character to escape at the end.
    yield {"lengths": [end.rjust(size, "x") for size in range(1, 150) for end in ("x", '"', "é")]}
    yield {"binaries": [Binary(bytes(range(size)), size) for size in range(0, 20)]}
    yield {"regexes": [Regex(pattern, sum(getattr(re, o.upper()) for o in options)) for pattern, options in REGEXES]}
    yield {"codes": [Code(""), Code("x\0y\"", {}), Code("f", {"a": {"b": [1]}, "ä": Code("g", {"z": MinKey()})})]}
    yield {"references": [DBRef("c", 1), DBRef("c", ObjectId(b"0123456789ab"), "db"), DBRef("c", {"a": 1}, x=[1])]}
    yield {"timestamps": [Timestamp(0, 0), Timestamp(2**32 - 1, 2**32 - 1), Timestamp(1, 2)]}
    yield {"rest": [None, True, False, MinKey(), MaxKey(), ObjectId(b"\xff" * 12), uuid.UUID(int=0)]}
    yield {"$date": {"$numberLong": "1"}, "$oid": "x", "$numberInt": 5, "$undefined": True}
    yield nested(180, array=False)
    yield nested(90, array=True)


def main():
    rng = random.Random(SEED)
    documents = [*handmade(), *(document(rng, 0) for _ in range(RANDOM_DOCUMENTS))]
    lines = []
    for one in documents:
        # bson.encode moves a top-level _id to the front.
        one = {key: one[key] for key in sorted(one, key=lambda key: key != "_id")}
        vector = {
            "bson": base64.b64encode(bson.encode(one, codec_options=CODEC)).decode(),
            "canonical": json_util.dumps(one, json_options=CANONICAL),
            "relaxed": json_util.dumps(one, json_options=RELAXED),
        }
        lines.append(json.dumps(vector, ensure_ascii=False) + "\n")
    path = pathlib.Path(__file__).with_name("extjson.jsonl")
    path.write_text("".join(lines), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
