"""Files round-trip, incomplete ones are refused, and an unfinished output does not exist."""

import gc
import io
import os
import threading
from pathlib import Path

import pytest

import libkms

SIZES = [0, 1, 16_383, 16_384, 16_385, 3_000_000]


def data(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


@pytest.fixture
def kms():
    with libkms.open("memory:", root_key=bytes(range(32))) as keystore:
        yield keystore


@pytest.fixture
def key(kms) -> str:
    return kms.create_key().id


def sealed(kms, key, plain: bytes, **context) -> bytes:
    out = io.BytesIO()
    assert kms.encrypt_file(key, io.BytesIO(plain), out, **context) == len(plain)
    return out.getvalue()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kinds", ["paths", "objects", "from a path", "to a path"])
def test_a_file_comes_back(kms, key, tmp_path: Path, size, kinds):
    plain, secret, again = tmp_path / "plain", tmp_path / "secret", tmp_path / "again"
    plain.write_bytes(data(size))
    context = {"tenant": "42"}
    if kinds == "paths":
        assert kms.encrypt_file(key, plain, str(secret), context, threads=2) == size
        assert kms.decrypt_file(str(secret), again, context) == size
        assert again.read_bytes() == data(size)
    elif kinds == "to a path":
        assert kms.encrypt_file(key, io.BytesIO(data(size)), secret, context) == size
        assert kms.decrypt_file(io.BytesIO(secret.read_bytes()), again, context) == size
        assert again.read_bytes() == data(size)
        assert again.stat().st_mode & 0o77 == 0, "a plaintext is for its owner"
    else:
        source = plain if kinds == "from a path" else io.BytesIO(data(size))
        middle, end = io.BytesIO(), io.BytesIO()
        kms.encrypt_file(key, source, middle, context)
        secret.write_bytes(middle.getvalue())
        assert kms.decrypt_file(secret if kinds == "from a path" else io.BytesIO(middle.getvalue()), end, context) == size
        assert end.getvalue() == data(size)
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".part")]


def test_pipes_and_short_reads_pass(kms, key):
    class Slow(io.RawIOBase):
        def __init__(self, content):
            self.content = io.BytesIO(content)

        def read(self, size=-1):
            return self.content.read(min(size, 777))

        def readable(self):
            return True

    class Short(io.RawIOBase):
        taken = b""

        def write(self, piece):
            self.taken += bytes(piece[:5000])
            return min(len(piece), 5000)

        def writable(self):
            return True

    target, plain = Short(), Short()
    kms.encrypt_file(key, Slow(data(100_000)), target)
    kms.decrypt_file(Slow(target.taken), plain)
    assert plain.taken == data(100_000)


@pytest.mark.parametrize("cut", [0, 1, 8191, 8192, 8248, 8264, 20_000, -1])
def test_a_file_that_was_cut_off_is_refused(kms, key, tmp_path, cut):
    whole = sealed(kms, key, data(40_000))
    part = whole[:cut]
    with pytest.raises((libkms.MalformedCiphertext, libkms.AuthenticationFailed)):
        kms.decrypt_file(io.BytesIO(part), io.BytesIO())
    with pytest.raises((libkms.MalformedCiphertext, libkms.AuthenticationFailed)):
        kms.open_file(io.BytesIO(part))
    (tmp_path / "part").write_bytes(part)
    with pytest.raises((libkms.MalformedCiphertext, libkms.AuthenticationFailed)):
        kms.open_file(tmp_path / "part")
    with pytest.raises((libkms.MalformedCiphertext, libkms.AuthenticationFailed)):
        kms.decrypt_file(tmp_path / "part", tmp_path / "new")
    with pytest.raises((libkms.MalformedCiphertext, libkms.AuthenticationFailed)):
        kms.decrypt_file(io.BytesIO(part), tmp_path / "new")
    assert os.listdir(tmp_path) == ["part"]


def test_a_changed_file_is_refused_and_the_context_counts(kms, key):
    whole = bytearray(sealed(kms, key, data(40_000), context={"tenant": "42"}))
    with pytest.raises(libkms.AuthenticationFailed):
        kms.decrypt_file(io.BytesIO(whole), io.BytesIO(), {"tenant": "43"})
    whole[30_000] ^= 1
    end = io.BytesIO()
    with pytest.raises(libkms.AuthenticationFailed):
        kms.decrypt_file(io.BytesIO(whole), end, {"tenant": "42"})
    assert data(40_000).startswith(end.getvalue())
    with pytest.raises(libkms.InvalidArgument, match="kms:file"):
        sealed(kms, key, b"", context={"kms:file": "x"})


def test_targets_are_kept_unless_replaced(kms, key, tmp_path):
    plain, target = tmp_path / "plain", tmp_path / "target"
    plain.write_bytes(b"new")
    target.write_bytes(b"old")
    for source in (plain, io.BytesIO(b"new")):
        with pytest.raises(libkms.FileExists):
            kms.encrypt_file(key, source, target)
        with pytest.raises(FileExistsError):
            kms.open_file(target, "xb", key=key)
    assert target.read_bytes() == b"old"
    for source in (plain, io.BytesIO(b"new")):
        kms.encrypt_file(key, source, target, replace=True)
        with kms.open_file(target) as file:
            assert file.read() == b"new"
    with pytest.raises(libkms.FileIO):
        kms.encrypt_file(key, tmp_path / "nothing", tmp_path / "new")


def test_progress_counts_and_its_exception_comes_out(kms, key, tmp_path):
    plain = tmp_path / "plain"
    plain.write_bytes(data(3_000_000))
    for source, target in ((plain, tmp_path / "one"), (plain, io.BytesIO()), (io.BytesIO(data(3_000_000)), tmp_path / "two")):
        seen: list[int] = []
        kms.encrypt_file(key, source, target, progress=seen.append, threads=1)
        assert seen == sorted(seen)
        assert seen[-1] == 3_000_000

    class Enough(Exception):
        pass

    def stop(done):
        raise Enough

    for source in (plain, io.BytesIO(data(3_000_000))):
        with pytest.raises(Enough):
            kms.encrypt_file(key, source, tmp_path / "new", progress=stop)
    assert sorted(os.listdir(tmp_path)) == ["one", "plain", "two"]


def test_re_encryption_moves_the_header_only(kms, key, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(sealed(kms, key, data(40_000)))
    before = kms.inspect_file(file)
    assert (before.is_primary, before.sequence, before.plaintext_len, len(before.file_id)) == (True, 1, 40_000, 16)
    body = file.read_bytes()[8192:]
    kms.rotate(key)
    assert not kms.inspect_file(file).is_primary
    assert kms.reencrypt_file(file)
    other = kms.create_key()
    assert kms.reencrypt_file(file, other)
    after = kms.inspect_file(file)
    assert (after.key_id, after.is_primary, after.sequence, after.file_id) == (other.id, True, 3, before.file_id)
    assert file.read_bytes()[8192:] == body
    assert kms.is_encrypted_file(file.read_bytes()[:8192])
    assert not kms.is_encrypted_file(b"")


@pytest.mark.parametrize("place", ["path", "object"])
def test_a_file_object_seeks(kms, key, tmp_path, place):
    plain, whole = data(200_000), sealed(kms, key, data(200_000))
    (tmp_path / "file").write_bytes(whole)
    with kms.open_file(tmp_path / "file" if place == "path" else io.BytesIO(whole)) as file:
        assert file.readable() and file.seekable() and not file.writable()
        assert file.read() == plain
        for at in (0, 5, 16_383, 16_384, 100_000, 199_999, 200_000, 300_000):
            assert file.seek(at) == at == file.tell()
            assert file.read(20_000) == plain[at : at + 20_000]
        assert file.seek(-3, os.SEEK_END) == 199_997
        assert file.read() == plain[-3:]
        with pytest.raises(ValueError):
            file.seek(-1)
    with pytest.raises(ValueError):
        file.read()


def test_lines_are_read_through_a_text_wrapper(kms, key):
    lines = [f"line {number}\n" for number in range(5000)]
    with io.TextIOWrapper(kms.open_file(io.BytesIO(sealed(kms, key, "".join(lines).encode())))) as file:
        assert list(file) == lines


def test_an_exception_of_the_source_is_the_cause(kms, key):
    whole = sealed(kms, key, data(100_000))

    class Bad(io.BytesIO):
        fails = False

        def read(self, size=-1):
            if self.fails:
                raise OSError("the line is cut")
            return super().read(size)

    source = Bad(whole)
    with kms.open_file(source) as file:
        assert file.read(10) == data(10)
        source.fails = True
        file.seek(99_000)
        with pytest.raises(libkms.FileIO) as raised:
            file.read(10)
        assert isinstance(raised.value.__cause__, OSError)


@pytest.mark.parametrize("size", [0, 16_383, 16_384, 100_000])
@pytest.mark.parametrize("context", [{}, {"tenant": "42", "a": "b"}])
def test_another_implementation_opens_the_body_given_the_data_key(kms, key, size, context):
    cobblestone = pytest.importorskip("cryptography.cobblestone")
    whole = sealed(kms, key, data(size), context=context)
    start, file_id = whole[:34], whole[16:32]
    blob = whole[34 : 34 + int.from_bytes(whole[32:34], "big")]
    input_key = kms.decrypt(blob, {**context, "kms:file": start.hex()})
    entries = sorted((name.encode(), value.encode()) for name, value in context.items())
    encoded = b"".join(len(text).to_bytes(2, "big") + text for entry in entries for text in entry)
    encoded = len(entries).to_bytes(2, "big") + encoded if entries else b""
    decryptor = cobblestone.Cobblestone256Decryptor(input_key, file_id + encoded)
    assert decryptor.update(whole[8192:]) + decryptor.finalize() == data(size)


class LongSource(io.BytesIO):
    def read(self, size=-1):
        return super().read(size) + b"more"


def test_a_source_that_returns_too_much_is_refused(kms, key):
    with pytest.raises(libkms.FileIO):
        kms.open_file(LongSource(sealed(kms, key, data(100_000))))


def test_writing_is_completed_by_a_clean_close_only(kms, key, tmp_path):
    path = tmp_path / "file"
    with kms.open_file(path, "xb", key=key, context={"a": "b"}) as file:
        assert file.writable() and not file.readable()
        assert file.write(b"one ") == 4
        assert file.write(memoryview(data(2_000_000))) == 2_000_000
        assert not path.exists()
        file.flush()
    with kms.open_file(path, context={"a": "b"}) as file:
        assert file.read() == b"one " + data(2_000_000)
    before = path.read_bytes()

    with pytest.raises(RuntimeError), kms.open_file(path, "wb", key=key) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_bytes() == before

    forgotten = kms.open_file(tmp_path / "forgotten", "xb", key=key)
    forgotten.write(b"half")
    del forgotten
    gc.collect()
    assert os.listdir(tmp_path) == ["file"]

    with kms.open_file(path, "wb", key=key) as file:
        file.write(b"whole")
    with pytest.raises(ValueError):
        file.write(b"more")
    file.close()
    with kms.open_file(path) as file:
        assert file.read() == b"whole"


def test_an_aborted_file_object_has_no_whole_file(kms, key):
    target = io.BytesIO()
    with pytest.raises(RuntimeError), kms.open_file(target, "wb", key=key) as file:
        file.write(data(100_000))
        raise RuntimeError
    assert not target.closed
    with pytest.raises(libkms.MalformedCiphertext):
        kms.decrypt_file(io.BytesIO(target.getvalue()), io.BytesIO())


def test_a_target_that_fails_ends_the_file(kms, key):
    class Full(io.BytesIO):
        def write(self, piece):
            raise OSError(28, "no space left")

    file = kms.open_file(Full(), "wb", key=key)
    with pytest.raises(OSError, match="no space left"):
        file.write(b"x")
    with pytest.raises(ValueError):
        file.write(b"x")
    file.close()


def test_wrong_modes_are_refused(kms, key, tmp_path):
    with pytest.raises(TypeError):
        kms.open_file(tmp_path / "new", "wb")
    with pytest.raises(TypeError):
        kms.open_file(tmp_path / "new", key=key)
    with pytest.raises(ValueError):
        kms.open_file(tmp_path / "new", "a+b", key=key)
    assert os.listdir(tmp_path) == []


def test_other_threads_run_meanwhile(kms, key, tmp_path):
    plain, turns, over = tmp_path / "plain", [0], threading.Event()
    plain.write_bytes(data(20_000_000))

    def count():
        while not over.is_set():
            turns[0] += 1

    counter = threading.Thread(target=count)
    counter.start()
    try:
        kms.encrypt_file(key, plain, tmp_path / "secret", threads=1)
        before = turns[0]
        kms.decrypt_file(tmp_path / "secret", tmp_path / "again", threads=1)
        assert turns[0] > before, "the GIL is let go"
    finally:
        over.set()
        counter.join()


def test_a_stream_of_the_parent_is_not_for_a_child(kms, key):
    file = kms.open_file(io.BytesIO(), "wb", key=key)
    file.write(b"x")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            file.write(data(20_000))
        except libkms.Forked:
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    file.close()
