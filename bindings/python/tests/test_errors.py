"""Exceptions are the library's statuses."""

import pickle

import pytest

import libkms
from libkms import _libkms
from libkms.errors import _BY_STATUS


def camel(name: str) -> str:
    words = name.removeprefix("KMS_").split("_")
    return "".join(word if word == "IO" else word.capitalize() for word in words)


def test_every_status_of_the_library_has_its_exception():
    assert len(_libkms.statuses()) > 30
    for number, name, code in _libkms.statuses():
        assert number in _BY_STATUS, f"{name} ({number}) has no class in libkms.errors"
        error = _BY_STATUS[number]
        assert error.__name__ == camel(name)
        assert getattr(libkms, error.__name__) is error
        assert (error.status, error.status.name, error.code) == (number, name.removeprefix("KMS_"), code)
    assert set(_BY_STATUS) == {number for number, _, _ in _libkms.statuses()}
    assert set(libkms.Status) == set(_BY_STATUS)


def test_an_exception_goes_through_pickle():
    error = pickle.loads(pickle.dumps(libkms.KeyNotFound("gone")))
    assert type(error) is libkms.KeyNotFound and str(error) == "gone" and error.status == 200


def test_an_exception_is_also_what_python_calls_it(kms):
    with pytest.raises(LookupError):
        kms.describe_key("none")
    with pytest.raises(ValueError):
        kms.decrypt(b"none")
    with pytest.raises(libkms.Error) as raised:
        kms.describe_key("none")
    assert issubclass(libkms.OutOfMemory, MemoryError)
    assert raised.value.status is libkms.Status.KEY_NOT_FOUND and raised.value.code == "Forbidden.KeyNotFound"


def test_a_failed_authentication_says_nothing(kms):
    key = kms.create_key()
    blob = kms.encrypt(key.id, b"secret", {"a": "b"})
    changed = blob[:-1] + bytes([blob[-1] ^ 1])
    texts = set()
    for attempt, context in ((blob, None), (blob, {"a": "c"}), (changed, {"a": "b"})):
        with pytest.raises(libkms.AuthenticationFailed) as raised:
            kms.decrypt(attempt, context)
        texts.add(str(raised.value))
    assert len(texts) == 1
