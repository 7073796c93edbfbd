"""Checks evidence files without any code of ours: CBOR by `cbor2`, COSE and CWT by `cwt` (both from PyPI).

    python verify.py TRUSTED_ISSUER_KEY_HEX[,...] FILE...

Prints `FILE: agreed` with who said what, or what is wrong, and exits with 0 or 1. For each file it also flips one bit of every third
byte and expects a refusal. Exits with 77 if a package is missing. `src/protocol/EVIDENCE.md` describes the files.
"""

import hashlib
import struct
import sys

try:
    import cbor2
    import cwt
except ImportError as missing:
    print(f"no Python package {missing.name}: pip install cwt")
    sys.exit(77)

ALG, KID, EDDSA = 1, 4, -8
SUB, EXP, NBF, CNF, COSE_KEY, X = 2, 4, 5, 8, 1, -2
ZERO = bytes(32)


def sha256(data):
    return hashlib.sha256(data).digest()


def one_value(data):
    value = cbor2.loads(data)
    return value


def open_signed(data, public, purpose):
    """Header and payload of a signed object, or an exception."""
    frame = one_value(data)
    assert isinstance(frame, cbor2.CBORTag) and frame.tag == 18, "no COSE_Sign1"
    protected, unprotected, payload, signature = frame.value
    assert unprotected == {} and len(signature) == 64, "frame"
    assert data == cbor2.dumps(cbor2.CBORTag(18, [protected, {}, payload, signature])), "frame encoding"
    header = one_value(protected)
    assert set(header) == {ALG, KID, "cm-purpose", "cm-network", "cm-version"}, "header keys"
    assert header[ALG] == EDDSA and header["cm-purpose"] == purpose and header["cm-version"] == 1, "header"
    key = cwt.COSEKey.new({1: 1, 2: header[KID], 3: -8, -1: 6, -2: public})
    read = cwt.COSE.new().decode(data, key)
    assert read == payload
    return header, one_value(payload)


def signer_of(data):
    return one_value(one_value(data).value[0])[KID]


def confirmed_key(claims):
    return claims[CNF][COSE_KEY][X]


class Chain:
    """Credential and delegation: whose message key it is, and when it counts."""

    def __init__(self, chain, issuers):
        credential, delegation = chain["credential"], chain["delegation"]
        self.issuer = signer_of(credential)
        assert self.issuer in issuers, "the issuer is not trusted"
        header, claims = open_signed(credential, self.issuer, "party-credential")
        self.network = header["cm-network"]
        header, delegated = open_signed(delegation, confirmed_key(claims), "node-delegation")
        assert header[KID] == sha256(credential), "the delegation is for another credential"
        assert header["cm-network"] == self.network and delegated[SUB] == claims[SUB], "another party"
        self.name, self.party = sha256(delegation), claims[SUB]
        self.begins, self.ends = max(claims[NBF], delegated[NBF]), min(claims[EXP], delegated[EXP])
        self.key = confirmed_key(delegated)

    def open(self, data, purpose):
        header, payload = open_signed(data, self.key, purpose)
        assert header[KID] == self.name and header["cm-network"] == self.network, "signed by another"
        return payload

    def check_time(self, unix_s):
        assert self.begins <= unix_s + 60 and unix_s < self.ends, "the credential did not count then"


def leaf_hash(entry, session):
    text = session.encode()
    place = struct.pack(">QB", entry["at"], entry["direction"]) + struct.pack(">Q", len(text)) + text
    return sha256(b"chargemesh evidence leaf 1" + place + entry["content"])


def entry_hash(step):
    number = struct.pack(">Q", step["number"])
    return sha256(b"chargemesh evidence entry 1" + number + step["previous"] + step["skipped"] + step["leaf"])


def check_log(entries, steps, seal):
    nodes = {step["number"]: step for step in steps}
    for entry in entries:
        assert entry["number"] not in nodes, "a number twice"
        nodes[entry["number"]] = dict(entry, leaf=leaf_hash(entry, seal[2]))
    named = {seal[4]: seal[5]}
    for number in sorted(nodes, reverse=True):
        step = nodes[number]
        assert number in named, f"entry {number}: nothing leads to it"
        assert entry_hash(step) == named[number], f"entry {number}: its hash"
        for target, digest in ((number - 1, step["previous"]), (number & (number - 1), step["skipped"])):
            assert named.setdefault(target, digest) == digest, f"entry {number}: it names another hash of {target}"
    assert named.get(0, ZERO) == ZERO


def check_message(entry, chains, seal):
    """Who said what kind of thing to whom; None if only a hash is left."""
    number = entry["number"]
    if "message" not in entry:
        assert "salt" not in entry
        return None
    assert len(entry["salt"]) == 16 and sha256(entry["salt"] + entry["message"]) == entry["content"], f"entry {number}"
    chain = chains[signer_of(entry["message"])]
    envelope = chain.open(entry["message"], "envelope")
    created, expires = envelope[3], envelope[4]
    chain.check_time(created // 1000)
    assert created <= entry["at"] + 300_000 and entry["at"] < expires + 300_000, f"entry {number}: time"
    assert (entry["direction"] == 2) == (chain.party != seal[1]) or entry["direction"] == 3, f"entry {number}: direction"
    kind, body = next(iter(one_value(envelope[6]).items()))
    session = body[0] if isinstance(body, list) else body
    assert session == seal[2], f"entry {number}: another session"
    return f"{number} {chain.party} {envelope[2]} {kind}"


def verify(data, issuers):
    file = one_value(data)
    assert isinstance(file, list) and len(file) == 7, "no evidence file"
    assert cbor2.dumps(file) == data, "frame encoding"
    magic, version, log, path, chain_list, registry, sealed = file
    assert (magic, version) == ("chargemesh evidence", 1)
    chains = {}
    for listed in one_value(chain_list):
        chain = Chain(listed, issuers)
        chains[chain.name] = chain
    sealer = chains[signer_of(sealed)]
    seal = sealer.open(sealed, "evidence-seal")
    sealer.check_time(seal[3] // 1000)
    assert seal[1] == sealer.party, "sealed by another party"
    assert seal[7] == b"".join(sha256(section) for section in (log, path, chain_list, registry)), "sections"
    entries, steps = one_value(log), one_value(path)
    numbers = [entry["number"] for entry in entries]
    assert seal[6] == b"".join(struct.pack(">Q", number) for number in numbers), "entries"
    assert numbers == sorted(set(numbers)), "order"
    check_log(entries, steps, seal)
    return [check_message(entry, chains, seal) for entry in entries]


def check_flips(data, issuers):
    """One bit of every third byte, another one each time; `chargemesh` itself tries all of them."""
    for at in range(0, len(data), 3):
        flipped = bytearray(data)
        flipped[at] ^= 1 << (at % 8)
        try:
            verify(bytes(flipped), issuers)
        except Exception:
            continue
        raise AssertionError(f"byte {at} with bit {at % 8} flipped was accepted")


def main():
    issuers = {bytes.fromhex(key) for key in sys.argv[1].split(",")}
    failed = False
    for name in sys.argv[2:]:
        try:
            with open(name, "rb") as opened:
                data = opened.read()
            said = verify(data, issuers)
            check_flips(data, issuers)
            print(f"{name}: agreed")
            for line in said:
                print(f"  {line or 'only a hash is left'}")
        except Exception as error:
            failed = True
            print(f"{name}: {type(error).__name__}: {error}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
