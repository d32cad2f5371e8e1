"""The public class `Keystore`: the compiled class, with Python types for times, records and lists."""

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
    """Wrap and unwrap the store root key (32 bytes) with a key that stays in an HSM, a TPM or a cloud KMS.

    The library makes the store root key together with the keystore, and derives from it the keys that seal the keystore.
    A root slot holds a copy of it that one root key wrapped.

    Both methods must use authenticated symmetric encryption that binds `aad`, such as AES-256-GCM. Never use public-key
    encryption: with the public key, an attacker who can write the keystore's file could wrap a store root key that they
    chose. The program would then open the attacker's keystore in place of its own.

    `aad` is ASCII text of at most 128 bytes that names the purpose and the keystore. `unwrap` must raise unless `aad` is
    the same as in `wrap`.

    The library calls `wrap` when it makes a root slot. It then tests `unwrap` with the result: with another `aad`, it must
    raise; with the same, it must succeed. Each open calls `unwrap` for one callback slot after the other, until one opens
    the keystore. A forked child calls neither method. An exception of either becomes the cause of `RootKeyUnavailable`.
    """

    def wrap(self, root: bytes, aad: bytes, /) -> "ReadableBuffer": ...

    def unwrap(self, wrapped: bytes, aad: bytes, /) -> "ReadableBuffer": ...


class AnchorCallback(Protocol):
    """Keep the record of an anchor outside of the library, for example in a TPM or a remote service.

    An anchor records the newest generation of a keystore, so that the library refuses an older copy of the whole file. The
    record has 104 bytes and holds no secret.

    The library calls `get` at each open and before each change; return the record of the last `put`, or None if there is
    none. It calls `put` after each change, before the changing call returns; store the record durably. An exception of
    either becomes the cause of `AnchorUnavailable`.

    Calls of several threads and processes may run out of order, so that an older record replaces a newer one. The anchor is
    then behind by the changes of these calls.
    """

    def get(self) -> "ReadableBuffer | None": ...

    def put(self, record: bytes, /) -> object: ...


class Keystore(_libkms.Keystore):
    """An open keystore, called a handle. `libkms.open` returns it; `close` or the end of `with` closes it.

    All threads may share one handle. A forked child may use and close its parent's handle, but a "memory:" keystore raises
    `Forked` there. A handle cannot be pickled: open the keystore in each process that needs it.

    Calls raise subclasses of `libkms.Error`, and each method names its own. Any call can also raise `KeystoreIO`,
    `KeystoreUnavailable`, `KeystoreBusy`, `KeystoreCorrupt` or `KeystoreReplaced`; a call that changes something, also
    `KeystoreReadOnly` and, with an anchor, `AnchorUnavailable` and `KeystoreRolledBack`. A call that fails has changed
    nothing, with three exceptions: after `KeystoreIO`, `KeystoreUnavailable` or `AnchorUnavailable`, read the keystore
    before you repeat the call.
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
        return f"<libkms.Keystore {_libkms.shown_location(self._location)!r}{' closed' if self.closed else ''}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("a Keystore can't be pickled or copied; open it in the process that needs it, or fork")

    def create_key(
        self, *, description: str = "", rotate_every: timedelta | None = None, origin: Origin = Origin.KMS
    ) -> Key:
        """Create a customer master key; it is on disk when this returns.

        `rotate_every` turns automatic rotation on: whole seconds, from 1 second to 3650 days. The key is Enabled and has its
        first version. A key with `Origin.EXTERNAL` is PendingImport instead, until its material is imported.

        Raises `InvalidArgument`, `LimitExceeded` for a description above 8192 characters, and `UnsupportedOperation` for an
        EXTERNAL key with rotation.

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
        """Create 1 to 1000 customer master keys with the same properties: all of them, or none.

        This takes little longer than creating one key. Arguments and exceptions are those of `create_key`.

        >>> len({made.id for made in kms.create_keys(3, rotate_every=timedelta(days=90))})
        3
        """
        seconds = None if rotate_every is None else to_seconds(rotate_every, "rotate_every")
        made = self._create_keys(count, description, Origin(origin) is Origin.EXTERNAL, seconds)
        return [Key._of(fields) for fields in made]

    def describe_key(self, key: KeyName) -> Key:
        """Return the metadata of a key; `key` is a key id, "alias/NAME" or a `Key`.

        This works in every key state. Raises `KeyNotFound`, `AliasNotFound`.

        >>> kms.describe_key(key.id).version_count
        1
        """
        return Key._of(self._describe_key(key))

    def list_keys(self) -> Iterator[Key]:
        """Iterate over all keys in the order of their ids, read page by page.

        The iteration may include or omit a key that is created or destroyed meanwhile. It skips damaged keys, and raises
        `KeystoreCorrupt` at its end.

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
        """Schedule the destruction of a key after a waiting period of 7 to 366 whole days.

        Destruction is final: the key and everything encrypted under it are lost. Until then, `cancel_key_deletion` cancels it.

        The wall clock can be wrong, so the library also counts the waiting period by the time since the machine's boot. It
        destroys the key only after two confirmations of the date, at least an hour apart. A wrong clock can delay the
        destruction, and bring it forward by at most a day.

        Raises `DeletionProtected`, `StateModifiedFailed` if its deletion is pending already, `InvalidArgument`.

        >>> kms.schedule_key_deletion(key.id, timedelta(days=7))
        >>> kms.describe_key(key.id).state
        <KeyState.PENDING_DELETION: 3>
        """
        if to_seconds(waiting_period, "waiting_period") % 86_400:
            raise ValueError("waiting_period has whole days")
        self._schedule_key_deletion(key_id, waiting_period // _DAY)

    def set_deletion_protection(self, key_id: KeyName, enable: bool, reason: str = "") -> None:
        """Turn deletion protection on, with a reason, or off. While it is on, `schedule_key_deletion` refuses the key.

        Raises `RejectedPendingDeletion`, `LimitExceeded`.

        >>> kms.set_deletion_protection(key.id, True, "holds invoices")
        >>> kms.schedule_key_deletion(key.id)
        Traceback (most recent call last):
        libkms.errors.DeletionProtected: key ... is protected from deletion; turn the protection off ... first
        """
        self._set_deletion_protection(key_id, reason if enable else None)

    def create_service_key(self, name: str) -> Key:
        """Return the service-managed key of a named part of the program; create it on first use.

        Its alias is "alias/acs/NAME". It encrypts like any other key, but never rotates and cannot be deleted. Raises
        `InvalidArgument`.

        >>> kms.create_service_key("sessions").service_managed
        True
        """
        return Key._of(self._create_service_key(name))

    def update_rotation_policy(self, key_id: KeyName, rotate_every: timedelta | None) -> None:
        """Turn automatic rotation on, with an interval of 1 second to 3650 days in whole seconds, or off (None).

        The interval counts from the creation of the newest version. If that makes the key overdue, the key rotates before
        this returns. Raises `RejectedDisabled`, `RejectedPendingDeletion` and `RejectedPendingImport`; raises
        `UnsupportedOperation` for imported material.

        >>> kms.update_rotation_policy(key.id, timedelta(days=30))
        >>> kms.describe_key(key.id).rotation
        <Rotation.ENABLED: 1>
        """
        seconds = None if rotate_every is None else to_seconds(rotate_every, "rotate_every")
        self._update_rotation_policy(key_id, seconds)

    def tick(self) -> TickReport:
        """Run one pass: do everything that is due, such as rotations. Programs without the rotation thread call this.

        >>> kms.tick()
        TickReport(rotated=0, destroyed=0, damaged=0, versions_destroyed=0)
        """
        return TickReport(*self._tick())

    def list_key_versions(self, key: KeyName) -> Iterator[KeyVersion]:
        """Iterate over all versions of a key, newest first, read page by page.

        `key` is a key id, "alias/NAME" or a `Key`. This works in every key state. Raises `KeyNotFound`, `AliasNotFound`,
        and `KeystoreCorrupt` if a version is missing.

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
        """Return the metadata of one version; `key` is a key id, "alias/NAME" or a `Key`.

        Raises `KeyNotFound`, `KeyVersionNotFound`.

        >>> kms.describe_key_version(key.id, key.primary_version_id).is_primary
        True
        """
        return KeyVersion._of(self._describe_key_version(key, version_id))

    def schedule_key_version_deletion(
        self, key_id: KeyName, version_id: str, waiting_period: timedelta = timedelta(days=30)
    ) -> None:
        """Schedule the destruction of a Disabled version after a waiting period of 7 to 366 whole days.

        Until then, `cancel_key_version_deletion` cancels it. The waiting period is counted as in `schedule_key_deletion`.
        Afterwards, a ciphertext of this version raises `KeyVersionDestroyed`: re-encrypt it with `reencrypt` first.

        Raises `StateModifiedFailed` unless the version is Disabled, `DeletionProtected`, `KeyVersionDestroyed`,
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
        """Iterate over the entries of the change log, oldest first, read page by page.

        Each change of the keystore has one entry. A management call that was refused has one too, up to 10 a second for
        each handle. Encryption and decryption are not logged.

        The arguments select entries. `key_id` selects those of one key, which may be destroyed by now. `start` selects
        entries of this time or later, and `end` those before this time; both are aware. `after` selects entries after a
        generation: to continue an iteration, pass the generation of the last entry seen.

        The call checks the log as it reads it. Raises `KeystoreCorrupt` if an entry was altered, moved or removed.

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
        """Remove the entries of the change log that are older than `before` (aware); return their number.

        The cut begins with the oldest entry and ends before the first that is not older. A checkpoint keeps the generation
        and MAC of the last entry that was removed, and the log has an entry for the cut. A long log is cut in several
        transactions, so a failed call may have removed some entries. Raises `KeystoreCorrupt` if the log was altered, and
        then does not cut it.

        >>> kms.cut_changes(datetime(2020, 1, 1, tzinfo=timezone.utc))
        0
        """
        return self._cut_changes(to_millis(before))

    def inspect(self, blob: "ReadableBuffer") -> BlobInfo:
        """Return the key and version of a ciphertext, and whether that version is still the primary.

        This decrypts and authenticates nothing. Raises `MalformedCiphertext`, `KeyNotFound`, `KeyVersionNotFound`.

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

        `source` and `target` are paths or binary file objects. If the target is a path, the complete file appears there, or
        nothing. Without `replace`, an existing target raises `FileExists`.

        `threads` applies between two paths only; 0 is one thread per CPU, at most 4. The call passes the number of bytes
        done to `progress`, whose exception ends the call. Decryption needs the same context, in which the name "kms:file" is
        reserved. Raises what `encrypt` does, and `FileIO`.

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

        The arguments are those of `encrypt_file`. If the target is a file object, it receives only authenticated bytes. They
        are complete only when this returns: after an exception, discard them. Raises what `decrypt` does, `FileIO` and
        `FileExists`. `MalformedCiphertext` also means a file that was cut off.

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
        """Return the key and version of an encrypted file, and the length of its plaintext.

        This decrypts and authenticates nothing. Raises what `inspect` does, and `FileIO`.

        >>> size = kms.encrypt_file(key.id, folder / "plain", folder / "shown.kms")
        >>> kms.inspect_file(folder / "shown.kms").plaintext_len
        13
        """
        return FileInfo(*self._inspect_file(path))

    @staticmethod
    def is_encrypted_file(start: "ReadableBuffer") -> bool:
        """Return whether a file that begins with `start` is encrypted; pass its first 8192 bytes.

        With fewer bytes, the call may miss a file that was re-encrypted.

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

        The mode "rb" reads at any offset (`seek`), for which a file object must be seekable. "xb" and "wb" encrypt under
        `key`: "xb" creates a file (or raises `FileExists`), and "wb" replaces one.

        Only `close`, or the end of `with` without an exception, completes a written file. Otherwise a path keeps what it
        had, and a file object holds a file that is cut off, whose decryption raises. Closing does not close the file object
        that you passed.

        Opening for reading authenticates the length. Each read authenticates the chunks of 16 KiB that it returns.

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
        """Generate a data key: 1 to 1024 random bytes for envelope encryption, and their ciphertext under `key`.

        Encrypt your data with `plaintext`, and store `blob` beside the data. To read the data, pass `blob` to `decrypt`, which
        returns the data key. Raises what `encrypt` does, `InvalidArgument`.

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
        """Generate a data key; return its ciphertext, and the key wrapped with an RSA-2048 public key.

        The plaintext is not returned. `public_key` is a SubjectPublicKeyInfo in DER. By `wrapping`, a data key has at most 245
        (PKCS1_V1_5), 214 (OAEP_SHA_1) or 190 (OAEP_SHA_256) bytes; a longer one raises `LimitExceeded`. Raises what
        `encrypt` does.

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
        """Decrypt a data key and return it wrapped with an RSA-2048 public key, 256 bytes.

        The plaintext is not returned. Raises what `decrypt` does, `LimitExceeded`.

        >>> public_key = kms.get_parameters_for_import(external.id, Wrapping.OAEP_SHA_256).public_key
        >>> blob = kms.generate_data_key_without_plaintext(key.id)
        >>> len(kms.export_data_key(blob, public_key, Wrapping.OAEP_SHA_256))
        256
        """
        return self._export_data_key(blob, public_key, Wrapping(wrapping), context)

    def list_aliases(self, key_id: KeyName | None = None) -> Iterator[Alias]:
        """Iterate over the aliases of one key, or of all keys, in the order of their names, read page by page.

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
        """Set tags of a key; a new value replaces the old value of the same name.

        A key has at most 10 tags; more raise `LimitExceeded`. A name has 1 to 128 characters, and a value at most 256. Other
        characters than a-z A-Z 0-9 / _ - . + = @ : raise `InvalidArgument`. Raises `RejectedPendingDeletion`.

        >>> kms.tag_resource(key.id, {"team": "payments"})
        >>> kms.list_resource_tags(key.id)
        {'team': 'payments'}
        """
        self._tag_resource(key_id, list(tags.items()))

    def untag_resource(self, key_id: KeyName, names: Iterable[str]) -> None:
        """Remove tags of a key by name; ignore names that it does not have.

        Raises `RejectedPendingDeletion`.

        >>> kms.untag_resource(key.id, ["team"])
        """
        if isinstance(names, str):
            raise TypeError("names is a list of names, not one str")
        self._untag_resource(key_id, list(names))

    def list_resource_tags(self, key_id: KeyName) -> dict[str, str]:
        """Return a key's tags in the order of their names. This works in every key state. Raises `KeyNotFound`.

        >>> kms.list_resource_tags(key.id)
        {}
        """
        return dict(self._list_resource_tags(key_id))

    def get_parameters_for_import(self, key_id: KeyName, wrapping: Wrapping) -> ImportParameters:
        """Return a public key and a token for an import into an EXTERNAL key; both are valid for 24 hours.

        Wrap the 32 bytes of key material with the public key, and pass the result and the token to `import_key_material`.

        Raises `UnsupportedOrigin`, `KeyNotFound`.

        >>> kms.get_parameters_for_import(external.id, Wrapping.OAEP_SHA_256).expires - now
        datetime.timedelta(days=1)
        """
        public_key, token, expires = self._get_parameters_for_import(key_id, Wrapping(wrapping))
        return ImportParameters(public_key, token, from_millis(expires))

    def import_key_material(
        self, key_id: KeyName, wrapped: "ReadableBuffer", token: "ReadableBuffer", expires: datetime | None = None
    ) -> None:
        """Import 32 bytes of key material, wrapped with the public key of `get_parameters_for_import`.

        From the time `expires` (aware) on, the library refuses the material, and then erases it; None is never. After its
        first import, a key accepts only the identical material.

        Raises `InvalidKeyMaterial`, `InvalidImportToken`, `ExpiredImportToken`, `UnsupportedOrigin`, and
        `StateModifiedFailed` while the key's deletion is pending.

        >>> kms.import_key_material(external.id, b"...", b"...")
        Traceback (most recent call last):
        libkms.errors.InvalidImportToken: the import token is not for this key of this keystore, or was changed; ...
        """
        self._import_key_material(key_id, wrapped, token, None if expires is None else to_millis(expires))

    def import_raw_key_material(
        self, key_id: KeyName, material: "ReadableBuffer", expires: datetime | None = None
    ) -> None:
        """Import 32 bytes of key material that this program has in plaintext; otherwise as `import_key_material`.

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

        The check finds rows that are altered, replaced by an older copy, missing, added or absent from an index. It also
        finds key material that the library cannot open. It may run beside all other calls, because it reads for a few
        milliseconds at a time. It may omit what another process creates meanwhile.

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
        """Replace all root slots by one, so that only this root key opens the keystore. Pass it as for `open`.

        Open handles keep working. `create` makes a missing root key file. The call tests the new root key before it changes
        anything. It seals no key again, so it takes the same time for any number of keys. The old root keys still open older
        copies of the file.

        Raises `RootSlotExists` for a root key that opens the keystore already, `RootKeyUnavailable`, `MissingParameter`
        without a root key, `InvalidArgument` with two. A callback may be the same as before, to wrap the store root key again.

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
        """Add a root slot, so that another root key also opens the keystore; return the id of the slot.

        Pass the root key as for `open`. A keystore has at most 8 root slots, of any kind. `label` is a name for the slot in
        `list_root_slots`, of at most 255 bytes, stored in plaintext. As in `change_root`, the call tests the root key first,
        and seals no key again.

        Raises `RootSlotExists` for a root key that opens the keystore already, `LimitExceeded` for a ninth slot.

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
        """Return the root slots, in the order in which they were added.

        >>> [(slot.label, slot.opened_this_handle) for slot in kms.list_root_slots()]
        [(None, True)]
        """
        return [RootSlot._of(fields) for fields in self._list_root_slots()]

    def call(self, action: str, request: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Carry out an operation by the name of its action; request and response are JSON objects as dicts.

        Names and semantics are those of Alibaba Cloud KMS (API 2016-01-20), called the service here. `ListActions` returns
        all actions with their parameters. A rotation is `CreateKeyVersion`.

        Plaintext is Base64 text in requests and responses. Raises the exceptions of the operation, whose `response` is the
        service's error body. Raises `UnknownAction`, and `InvalidArgument` for an unknown parameter.

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
    """End rotation threads and the calls of daemon threads before the interpreter destroys its objects."""
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
    anchor_strict: bool = False,
    require_backup: timedelta | bool = False,
    create: bool = False,
    read_only: bool = False,
    rotation_thread: bool | None = None,
    busy_timeout: timedelta = timedelta(seconds=5),
    poll_interval: timedelta = timedelta(seconds=1),
    offline_limit: timedelta = timedelta(minutes=5),
    accept_rollback: bool = False,
    cache_keys: int = 32_768,
    clock: "_libkms.ManualClock | Callable[[], datetime] | None" = None,
    on_event: Callable[[Event], object] | None = None,
    actor: str | None = None,
) -> Keystore:
    """Open the keystore at `location` and return its handle.

    `location` is a path, "sqlite:PATH", "memory:" for a keystore in memory that exists until its handle is closed, or a
    database: "postgres://[USER@]HOST[:PORT]/DATABASE[?SETTING=VALUE][#KEYSTORE]" (docs/many-machines.md).
    `create` creates a missing keystore, together with its root key file.

    Pass exactly one root key:

    - `root_key`: 32 bytes;
    - `root_key_file`: a file of 32 bytes that belongs to this user or root, and that only its owner and group can read;
    - `root_passphrase`: a passphrase, with which opening takes a fraction of a second (Argon2id);
    - `root_callback`: a `RootCallback`.

    An anchor is a record outside of the keystore of its newest generation. With it, the library refuses an older copy of
    the whole keystore with `KeystoreRolledBack`. Pass `anchor_file`, a path on another volume, or `anchor_callback`. To add
    an anchor to an existing keystore, create an empty file. To accept a restored backup, empty the file. The anchor of a
    keystore in a database holds a checkpoint that is at most 10 s old; with `anchor_strict` it holds each change of this
    handle before its call returns. Set `anchor_strict` in all programs that change the keystore.

    `require_backup` lets a due rotation wait until a recorded backup has the newest version of the key. It waits for at
    most 7 days (`True`) or the timedelta that you pass, of at most 30 days in whole seconds. Then the key rotates without a
    backup, with the event `ROTATED_WITHOUT_BACKUP`. Set `require_backup` in each process. `rotate` never waits.

    `rotation_thread` is on unless `clock` is set; without the thread, call `tick`. `busy_timeout`, at most an hour, limits
    how long a call waits for other processes. `cache_keys` is the number of keys, and of versions, that stay in memory.

    A keystore in a database is asked for the changes of other hosts each `poll_interval`, 10 ms to 60 s; a disabled key is
    refused at most so much later. While the database does not answer, keys in memory stay usable for `offline_limit`, at
    most 30 days in whole seconds; then every call fails at once. Zero refuses from the first poll without an answer.

    A database can lose changes, as after a failover. Then changes raise `KeystoreRolledBack` in all processes. If nothing
    newer can be restored, open the keystore once with `accept_rollback=True`; all processes continue with what is there.

    `clock` is for tests (see `libkms.testing`): a function that returns the time as an aware datetime. The library calls it
    often, and from any thread. If `clock` raises, the exception ends the call, which has then changed nothing.

    `on_event` receives events: rotations, destroyed keys, and failures of clocks and disks. Its exceptions are passed to
    `sys.unraisablehook`. With the rotation thread, a separate thread delivers the events in order. At most 1024 events wait
    for delivery, and `close` waits for them for at most 5 s. Without the rotation thread, the call that made an event delivers
    it before it returns. `on_event` may use the keystore, but must not close it.

    `actor` is a label for the change log, which has it in the entry of each change of this handle: a user or a job. It has at
    most 255 bytes of printable text, stored in plaintext.

    Raises `KeystoreNotFound`, `WrongRootKey`, `RootKeyUnavailable`, `NotAKeystore`, `KeystoreTooNew`, `MissingParameter`
    without a root key, `InvalidArgument` with two, `AnchorUnavailable`,
    `KeystoreUnavailable` where a database does not answer.

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
    poll_ms = poll_interval // timedelta(milliseconds=1)
    if not 10 <= poll_ms <= 60_000:
        raise ValueError("poll_interval is 10 ms to 60 s")
    if not timedelta(0) <= offline_limit <= timedelta(days=30):
        raise ValueError("offline_limit is at most 30 days")
    if offline_limit % timedelta(seconds=1):
        raise ValueError("offline_limit is a whole number of seconds")
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
        anchor_strict=anchor_strict,
        require_backup_s=longest // timedelta(seconds=1),
        create=create,
        read_only=read_only,
        rotation_thread=rotation_thread,
        busy_timeout_ms=timeout_ms,
        poll_interval_ms=poll_ms,
        offline_limit_s=offline_limit // timedelta(seconds=1),
        accept_rollback=accept_rollback,
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
