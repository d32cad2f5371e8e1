"""Check a CycloneDX bill of materials: python ci/check_sbom.py BOM CARGO-LOCK

Every reference leads to a component, every crate has the checksum of the lock file, and OpenSSL and SQLite are listed.
"""

import json
import re
import sys

bom = json.load(open(sys.argv[1]))
lock = open(sys.argv[2]).read()
assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", bom["serialNumber"])
components = [bom["metadata"]["component"], *bom["components"]]
refs = [component["bom-ref"] for component in components]
assert len(set(refs)) == len(refs) > 50
assert {dependency["ref"] for dependency in bom["dependencies"]} == set(refs)
for dependency in bom["dependencies"]:
    assert set(dependency["dependsOn"]) <= set(refs), dependency
for component in components:
    assert component["licenses"] and component["version"], component
    own = not component["purl"].startswith("pkg:cargo/") or component["name"] in ("libkms", "kms-cli", "libkms-pkcs11", "libkms-python")
    assert own != ("hashes" in component), component
    if not own and f'name = "{component["name"]}"\nversion = "{component["version"]}"' in lock:
        assert component["hashes"][0]["content"] in lock, component
needed = {dependency["ref"]: dependency["dependsOn"] for dependency in bom["dependencies"]}
for name in ("openssl", "sqlite"):
    assert any(ref.startswith(f"pkg:generic/{name}@") for refs in needed.values() for ref in refs), f"nothing depends on {name}"
print(f"{len(components)} components")
