"""A Python program opens a keystore in PostgreSQL: client.py LOCATION ABSENT. Both have a password; at ABSENT no server listens."""

import sys
import time
from datetime import timedelta

import libkms

location, absent = sys.argv[1:]
options = {
    "root_key": b"a root key of exactly 32 bytes!!",
    "poll_interval": timedelta(milliseconds=50),
    "offline_limit": timedelta(minutes=1),
    "accept_rollback": True,
}
with libkms.open(location, create=True, **options) as ours, libkms.open(location, **options) as theirs:
    password = location.split("@")[0].split(":")[-1]
    assert password not in repr(ours)
    key = ours.create_key()
    blob = ours.encrypt(key.id, b"text")
    assert theirs.decrypt(blob) == b"text"
    ours.disable_key(key.id)
    for _ in range(3000):
        try:
            theirs.decrypt(blob)
        except libkms.RejectedDisabled:
            break
        time.sleep(0.01)
    else:
        raise AssertionError("a key that another handle disabled is used")
    assert theirs.health().polls > 0
try:
    libkms.open(absent, **options)
except libkms.KeystoreUnavailable as error:
    assert isinstance(error, ConnectionError) and "127.0.0.1:1" in str(error) and "hunter2" not in repr(error)
else:
    raise AssertionError("a server that is absent is no error")
