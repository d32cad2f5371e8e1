#!/usr/bin/env python3
"""Writes what the ABI of a kms.h is read from: library.py kms.h FOLDER [RECORDED/names.txt]

library.c: an empty library with its functions and types. Its debug information is the ABI as callers see it. (The release
library carries line tables only, and its own types are Rust's; that it exports exactly these functions is for the stage
`exports` to check, that kms.h is what src/ffi says for `header`.)
names.txt: its constants with their numbers, and the members of the structs that begin with their size.

Such a struct may grow at its end. With the recorded names given, kms.h in FOLDER, which library.c includes, has it without
what was added there, so that abidiff sees everything else.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import kms_h

if len(sys.argv) not in (3, 4):
    sys.exit(__doc__)
header, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
text = header.read_text(encoding="utf-8")
items = kms_h.parse(header)[1]
sized = [item for item in items if item.kind == "struct" and kms_h.members(item)[0] == "struct_size"]

with open(folder / "names.txt", "w", encoding="utf-8") as out:
    for item in items:
        if item.kind == "constant":
            print(item.name, item.value, file=out)
    for item in sized:
        print("struct", item.name, *kms_h.members(item), file=out)

recorded = {}
if len(sys.argv) == 4:
    lines = [line.split() for line in Path(sys.argv[3]).read_text(encoding="utf-8").splitlines()]
    recorded = {line[1]: line[2:] for line in lines if line[0] == "struct"}
for item in sized:
    old, now = recorded.get(item.name), kms_h.members(item)
    if old and len(now) > len(old) and now[: len(old)] == old:
        last = next(i for i, line in enumerate(item.text) if line.endswith((f" {old[-1]};", f"*{old[-1]};", f" {old[-1]}[KMS_ID_SIZE];")))
        text = text.replace("\n".join(item.text), "\n".join([*item.text[: last + 1], item.text[-1]]))
(folder / "kms.h").write_text(text, encoding="utf-8")

with open(folder / "library.c", "w", encoding="utf-8") as out:
    print('#include "kms.h"', file=out)
    for item in items:
        if item.kind == "function":
            declared = "\n".join(item.text).replace("KMS_MUST_USE", "").strip().removesuffix(";")
            print(declared, "{}" if declared.startswith("void ") else "{ return 0; }", file=out)
