"""Times libkms and what else Python programs encrypt with, interleaved in one process; prints the figures as JSON.

`make bench GROUP=python` installs the peers, runs this and makes the page of it.
"""

import importlib.metadata
import json
import logging
import os
import platform
import random
import statistics
import sys
import time
import warnings

QUICK = "--quick" in sys.argv
SIZES = [64, 1024, 65536]
ROUNDS = 5 if QUICK else 31
SLICE = 0.001 if QUICK else 0.01
CONTEXT = {"tenant": "42"}
AAD = b"tenant=42"

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)


def cryptography_counter():
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    cipher = AESGCM(bytes(32))
    count = 0

    def encrypt(plaintext):
        nonlocal count
        count += 1
        nonce = count.to_bytes(12, "big")
        return nonce, cipher.encrypt(nonce, plaintext, AAD)

    return encrypt, lambda sealed: cipher.decrypt(*sealed, AAD)


def cryptography_random():
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    cipher = AESGCM(bytes(32))

    def encrypt(plaintext):
        nonce = os.urandom(12)
        return nonce, cipher.encrypt(nonce, plaintext, AAD)

    return encrypt, lambda sealed: cipher.decrypt(*sealed, AAD)


def libkms():
    import libkms as module

    kms = module.open("memory:", root_key=bytes(range(32)))
    key = kms.create_key()
    name = getattr(key, "id", key)
    return (lambda plaintext: kms.encrypt(name, plaintext, context=CONTEXT)), (
        lambda blob: kms.decrypt(blob, context=CONTEXT)
    )


def tink():
    import tink as module
    from tink import aead

    aead.register()
    cipher = module.new_keyset_handle(aead.aead_key_templates.AES256_GCM).primitive(aead.Aead)
    return (lambda plaintext: cipher.encrypt(plaintext, AAD)), (lambda sealed: cipher.decrypt(sealed, AAD))


def asherah():
    import asherah as module

    factory = module.SessionFactory(
        {
            "ServiceName": "service",
            "ProductID": "product",
            "Metastore": "memory",
            "KMS": "static",
            "EnableSessionCaching": True,
            "StaticMasterKeyHex": "22" * 32,
        }
    )
    session = factory.get_session("tenant")
    return session.encrypt_bytes, session.decrypt_bytes


def multi_fernet():
    from cryptography.fernet import Fernet, MultiFernet

    cipher = MultiFernet([Fernet(Fernet.generate_key()) for _ in range(2)])
    return cipher.encrypt, cipher.decrypt


def aws_encryption_sdk():
    import aws_encryption_sdk as module
    from aws_encryption_sdk.identifiers import EncryptionKeyType, WrappingAlgorithm
    from aws_encryption_sdk.internal.crypto.wrapping_keys import WrappingKey
    from aws_encryption_sdk.key_providers.raw import RawMasterKeyProvider

    class Provider(RawMasterKeyProvider):
        provider_id = "static"

        def _get_raw_key(self, key_id):
            return WrappingKey(
                wrapping_algorithm=WrappingAlgorithm.AES_256_GCM_IV12_TAG16_NO_PADDING,
                wrapping_key=bytes(32),
                wrapping_key_type=EncryptionKeyType.SYMMETRIC,
            )

    provider = Provider()
    provider.add_master_key("key")
    client = module.EncryptionSDKClient()

    def encrypt(plaintext):
        return client.encrypt(source=plaintext, key_provider=provider, encryption_context=CONTEXT)[0]

    return encrypt, lambda sealed: client.decrypt(source=sealed, key_provider=provider)[0]


def moto():
    import boto3
    from moto import mock_aws

    os.environ.update(AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x", AWS_DEFAULT_REGION="eu-west-1")
    mock_aws().start()
    client = boto3.client("kms", region_name="eu-west-1")
    key = client.create_key()["KeyMetadata"]["KeyId"]

    def encrypt(plaintext):
        return client.encrypt(KeyId=key, Plaintext=plaintext, EncryptionContext=CONTEXT)["CiphertextBlob"]

    def decrypt(sealed):
        return client.decrypt(CiphertextBlob=sealed, EncryptionContext=CONTEXT)["Plaintext"]

    return encrypt, decrypt


# The first is what the others are compared with. moto comes last: it patches how boto3 reaches the network.
PEERS = [
    ("cryptography AESGCM, os.urandom nonce", "cryptography", cryptography_random),
    ("cryptography AESGCM, counted nonce", "cryptography", cryptography_counter),
    ("libkms", "libkms", libkms),
    ("tink", "tink", tink),
    ("asherah", "asherah", asherah),
    ("MultiFernet of 2 keys", "cryptography", multi_fernet),
    ("aws-encryption-sdk, raw AES key", "aws-encryption-sdk", aws_encryption_sdk),
    ("boto3 on moto's KMS", "moto", moto),
]
# AWS KMS refuses larger plaintexts, and so does moto.
LIMITS = {"boto3 on moto's KMS": 4096}


def per_call(call, argument, calls):
    repeat = range(calls)
    start = time.thread_time()
    for _ in repeat:
        call(argument)
    return (time.thread_time() - start) * 1e9 / calls


def calibrated(call, argument):
    calls = 1
    while True:
        took = per_call(call, argument, calls) * calls / 1e9
        if took >= SLICE / 4:
            return max(1, int(calls * SLICE / took))
        calls *= 2


def compare(tasks):
    """tasks: (name, call, argument) or (name, None, None); gives one figure each, in that order."""
    usable = [(i, call, argument, calibrated(call, argument)) for i, (_, call, argument) in enumerate(tasks) if call]
    times = [[] for _ in tasks]
    for _ in range(ROUNDS):
        random.shuffle(usable)
        for i, call, argument, calls in usable:
            times[i].append(per_call(call, argument, calls))
    ours = next((taken for (name, _, _), taken in zip(tasks, times) if name == "libkms"), [])
    return [
        {
            "name": name,
            "minimum": min(taken),
            "median": statistics.median(taken),
            "ratio": statistics.median(t / base for t, base in zip(taken, times[0])),
            "libkms": statistics.median(t / base for t, base in zip(ours, taken)) if ours else None,
        }
        if taken
        else {"name": name, "minimum": None, "median": None, "ratio": None, "libkms": None}
        for (name, _, _), taken in zip(tasks, times)
    ]


def why(error):
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]


def version(distribution):
    try:
        return f"{distribution} {importlib.metadata.version(distribution)}"
    except importlib.metadata.PackageNotFoundError:
        return distribution


def main():
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    ready, versions, absent = [], [], []
    for name, distribution, make in PEERS:
        try:
            encrypt, decrypt = make()
            text = b"proof"
            if decrypt(encrypt(text)) != text:
                raise ValueError("doesn't decrypt what it encrypts")
        except Exception as error:  # whatever is wrong with a peer, the others are measured
            absent.append(f"{name}: {why(error)}")
            continue
        ready.append((name, encrypt, decrypt))
        if version(distribution) not in versions:
            versions.append(version(distribution))

    sizes = []
    for size in SIZES:
        text = os.urandom(size)
        fits = [(name, encrypt, decrypt, size <= LIMITS.get(name, size)) for name, encrypt, decrypt in ready]
        sizes.append(
            {
                "bytes": size,
                "encrypt": compare([(n, e, text) if fit else (n, None, None) for n, e, _, fit in fits]),
                "decrypt": compare([(n, d, e(text)) if fit else (n, None, None) for n, e, d, fit in fits]),
            }
        )
    json.dump(
        {"python": f"Python {platform.python_version()}", "versions": versions, "sizes": sizes, "absent": absent},
        sys.stdout,
    )
    sys.stdout.flush()
    # Threads that a peer has left behind don't keep the benchmark waiting.
    os._exit(0)


main()
