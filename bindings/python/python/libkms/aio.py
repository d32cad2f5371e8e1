"""The keystore for asyncio: the same calls as coroutines, which run in threads of the loop's default executor.

Encrypting or decrypting a small value under a key in use takes about a microsecond, less than passing it to a thread. So a
program may call `keystore.sync.encrypt(...)` directly on the event loop. But after a change by another process, such a call
reads the keystore. It may then block the loop until that process releases its lock, for at most the busy timeout. Only the
coroutines never block the loop.

>>> async def main():
...     async with await libkms.aio.open("memory:", root_key=bytes(range(32))) as kms:
...         key = await kms.create_key(description="orders")
...         blob = await kms.encrypt(key.id, b"4111 1111")
...         return await kms.decrypt(blob), [found.description async for found in kms.list_keys()]
>>> asyncio.run(main())
(b'4111 1111', ['orders'])
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeAlias, TypeVar

from . import _keystore
from ._types import (
    Alias,
    BlobInfo,
    DataKey,
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
)
from .errors import Error

if TYPE_CHECKING:
    import os

    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ["Keystore", "open"]

Context: TypeAlias = Mapping[str, str] | None
T = TypeVar("T")


async def open(location: "str | os.PathLike[str]", **options: Any) -> "Keystore":
    """Open a keystore in a thread, with the options of `libkms.open`."""
    return Keystore(await asyncio.to_thread(_keystore.open, location, **options))


async def _paged(items: Iterator[T]) -> AsyncIterator[T]:
    while page := await asyncio.to_thread(lambda: list(islice(items, 256))):
        for item in page:
            yield item


class Keystore:
    """An open keystore with coroutines. `sync` is its `libkms.Keystore`, whose methods have the documentation."""

    def __init__(self, sync: _keystore.Keystore) -> None:
        self.sync = sync

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<libkms.aio.Keystore of {self.sync!r}>"

    async def close(self) -> None:
        await asyncio.to_thread(self.sync.close)

    @property
    def closed(self) -> bool:
        return self.sync.closed

    async def create_key(
        self, *, description: str = "", rotate_every: timedelta | None = None, origin: Origin = Origin.KMS
    ) -> Key:
        return await asyncio.to_thread(
            self.sync.create_key, description=description, rotate_every=rotate_every, origin=origin
        )

    async def create_keys(
        self,
        count: int,
        *,
        description: str = "",
        rotate_every: timedelta | None = None,
        origin: Origin = Origin.KMS,
    ) -> list[Key]:
        return await asyncio.to_thread(
            self.sync.create_keys, count, description=description, rotate_every=rotate_every, origin=origin
        )

    async def describe_key(self, key: KeyName) -> Key:
        return await asyncio.to_thread(self.sync.describe_key, key)

    async def enable_key(self, key_id: KeyName) -> None:
        return await asyncio.to_thread(self.sync.enable_key, key_id)

    async def disable_key(self, key_id: KeyName) -> None:
        return await asyncio.to_thread(self.sync.disable_key, key_id)

    async def schedule_key_deletion(self, key_id: KeyName, waiting_period: timedelta = timedelta(days=30)) -> None:
        return await asyncio.to_thread(self.sync.schedule_key_deletion, key_id, waiting_period)

    async def cancel_key_deletion(self, key_id: KeyName) -> None:
        return await asyncio.to_thread(self.sync.cancel_key_deletion, key_id)

    async def update_key_description(self, key_id: KeyName, description: str) -> None:
        return await asyncio.to_thread(self.sync.update_key_description, key_id, description)

    async def set_deletion_protection(self, key_id: KeyName, enable: bool, reason: str = "") -> None:
        return await asyncio.to_thread(self.sync.set_deletion_protection, key_id, enable, reason)

    async def create_service_key(self, name: str) -> Key:
        return await asyncio.to_thread(self.sync.create_service_key, name)

    async def rotate(self, key: KeyName) -> str:
        return await asyncio.to_thread(self.sync.rotate, key)

    async def update_rotation_policy(self, key_id: KeyName, rotate_every: timedelta | None) -> None:
        return await asyncio.to_thread(self.sync.update_rotation_policy, key_id, rotate_every)

    async def tick(self) -> TickReport:
        return await asyncio.to_thread(self.sync.tick)

    async def describe_key_version(self, key: KeyName, version_id: str) -> KeyVersion:
        return await asyncio.to_thread(self.sync.describe_key_version, key, version_id)

    async def disable_key_version(self, key_id: KeyName, version_id: str) -> None:
        return await asyncio.to_thread(self.sync.disable_key_version, key_id, version_id)

    async def enable_key_version(self, key_id: KeyName, version_id: str) -> None:
        return await asyncio.to_thread(self.sync.enable_key_version, key_id, version_id)

    async def schedule_key_version_deletion(
        self, key_id: KeyName, version_id: str, waiting_period: timedelta = timedelta(days=30)
    ) -> None:
        return await asyncio.to_thread(
            self.sync.schedule_key_version_deletion, key_id, version_id, waiting_period
        )

    async def cancel_key_version_deletion(self, key_id: KeyName, version_id: str) -> None:
        return await asyncio.to_thread(self.sync.cancel_key_version_deletion, key_id, version_id)

    async def cut_changes(self, before: datetime) -> int:
        return await asyncio.to_thread(self.sync.cut_changes, before)

    async def encrypt(self, key: KeyName, plaintext: "ReadableBuffer", context: Context = None) -> bytes:
        return await asyncio.to_thread(self.sync.encrypt, key, plaintext, context)

    async def encrypt_into(
        self, key: KeyName, plaintext: "ReadableBuffer", out: "WriteableBuffer", context: Context = None
    ) -> int:
        return await asyncio.to_thread(self.sync.encrypt_into, key, plaintext, out, context)

    async def decrypt(self, blob: "ReadableBuffer", context: Context = None) -> bytes:
        return await asyncio.to_thread(self.sync.decrypt, blob, context)

    async def decrypt_into(self, blob: "ReadableBuffer", out: "WriteableBuffer", context: Context = None) -> int:
        return await asyncio.to_thread(self.sync.decrypt_into, blob, out, context)

    async def reencrypt(
        self,
        blob: "ReadableBuffer",
        destination_key: KeyName | None = None,
        source_context: Context = None,
        destination_context: Context = None,
    ) -> bytes:
        return await asyncio.to_thread(
            self.sync.reencrypt, blob, destination_key, source_context, destination_context
        )

    async def encrypt_batch(
        self,
        key: KeyName,
        plaintexts: Iterable["ReadableBuffer"],
        context: Context = None,
        *,
        contexts: Iterable[Context] | None = None,
    ) -> list[bytes | Error]:
        return await asyncio.to_thread(self.sync.encrypt_batch, key, plaintexts, context, contexts=contexts)

    async def decrypt_batch(
        self, blobs: Iterable["ReadableBuffer"], context: Context = None, *, contexts: Iterable[Context] | None = None
    ) -> list[bytes | Error]:
        return await asyncio.to_thread(self.sync.decrypt_batch, blobs, context, contexts=contexts)

    async def reencrypt_batch(
        self,
        blobs: Iterable["ReadableBuffer"],
        destination_key: KeyName | None = None,
        context: Context = None,
        *,
        contexts: Iterable[Context] | None = None,
    ) -> list[bytes | Error]:
        return await asyncio.to_thread(self.sync.reencrypt_batch, blobs, destination_key, context, contexts=contexts)

    async def inspect(self, blob: "ReadableBuffer") -> BlobInfo:
        return await asyncio.to_thread(self.sync.inspect, blob)

    async def encrypt_file(
        self,
        key: KeyName,
        source: _keystore.File,
        target: _keystore.File,
        context: Context = None,
        *,
        threads: int = 0,
        replace: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> int:
        return await asyncio.to_thread(
            self.sync.encrypt_file, key, source, target, context, threads=threads, replace=replace, progress=progress
        )

    async def decrypt_file(
        self,
        source: _keystore.File,
        target: _keystore.File,
        context: Context = None,
        *,
        threads: int = 0,
        replace: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> int:
        return await asyncio.to_thread(
            self.sync.decrypt_file, source, target, context, threads=threads, replace=replace, progress=progress
        )

    async def reencrypt_file(
        self, path: "str | os.PathLike[str]", destination_key: KeyName | None = None, context: Context = None
    ) -> bool:
        return await asyncio.to_thread(self.sync.reencrypt_file, path, destination_key, context)

    async def inspect_file(self, path: "str | os.PathLike[str]") -> FileInfo:
        return await asyncio.to_thread(self.sync.inspect_file, path)

    @staticmethod
    async def is_encrypted_file(start: "ReadableBuffer") -> bool:
        return _keystore.Keystore.is_encrypted_file(start)

    async def open_file(
        self, file: _keystore.File, mode: str = "rb", *, key: KeyName | None = None, context: Context = None
    ) -> BinaryIO:
        """Return an ordinary file object, whose methods block: call them in a thread."""
        return await asyncio.to_thread(self.sync.open_file, file, mode, key=key, context=context)

    async def generate_data_key(self, key: KeyName, number_of_bytes: int = 32, context: Context = None) -> DataKey:
        return await asyncio.to_thread(self.sync.generate_data_key, key, number_of_bytes, context)

    async def generate_data_key_without_plaintext(
        self, key: KeyName, number_of_bytes: int = 32, context: Context = None
    ) -> bytes:
        return await asyncio.to_thread(self.sync.generate_data_key_without_plaintext, key, number_of_bytes, context)

    async def generate_and_export_data_key(
        self,
        key: KeyName,
        public_key: "ReadableBuffer",
        wrapping: Wrapping,
        number_of_bytes: int = 32,
        context: Context = None,
    ) -> ExportedDataKey:
        return await asyncio.to_thread(
            self.sync.generate_and_export_data_key, key, public_key, wrapping, number_of_bytes, context
        )

    async def export_data_key(
        self, blob: "ReadableBuffer", public_key: "ReadableBuffer", wrapping: Wrapping, context: Context = None
    ) -> bytes:
        return await asyncio.to_thread(self.sync.export_data_key, blob, public_key, wrapping, context)

    async def create_alias(self, key_id: KeyName, alias: str) -> None:
        return await asyncio.to_thread(self.sync.create_alias, key_id, alias)

    async def update_alias(self, key_id: KeyName, alias: str) -> None:
        return await asyncio.to_thread(self.sync.update_alias, key_id, alias)

    async def delete_alias(self, alias: str) -> None:
        return await asyncio.to_thread(self.sync.delete_alias, alias)

    async def tag_resource(self, key_id: KeyName, tags: Mapping[str, str]) -> None:
        return await asyncio.to_thread(self.sync.tag_resource, key_id, tags)

    async def untag_resource(self, key_id: KeyName, names: Iterable[str]) -> None:
        return await asyncio.to_thread(self.sync.untag_resource, key_id, names)

    async def list_resource_tags(self, key_id: KeyName) -> dict[str, str]:
        return await asyncio.to_thread(self.sync.list_resource_tags, key_id)

    async def get_parameters_for_import(self, key_id: KeyName, wrapping: Wrapping) -> ImportParameters:
        return await asyncio.to_thread(self.sync.get_parameters_for_import, key_id, wrapping)

    async def import_key_material(
        self, key_id: KeyName, wrapped: "ReadableBuffer", token: "ReadableBuffer", expires: datetime | None = None
    ) -> None:
        return await asyncio.to_thread(self.sync.import_key_material, key_id, wrapped, token, expires)

    async def import_raw_key_material(
        self, key_id: KeyName, material: "ReadableBuffer", expires: datetime | None = None
    ) -> None:
        return await asyncio.to_thread(self.sync.import_raw_key_material, key_id, material, expires)

    async def delete_key_material(self, key_id: KeyName) -> None:
        return await asyncio.to_thread(self.sync.delete_key_material, key_id)

    async def health(self) -> Health:
        return await asyncio.to_thread(self.sync.health)

    async def verify(self) -> list[Fault]:
        return await asyncio.to_thread(self.sync.verify)

    async def backup(self, path: "str | os.PathLike[str]") -> None:
        return await asyncio.to_thread(self.sync.backup, path)

    async def change_root(
        self,
        *,
        root_key: "ReadableBuffer | None" = None,
        root_key_file: "str | os.PathLike[str] | None" = None,
        root_passphrase: "str | ReadableBuffer | None" = None,
        root_callback: _keystore.RootCallback | None = None,
        create: bool = False,
    ) -> None:
        return await asyncio.to_thread(
            self.sync.change_root,
            root_key=root_key,
            root_key_file=root_key_file,
            root_passphrase=root_passphrase,
            root_callback=root_callback,
            create=create,
        )

    async def add_root_slot(
        self,
        *,
        root_key: "ReadableBuffer | None" = None,
        root_key_file: "str | os.PathLike[str] | None" = None,
        root_passphrase: "str | ReadableBuffer | None" = None,
        root_callback: _keystore.RootCallback | None = None,
        create: bool = False,
        label: str | None = None,
    ) -> str:
        return await asyncio.to_thread(
            self.sync.add_root_slot,
            root_key=root_key,
            root_key_file=root_key_file,
            root_passphrase=root_passphrase,
            root_callback=root_callback,
            create=create,
            label=label,
        )

    async def remove_root_slot(self, slot_id: str) -> None:
        return await asyncio.to_thread(self.sync.remove_root_slot, slot_id)

    async def list_root_slots(self) -> list[RootSlot]:
        return await asyncio.to_thread(self.sync.list_root_slots)

    async def call(self, action: str, request: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return await asyncio.to_thread(self.sync.call, action, request)

    def list_keys(self) -> AsyncIterator[Key]:
        return _paged(self.sync.list_keys())

    def list_key_versions(self, key: KeyName) -> AsyncIterator[KeyVersion]:
        return _paged(self.sync.list_key_versions(key))

    def changes(
        self,
        key_id: KeyName | None = None,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        after: int | None = None,
    ) -> AsyncIterator[LoggedChange]:
        return _paged(self.sync.changes(key_id, start=start, end=end, after=after))

    def list_aliases(self, key_id: KeyName | None = None) -> AsyncIterator[Alias]:
        return _paged(self.sync.list_aliases(key_id))
