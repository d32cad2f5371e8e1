"""Moving rows to the newest version of their key: what SQLAlchemy and Django share.

A program brings pages of rows and a way to replace one value by another if it is still the old one. So the program that
writes the table goes on meanwhile, nothing of what it writes is lost, and a move that was interrupted is begun again.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from ._keystore import Keystore
from .errors import Error

Row: TypeAlias = tuple[Any, bytes]
"""A primary key, and the ciphertext."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a move has come."""

    seen: int
    """Rows looked at."""
    moved: int
    """Rows whose ciphertext was replaced."""
    failed: int
    """Rows that could not be decrypted; they are left as they are."""
    total: int
    """Rows with a value when the move began."""


ProgressCallback: TypeAlias = Callable[[Progress], object]


class Stopped(Exception):
    """The move was asked to stop; what it has done stays done."""


def move(
    keystore: Keystore,
    context: Mapping[str, str] | None,
    total: int,
    pages: Iterable[Sequence[Row]],
    replace: Callable[[Sequence[tuple[Any, bytes, bytes]]], int],
    progress: ProgressCallback | None,
    stop: threading.Event | None,
) -> Progress:
    """`replace` gets (primary key, old, new) of one page and returns how many rows still had the old value."""
    state = Progress(0, 0, 0, total)
    for page in pages:
        if stop is not None and stop.is_set():
            raise Stopped(f"stopped after {state.seen} of {total} rows")
        old: list[Row] = []
        failed = 0
        for key, blob in page:
            try:
                if not keystore.inspect(blob).is_primary:
                    old.append((key, blob))
            except Error:
                failed += 1
        changes = []
        for (key, blob), new in zip(old, keystore.reencrypt_batch([blob for _, blob in old], None, context)):
            if isinstance(new, Error):
                failed += 1
            else:
                changes.append((key, blob, new))
        moved = replace(changes) if changes else 0
        state = Progress(state.seen + len(page), state.moved + moved, state.failed + failed, total)
        if progress is not None:
            progress(state)
    return state


class Background(threading.Thread):
    """A move that runs in a thread of its own. `result` waits for its end, and raises what ended it."""

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
        """Asks it to end after the page at hand; `result` then raises `Stopped`."""
        self._stop_move.set()

    def result(self, timeout: float | None = None) -> Progress:
        """Waits for the end, at most `timeout` seconds."""
        self.join(timeout)
        if self._error is not None:
            raise self._error
        if self._progress is None:
            raise TimeoutError("the move goes on")
        return self._progress
