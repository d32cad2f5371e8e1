"""The keystore for asyncio."""

import asyncio
import inspect

import pytest

import libkms
import libkms.aio


def public(kind) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_every_call_can_be_awaited():
    assert public(libkms.aio.Keystore) == public(libkms.Keystore)
    for name in public(libkms.aio.Keystore) - {"closed"}:
        sync, waited = getattr(libkms.Keystore, name), getattr(libkms.aio.Keystore, name)
        assert list(inspect.signature(sync).parameters) == list(inspect.signature(waited).parameters), name


def test_the_loop_goes_on_while_a_keystore_opens():
    async def main():
        beats = 0

        async def beat():
            nonlocal beats
            while True:
                await asyncio.sleep(0.001)
                beats += 1

        beating = asyncio.create_task(beat())
        # A passphrase costs a fraction of a second.
        async with await libkms.aio.open("memory:", root_passphrase="correct horse") as kms:
            seen = beats
            key = await kms.create_key(description="a")
            blobs = await asyncio.gather(*(kms.encrypt(key.id, b"%d" % number) for number in range(20)))
            assert await kms.decrypt_batch(blobs) == [b"%d" % number for number in range(20)]
            assert [version.number async for version in kms.list_key_versions(key.id)] == [1]
            with pytest.raises(libkms.KeyNotFound):
                await kms.describe_key("none")
            assert kms.sync.decrypt(blobs[0]) == b"0"
        assert kms.closed
        beating.cancel()
        return seen

    assert asyncio.run(main()) > 0, "the event loop stood still"


def test_a_long_list_is_read_in_pages():
    async def main():
        async with await libkms.aio.open("memory:", root_key=bytes(range(32))) as kms:
            made = sorted([(await kms.create_key()).id for _ in range(300)])
            assert [key.id async for key in kms.list_keys()] == made

    asyncio.run(main())
