"""File objects that encrypt, decrypt and seek, and target files that appear complete or not at all."""

import io
import os
import secrets
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from . import _libkms
from .errors import FileExists, FileIO, MalformedCiphertext

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

START = 8248
"""Bytes that a decrypting stream needs first: the header, and the start of the body."""
PIECE = 1 << 20

Progress: TypeAlias = Callable[[int], object] | None


def is_path(file: object) -> bool:
    return isinstance(file, str | bytes | os.PathLike)


def write_all(target: Any, data: bytes) -> None:
    view = memoryview(data)
    while view:
        written = target.write(view)
        if written is None and isinstance(target, io.RawIOBase):
            raise BlockingIOError("the target does not block; pass one that does")
        view = view[len(view) if written is None else written :]


def read_some(source: Any, length: int) -> bytes:
    """Read at most `length` bytes; return none only at the end."""
    found = source.read(length)
    if found is None:
        raise BlockingIOError("the source does not block; pass one that does")
    return found  # type: ignore[no-any-return]


def read_full(source: Any, length: int) -> bytes:
    """Read `length` bytes; return fewer only at the end."""
    parts, left = [], length
    while left > 0 and (part := read_some(source, left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


class NewFile:
    """A new file that has a temporary name beside the target until `publish` renames it to the target."""

    def __init__(self, target: Any, replace: bool, mode: int) -> None:
        self._target, self._replace = os.fsdecode(target), replace
        if not replace and os.path.lexists(self._target):
            raise self._exists()
        folder, name = os.path.split(self._target)
        if not name:
            raise FileIO(f"{self._target!r} names no file; pass the path of one")
        self._temporary = os.path.join(folder, f".kms-{secrets.token_hex(8)}.part")
        self._folder = folder or "."
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self.file: BinaryIO = os.fdopen(os.open(self._temporary, flags, mode), "wb")

    def _exists(self) -> FileExists:
        return FileExists(f"{self._target} exists; choose another name, or ask to replace it")

    def publish(self) -> None:
        try:
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()
            if self._replace:
                os.replace(self._temporary, self._target)
            else:
                os.link(self._temporary, self._target)
        except FileExistsError as error:
            raise self._exists() from error
        finally:
            self.discard()
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def discard(self) -> None:
        self.file.close()
        try:
            os.unlink(self._temporary)
        except FileNotFoundError:
            pass  # it has its name


def seal_all(stream: _libkms._EncryptStream, source: Any, target: Any, progress: Progress) -> int:
    """Encrypt the rest of `source`; return the length of the plaintext."""
    done = 0
    while piece := read_some(source, PIECE):
        write_all(target, stream.update(piece))
        done += len(piece)
        if progress is not None:
            progress(done)
    write_all(target, stream.finish())
    return done


def open_all(start: Callable[[bytes], _libkms._DecryptStream], source: Any, target: Any, progress: Progress) -> int:
    """Decrypt the rest of `source`; return the length of the plaintext."""
    stream, length, done = start(read_full(source, START)), 0, 0
    while piece := read_some(source, PIECE):
        plaintext = stream.update(piece)
        write_all(target, plaintext)
        length += len(plaintext)
        done += len(piece)
        if progress is not None:
            progress(done)
    plaintext = stream.finish()
    write_all(target, plaintext)
    return length + len(plaintext)


class ReadAt:
    """Read a seekable file object at any offset; a lock admits one thread at a time."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._lock = threading.Lock()
        self.length: int = file.seek(0, os.SEEK_END)

    def __call__(self, offset: int, length: int) -> bytes:
        with self._lock:
            self._file.seek(offset)
            return read_full(self._file, length)


class Reader(io.RawIOBase):
    """Read the plaintext of an encrypted file at any offset; authenticate each chunk of 16 KiB before returning it."""

    def __init__(self, reader: _libkms._FileReader) -> None:
        self._reader: _libkms._FileReader | None = reader
        self._at = 0

    def _open(self) -> _libkms._FileReader:
        if self._reader is None:
            raise ValueError("I/O operation on closed file")
        return self._reader

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        found = self._open().read_at(len(view), self._at)
        view[: len(found)] = found
        self._at += len(found)
        return len(found)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        size = self._open().size
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: size}.get(whence)
        if start is None:
            raise ValueError(f"whence must be 0, 1 or 2, not {whence}")
        if start + offset < 0:
            raise ValueError(f"negative seek position {start + offset}")
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        self._open()
        return self._at

    def close(self) -> None:
        self._reader = None
        super().close()


class Writer(io.BufferedIOBase):
    """Encrypt everything that is written. Only `close`, or the end of `with` without an exception, completes the file."""

    def __init__(self, stream: _libkms._EncryptStream, target: Any, new: NewFile | None) -> None:
        self._stream, self._target, self._new, self._at = stream, target, new, 0
        self._over = False

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def write(self, data: "ReadableBuffer") -> int:
        if self._over:
            raise ValueError("write to closed file")
        view = memoryview(data)
        try:
            for at in range(0, view.nbytes, PIECE):
                piece = bytes(view.cast("B")[at : at + PIECE])
                write_all(self._target, self._stream.update(piece))
        except BaseException:
            # What is missing now must not be passed over by a later write.
            self.discard()
            raise
        self._at += view.nbytes
        return view.nbytes

    def flush(self) -> None:
        if not self._over:
            self._target.flush()

    def close(self) -> None:
        """Complete the file.

        Without this call, or after an exception, a path has no new file, and a file object has one that is cut off.
        """
        if self._over:
            return
        self._over = True
        try:
            write_all(self._target, self._stream.finish())
            self._target.flush()
            if self._new is not None:
                self._new.publish()
        finally:
            self._end()

    def discard(self) -> None:
        """Close without completing the file."""
        if not self._over:
            self._over = True
            self._end()

    def _end(self) -> None:
        if self._new is not None:
            self._new.discard()
        super().close()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def __del__(self) -> None:
        # IOBase closes what is forgotten, which would complete a file that nobody completed.
        if not getattr(self, "_over", True):
            self.discard()


def open_reader(keystore: "_libkms.Keystore", file: Any, context: Any) -> io.BufferedReader:
    if is_path(file):
        reader = keystore._open_file(os.fsdecode(file), context)
    else:
        source = ReadAt(file)
        if source.length < START:
            raise MalformedCiphertext("this is no encrypted file, or it is cut off; get the whole file")
        reader = keystore._open_source(source, source.length, context)
    return io.BufferedReader(Reader(reader), 1 << 16)


def open_writer(stream: _libkms._EncryptStream, file: Any, replace: bool) -> Writer:
    if not is_path(file):
        return Writer(stream, file, None)
    new = NewFile(file, replace, 0o666)
    return Writer(stream, new.file, new)
