"""The class `Keystore` as users see it: the compiled one, with Python's types for times, records and lists."""

import atexit
import io
import json
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, Self, TypeAlias

from . import _files, _libkms
from ._types import (
    Alias,
    BlobInfo,
    DataKey,
    Event,
    ExportedDataKey,
    Fault,
    FileInfo,
    Health,
    ImportParameters,
    Key,
    KeyName,
    KeyVersion,
    LoggedChange,
    Origin,
    RootSlot,
    TickReport,
    Wrapping,
    from_millis,
    to_millis,
    to_seconds,
)

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_PAGE = 256
File: TypeAlias = str | os.PathLike[str] | BinaryIO
_DAY = timedelta(days=1)


class RootCallback(Protocol):
    """Wraps and unwraps the root key (32 bytes) with a key that stays in an HSM, a TPM or a cloud KMS.

    Both must use authenticated symmetric encryption that binds `aad`, such as AES-256-GCM. Never use public-key encryption:
    an attacker who can write the keystore's file could encrypt a root key of their own, and put a keystore in the place of
    yours. `aad` is ASCII of at most 128 bytes that names purpose and keystore; `unwrap` raises unless it is the same.

    `wrap` is called when a root slot is made. `unwrap` then tries the result, once with another `aad`, for which it must
    raise. Each open calls `unwrap` for each callback slot until one opens the keystore; a forked child calls neither. What
    they raise is the cause of the `RootKeyUnavailable` that the call raises.
    """

    def wrap(self, root: bytes, aad: bytes, /) -> "ReadableBuffer": ...

    def unwrap(self, wrapped: bytes, aad: bytes, /) -> "ReadableBuffer": ...


class AnchorCallback(Protocol):
    """Keeps the anchor's record of 104 bytes, which holds no secret, outside of the library: a TPM, a remote service.

    `get` returns the record that was put last, None if there is none yet: at each open and before each change. `put` keeps
    one for good, after each change and before the call returns. What they raise is the cause of the `AnchorUnavailable`
    that the call raises. Calls of several threads and processes may overtake each other, which leaves the anchor behind by
    what they were changing.
    """

    def get(self) -> "ReadableBuffer | None": ...

    def put(self, record: bytes, /) -> object: ...


class Keystore(_libkms.Keystore):
    """An open keystore; `open` makes it, `close` or the end of `with` ends it.

    Share one between all threads. A forked child may use it, and close it; a "memory:" one raises `Forked` there.
    It can't be pickled: open it where it is needed.

    Calls raise subclasses of `libkms.Error`; each method names those that belong to it. Any call can also raise
    `KeystoreIO`, `KeystoreBusy`, `KeystoreCorrupt`, `KeystoreReplaced`, and one that changes something
    `KeystoreReadOnly`. A call that fails has changed nothing, but after `KeystoreIO` look before you repeat it.
    """

    __slots__ = ("__weakref__", "_location")
    _location: str

    def __init__(self, location: str, **options: Any) -> None:
        self._location = location
        _open_keystores.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<libkms.Keystore {self._location!r}{' closed' if self.closed else ''}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("a Keystore can't be pickled or copied; open it in the process that needs it, or fork")

    def create_key(
        self, *, description: str = "", rotate_every: timedelta | None = None, origin: Origin = Origin.KMS
    ) -> Key:
        """Create a customer master key; when this returns it is on disk.

        `rotate_every` turns automatic rotation on: whole seconds, 1 second to 3650 days. The key is Enabled and has its
        first version; with `Origin.EXTERNAL` it waits for its import. Raises `InvalidArgument`, `LimitExceeded` (8192
        characters of description), `UnsupportedOperation` for an EXTERNAL key with rotation.

        >>> kms.create_key(description="orders", rotate_every=timedelta(days=90)).rotate_every
        datetime.timedelta(days=90)
        """
        seconds = None if rotate_every is None else to_seconds(rotate_every, "rotate_every")
        return Key._of(self._create_key(description, Origin(origin) is Origin.EXTERNAL, seconds))

    def create_keys(
        self,
        count: int,
        *,
        description: str = "",
        rotate_every: timedelta | None = None,
        origin: Origin = Origin.KMS,
    ) -> list[Key]:
        """Create 1 to 1000 customer master keys alike: all of them, or none. It costs little more than to make one.

        Otherwise as `create_key`.

        >>> len({made.id for made in kms.create_keys(3, rotate_every=timedelta(days=90))})
        3
        """
        seconds = None if rotate_every is None else to_seconds(rotate_every, "rotate_every")
        made = self._create_keys(count, description, Origin(origin) is Origin.EXTERNAL, seconds)
        return [Key._of(fields) for fields in made]

    def describe_key(self, key: KeyName) -> Key:
        """What a key is; `key` is a key id, "alias/NAME" or a `Key`. Works in every state.

        Raises `KeyNotFound`, `AliasNotFound`.

        >>> kms.describe_key(key.id).version_count
        1
        """
        return Key._of(self._describe_key(key))

    def list_keys(self) -> Iterator[Key]:
        """All keys in the order of their ids, read page by page.

        Keys made or destroyed meanwhile may or may not be seen. A damaged key is passed over, and `KeystoreCorrupt` is
        raised at the end.

        >>> [found.id for found in kms.list_keys()] == [key.id]
        True
        """
        after: str | None = None
        damaged: Exception | None = None
        while True:
            page, error = self._list_keys(after, _PAGE)
            damaged = damaged or error
            for fields in page:
                yield Key._of(fields)
            if not page or (len(page) < _PAGE and error is None):
                break
            after = page[-1]["id"]
        if damaged is not None:
            raise damaged

    def schedule_key_deletion(self, key_id: KeyName, waiting_period: timedelta = timedelta(days=30)) -> None:
        """Start a waiting period of 7 to 366 whole days, after which the key and all encrypted under it are lost.

        Until then `cancel_key_deletion` takes it back. A clock can be wrong, so the waiting period is also counted by the
        clock of the machine's boot, and the date confirmed twice, an hour apart: a wrong clock only delays it. Raises
        `DeletionProtected`, `StateModifiedFailed` if its deletion is pending already, `InvalidArgument`.

        >>> kms.schedule_key_deletion(key.id, timedelta(days=7))
        >>> kms.describe_key(key.id).state
        <KeyState.PENDING_DELETION: 3>
        """
        if to_seconds(waiting_period, "waiting_period") % 86_400:
            raise ValueError("waiting_period has whole days")
        self._schedule_key_deletion(key_id, waiting_period // _DAY)

    def set_deletion_protection(self, key_id: KeyName, enable: bool, reason: str = "") -> None:
        """Turn deletion protection on, with a reason, or off: while it is on, the key's deletion can't be scheduled.

        Raises `RejectedPendingDeletion`, `LimitExceeded`.

        >>> kms.set_deletion_protection(key.id, True, "holds invoices")
        >>> kms.schedule_key_deletion(key.id)
        Traceback (most recent call last):
        libkms.errors.DeletionProtected: key ... is protected from deletion; turn the protection off ... first
        """
        self._set_deletion_protection(key_id, reason if enable else None)

    def create_service_key(self, name: str) -> Key:
        """The key of a named part of the program, made on first use; its alias is "alias/acs/NAME".

        It encrypts like any other, but has one version for life and can't be deleted. Raises `InvalidArgument`.

        >>> kms.create_service_key("sessions").service_managed
        True
        """
        return Key._of(self._create_service_key(name))

    def update_rotation_policy(self, key_id: KeyName, rotate_every: timedelta | None) -> None:
        """Turn automatic rotation on, every 1 second to 3650 days in whole seconds, or off (None).

        The interval counts from the creation of the newest version; if that makes the key overdue, it rotates before this
        returns. Raises `RejectedDisabled` and the other `Rejected...`, `UnsupportedOperation` for imported material.

        >>> kms.update_rotation_policy(key.id, timedelta(days=30))
        >>> kms.describe_key(key.id).rotation
        <Rotation.ENABLED: 1>
        """
        seconds = None if rotate_every is None else to_seconds(rotate_every, "rotate_every")
        self._update_rotation_policy(key_id, seconds)

    def tick(self) -> TickReport:
        """Perform all due work now: for programs without the rotation thread.

        >>> kms.tick()
        TickReport(rotated=0, destroyed=0, damaged=0, versions_destroyed=0)
        """
        return TickReport(*self._tick())

    def list_key_versions(self, key: KeyName) -> Iterator[KeyVersion]:
        """All versions of a key (a key id, "alias/NAME" or a `Key`), newest first, read page by page. Works in every state.

        Raises `KeyNotFound`, `AliasNotFound`, `KeystoreCorrupt` where a version is missing.

        >>> [version.number for version in kms.list_key_versions(key.id)]
        [1]
        """
        before: int | None = None
        while True:
            page = self._list_key_versions(key, before, _PAGE)
            yield from map(KeyVersion._of, page)
            if len(page) < _PAGE:
                break
            before = page[-1][1]

    def describe_key_version(self, key: KeyName, version_id: str) -> KeyVersion:
        """What is known of one version of a key (a key id, "alias/NAME" or a `Key`).

        Raises `KeyNotFound`, `KeyVersionNotFound`.

        >>> kms.describe_key_version(key.id, key.primary_version_id).is_primary
        True
        """
        return KeyVersion._of(self._describe_key_version(key, version_id))

    def schedule_key_version_deletion(
        self, key_id: KeyName, version_id: str, waiting_period: timedelta = timedelta(days=30)
    ) -> None:
        """Start a waiting period of 7 to 366 whole days, after which a Disabled version is destroyed.

        Until then `cancel_key_version_deletion` cancels. The period is counted as in `schedule_key_deletion`. After it,
        decrypting what the version encrypted raises `KeyVersionDestroyed`: move it with `reencrypt` first. Raises
        `StateModifiedFailed` unless the version is Disabled, `DeletionProtected`, `KeyVersionDestroyed`,
        `UnsupportedOperation` for imported material, `InvalidArgument`.

        >>> old = kms.describe_key(key.id).primary_version_id
        >>> _ = kms.rotate(key.id)
        >>> kms.disable_key_version(key.id, old)
        >>> kms.schedule_key_version_deletion(key.id, old, timedelta(days=90))
        >>> kms.describe_key_version(key.id, old).state
        <VersionState.PENDING_DELETION: 3>
        """
        if to_seconds(waiting_period, "waiting_period") % 86_400:
            raise ValueError("waiting_period has whole days")
        self._schedule_key_version_deletion(key_id, version_id, waiting_period // _DAY)

    def changes(
        self,
        key_id: KeyName | None = None,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        after: int | None = None,
    ) -> Iterator[LoggedChange]:
        """The entries of the change log, oldest first, read page by page.

        Each change of the keystore has one entry. Management calls that were refused have one each, up to 10 a second for each
        handle. Encryption and decryption are not logged. Only entries of `key_id` (the key need not exist any more), of the
        time `start` or later, before the time `end` (both aware), after the generation `after`: to continue, pass that of the
        last entry seen.

        The log is checked as it is read. Raises `KeystoreCorrupt` if an entry was altered, moved or removed.

        >>> kms.disable_key(key.id)
        >>> [change.action for change in kms.changes(key.id)]
        ['CreateKey', 'DisableKey']
        """
        start_ms = None if start is None else to_millis(start)
        end_ms = None if end is None else to_millis(end)
        while True:
            page = self._list_changes(key_id, start_ms, end_ms, after, _PAGE)
            yield from map(LoggedChange._of, page)
            if len(page) < _PAGE:
                break
            after = page[-1]["generation"]

    def cut_changes(self, before: datetime) -> int:
        """Remove the entries of the change log that are older than `before` (aware), and return how many there were.

        The rest of the log continues from a checkpoint, and the cut has an entry. Entries are removed from the oldest on, up to
        the first that is not older. Raises `KeystoreCorrupt` for a log that was altered, which is not cut.

        >>> kms.cut_changes(datetime(2020, 1, 1, tzinfo=timezone.utc))
        0
        """
        return self._cut_changes(to_millis(before))

    def inspect(self, blob: "ReadableBuffer") -> BlobInfo:
        """Which key and version a ciphertext is under, and whether that version is still the primary.

        Nothing is decrypted or authenticated. Raises `MalformedCiphertext`, `KeyNotFound`, `KeyVersionNotFound`.

        >>> kms.inspect(kms.encrypt(key.id, b"4111 1111")).is_primary
        True
        """
        algorithm, context_type, key_id, version_id, is_primary = self._inspect(blob)
        return BlobInfo(algorithm, context_type != 0, key_id, version_id, is_primary)

    def encrypt_file(
        self,
        key: KeyName,
        source: File,
        target: File,
        context: Mapping[str, str] | None = None,
        *,
        threads: int = 0,
        replace: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> int:
        """Encrypt a file of any size under the primary version of a key; return the length of the plaintext.

        `source` and `target` are paths or binary file objects. A path as the target gets a complete file or none; unless
        `replace`, it must not exist (`FileExists`). Between two paths, `threads` work (0: one per CPU, at most 4).
        `progress` is called with the number of bytes done; what it raises ends the call. Decryption needs the same context,
        in which the name "kms:file" is reserved. Raises what `encrypt` does, and `FileIO`.

        >>> kms.encrypt_file(key.id, folder / "plain", folder / "sealed.kms")
        13
        """
        if _files.is_path(source) and _files.is_path(target):
            paths = os.fsdecode(source), os.fsdecode(target)  # type: ignore[arg-type]
            return self._encrypt_file(key, paths, context, (threads, replace), progress)
        stream = self._encrypt_stream(key, context)
        return self._copied(source, target, replace, 0o666, lambda a, b: _files.seal_all(stream, a, b, progress))

    def decrypt_file(
        self,
        source: File,
        target: File,
        context: Mapping[str, str] | None = None,
        *,
        threads: int = 0,
        replace: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> int:
        """Decrypt a file that `encrypt_file` or `open_file` wrote; return the length of the plaintext.

        The arguments are those of `encrypt_file`. A file object as the target gets only authenticated bytes, but whether
        they are all is known only when this returns: after an exception, discard them. Raises what `decrypt` does, of which
        `MalformedCiphertext` stands also for a file that was cut off, `FileIO` and `FileExists`.

        >>> size = kms.encrypt_file(key.id, folder / "plain", folder / "sealed.kms")
        >>> kms.decrypt_file(folder / "sealed.kms", folder / "again")
        13
        """
        if _files.is_path(source) and _files.is_path(target):
            paths = os.fsdecode(source), os.fsdecode(target)  # type: ignore[arg-type]
            return self._decrypt_file(paths, context, (threads, replace), progress)
        start = lambda head: self._decrypt_stream(head, context)  # noqa: E731
        return self._copied(source, target, replace, 0o600, lambda a, b: _files.open_all(start, a, b, progress))

    def _copied(
        self, source: Any, target: Any, replace: bool, mode: int, copy: Callable[[Any, Any], int]
    ) -> int:
        if _files.is_path(source):
            with io.open(source, "rb", buffering=0) as file:
                return self._copied(file, target, replace, mode, copy)
        if not _files.is_path(target):
            return copy(source, target)
        new = _files.NewFile(target, replace, mode)
        try:
            done = copy(source, new.file)
            new.publish()
        finally:
            new.discard()
        return done

    def inspect_file(self, path: str | os.PathLike[str]) -> FileInfo:
        """Which key and version protect an encrypted file, and the length of its plaintext.

        Nothing is decrypted or authenticated. Raises what `inspect` does, and `FileIO`.

        >>> size = kms.encrypt_file(key.id, folder / "plain", folder / "shown.kms")
        >>> kms.inspect_file(folder / "shown.kms").plaintext_len
        13
        """
        return FileInfo(*self._inspect_file(path))

    @staticmethod
    def is_encrypted_file(start: "ReadableBuffer") -> bool:
        """Whether the first 8192 bytes of a file are those of an encrypted file; fewer may not be enough.

        >>> kms.is_encrypted_file(b"%PDF-1.7")
        False
        """
        return _libkms.is_encrypted_file(start)

    def open_file(
        self,
        file: File,
        mode: str = "rb",
        *,
        key: KeyName | None = None,
        context: Mapping[str, str] | None = None,
    ) -> BinaryIO:
        """Open an encrypted file, a path or a binary file object, as a file object of its plaintext.

        "rb" reads at any place (`seek`); a file object must be seekable then. "xb" and "wb" write under `key`: "xb" makes a
        new file (`FileExists`), "wb" replaces one. Only `close`, or the end of `with` without an exception, completes the
        file: otherwise the path keeps what it had, and a file object has a file that is cut off, which no call decrypts.
        A file object stays open. Each 16 KiB are authenticated before they are returned; opening authenticates the length.

        >>> with kms.open_file(folder / "notes.kms", "xb", key=key.id) as file:
        ...     count = file.write(b"one line\\nanother\\n")
        >>> with kms.open_file(folder / "notes.kms") as file:
        ...     place = file.seek(9)
        ...     file.read()
        b'another\\n'
        """
        if mode in ("r", "rb"):
            if key is not None:
                raise TypeError("a file that is read names its key itself; leave `key` out")
            return _files.open_reader(self, file, context)
        if mode not in ("w", "wb", "x", "xb"):
            raise ValueError(f"the mode must be 'rb', 'wb' or 'xb', not {mode!r}")
        if key is None:
            raise TypeError("writing needs `key`")
        return _files.open_writer(self._encrypt_stream(key, context), file, mode.startswith("w"))  # type: ignore[return-value]

    def generate_data_key(
        self, key: KeyName, number_of_bytes: int = 32, context: Mapping[str, str] | None = None
    ) -> DataKey:
        """A random key of 1 to 1024 bytes for the program to encrypt with itself, and its ciphertext under `key`.

        Store `blob` beside your data; `decrypt` returns the key. Raises what `encrypt` does, `InvalidArgument`.

        >>> data_key = kms.generate_data_key(key.id)
        >>> kms.decrypt(data_key.blob) == data_key.plaintext
        True
        """
        return DataKey(*self._generate_data_key(key, number_of_bytes, context))

    def generate_and_export_data_key(
        self,
        key: KeyName,
        public_key: "ReadableBuffer",
        wrapping: Wrapping,
        number_of_bytes: int = 32,
        context: Mapping[str, str] | None = None,
    ) -> ExportedDataKey:
        """A data key that only the holder of an RSA-2048 private key can read.

        `public_key` is a SubjectPublicKeyInfo in DER. At most 245, 214 or 190 bytes fit, by `wrapping`, else
        `LimitExceeded`. Raises what `encrypt` does.

        >>> public_key = kms.get_parameters_for_import(external.id, Wrapping.OAEP_SHA_256).public_key
        >>> len(kms.generate_and_export_data_key(key.id, public_key, Wrapping.OAEP_SHA_256).exported)
        256
        """
        made = self._generate_and_export_data_key(key, public_key, Wrapping(wrapping), number_of_bytes, context)
        return ExportedDataKey(*made)

    def export_data_key(
        self,
        blob: "ReadableBuffer",
        public_key: "ReadableBuffer",
        wrapping: Wrapping,
        context: Mapping[str, str] | None = None,
    ) -> bytes:
        """Decrypt a data key and wrap it with an RSA-2048 public key, without showing it; 256 bytes out.

        Raises what `decrypt` does, `LimitExceeded`.

        >>> public_key = kms.get_parameters_for_import(external.id, Wrapping.OAEP_SHA_256).public_key
        >>> blob = kms.generate_data_key_without_plaintext(key.id)
        >>> len(kms.export_data_key(blob, public_key, Wrapping.OAEP_SHA_256))
        256
        """
        return self._export_data_key(blob, public_key, Wrapping(wrapping), context)

    def list_aliases(self, key_id: KeyName | None = None) -> Iterator[Alias]:
        """The aliases of one key, or of all, in the order of their names, read page by page.

        Raises `KeyNotFound`, `UnsupportedAlias`.

        >>> kms.create_alias(key.id, "alias/cards")
        >>> [alias.name for alias in kms.list_aliases()]
        ['alias/cards']
        """
        after: str | None = None
        while True:
            page = self._list_aliases(key_id, after, _PAGE)
            for name, named in page:
                yield Alias(name, named)
            if len(page) < _PAGE:
                break
            after = page[-1][0]

    def tag_resource(self, key_id: KeyName, tags: Mapping[str, str]) -> None:
        """Set tags of a key; a name that it has already gets the new value. At most 10 tags, else `LimitExceeded`.

        A name has 1 to 128, a value at most 256 characters of a-z A-Z 0-9 / _ - . + = @ : (else `InvalidArgument`).
        Raises `RejectedPendingDeletion`.

        >>> kms.tag_resource(key.id, {"team": "payments"})
        >>> kms.list_resource_tags(key.id)
        {'team': 'payments'}
        """
        self._tag_resource(key_id, list(tags.items()))

    def untag_resource(self, key_id: KeyName, names: Iterable[str]) -> None:
        """Remove tags of a key by name; a name that it doesn't have is passed over.

        Raises `RejectedPendingDeletion`.

        >>> kms.untag_resource(key.id, ["team"])
        """
        if isinstance(names, str):
            raise TypeError("names is a list of names, not one str")
        self._untag_resource(key_id, list(names))

    def list_resource_tags(self, key_id: KeyName) -> dict[str, str]:
        """A key's tags, in the order of their names. Works in every state. Raises `KeyNotFound`.

        >>> kms.list_resource_tags(key.id)
        {}
        """
        return dict(self._list_resource_tags(key_id))

    def get_parameters_for_import(self, key_id: KeyName, wrapping: Wrapping) -> ImportParameters:
        """A fresh public key and token for importing material into an EXTERNAL key, good for 24 hours.

        Raises `UnsupportedOrigin`, `KeyNotFound`.

        >>> kms.get_parameters_for_import(external.id, Wrapping.OAEP_SHA_256).expires - now
        datetime.timedelta(days=1)
        """
        public_key, token, expires = self._get_parameters_for_import(key_id, Wrapping(wrapping))
        return ImportParameters(public_key, token, from_millis(expires))

    def import_key_material(
        self, key_id: KeyName, wrapped: "ReadableBuffer", token: "ReadableBuffer", expires: datetime | None = None
    ) -> None:
        """Import 32 bytes of material, wrapped as `get_parameters_for_import` was asked to.

        `expires`, an aware datetime, is when it is refused, and then erased; None: never. Only the identical material is
        ever accepted again. Raises `InvalidKeyMaterial`, `InvalidImportToken`, `ExpiredImportToken`, `UnsupportedOrigin`,
        `StateModifiedFailed` while the key's deletion is pending.

        >>> kms.import_key_material(external.id, b"...", b"...")
        Traceback (most recent call last):
        libkms.errors.InvalidImportToken: the import token is not for this key of this keystore, or was changed; ...
        """
        self._import_key_material(key_id, wrapped, token, None if expires is None else to_millis(expires))

    def import_raw_key_material(
        self, key_id: KeyName, material: "ReadableBuffer", expires: datetime | None = None
    ) -> None:
        """Import 32 bytes of material that this program has in the clear; otherwise as `import_key_material`.

        >>> kms.import_raw_key_material(external.id, bytes(range(32)), expires=now + timedelta(days=365))
        """
        self._import_raw_key_material(key_id, material, None if expires is None else to_millis(expires))

    def health(self) -> Health:
        """Return degraded-operation flags and counters.

        >>> kms.health().thread_stopped
        False
        """
        return Health(**self._health())

    def verify(self) -> list[Fault]:
        """Check every row of the keystore and return its faults; an empty list if all is well.

        Each row must be authentic, the newest copy and found by each index, none may be missing or added, and all key
        material can be unsealed. It may run beside everything else: it reads for a few milliseconds at a time. What another
        process makes meanwhile may be left out.

        >>> kms.verify()
        []
        """
        return [Fault._of(fields) for fields in self._verify()]

    def change_root(
        self,
        *,
        root_key: "ReadableBuffer | None" = None,
        root_key_file: str | os.PathLike[str] | None = None,
        root_passphrase: "str | ReadableBuffer | None" = None,
        root_callback: RootCallback | None = None,
        create: bool = False,
    ) -> None:
        """Make one root, passed as for `open`, the only one that opens the keystore: all root slots are replaced.

        Open handles keep working. `create` makes a root key file that isn't there. The new root is tried before anything
        is changed. Nothing is sealed again, so it takes no longer for many keys; copies of the file made before are still
        opened by the old roots. Raises `RootSlotExists` for a root that opens the keystore already (a callback may be the
        same, to wrap the root key again), `RootKeyUnavailable`, `MissingParameter` without a root, `InvalidArgument` with
        two.

        >>> with libkms.open(folder / "keys.db", root_key=bytes(range(32)), create=True) as kms:
        ...     kms.change_root(root_passphrase="correct horse battery staple")
        >>> libkms.open(folder / "keys.db", root_key=bytes(range(32)))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        libkms.errors.WrongRootKey: this root key does not open the keystore ...keys.db, or the keystore was altered; ...
        """
        if isinstance(root_passphrase, str):
            root_passphrase = root_passphrase.encode()
        self._change_root(root_key, root_key_file, root_passphrase, root_callback, create)

    def add_root_slot(
        self,
        *,
        root_key: "ReadableBuffer | None" = None,
        root_key_file: str | os.PathLike[str] | None = None,
        root_passphrase: "str | ReadableBuffer | None" = None,
        root_callback: RootCallback | None = None,
        create: bool = False,
        label: str | None = None,
    ) -> str:
        """Let another root, passed as for `open`, open the keystore too; returns the id of its slot.

        A keystore has at most 8 root slots, of any kind. `label` is a name for the list, at most 255 bytes, stored in the
        clear. As for `change_root`, the root is tried first and nothing is sealed again. Raises `RootSlotExists` for a root
        that opens the keystore already, `LimitExceeded` for a ninth.

        >>> with libkms.open(folder / "keys.db", root_key=bytes(range(32)), create=True) as kms:
        ...     slot_id = kms.add_root_slot(root_passphrase="correct horse battery staple", label="recovery")
        >>> with libkms.open(folder / "keys.db", root_passphrase="correct horse battery staple") as kms:
        ...     [(slot.kind.name, slot.label, slot.opened_this_handle) for slot in kms.list_root_slots()]
        [('KEY', None, False), ('PASSPHRASE', 'recovery', True)]
        """
        if isinstance(root_passphrase, str):
            root_passphrase = root_passphrase.encode()
        return self._add_root_slot(label, root_key, root_key_file, root_passphrase, root_callback, create)

    def list_root_slots(self) -> list[RootSlot]:
        """The roots that open the keystore, in the order in which they were added.

        >>> [(slot.label, slot.opened_this_handle) for slot in kms.list_root_slots()]
        [(None, True)]
        """
        return [RootSlot._of(fields) for fields in self._list_root_slots()]

    def call(self, action: str, request: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Carry out an operation by the name of its action, with JSON as dicts.

        The names are those of Alibaba Cloud KMS (API 2016-01-20), whose semantics libkms keeps; `ListActions` returns them
        all, with their parameters. A rotation is `CreateKeyVersion`.

        Plaintext is Base64 text, both ways. Raises the operation's exceptions, with the service's error body in
        `response`; `UnknownAction`, `InvalidArgument` for a parameter that the action doesn't know.

        >>> kms.call("DescribeKey", {"KeyId": key.id})["KeyMetadata"]["KeyState"]
        'Enabled'
        """
        text, error = self._call(action, json.dumps({} if request is None else dict(request)))
        body: dict[str, Any] = json.loads(text) if text else {}
        if error is not None:
            error.response = body
            raise error
        return body


_open_keystores: "weakref.WeakSet[Keystore]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Rotation threads and calls of daemon threads must have ended when the interpreter takes its objects down."""
    global _ending
    _ending = True
    for keystore in list(_open_keystores):
        keystore.close()
    _libkms.await_calls(10_000)


_ending = False
os.register_at_fork(after_in_child=_libkms.forget_other_threads)


# What `libkms.testing` needs: the clock of keystores that are opened without one, and who follows which.
_default_clock: "_libkms.ManualClock | None" = None
_clocks: "weakref.WeakKeyDictionary[Keystore, _libkms.ManualClock]" = weakref.WeakKeyDictionary()


def open(
    location: str | os.PathLike[str],
    *,
    root_key: "ReadableBuffer | None" = None,
    root_key_file: str | os.PathLike[str] | None = None,
    root_passphrase: "str | ReadableBuffer | None" = None,
    root_callback: RootCallback | None = None,
    anchor_file: str | os.PathLike[str] | None = None,
    anchor_callback: AnchorCallback | None = None,
    require_backup: timedelta | bool = False,
    create: bool = False,
    read_only: bool = False,
    rotation_thread: bool | None = None,
    busy_timeout: timedelta = timedelta(seconds=5),
    cache_keys: int = 32_768,
    clock: "_libkms.ManualClock | Callable[[], datetime] | None" = None,
    on_event: Callable[[Event], object] | None = None,
    actor: str | None = None,
) -> Keystore:
    """Open the keystore at `location`: a path, "sqlite:PATH", or "memory:" for one that lives as long as its handle.

    Exactly one root key: 32 bytes (`root_key`), a file of 32 bytes that only its owner (this user or root) and its group
    can read, a passphrase (Argon2id:
    a fraction of a second), or a `RootCallback`. `create` makes a keystore that isn't there, and its root key file.
    `anchor_file`, on another volume, or an `AnchorCallback` holds the newest generation, so that an older copy of the whole
    keystore is refused with `KeystoreRolledBack`; for a keystore that is there already, and to accept a restored backup,
    make the file empty.
    `require_backup` lets a due rotation wait until a recorded backup has the newest version of the key: `True` for up to 7
    days, a timedelta for up to that (at most 30 days, in whole seconds); then the key rotates all the same, with the event
    `ROTATED_WITHOUT_BACKUP`. Set it in each process. `rotate` never waits.
    `rotation_thread` is on unless a clock is set; without it, call `tick`. `busy_timeout` (up to an hour) is how long a
    call waits for other processes. `cache_keys` keys, and as many versions, are kept in memory.

    `clock` returns the time as an aware datetime, for tests (see `libkms.testing`). It is asked often and from any thread;
    an exception that it raises ends the call, which has then changed nothing. `on_event` receives rotations, destroyed keys, and
    clocks and disks that misbehave; what it raises goes to `sys.unraisablehook`. With the rotation thread, a separate
    thread delivers the events in order; up to 1024 wait, and `close` waits for them up to 5 s. Without it, the thread of the
    call that made an event delivers it, before that call returns. Both may use the keystore, but not close it.

    `actor` is a label that the change log has with each change of this handle: a user, a job. At most 255 bytes of printable
    text, stored in the clear.

    Raises `KeystoreNotFound`, `WrongRootKey`, `RootKeyUnavailable`, `NotAKeystore`, `KeystoreTooNew`, `MissingParameter`
    without a root key, `InvalidArgument` with two, `AnchorUnavailable`.

    >>> with libkms.open("memory:", root_key=bytes(range(32))) as kms:
    ...     key = kms.create_key(description="orders", rotate_every=timedelta(days=90))
    ...     kms.decrypt(kms.encrypt(key.id, b"4111 1111"))
    b'4111 1111'
    """
    if _ending and threading.current_thread() is not threading.main_thread():
        raise RuntimeError("the interpreter is ending")
    if isinstance(root_passphrase, str):
        root_passphrase = root_passphrase.encode()
    timeout_ms = busy_timeout // timedelta(milliseconds=1)
    if not 0 <= timeout_ms <= 3_600_000:
        raise ValueError("busy_timeout is at most an hour")
    if cache_keys < 1:
        raise ValueError("cache_keys is at least 1")
    longest = timedelta(days=7 if require_backup else 0) if isinstance(require_backup, bool) else require_backup
    if not timedelta(0) <= longest <= timedelta(days=30):
        raise ValueError("require_backup is at most 30 days")
    if longest % timedelta(seconds=1):
        raise ValueError("require_backup is a whole number of seconds")
    source: "_libkms.ManualClock | Callable[[], int] | None"
    if clock is None:
        source = _default_clock
    elif isinstance(clock, _libkms.ManualClock):
        source = clock
    else:
        now = clock
        source = lambda: to_millis(now())  # noqa: E731
    keystore = Keystore(
        os.fspath(location),
        root_key=root_key,
        root_key_file=root_key_file,
        root_passphrase=root_passphrase,
        root_callback=root_callback,
        anchor_file=anchor_file,
        anchor_callback=anchor_callback,
        require_backup_s=longest // timedelta(seconds=1),
        create=create,
        read_only=read_only,
        rotation_thread=rotation_thread,
        busy_timeout_ms=timeout_ms,
        cache_keys=cache_keys,
        clock=source,
        on_event=None if on_event is None else _listener(on_event),
        actor=actor,
    )
    if isinstance(source, _libkms.ManualClock):
        _clocks[keystore] = source
    return keystore


def _listener(on_event: Callable[[Event], object]) -> Callable[..., None]:
    def deliver(*fields: Any) -> None:
        on_event(Event._of(*fields))

    return deliver
