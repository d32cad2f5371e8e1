"""Convert values, keys and contexts for the encrypted columns of both SQLAlchemy and Django."""

from collections.abc import Mapping
from typing import Any

from ._keystore import Keystore
from ._types import Key, KeyName
from .errors import AuthenticationFailed, Error, MalformedCiphertext

LOOKUP = "add a column with an HMAC of the value, and compare or index that one"
"""The next step in the error of a query that cannot work on ciphertexts."""


def key_name(key: KeyName) -> str:
    """Return the id of a `Key`, and an id or "alias/NAME" unchanged, because an alias can be moved to another key later."""
    if isinstance(key, Key):
        return key.id
    if not isinstance(key, str):
        raise TypeError(f"key must be a key id, an alias or a Key, not {type(key).__name__}")
    return key


def context_of(context: str | Mapping[str, str] | None) -> dict[str, str] | None:
    """Return the encryption context of a column; a name stands for {"column": name}."""
    if context is None:
        return None
    if isinstance(context, str):
        return {"column": context}
    return dict(context)


def of_type(value: Any, accepted: type | tuple[type, ...], place: str) -> Any:
    """Return the value; raise TypeError if its type would change in the database."""
    if isinstance(value, accepted):
        return value
    names = accepted if isinstance(accepted, tuple) else (accepted,)
    expected = " or ".join(kind.__name__ for kind in names)
    raise TypeError(f"{place} stores {expected}, not {type(value).__name__}; convert the value first")


def ciphertext(value: Any, place: str) -> bytes:
    """Return a stored value as bytes; refuse other types, which a database with dynamic types may hold in the column."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    raise MalformedCiphertext(_not_encrypted(place, f"a value of type {type(value).__name__}"))


def decrypt(keystore: Keystore, value: Any, context: Mapping[str, str] | None, place: str) -> bytes:
    """Decrypt a stored value; an error names `place`, the table and column."""
    blob = ciphertext(value, place)
    try:
        return keystore.decrypt(blob, context)
    except MalformedCiphertext:
        raise MalformedCiphertext(_not_encrypted(place, f"{len(blob)} bytes")) from None
    except AuthenticationFailed as error:
        hint = "after a rename or a change of context, pass the former one as from_context to move_rows"
        raise AuthenticationFailed(f"{place}: {error}; {hint}") from error
    except Error as error:
        raise type(error)(f"{place}: {error}") from error


def _not_encrypted(place: str, found: str) -> str:
    return f"{place} holds {found} where a libkms ciphertext is needed; something wrote to the column without encrypting"
