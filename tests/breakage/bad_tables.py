"""Broken tables of tags and lists of a split, drawn from a seed."""

import json
from collections.abc import Iterator

import numpy as np

from tests.breakage.cases import Case

IDS = ("a", "b", "c", "007", "x 1", "é")
CLASSES = ("cat", "dog", "owl")
FIRST = "first line must be image_id,labels|unknown column"
NO_ID = "is not an image id"
BLANKS = "separate several labels by blanks"


def bad_tables(seed: int) -> list[Case]:
    """The cases; at which line and in which way each fault stands depends on the seed."""
    rng = np.random.default_rng(seed)
    tables = [*_headers(), *_encodings(rng), *_lines(rng), *_ids(rng), *_labels(rng)]
    return [*tables, *_lists(rng), *_json(rng), *_xml(rng)]


def sound(rng: np.random.Generator) -> list[str]:
    """Lines of a table that is read."""
    return ["image_id,labels", *(f"{i},{' '.join(rng.permutation(CLASSES)[: rng.integers(1, 4)])}" for i in IDS)]


def _table(rng: np.random.Generator, name: str, line: str, reported: str) -> Case:
    """A sound table with one line among the others."""
    lines = sound(rng)
    place = int(rng.integers(1, len(lines) + 1))
    text = "\n".join([*lines[:place], line, *lines[place:]]) + "\n"
    return Case(name, text.encode(), f"line {place + 1}: .*{reported}", "labels.csv")


def _headers() -> Iterator[Case]:
    rest = "\na,cat\nb,dog\n"
    headers = {
        "no header": ("a,cat", FIRST),
        "a header in capitals": ("IMAGE_ID,LABELS", FIRST),
        "another word for ids": ("id,labels", FIRST),
        "another word for labels": ("image_id,tags", "unknown column 'tags'"),
        "a column more": ("image_id,labels,weight", "unknown column 'weight'"),
        "a column twice": ("image_id,image_id,labels", FIRST),
        "one column": ("image_id", FIRST),
        "semicolons": ("image_id;labels", FIRST),
        "tabs": ("image_id\tlabels", FIRST),
        "a header of three languages": ("image_id,étiquettes,labels", FIRST),
        "a header in quotes that stay open": ('"image_id,labels', "is not a table"),
    }
    for name, (header, reported) in headers.items():
        yield Case(name, (header + rest).encode(), reported, "labels.csv")
    yield Case("nothing", b"", FIRST, "labels.csv")
    yield Case("blank lines alone", b"\n\n\n", FIRST, "labels.csv")


def _encodings(rng: np.random.Generator) -> Iterator[Case]:
    text = "image_id,labels\na,cat\nb,L\xf6we\n"
    reported = "is not a table in UTF-8 text"
    for encoding in ("latin-1", "utf-16", "utf-16-le", "utf-32", "cp437"):
        yield Case(f"in {encoding}", text.encode(encoding), f"{reported}|{FIRST}|NUL", "labels.csv")
    noise = b"\x80" + rng.bytes(300)
    yield Case("noise", noise, reported, "labels.csv")
    yield Case("an archive", b"PK\x03\x04\xff" + noise, reported, "labels.csv")


def _lines(rng: np.random.Generator) -> Iterator[Case]:
    yield _table(rng, "a field more", "d,cat,dog", "has 3 fields, not 2")
    yield _table(rng, "many fields", "d" + ",cat" * 50, "has 51 fields, not 2")
    yield _table(rng, "a field less", "d", "has 1 fields, not 2")
    for image_id in ("a", "007"):
        lines = [*sound(rng), f"{image_id},owl"]
        reported = f"line {len(lines)}: id '{image_id}' stands there a second time"
        yield Case(f"{image_id} twice", "\n".join(lines).encode(), reported, "labels.csv")
    for line in ('d,"cat', '"d,cat', 'd,"cat"s'):
        yield Case(f"a quote in {line}", "\n".join([*sound(rng), line]).encode(), "is not a table", "labels.csv")
    yield Case("a field of a megabyte", f"image_id,labels\na,{'x' * 2**20}\n".encode(), "field larger", "labels.csv")


def _ids(rng: np.random.Generator) -> Iterator[Case]:
    ids = ("../a", "/etc/passwd", "b/c", "..", ".", ".hidden", "", "b/../c", "a\\b", "a\0b", "a\x07b", "a\u200bb")
    for image_id in ids:
        yield _table(rng, f"the id {image_id!r}", f"{image_id},cat", NO_ID)
    yield _table(rng, "an id of two lines", '"d\ne",cat', NO_ID)


def _labels(rng: np.random.Generator) -> Iterator[Case]:
    for mark in (";", "; ", "|", ", "):
        quote = '"' if "," in mark else ""
        yield _table(rng, f"labels parted by {mark!r}", f"d,{quote}cat{mark}dog{quote}", BLANKS)
    yield _table(rng, "labels in a list", "d,\"['cat', 'dog']\"", BLANKS)


def _lists(rng: np.random.Generator) -> Iterator[Case]:
    ids = [str(i) for i in rng.permutation(["a", "b", "c", "d"])]
    place = int(rng.integers(0, 4))
    for wrong in ("../a", "/a", "b/c", "..", ".hidden"):
        lines = [*ids[:place], wrong, *ids[place:]]
        yield Case(f"a list with {wrong!r}", "\n".join(lines).encode(), f"line {place + 1}: .*{NO_ID}", "train.txt")
    twice = "\n".join([*ids, ids[place]]).encode()
    yield Case("a list with an id twice", twice, "already stands in line", "train.txt")
    for encoding in ("latin-1", "utf-16"):
        yield Case(f"a list in {encoding}", "\n".join([*ids, "\xfc"]).encode(encoding), "UTF-8", "train.txt")


def _json(rng: np.random.Generator) -> Iterator[Case]:
    images = [{"id": n, "file_name": f"{n}.jpg"} for n in range(3)]
    classes = [{"id": n, "name": name} for n, name in enumerate(CLASSES)]
    marks = [{"id": n, "image_id": n, "category_id": int(rng.integers(0, 3))} for n in range(3)]
    whole = {"images": images, "categories": classes, "annotations": marks}
    text = json.dumps(whole)
    cut = int(rng.integers(20, len(text) - 2))
    yield Case("COCO, cut short", text[:cut].encode(), "JSON", "tags.json")
    for key in whole:
        rest = {name: value for name, value in whole.items() if name != key}
        yield Case(f"COCO without {key}", json.dumps(rest).encode(), key, "tags.json")
    unknown = {**whole, "annotations": [{**marks[0], "category_id": 77}]}
    yield Case("COCO with an unknown category", json.dumps(unknown).encode(), "77", "tags.json")
    lost = {**whole, "annotations": [{**marks[0], "image_id": 77}]}
    yield Case("COCO with an unknown image", json.dumps(lost).encode(), "77", "tags.json")
    yield Case("COCO, nested without end", b'{"images": ' + b"[" * 100_000, "is nested too deeply", "tags.json")
    yield Case("Label Studio of nothing that is known", b'[{"a": 1}]', "data|image|annotations", "tags.json")
    yield Case("Label Studio, cut short", b'[{"data": {"image": "a.jpg"}', "JSON", "tags.json")


def _xml(rng: np.random.Generator) -> Iterator[Case]:
    text = '<annotations><image id="0" name="a.jpg"><tag label="cat"/></image></annotations>'
    cut = int(rng.integers(14, len(text) - 2))
    yield Case("CVAT, cut short", text[:cut].encode(), "XML", "tags.xml")
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 9))
    bomb = f'<!DOCTYPE a [<!ENTITY l0 "x">{laughs}]>{text.replace("cat", "&l8;")}'
    yield Case("CVAT with entities that explode", bomb.encode(), "XML|entit", "tags.xml")
    outside = f'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>{text.replace("cat", "&x;")}'
    yield Case("CVAT that reads a file", outside.encode(), "XML|entit|no tag|label", "tags.xml")
    yield Case("CVAT, an image without a name", text.replace(' name="a.jpg"', "").encode(), "name", "tags.xml")
