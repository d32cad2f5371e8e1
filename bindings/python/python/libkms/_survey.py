"""Count blobs by key and version, and find the versions that no blob needs."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._keystore import Keystore
from ._libkms import SurveyProcess
from ._types import KeyVersion
from .errors import KeyNotFound, KeyVersionNotFound, MalformedCiphertext

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_HEADER = 40
_OVERHEAD = 80


@dataclass(frozen=True, slots=True)
class SurveyCount:
    """The number of blobs in a survey that are under one version of a key; no blob needs a version with 0."""

    key_id: str
    version: KeyVersion
    count: int


class Survey:
    """Count blobs by key and version, to find the versions that no blob needs any more.

    A survey reads only headers, as `Keystore.inspect` does: it decrypts and authenticates nothing. It reads the keystore
    when a header occurs for the first time. One thread at a time may use a survey. In a forked child, every call raises
    `Forked`, because its counts would be missing in those of the parent.

    >>> survey = libkms.Survey(kms)
    >>> survey.add(kms.encrypt(key.id, b"4111 1111"))
    >>> [(found.version.number, found.count) for found in survey.counts()]
    [(1, 1)]
    """

    def __init__(self, keystore: Keystore) -> None:
        self._keystore = keystore
        self._process = SurveyProcess()
        self._versions: dict[bytes, tuple[str, str]] = {}
        self._counts: dict[bytes, int] = {}
        self.unreadable = 0
        """The number of values that are not blobs, or whose key or version is not in the keystore."""

    def add(self, blob: "ReadableBuffer") -> None:
        """Count one blob."""
        self.update((blob,))

    def update(self, blobs: "Iterable[ReadableBuffer]") -> None:
        """Count each blob of an iterable."""
        self._process.check()
        counts = self._counts
        for blob in blobs:
            header = bytes(memoryview(blob)[:_HEADER])
            if header not in counts or memoryview(blob).nbytes < _OVERHEAD:
                if not self._is_readable(header, blob):
                    self.unreadable += 1
                    continue
                counts.setdefault(header, 0)
            counts[header] += 1

    def _is_readable(self, header: bytes, blob: "ReadableBuffer") -> bool:
        try:
            info = self._keystore.inspect(blob)
        except (KeyNotFound, KeyVersionNotFound, MalformedCiphertext):
            return False
        self._versions[header] = (info.key_id, info.version_id)
        return True

    def counts(self) -> list[SurveyCount]:
        """Return the number of blobs for every version of each key that occurred, newest version first.

        No blob of the survey needs a version whose count is 0. The primary version is needed all the same, for new blobs.
        The list omits keys that did not occur. Raises `KeyNotFound` for a key that was destroyed meanwhile.
        """
        self._process.check()
        found: dict[tuple[str, str], int] = {}
        for header, count in self._counts.items():
            ids = self._versions[header]
            found[ids] = found.get(ids, 0) + count
        return [
            SurveyCount(key_id, version, found.get((key_id, version.id), 0))
            for key_id in sorted({key_id for key_id, _ in found})
            for version in self._keystore.list_key_versions(key_id)
        ]
