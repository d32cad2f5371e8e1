"""Opens the golden blobs with nothing of libkms: the format as a second implementer reads it.

Usage: python open_blobs.py [blobs.json]     needs PyPI's `cryptography`; exits 1 if any blob doesn't open to its plaintext.
"""

import json
import pathlib
import struct
import sys
import uuid

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


class Malformed(Exception):
    """The header isn't one that this page describes."""


class Failed(Exception):
    """A promise of the vectors is broken."""


def require(holds: bool, what: str) -> None:
    if not holds:
        raise Failed(what)


def message_key(key: bytes, prefix: bytes) -> bytes:
    """KX of C2SP XAES-256-GCM."""
    def aes(blocks: bytes) -> bytes:
        return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(blocks)

    l = int.from_bytes(aes(bytes(16)), "big")
    k1 = (l << 1 & (1 << 128) - 1) ^ (0x87 if l >> 127 else 0)
    masked = (int.from_bytes(bytes([0, i]) + b"X\0" + prefix, "big") ^ k1 for i in (1, 2))
    return aes(b"".join(block.to_bytes(16, "big") for block in masked))


def encode(context: dict) -> bytes:
    if not context:
        return b""
    out = struct.pack(">H", len(context))
    for key, value in sorted((k.encode(), v.encode()) for k, v in context.items()):
        out += struct.pack(">H", len(key)) + key + struct.pack(">H", len(value)) + value
    return out


def open_blob(blob: bytes, key: bytes, context: dict) -> bytes:
    header, nonce, sealed = blob[:40], blob[40:64], blob[64:]
    magic, version, algorithm, kind, zero = struct.unpack(">4sBBBB", header[:8])
    if (magic, version, algorithm, kind, zero) != (b"\x8bKMS", 1, 1, 2 if context else 0, 0):
        raise Malformed("header")
    aad = header + struct.pack(">Q", len(encode(context))) + encode(context)
    aad += bytes(-len(aad) % 16)
    return AESGCM(message_key(key, nonce[:12])).decrypt(nonce[12:], sealed, aad)


def check(case: dict) -> None:
    blob, key = bytes.fromhex(case["blob"]), bytes.fromhex(case["key"])
    require(uuid.UUID(bytes=blob[8:24]) == uuid.UUID(case["key_id"]), "another key id")
    require(uuid.UUID(bytes=blob[24:40]) == uuid.UUID(case["version_id"]), "another version id")
    plaintext = bytes.fromhex(case["plaintext_unit"]) * case["plaintext_repeat"]
    require(open_blob(blob, key, case["context"]) == plaintext, "another plaintext")
    for wrong in (lambda: open_blob(blob[:-1] + bytes([blob[-1] ^ 1]), key, case["context"]),
                  lambda: open_blob(blob, key, {**case["context"], "more": ""})):
        try:
            wrong()
        except (InvalidTag, Malformed):
            continue
        raise Failed("a changed blob or context opens")


def run(check, recorded: str) -> int:
    """Checks each case of a file of vectors: the one named, or `recorded` in tests/vectors."""
    default = pathlib.Path(__file__).parent.parent / "vectors" / recorded
    cases = json.loads(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else default).read_text())
    failed = 0
    for case in cases:
        try:
            check(case)
        except (Failed, InvalidTag, Malformed) as error:
            failed += 1
            print(f"{case['name']}: {error!r}", file=sys.stderr)
    print(f"{len(cases) - failed} of {len(cases)} {pathlib.Path(recorded).stem} opened")
    return 1 if failed or not cases else 0


if __name__ == "__main__":
    sys.exit(run(check, "blobs.json"))
