"""Pseudonyms and platform hashes of the JSON lines on standard input, by Python's own hmac and hashlib."""

import base64
import hashlib
import hmac
import json
import sys


def hkdf(secret, salt, info):
    extracted = hmac.new(salt, secret, hashlib.sha256).digest()
    return hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()


for line in sys.stdin:
    case = json.loads(line)
    text, kind = case["text"], case["kind"]
    info = f"dcr/activation/v1|{case['destination']}|{case['epoch']}".encode()
    key = hkdf(bytes.fromhex(case["master"]), case["tenant"].encode(), info)
    message = b"\x01" + kind.encode() + b"\x00" + text.encode()
    out = [base64.urlsafe_b64encode(hmac.new(key, message, hashlib.sha256).digest()).decode().rstrip("=")]
    if kind != "card":
        google, meta, uid2 = text, text, text
        if kind == "phone":
            meta = text.lstrip("+").lstrip("0")
        else:
            meta = text.strip(" \t\r\n\0\x0b.")
            name, at, domain = text.rpartition("@")
            if domain == "gmail.com":
                uid2 = name.partition("+")[0].replace(".", "") + at + domain
        out.append(hashlib.sha256(google.encode()).hexdigest())
        out.append(hashlib.sha256(meta.encode()).hexdigest())
        out.append(base64.b64encode(hashlib.sha256(uid2.encode()).digest()).decode())
    print(" ".join(out))
