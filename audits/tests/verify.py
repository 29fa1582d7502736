"""Verifies a log folder without any of our code.

Usage: python verify.py FOLDER VKEY

Checks the checkpoint's Ed25519 signature with `cryptography`, reads the entries out of their bundles, and lets
`pymerkle` (an independent RFC 6962 implementation) compute the root. Prints the size and the root. Exit code 77: a
package is not installed.
"""
import base64, hashlib, json, pathlib, sys

try:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from pymerkle import InmemoryTree
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

folder, vkey = pathlib.Path(sys.argv[1]), sys.argv[2]

name, key_id, typed = vkey.split("+", 2)
typed = base64.b64decode(typed)
assert typed[0] == 1 and hashlib.sha256(name.encode() + b"\n" + typed).digest()[:4].hex() == key_id
text, signatures = (folder / "checkpoint").read_text().rsplit("\n\n", 1)
signed = base64.b64decode(signatures.removeprefix(f"\u2014 {name} "))
assert signed[:4].hex() == key_id
Ed25519PublicKey.from_public_bytes(typed[1:]).verify(signed[4:], (text + "\n").encode())
origin, size, root = text.split("\n")
assert origin == name
size, root = int(size), base64.b64decode(root)


def path(n):
    groups = [f"{n % 1000:03}"]
    while n := n // 1000:
        groups.insert(0, f"x{n % 1000:03}")
    return "/".join(groups)


tree, hashes = InmemoryTree(algorithm="sha256"), []
for n in range((size + 255) // 256):
    width = min(256, size - n * 256)
    suffix = path(n) + (f".p/{width}" if width < 256 else "")
    bundle, at = (folder / "tile/entries" / suffix).read_bytes(), 0
    tile = (folder / "tile/0" / suffix).read_bytes()
    for i in range(width):
        length = int.from_bytes(bundle[at : at + 2], "big")
        entry, at = bundle[at + 2 : at + 2 + length], at + 2 + length
        canonical = json.dumps(json.loads(entry), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert canonical.encode() == entry, f"entry {n * 256 + i} is not canonical"
        assert hashlib.sha256(b"\x00" + entry).digest() == tile[32 * i : 32 * i + 32]
        tree.append_entry(entry)
    assert at == len(bundle) and len(tile) == 32 * width
assert (tree.get_state() if size else hashlib.sha256().digest()) == root, "another root"
print(size, root.hex())
