"""Re-encrypt rows under the primary version of their key, for SQLAlchemy and Django.

The caller passes pages of rows, and a function that replaces a value only if it is still the old one. So the program may
write the table meanwhile and loses nothing, and a move that was interrupted can be started again.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from ._columns import ciphertext
from ._keystore import Keystore
from .errors import (
    AuthenticationFailed,
    Error,
    KeyNotFound,
    KeystoreCorrupt,
    KeyVersionNotFound,
    MalformedCiphertext,
    RejectedDisabled,
    RejectedPendingDeletion,
    RejectedPendingImport,
)

Row: TypeAlias = tuple[Any, Any]
"""A primary key and the stored value: a ciphertext, or a value that was written without encryption."""

Context: TypeAlias = Mapping[str, str] | None

_OF_THE_ROW = (
    AuthenticationFailed,
    KeyNotFound,
    KeystoreCorrupt,
    KeyVersionNotFound,
    MalformedCiphertext,
    RejectedDisabled,
    RejectedPendingDeletion,
    RejectedPendingImport,
)
"""Errors that concern a single row; any other error concerns the keystore and ends the move."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of `move_rows`, in rows."""

    seen: int
    """Rows that were read; each was authenticated."""
    moved: int
    """Rows whose ciphertext was replaced."""
    failed: int
    """Rows that cannot be decrypted; they stay unchanged."""
    total: int
    """Rows with a value when the move began."""
    other_key: int = 0
    """Rows that were under another key than the column's, because the alias was moved to another key."""


ProgressCallback: TypeAlias = Callable[[Progress], object]


class Stopped(Exception):
    """The move stopped on request; the rows that it re-encrypted stay re-encrypted."""


def move(
    keystore: Keystore,
    key: str,
    contexts: tuple[Context, Context],
    place: str,
    total: int,
    pages: Iterable[Sequence[Row]],
    replace: Callable[[Sequence[tuple[Any, bytes, bytes]]], int],
    progress: ProgressCallback | None,
    stop: threading.Event | None,
) -> Progress:
    """Re-encrypt the rows of all pages, and return the progress.

    `contexts` are the context of the column and a former one. `replace` takes the tuples (primary key, old, new) of one page,
    and returns how many rows still had the old value.

    Each row is re-encrypted, even if it is already under the primary version, because this alone proves that it can be
    decrypted. The plaintext stays in the library.
    """
    context, former = contexts
    # Raises now what would otherwise be counted as the failure of every row.
    keystore.encrypt(key, b"", context)
    state = Progress(0, 0, 0, total)
    for page in pages:
        if stop is not None and stop.is_set():
            raise Stopped(f"stopped after {state.seen} of {total} rows")
        # An alias may have been updated since the last page.
        key_id = keystore.describe_key(key).id
        rows: list[tuple[Any, bytes]] = []
        for pk, value in page:
            try:
                rows.append((pk, ciphertext(value, place)))
            except MalformedCiphertext:
                pass
        failed, others = len(page) - len(rows), 0
        changes = []
        for (pk, old), new in zip(rows, keystore.reencrypt_batch([old for _, old in rows], key_id, context)):
            moves = False
            if former is not None and isinstance(new, AuthenticationFailed):
                try:
                    new, moves = keystore.reencrypt(old, key_id, former, context or {}), True
                except _OF_THE_ROW as error:
                    new = error
            if isinstance(new, Error):
                if not isinstance(new, _OF_THE_ROW):
                    raise new
                failed += 1
                continue
            found = keystore.inspect(old)
            others += found.key_id != key_id
            if moves or not found.is_primary or found.key_id != key_id:
                changes.append((pk, old, new))
        moved = replace(changes) if changes else 0
        state = Progress(
            state.seen + len(page), state.moved + moved, state.failed + failed, total, state.other_key + others
        )
        if progress is not None:
            progress(state)
    return state


class Background(threading.Thread):
    """A thread that runs a move. `result` waits until it ends, and raises the exception that ended it."""

    def __init__(self, run: Callable[[threading.Event], Progress]) -> None:
        super().__init__(name="libkms-move", daemon=True)
        self._run_move = run
        self._stop_move = threading.Event()
        self._progress: Progress | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._progress = self._run_move(self._stop_move)
        except BaseException as error:
            self._error = error

    def stop(self) -> None:
        """Request a stop after the current page; `result` then raises `Stopped`."""
        self._stop_move.set()

    def result(self, timeout: float | None = None) -> Progress:
        """Wait at most `timeout` seconds for the end; return the final progress."""
        self.join(timeout)
        if self._error is not None:
            raise self._error
        if self._progress is None:
            raise TimeoutError("the move is still running; wait longer, or call stop()")
        return self._progress
