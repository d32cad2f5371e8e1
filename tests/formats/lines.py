"""Print the ciphertexts of a fixture as tests/formats/formats.c reads them: lines.py FOLDER-OF-FIXTURE"""

import json
import pathlib
import sys

expected = json.loads((pathlib.Path(sys.argv[1]) / "expected.json").read_text())
for key in expected["key.db"]:
    for blob in key["blobs"]:
        if "refusal" not in blob:
            print(f".{blob['blob']} {blob['tenant'] or '-'} .{blob['plaintext'].encode().hex()}")
