"""Parse the declarations of include/kms.h, in order and with their comments, for the scripts that derive from them."""

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Item:
    kind: str  # constant, macro, opaque, struct, callback, typedef or function
    name: str
    comment: list[str]
    text: list[str]

    @property
    def is_status(self):
        return self.kind == "constant" and self.value.isdecimal() and self.in_statuses

    value: str = ""
    in_statuses: bool = False  # from KMS_OK on


def parse(path):
    """The contract block's lines, and the items in the header's order."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    end = lines.index(" */")
    contract = [re.sub(r"^/?[ *]\*? ?", "", line) for line in lines[:end]]
    items, comment, at, in_statuses = [], [], end + 1, False
    while at < len(lines):
        line = lines[at]
        if line.startswith("//"):
            comment.append(line[2:].removeprefix(" "))
            at += 1
            continue
        start = at
        if line.startswith("#"):
            while lines[at].endswith("\\"):
                at += 1
            at += 1
            if found := re.match(r"#define (KMS_\w+)(?: (.*))?$", line):
                name, value = found[1], found[2] or ""
                in_statuses |= name == "KMS_OK"
                kind = "constant" if re.fullmatch(r"\d+", value) else "macro"
                items.append(Item(kind, name, comment, lines[start:at], value, in_statuses))
        elif line.startswith("typedef") or re.match(r"KMS_MUST_USE\b|\w[\w *]*\bkms_\w+\(|\w[\w *]*$", line):
            ending = re.compile(r"^\}.*;$" if line.endswith("{") and line.startswith("typedef") else r";$")
            while not ending.search(lines[at]):
                at += 1
            at += 1
            items.append(declaration(comment, lines[start:at]))
        else:
            at += 1
        comment = []
    if not items or not contract:
        raise SystemExit(f"{path}: nothing found; is it still written in this form?")
    return contract, items


def declaration(comment, text):
    whole = " ".join(text)
    if found := re.fullmatch(r"typedef struct \w+ \{.*\} (\w+);", whole):
        return Item("struct", found[1], comment, text)
    if found := re.fullmatch(r"typedef struct \w+ (\w+);", whole):
        return Item("opaque", found[1], comment, text)
    if found := re.match(r"typedef .*\(\*(\w+)\)\(", whole):
        return Item("callback", found[1], comment, text)
    if found := re.fullmatch(r"typedef \w+ (\w+);", whole):
        return Item("typedef", found[1], comment, text)
    if found := re.match(r"(?:KMS_MUST_USE )?[\w *]*\b(kms_\w+)\(", whole):
        return Item("function", found[1], comment, text)
    raise SystemExit(f"kms.h: not understood: {whole}")


def members(struct):
    """The names of a struct's members."""
    return [re.search(r"(\w+)(?:\[\w+\])?;$", line)[1] for line in struct.text[1:-1] if not line.strip().startswith("//")]
