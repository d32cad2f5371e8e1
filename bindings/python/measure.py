"""Measures the installed package: the ratio to cryptography's AESGCM, and from which size on letting the GIL go pays.

python bindings/python/measure.py. Each figure is the best of several rounds that alternate between the compared calls.
"""

import os
import threading
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import libkms
from libkms import _libkms


def compare(calls: dict[str, Callable[[], object]], loops: int, rounds: int = 100) -> dict[str, float]:
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(loops):
                call()
            best[name] = min(best[name], (time.perf_counter() - start) / loops)
    return best


def beside_aesgcm(kms: libkms.Keystore, key: str) -> None:
    print("size      call      libkms        AESGCM        ratio")
    aes = AESGCM(os.urandom(32))
    for size, loops in ((64, 2000), (1024, 2000), (65_536, 100), (1 << 20, 5)):
        text = os.urandom(size)
        blob, nonce = kms.encrypt(key, text), os.urandom(12)
        sealed = aes.encrypt(nonce, text, None)
        room, back = bytearray(size + 112), bytearray(size)
        best = compare(
            {
                "encrypt": lambda: kms.encrypt(key, text),
                "encrypt_into": lambda: kms.encrypt_into(key, text, room),
                "decrypt": lambda: kms.decrypt(blob),
                "decrypt_into": lambda: kms.decrypt_into(blob, back),
                "aes encrypt": lambda: aes.encrypt(os.urandom(12), text, None),
                "aes decrypt": lambda: aes.decrypt(nonce, sealed, None),
            },
            loops,
        )
        for name in ("encrypt", "encrypt_into", "decrypt", "decrypt_into"):
            other = best["aes " + name.removesuffix("_into")]
            print(f"{size:<9} {name:13} {best[name] * 1e9:10.0f} ns {other * 1e9:10.0f} ns   {best[name] / other:.2f}")


def letting_go(kms: libkms.Keystore, key: str) -> None:
    """What the caller pays when another thread computes in Python, and what two encrypting threads gain."""
    print("\nsize      alone: held, let go     beside a busy thread: held, let go     two threads: held, let go")
    for size in (4096, 65_536, 262_144, 1 << 20, 4 << 20, 16 << 20):
        text, room, row = os.urandom(size), max(3, (8 << 20) // size), []

        def work() -> None:
            for _ in range(room):
                kms.encrypt(key, text)

        for others in ("none", "busy", "two"):
            for release in (1 << 60, 0):
                _libkms.release_gil_from(release)
                ended = threading.Event()

                def busy() -> None:
                    while not ended.is_set():
                        sum(range(100))

                other = {"none": None, "busy": threading.Thread(target=busy), "two": threading.Thread(target=work)}[others]
                best = float("inf")
                if others == "busy":
                    other.start()
                for _ in range(3):
                    if others == "two":
                        other = threading.Thread(target=work)
                        other.start()
                    start = time.perf_counter()
                    work()
                    if others == "two":
                        other.join()
                    best = min(best, (time.perf_counter() - start) / room)
                ended.set()
                if others == "busy":
                    other.join()
                row.append(best * 1e6)
        print(f"{size:<9} " + "   ".join(f"{held:9.1f} us {free:9.1f} us" for held, free in zip(row[::2], row[1::2])))


if __name__ == "__main__":
    with libkms.open("memory:", root_key=os.urandom(32)) as keystore:
        key_id = keystore.create_key().id
        beside_aesgcm(keystore, key_id)
        letting_go(keystore, key_id)
