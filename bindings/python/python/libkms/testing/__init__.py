"""A manual clock for tests, which only the test moves.

The package installs the pytest fixture `kms_clock`: a clock for every keystore that the test opens without another clock.
Outside of pytest, `clock.used()` does the same.

>>> clock = ManualClock(datetime(2026, 1, 1, tzinfo=timezone.utc))
>>> with clock.used(), libkms.open("memory:", root_key=bytes(range(32))) as kms:
...     key = kms.create_key(rotate_every=timedelta(days=90))
...     blob = kms.encrypt(key.id, b"4111 1111")
...     rotations = clock.travel(timedelta(days=3650), step=timedelta(days=30))
...     kms.decrypt(blob), rotations, kms.describe_key(key.id).version_count
(b'4111 1111', 40, 41)
"""

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone

from .. import _keystore, _libkms
from .._types import from_millis, to_millis

__all__ = ["ManualClock"]


class ManualClock(_libkms.ManualClock):
    """A clock that only `set`, `advance` and `travel` move. Pass it to `libkms.open(clock=...)`, or call `used`.

    A keystore with this clock has no rotation thread by default: `tick`, `travel` and encryption under an overdue key rotate.
    """

    def __new__(cls, start: datetime = datetime(2026, 1, 1, tzinfo=timezone.utc)) -> "ManualClock":
        return super().__new__(cls, to_millis(start))  # type: ignore[return-value]

    def __repr__(self) -> str:
        return f"<libkms.testing.ManualClock at {self.now().isoformat()}>"

    def now(self) -> datetime:
        """Return the time of the clock: aware, in UTC.

        >>> ManualClock().now().year
        2026
        """
        return from_millis(self._get())

    def set(self, time: datetime) -> None:
        """Move the clock to a time (aware), which may be earlier. This alone rotates no key.

        >>> clock = ManualClock()
        >>> clock.set(datetime(2031, 1, 1, tzinfo=timezone.utc))
        """
        self._set(to_millis(time))

    def advance(self, by: timedelta) -> None:
        """Move the clock forward, or back by a negative interval. This alone rotates no key.

        >>> clock = ManualClock()
        >>> clock.advance(timedelta(days=365))
        >>> clock.now().year
        2027
        """
        self._set(self._get() + by // timedelta(milliseconds=1))

    def travel(
        self, by: timedelta, *, step: timedelta = timedelta(days=1), each: Callable[[], object] | None = None
    ) -> int:
        """Move the clock forward step by step, and run a pass of every open keystore with this clock after each step.

        After the passes of a step, call `each`. Return the number of rotations.

        >>> ManualClock().travel(timedelta(days=3))
        0
        """
        if step <= timedelta(0):
            raise ValueError("step is longer than nothing")
        end, rotated = self.now() + by, 0
        while self.now() < end:
            self.set(min(end, self.now() + step))
            for keystore in list(_keystore._open_keystores):
                if _keystore._clocks.get(keystore) is self and not keystore.closed:
                    rotated += keystore.tick().rotated
            if each is not None:
                each()
        return rotated

    @contextlib.contextmanager
    def used(self) -> Iterator["ManualClock"]:
        """Make this the clock of every keystore that is opened without one, until the context ends.

        >>> with ManualClock().used(), libkms.open("memory:", root_key=bytes(range(32))) as kms:
        ...     kms.create_key().created.year
        2026
        """
        before, _keystore._default_clock = _keystore._default_clock, self
        try:
            yield self
        finally:
            _keystore._default_clock = before
