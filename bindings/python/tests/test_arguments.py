"""How `encrypt` and `decrypt` take their arguments, which they parse without PyO3."""

import gc
import inspect
import io
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
        (lambda: kms.encrypt(5, b""), r"a key is a str .* or a Key, not int"),
        (lambda: kms.encrypt(b"key", b""), r"a key is a str .* or a Key, not bytes"),
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
    with libkms.open("memory:", root_key=bytes(range(32)), clock=clock) as kms:
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


def test_a_key_stands_for_its_id(kms, tmp_path):
    """Wherever a method takes an id."""
    key, external = kms.create_key(), kms.create_key(origin=libkms.Origin.EXTERNAL)
    blob = kms.encrypt(key, b"text")
    data_key = kms.generate_data_key_without_plaintext(key)
    oaep = libkms.Wrapping.OAEP_SHA_256
    parameters = kms.get_parameters_for_import(external, oaep)
    calls = {
        "encrypt": lambda: kms.encrypt(key=key, plaintext=b"text"),
        "encrypt_into": lambda: kms.encrypt_into(key, b"text", bytearray(100)),
        "encrypt_batch": lambda: kms.encrypt_batch(key, [b"text"]),
        "reencrypt": lambda: kms.reencrypt(blob, key),
        "encrypt_file": lambda: kms.encrypt_file(key, io.BytesIO(b"text"), tmp_path / "sealed") == 4,
        "reencrypt_file": lambda: kms.reencrypt_file(tmp_path / "sealed", key) is not None,
        "open_file": lambda: kms.open_file(tmp_path / "written", "xb", key=key).close(),
        "reencrypt_batch": lambda: kms.reencrypt_batch([blob], key),
        "generate_data_key": lambda: kms.generate_data_key(key),
        "generate_data_key_without_plaintext": lambda: kms.generate_data_key_without_plaintext(key),
        "generate_and_export_data_key": lambda: kms.generate_and_export_data_key(key, parameters.public_key, oaep),
        "describe_key": lambda: kms.describe_key(key).id == key.id,
        "list_key_versions": lambda: list(kms.list_key_versions(key)),
        "describe_key_version": lambda: kms.describe_key_version(key, key.primary_version_id),
        "rotate": lambda: kms.rotate(key),
        "disable_key_version": lambda: kms.disable_key_version(key, key.primary_version_id),
        "schedule_key_version_deletion": lambda: kms.schedule_key_version_deletion(key, key.primary_version_id),
        "cancel_key_version_deletion": lambda: kms.cancel_key_version_deletion(key, key.primary_version_id),
        "enable_key_version": lambda: kms.enable_key_version(key, key.primary_version_id),
        "update_rotation_policy": lambda: kms.update_rotation_policy(key, timedelta(days=9)),
        "update_key_description": lambda: kms.update_key_description(key, "new"),
        "set_deletion_protection": lambda: kms.set_deletion_protection(key, False),
        "create_alias": lambda: kms.create_alias(key, "alias/a"),
        "update_alias": lambda: kms.update_alias(key, "alias/a"),
        "list_aliases": lambda: [alias.key_id for alias in kms.list_aliases(key)] == [key.id],
        "tag_resource": lambda: kms.tag_resource(key, {"a": "b"}),
        "list_resource_tags": lambda: kms.list_resource_tags(key),
        "untag_resource": lambda: kms.untag_resource(key, ["a"]),
        "import_raw_key_material": lambda: kms.import_raw_key_material(external, bytes(range(32))),
        "delete_key_material": lambda: kms.delete_key_material(external),
        "changes": lambda: [change.action for change in kms.changes(key)][0] == "CreateKey",
        "disable_key": lambda: kms.disable_key(key),
        "enable_key": lambda: kms.enable_key(key),
        "schedule_key_deletion": lambda: kms.schedule_key_deletion(key),
        "cancel_key_deletion": lambda: kms.cancel_key_deletion(key),
        "get_parameters_for_import": lambda: kms.get_parameters_for_import(external, oaep),
    }
    for name, call in calls.items():
        assert call() in (None, True) or call(), name
    with pytest.raises(libkms.InvalidImportToken):
        kms.import_key_material(external, b"", parameters.token[:-1])
    takes = {
        name
        for name in dir(libkms.Keystore)
        if not name.startswith("_")
        and callable(getattr(libkms.Keystore, name))
        and {"key", "key_id", "destination_key"} & set(inspect.signature(getattr(libkms.Keystore, name)).parameters)
    }
    assert takes == {*calls, "import_key_material"}, "a method takes a key and isn't tried here"
    assert kms.export_data_key(data_key, parameters.public_key, oaep)
    for other in (5, b"key", None, object(), [key], libkms.Alias("alias/a", key.id)):
        with pytest.raises(TypeError, match="or a Key"):
            kms.describe_key(other)


def test_a_ciphertext_moves_to_an_alias_to_a_key_or_stays_under_its_own(kms):
    own, other = kms.create_key(), kms.create_key()
    kms.create_alias(other.id, "alias/other")
    blob = kms.encrypt(own, b"text", CONTEXT)
    for destination, expected in (("alias/other", other), (other, other), (other.id, other), (None, own), (own, own)):
        moved = [kms.reencrypt(blob, destination, CONTEXT), *kms.reencrypt_batch([blob, blob], destination, CONTEXT)]
        assert {kms.inspect(one).key_id for one in moved} == {expected.id}
        assert {kms.decrypt(one, CONTEXT) for one in moved} == {b"text"}
    with pytest.raises(libkms.AliasNotFound):
        kms.reencrypt(blob, "alias/none", CONTEXT)
    assert isinstance(kms.reencrypt_batch([blob], "alias/none", CONTEXT)[0], libkms.AliasNotFound)
