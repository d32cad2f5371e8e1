"""How `encrypt` and `decrypt` take their arguments, which they read without the help of the binding's library."""

import gc
import inspect
import threading
from datetime import datetime, timedelta, timezone

import pytest

import libkms

CONTEXT = {"tenant": "42", "column": "card"}


class Text(str):
    pass


class Bytes(bytes):
    pass


class Dict(dict):
    def items(self):
        return [("tenant", "43")]


def test_by_place_and_by_name_are_the_same(kms):
    key = kms.create_key().id
    made_at_run_time = {"con" + "text".lower(): CONTEXT, "".join(["plain", "text"]): b"text"}
    for blob in [
        kms.encrypt(key, b"text", CONTEXT),
        kms.encrypt(key, b"text", context=CONTEXT),
        kms.encrypt(key, context=CONTEXT, plaintext=b"text"),
        kms.encrypt(context=CONTEXT, plaintext=b"text", key=key),
        kms.encrypt(key, **made_at_run_time),
        kms.encrypt(*[key, b"text"], **{"context": CONTEXT}),
        libkms.Keystore.encrypt(kms, key, b"text", CONTEXT),
    ]:
        assert kms.decrypt(blob, CONTEXT) == kms.decrypt(context=CONTEXT, blob=blob) == b"text"
    for nothing in [(), (None,), ({},)]:
        assert kms.decrypt(kms.encrypt(key, b"text", *nothing), context=None) == b"text"


def test_what_python_refuses_is_a_type_error_that_says_what(kms):
    key = kms.create_key().id
    for call, says in [
        (lambda: kms.encrypt(), "'key'"),
        (lambda: kms.encrypt(key), "'plaintext'"),
        (lambda: kms.encrypt(plaintext=b""), "'key'"),
        (lambda: kms.encrypt(key, b"", None, None), "from 2 to 3 arguments but 4"),
        (lambda: kms.encrypt(key, b"", key=key), "multiple values for argument 'key'"),
        (lambda: kms.encrypt(key, b"", aad={}), "unexpected keyword argument 'aad'"),
        (lambda: kms.encrypt(5, b""), "key is a str, not int"),
        (lambda: kms.encrypt(b"key", b""), "key is a str, not bytes"),
        (lambda: kms.decrypt(), "'blob'"),
        (lambda: kms.decrypt(b"", None, None), "from 1 to 2 arguments but 3"),
        (lambda: kms.decrypt(None), "bytes or another buffer"),
        (lambda: libkms.Keystore.encrypt(object(), key, b""), "object"),
        (lambda: libkms.Keystore.decrypt(), "argument"),
    ]:
        with pytest.raises(TypeError, match=says):
            call()
    with pytest.raises(UnicodeEncodeError):
        kms.encrypt("\ud800", b"")
    with pytest.raises(UnicodeEncodeError):
        kms.encrypt(key, b"", {"tenant": "\ud800"})


def test_subclasses_are_what_they_derive_from(kms):
    key = Text(kms.create_key().id)
    blob = kms.encrypt(key, Bytes(b"text"), {Text("tenant"): Text("42")})
    assert kms.decrypt(Bytes(blob), {"tenant": "42"}) == b"text"
    assert kms.decrypt(kms.encrypt(key, b"text", Dict()), {"tenant": "43"}) == b"text", "a mapping's own items were ignored"


def test_they_are_methods_like_all_others(kms):
    for name, like in [("encrypt", kms.encrypt_batch), ("decrypt", kms.decrypt_batch)]:
        method = getattr(kms, name)
        assert type(method) is type(like) and method.__name__ == name and method.__self__ is kms
        assert getattr(libkms.Keystore, name).__qualname__ == f"Keystore.{name}"
    assert str(inspect.signature(kms.encrypt)) == "(key, plaintext, context=None)"
    assert str(inspect.signature(kms.decrypt)) == "(blob, context=None)"


class Clock:
    """Runs something in the middle of a call: encrypting under a key that rotates asks it."""

    def __init__(self):
        self.time = datetime(2026, 1, 1, tzinfo=timezone.utc)
        self.meanwhile = None

    def __call__(self):
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return self.time


@pytest.mark.parametrize("size", [4, 2_000_000], ids=["GIL held", "GIL let go"])
@pytest.mark.parametrize("overdue", [False, True])
def test_a_context_that_is_changed_during_the_call_is_used_as_it_was(size, overdue):
    clock = Clock()
    with libkms.open("memory:", root_key=bytes(32), clock=clock) as kms:
        key = kms.create_key(rotate_every=timedelta(days=1)).id
        for count in range(20):
            context = {f"a{count}" * 20: f"b{count}" * 20}
            before = {f"a{count}" * 20: f"b{count}" * 20}

            def forget():
                context.clear()
                gc.collect()
                return [chr(97 + place % 26) * length for length in range(20, 120) for place in range(20)]

            clock.time += timedelta(days=2 * overdue)
            clock.meanwhile = forget
            blob = kms.encrypt(key, bytes(size), context)
            assert context == {}, "the clock was not asked"
            assert kms.decrypt(blob, before) == bytes(size)
        assert kms.describe_key(key).version_count == 1 + 20 * overdue


def test_a_keystore_that_is_closed_during_a_call_ends_with_it(place):
    clock = Clock()
    kms = libkms.open(**place, clock=clock)
    key = kms.create_key(rotate_every=timedelta(days=1)).id
    seen = []

    def close_elsewhere():
        def close():
            kms.close()
            try:
                kms.encrypt(key, b"late")
            except libkms.InvalidArgument as error:
                seen.append(str(error))

        thread = threading.Thread(target=close)
        thread.start()
        thread.join(60)
        assert not thread.is_alive(), "closing waits for a call that waits for it"

    clock.meanwhile = close_elsewhere
    blob = kms.encrypt(key, b"text")
    assert seen == ["the keystore is closed; open it again"] and kms.closed
    with pytest.raises(libkms.InvalidArgument, match="closed"):
        kms.decrypt(blob)
    with libkms.open(**place) as again:
        assert again.decrypt(blob) == b"text"
