"""python-pkcs11 encrypts while the key rotates; everything opens. Arguments: module, seconds."""

import secrets
import sys
import time

import pkcs11
from pkcs11 import KeyType, Mechanism
from pkcs11.mechanisms import GCMParams

module, seconds = sys.argv[1], float(sys.argv[2])
token = pkcs11.lib(module).get_token(token_label="cards")
kept = []
with token.open(rw=True) as session:
    key = session.get_key(label="orders")
    data_key = session.generate_key(KeyType.AES, 256, template={pkcs11.Attribute.EXTRACTABLE: True,
                                                                pkcs11.Attribute.SENSITIVE: False})
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        text, nonce = secrets.token_bytes(50), secrets.token_bytes(12)
        sealed = key.encrypt(text, mechanism=Mechanism.AES_GCM, mechanism_param=GCMParams(nonce, b"aad"))
        wrapped = key.wrap_key(data_key, mechanism=Mechanism.AES_KEY_WRAP)
        kept.append((text, nonce, sealed, wrapped))
        time.sleep(0.01)
    for text, nonce, sealed, wrapped in kept:
        parameters = GCMParams(nonce, b"aad")
        assert key.decrypt(sealed, mechanism=Mechanism.AES_GCM, mechanism_param=parameters) == text
        opened = key.unwrap_key(pkcs11.ObjectClass.SECRET_KEY, KeyType.AES, wrapped, mechanism=Mechanism.AES_KEY_WRAP,
                                template={pkcs11.Attribute.EXTRACTABLE: True, pkcs11.Attribute.SENSITIVE: False})
        assert opened[pkcs11.Attribute.VALUE] == data_key[pkcs11.Attribute.VALUE]
        opened.destroy()
    # The default of python-pkcs11 for session keys.
    iv = session.generate_random(128)
    assert data_key.decrypt(data_key.encrypt(b"text", mechanism_param=iv), mechanism_param=iv) == b"text"
print(f"{len(kept)} messages and wrapped keys")
