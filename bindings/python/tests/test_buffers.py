"""Callers' memory: buffers that are read, filled, or left untouched."""

import array
import mmap

import pytest

import libkms

TEXT = b"0123456789abcdef"


def buffers():
    shared = mmap.mmap(-1, len(TEXT))
    shared[:] = TEXT
    return [
        TEXT,
        bytearray(TEXT),
        memoryview(TEXT),
        memoryview(bytearray(b"xx" + TEXT))[2:],
        array.array("B", TEXT),
        array.array("I", TEXT),
        shared,
    ]


@pytest.mark.parametrize("text", buffers(), ids=lambda buffer: type(buffer).__name__)
def test_any_buffer_is_read(kms, text):
    key = kms.create_key()
    blob = kms.encrypt(key.id, text)
    assert type(blob) is bytes and len(blob) == len(TEXT) + 80
    assert kms.decrypt(bytearray(blob)) == TEXT
    assert kms.decrypt(memoryview(blob)) == TEXT


@pytest.mark.parametrize("wrong", ["text", 5, None, [1]])
def test_what_is_no_buffer_is_a_type_error(kms, wrong):
    key = kms.create_key()
    with pytest.raises(TypeError, match="bytes or another buffer"):
        kms.encrypt(key.id, wrong)


def test_a_buffer_with_gaps_is_refused(kms):
    with pytest.raises(BufferError):
        kms.encrypt(kms.create_key().id, memoryview(bytes(16))[::2])


@pytest.mark.parametrize("context", [{"a": 1}, {1: "a"}, ["a"], "ab", {b"a": "b"}])
def test_a_context_of_other_types_is_refused(kms, context):
    with pytest.raises((TypeError, AttributeError)):
        kms.encrypt(kms.create_key().id, b"", context)


def test_any_mapping_is_a_context(kms):
    from types import MappingProxyType

    key = kms.create_key()
    blob = kms.encrypt(key.id, b"text", MappingProxyType({"b": "2", "a": "1", "c": "ö"}))
    assert kms.decrypt(blob, {"a": "1", "b": "2", "c": "ö"}) == b"text"
    many = {f"k{number}": str(number) for number in range(100)}
    assert kms.decrypt(kms.encrypt(key.id, b"text", many), dict(reversed(many.items()))) == b"text"


@pytest.mark.parametrize("size", [0, 1, 4096, 4097, 1 << 20, (1 << 20) + 1, 3_000_000])
def test_all_sizes_round_trip(kms, size):
    key = kms.create_key()
    text = bytes(size)
    blob = kms.encrypt(key.id, text)
    assert kms.decrypt(blob) == text
    room = bytearray(size + 100)
    written = kms.encrypt_into(key.id, text, room)
    assert written == size + 80 and kms.decrypt(room[:written]) == text
    opened = bytearray(b"x") * (size + 5)
    assert kms.decrypt_into(blob, opened) == size
    assert opened == text + b"xxxxx", "decrypt_into wrote beyond the plaintext"


@pytest.mark.parametrize("size", [10, 2_000_000])
def test_a_small_buffer_stays_untouched_and_is_told_the_size(kms, size):
    key = kms.create_key()
    blob = kms.encrypt(key.id, bytes(size))
    room = bytearray(b"x" * (size - 1))
    with pytest.raises(libkms.BufferTooSmall) as raised:
        kms.encrypt_into(key.id, bytes(size), room)
    assert raised.value.size == size + 80
    with pytest.raises(libkms.BufferTooSmall) as raised:
        kms.decrypt_into(blob, room)
    assert raised.value.size == size
    assert room == b"x" * (size - 1)


@pytest.mark.parametrize("size", [10, 5000, 2_000_000])
def test_a_failed_decryption_leaves_no_plaintext(kms, size):
    key = kms.create_key()
    blob = bytearray(kms.encrypt(key.id, b"s" * size))
    blob[-1] ^= 1
    room = bytearray(size)
    with pytest.raises(libkms.AuthenticationFailed):
        kms.decrypt_into(blob, room)
    assert room == bytes(size)


def test_a_buffer_may_be_input_and_output(kms):
    key = kms.create_key()
    room = bytearray(TEXT + bytes(80))
    assert kms.encrypt_into(key.id, memoryview(room)[: len(TEXT)], room) == len(room)
    assert kms.decrypt_into(room, room) == len(TEXT)
    assert room.startswith(TEXT)


def test_a_read_only_buffer_is_not_written_to(kms):
    with pytest.raises(BufferError):
        kms.encrypt_into(kms.create_key().id, b"", bytes(100))


def test_limits(kms):
    key = kms.create_key()
    with pytest.raises(libkms.LimitExceeded):
        kms.encrypt(key.id, b"", {"a": "b" * 9000})
    with pytest.raises(libkms.LimitExceeded):
        kms.create_key(description="x" * 8193)
