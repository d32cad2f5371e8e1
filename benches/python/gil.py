"""Measures from which size on letting the GIL go pays, with the installed package: python benches/python/gil.py"""

import os
import threading
import time

import libkms
from libkms import _libkms


def letting_go(kms: libkms.Keystore, key: str) -> None:
    """What the caller pays when another thread computes in Python, and what two encrypting threads gain."""
    print("size      alone: held, let go     beside a busy thread: held, let go     two threads: held, let go")
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
        letting_go(keystore, key_id)
