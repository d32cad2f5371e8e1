"""Opens the recorded encrypted files with nothing of libkms: docs/file-format.md as a second implementer reads it.

Usage: python open_file.py [files.json]     needs PyPI's `cryptography`; exits 1 if any file doesn't open to its plaintext.
"""

import hashlib
import hmac
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

try:
    from cryptography.cobblestone import Cobblestone256Decryptor
except ImportError:  # before 50; the decoder below does not need it
    Cobblestone256Decryptor = None
from open_blobs import Failed, Malformed, encode, open_blob, require, run

INFO = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0"
HEADER, BLOCK, PREFIX, CHUNK = 8192, 4096, 56, 16384 + 16


def slot(block: bytes) -> tuple[int, bytes, bytes] | None:
    """The sequence number, the file id and all bytes of a valid slot."""
    length = 34 + struct.unpack(">H", block[32:34])[0]
    checksum = hmac.digest(bytes(32), block[:length], hashlib.sha256)
    if block[length : length + 32] != checksum or any(block[length + 32 :]):
        return None
    magic, version, body, header, sequence = struct.unpack(">4sBBHQ", block[:16])
    if (magic, version, body, header) != (b"\x8bKMF", 1, 1, HEADER):
        raise Malformed("slot")
    return sequence, block[16:32], block[:length]


def open_file(data: bytes, version_key: bytes, context: dict) -> bytes:
    slots = [found for at in (0, BLOCK) if (found := slot(data[at : at + BLOCK]))]
    if not slots or len({file_id for _, file_id, _ in slots}) != 1:
        raise Malformed("header")
    _, file_id, chosen = max(slots)
    input_key = open_blob(chosen[34:], version_key, {**context, "kms:file": chosen[:34].hex()})
    salt, commitment, chunks = data[HEADER:][:24], data[HEADER:][24:PREFIX], data[HEADER + PREFIX :]
    keys = HKDFExpand(hashes.SHA512(), 76, INFO + salt + file_id + encode(context)).derive(input_key)
    if not hmac.compare_digest(keys[44:], commitment):
        raise Malformed("commitment")
    cipher, base, out = AESGCM(keys[:32]), int.from_bytes(keys[32:44], "big"), b""
    for number in range(len(chunks) // CHUNK + 1):
        out += cipher.decrypt((base ^ number).to_bytes(12, "big"), chunks[number * CHUNK :][:CHUNK], None)
    if Cobblestone256Decryptor is not None:
        other = Cobblestone256Decryptor(input_key, file_id + encode(context))
        if other.update(data[HEADER:]) + other.finalize() != out:
            raise Failed("cryptography's Cobblestone256Decryptor opens another plaintext")
    return out


def check(case: dict) -> None:
    key, context = bytes.fromhex(case["key"]), case["context"]
    header = bytes.fromhex(case["slot"]).ljust(HEADER, b"\0")
    data = header + bytes.fromhex(case["body"])
    plaintext = (bytes.fromhex(case["plaintext_unit"]) * case["plaintext_length"])[: case["plaintext_length"]]
    require(open_file(data, key, context) == plaintext, "another plaintext")
    flipped = data[:-1] + bytes([data[-1] ^ 1])
    for wrong, with_context in ((flipped, context), (data[:-1], context), (data, {**context, "more": ""})):
        try:
            open_file(wrong, key, with_context)
        except (InvalidTag, Malformed):
            continue
        raise Failed("a changed file or context opens")


if __name__ == "__main__":
    sys.exit(run(check, "files.json"))
