#!/usr/bin/env python3
"""Checks the test vectors with libraries that share no code with chargemesh.

Needs `cwt` from PyPI (and what it brings: cbor2, cryptography); `zstandard` is used if it is there.
Prints one line per vector. Exit code: 0 all agreed, 1 something differs, 77 a package is missing.
"""

import hashlib
import io
import json
import pathlib
import struct
import sys

try:
    import cbor2
    import cwt
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
except ImportError as missing:
    print(f"the Python package {missing.name} is missing: pip install cwt")
    sys.exit(77)

try:
    import zstandard
except ImportError:
    zstandard = None

FOLDER = pathlib.Path(__file__).parent
VERSION = 1
# So that the times of the vectors do not end them: `cwt` compares with today.
CWT_LEEWAY_S = 1_000 * 366 * 86_400
# Protected header.
ALG, KID, EDDSA = 1, 4, -8
# Claims.
SUB, EXP, NBF, CNF, SUB_IDS = 2, 4, 5, 8, -70001
PEER_ID, PREFIXES, SLOT = -70010, -70012, -70014
# A libp2p peer id of an Ed25519 key: identity multihash of the key's protobuf; the key follows.
PEER_ID_BEGIN = bytes.fromhex("002408011220")
COSE_KEY, X = 1, -2


def sha256(data):
    return hashlib.sha256(data).digest()


def one_value(data):
    """The one CBOR value that fills `data`."""
    rest = io.BytesIO(data)
    value = cbor2.CBORDecoder(rest).decode()
    assert rest.read() == b"", "bytes behind the value"
    return value


def canonical(value):
    """RFC 8949 section 4.2.1 for the values that are used here (cbor2's canonical order is that of section
    4.2.3, so maps are written here)."""
    if isinstance(value, dict):
        entries = sorted((canonical(key), canonical(inner)) for key, inner in value.items())
        head = bytearray(canonical(len(entries)))
        head[0] |= 0xA0
        return bytes(head) + b"".join(key + inner for key, inner in entries)
    if isinstance(value, list):
        head = bytearray(canonical(len(value)))
        head[0] |= 0x80
        return bytes(head) + b"".join(map(canonical, value))
    return cbor2.dumps(value)


def cose_key(public, kid):
    return cwt.COSEKey.new({1: 1, 2: kid, 3: EDDSA, -1: 6, -2: public})


def open_signed(data, public, purpose, network):
    """Header and payload of a signed object, or an exception: the reading of the README, by `cwt`."""
    frame = one_value(data)
    assert isinstance(frame, cbor2.CBORTag) and frame.tag == 18, "no COSE_Sign1"
    protected, unprotected, payload, signature = frame.value
    assert unprotected == {}, "unprotected header"
    assert len(signature) == 64, "signature length"
    header = one_value(protected)
    assert set(header) == {ALG, KID, "cm-purpose", "cm-network", "cm-version"}, "header keys"
    assert header[ALG] == EDDSA, "algorithm"
    assert (header["cm-purpose"], header["cm-network"]) == (purpose, network), "purpose or network"
    assert header["cm-version"] == VERSION, "version"
    # One encoding only: the frame is made again from its parts.
    assert data == cbor2.dumps(cbor2.CBORTag(18, [protected, {}, payload, signature])), "frame encoding"
    read_header, _, read = cwt.COSE.new().decode_with_headers(data, cose_key(public, header[KID]))
    assert read == payload and read_header == header
    return header, payload


def confirmed_key(claims):
    key = claims[CNF][COSE_KEY]
    assert key[1] == 1 and key[-1] == 6
    return key[X]


class Vectors:
    """All files, and the keys that follow from the chain alone."""

    def __init__(self):
        self.files = {}
        for path in sorted(FOLDER.glob("*.json")):
            file = json.loads(path.read_text(encoding="utf-8"))
            assert path.stem == file["name"], path
            self.files[file["name"]] = file
        self.network = self.files["trust-list"]["network"]

    def object(self, name):
        return bytes.fromhex(self.files[name]["object"])

    def payload(self, name):
        return one_value(bytes.fromhex(self.files[name]["payload"]))

    def walk_the_chain(self):
        """From the one key that a node is configured with to the message key; no seed is used."""
        trust_key = bytes.fromhex(self.files["trust-list"]["public_keys"]["trust"])
        header, payload_of_list = open_signed(self.object("trust-list"), trust_key, "trust-list", self.network)
        assert header[KID] == trust_key
        issuers = {issuer[1]: issuer for issuer in one_value(payload_of_list)[1]}

        credential = self.object("party-credential")
        issuer_key = one_value(one_value(credential).value[0])[KID]
        issuer = issuers[issuer_key]
        _, payload = open_signed(credential, issuer_key, "party-credential", self.network)
        credential_claims = one_value(payload)
        role, main_id = credential_claims[SUB].split(":")
        assert issuer[3] == "registrar"
        assert any(grant[1] in (main_id[:2], "*") and grant[2] == role for grant in issuer[4])

        delegation = self.object("node-delegation")
        org_key = confirmed_key(credential_claims)
        header, payload = open_signed(delegation, org_key, "node-delegation", self.network)
        claims = one_value(payload)
        assert header[KID] == sha256(credential), "the delegation is for another credential"
        assert claims[SUB] == credential_claims[SUB]
        assert set(claims[PREFIXES]) <= {main_id, *credential_claims[SUB_IDS]}
        for token, key in ((credential, issuer_key), (delegation, org_key)):
            kid = one_value(one_value(token).value[0])[KID]
            read = cwt.CWT.new(leeway=CWT_LEEWAY_S).decode(token, cose_key(key, kid))
            assert read[NBF] < read[EXP] and read[SUB] == claims[SUB]
        self.credential, self.delegation = credential, delegation
        self.issuer_key, self.org_key, self.next_org_key_hash = issuer_key, org_key, credential_claims[-70004]
        self.message_key = confirmed_key(claims)
        node_key = bytes.fromhex(self.files["node-delegation"]["public_keys"]["node"])
        assert claims[PEER_ID] == PEER_ID_BEGIN + node_key, "peer id"
        self.party, self.slot = claims[SUB], claims[SLOT]
        self.walk_to_the_provider(one_value(payload_of_list))

    def walk_to_the_provider(self, trust_list):
        """From the pin in the trust list to the message key of the provider's node."""
        pin = trust_list[2][0]
        credential, delegation = self.object("provider-credential"), self.object("provider-delegation")
        header, payload = open_signed(credential, pin[2], "party-credential", self.network)
        claims = one_value(payload)
        assert header[KID] == pin[2] == confirmed_key(claims) and claims[SUB] == pin[1], "not the pinned party"
        header, payload = open_signed(delegation, pin[2], "node-delegation", self.network)
        assert header[KID] == sha256(credential), "the delegation is for another credential"
        delegated = one_value(payload)
        assert delegated[SUB] == claims[SUB] and set(delegated[PREFIXES]) == {claims[SUB].split(":")[1]}
        self.provider, self.provider_delegation = claims[SUB], delegation
        self.provider_key = confirmed_key(delegated)

    def open_of_node(self, data, purpose):
        header, payload = open_signed(data, self.message_key, purpose, self.network)
        assert header[KID] == sha256(self.delegation), "signed under another delegation"
        return one_value(payload)


def check_common(vectors, file):
    """What holds for every file: keys from seeds, the parts, the hash, the object made from the seed."""
    data, payload = bytes.fromhex(file["object"]), bytes.fromhex(file["payload"])
    assert sha256(data).hex() == file["hash"], "hash"
    secrets = {}
    for name, seed in file["secret_seeds"].items():
        secrets[name] = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))
        assert secrets[name].public_key().public_bytes_raw().hex() == file["public_keys"][name], name
    assert canonical(one_value(payload)) == payload, "the payload is not in deterministic encoding"
    if file["form"] == "CBOR":
        assert payload == data
        return
    signed = file["signed"]
    if signed["kid_is"] == "public key":
        kid = bytes.fromhex(file["public_keys"][signed["kid_of"]])
    else:
        kid = sha256(vectors.object(signed["kid_of"]))
    protected, signature = bytes.fromhex(signed["protected"]), bytes.fromhex(signed["signature"])
    purpose = one_value(protected)["cm-purpose"]
    public = bytes.fromhex(file["public_keys"][signed["by"]])
    header, read = open_signed(data, public, purpose, file["network"])
    assert header[KID] == kid and read == payload and signed["unprotected"] == "{}"
    again = {ALG: EDDSA, KID: kid, "cm-purpose": purpose, "cm-network": file["network"], "cm-version": VERSION}
    assert cbor2.dumps(again) == protected, "protected header made anew"
    to_sign = cbor2.dumps(["Signature1", protected, b"", payload])
    assert secrets[signed["by"]].sign(to_sign) == signature, "signature made anew"
    assert data == cbor2.dumps(cbor2.CBORTag(18, [protected, {}, payload, signature])), "object made anew"


def check_flips(file, accept):
    """One bit of every byte, another one each time; `chargemesh` itself tries all of them."""
    data = bytes.fromhex(file["object"])
    for at in range(len(data)):
        flipped = bytearray(data)
        flipped[at] ^= 1 << (at % 8)
        try:
            accept(bytes(flipped))
        except Exception:
            continue
        raise AssertionError(f"byte {at} with bit {at % 8} flipped was accepted")


def kademlia_key(network, party, slot):
    role, main_id = party.split(":")
    parts = (b"chargemesh card", network.encode(), role.encode(), main_id.encode(), bytes([slot]))
    return sha256(b"".join(struct.pack(">Q", len(part)) + part for part in parts))


def check_card(vectors, file):
    card = vectors.open_of_node(bytes.fromhex(file["object"]), "party-card")
    assert card[1] == vectors.delegation
    assert card[2] == vectors.credential if 2 in card else card[3] == sha256(vectors.credential)
    place = kademlia_key(file["network"], vectors.party, vectors.slot)
    assert place.hex() == file["further"]["kademlia_key"]


def check_tombstone(vectors, file):
    _, payload = open_signed(bytes.fromhex(file["object"]), vectors.org_key, "tombstone", file["network"])
    tombstone = one_value(payload)
    assert tombstone[1] == vectors.credential and tombstone[2] == "delegation"
    assert tombstone[3] == sha256(vectors.delegation)


def check_rotation(vectors, file):
    network = file["network"]
    header, payload = open_signed(bytes.fromhex(file["object"]), vectors.org_key, "rotation", network)
    consent = one_value(payload)[4]
    assert header[KID] == vectors.org_key and consent.hex() == file["further"]["consent"]
    new_key = one_value(one_value(consent).value[0])[KID]
    assert sha256(new_key) == vectors.next_org_key_hash, "not the key that was committed to"
    _, payload = open_signed(consent, new_key, "rotation", network)
    said = one_value(payload)
    assert canonical(said) == payload and said[1] == vectors.credential and said[2] == new_key


def check_status_list(vectors, file):
    header, payload = open_signed(bytes.fromhex(file["object"]), vectors.issuer_key, "status-list", file["network"])
    revoked = one_value(payload)[3]
    hashes = [revoked[at:at + 32] for at in range(0, len(revoked), 32)]
    assert header[KID] == vectors.issuer_key and hashes == sorted(set(hashes))
    assert sha256(vectors.credential) in hashes


def open_of_provider(vectors, file):
    data = bytes.fromhex(file["object"])
    header, payload = open_signed(data, vectors.provider_key, "agreement", file["network"])
    assert header[KID] == sha256(vectors.provider_delegation), "signed under another delegation"
    return one_value(payload)


def check_offer(vectors, file):
    offer = vectors.open_of_node(bytes.fromhex(file["object"]), "agreement")
    assert (offer[1], offer[2], offer[3]) == ("offer", vectors.party, vectors.provider)
    order = ["EvseData", "EvseStatus", "Authorization", "Reservation", "Cdr", "Pricing"]
    places = [order.index(service) for service in offer[4]]
    assert places and places == sorted(set(places)), "services"
    assert 0 < offer[6] - offer[5] <= 5 * 366 * 86_400 and len(offer[8]) == 16


def check_acceptance(vectors, file):
    accepted = open_of_provider(vectors, file)
    assert accepted[1] == "acceptance" and accepted[9] == vectors.object("agreement-offer")
    offer = vectors.open_of_node(accepted[9], "agreement")
    assert offer[1] == "offer" and offer[3] == vectors.provider, "not for the provider to accept"


def check_agreement_end(vectors, file):
    end = open_of_provider(vectors, file)
    assert end[1] == "end" and end[10] == sha256(vectors.object("agreement-offer"))


def check_envelope(vectors, file):
    said = vectors.open_of_node(bytes.fromhex(file["object"]), "envelope")
    assert said[2] == vectors.provider and 0 < said[4] - said[3] <= 600_000
    node_key = bytes.fromhex(vectors.files["provider-delegation"]["public_keys"]["provider node"])
    assert said[7] == PEER_ID_BEGIN + node_key, "for another node"
    assert len(said[1]) == len(said[5]) == 16 and one_value(said[6])


def check_sub_grant(vectors, file):
    header, payload = open_signed(bytes.fromhex(file["object"]), vectors.org_key, "sub-grant", file["network"])
    grant = one_value(payload)
    assert header[KID] == vectors.org_key and grant[1] == vectors.credential and grant[5] < grant[4]
    assert grant[2] != vectors.party and grant[2].split(":")[0] == vectors.party.split(":")[0], "grantee"


def root_of(records):
    buckets = [[] for _ in range(256)]
    for key, record in sorted(records.items()):
        raw, value_hash = key.encode(), sha256(record["value"].encode())
        times = struct.pack(">QQ", record["seq"], record["at_unix_ms"])
        leaf = sha256(struct.pack(">H", len(raw)) + raw + times + value_hash)
        assert (value_hash.hex(), leaf.hex()) == (record["value_hash"], record["leaf_hash"]), key
        assert sha256(raw)[0] == record["bucket"], key
        buckets[record["bucket"]].append(leaf)
    return sha256(b"".join(sha256(b"".join(leaves)) if leaves else bytes(32) for leaves in buckets))


def check_head(head, file):
    assert head[6] == root_of(file["records"]), "root"
    assert head[5] == len(file["records"]), "count"


def replay(base_seq, changes):
    records = {}
    for number, (key, at_unix_ms, value) in enumerate(changes):
        if value is None:
            records.pop(key, None)
        else:
            records[key] = {"seq": base_seq + 1 + number, "at_unix_ms": at_unix_ms, "value": value.decode()}
    return records


def open_frame(vectors, data):
    """Heads and changes of an announcement; the frame itself is not signed."""
    frame = one_value(data)
    assert isinstance(frame, list) and len(frame) == 2
    heads, changes = frame
    assert 1 <= len(heads) <= 16 and (changes is None or len(heads) == 1)
    assert canonical(frame) == data, "one encoding"
    return [vectors.open_of_node(head, "feed-head") for head in heads], changes


def check_announcement(vectors, file):
    (head,), changes = open_frame(vectors, bytes.fromhex(file["object"]))
    check_head(head, file)
    assert sha256(changes) == head[9], "the changes are not those of the head"
    plain = bytes.fromhex(file["further"]["changes"])
    if zstandard is not None:
        assert zstandard.ZstdDecompressor().decompress(changes, max_output_size=1 << 20) == plain
    listed = one_value(plain)
    assert len(listed) == head[4] - head[8], "number of changes"
    records = replay(head[8], listed)
    shown = {key: {name: record[name] for name in ("seq", "at_unix_ms", "value")}
             for key, record in file["records"].items()}
    assert records == shown, "the changes do not lead to the records"


def check_heartbeat(vectors, file):
    heads, changes = open_frame(vectors, bytes.fromhex(file["object"]))
    assert changes is None and len(heads) == 2
    for head in heads:
        assert head[0] == vectors.party and head[4] == head[8] and head[9] == bytes(32)


def announced(vectors, data):
    heads, changes = open_frame(vectors, data)
    assert changes is None or sha256(changes) == heads[0][9]


def main():
    vectors = Vectors()
    vectors.walk_the_chain()
    # What is to be checked beyond the frame; an object that is not here has its frame checked.
    further = {
        "party-card": check_card,
        "party-card-by-hash": check_card,
        "tombstone": check_tombstone,
        "rotation": check_rotation,
        "status-list": check_status_list,
        "feed-head": lambda vectors, file: check_head(
            vectors.open_of_node(bytes.fromhex(file["object"]), "feed-head"), file),
        "feed-announcement": check_announcement,
        "heartbeat": check_heartbeat,
        "agreement-offer": check_offer,
        "agreement-acceptance": check_acceptance,
        "agreement-end": check_agreement_end,
        "envelope": check_envelope,
        "sub-grant": check_sub_grant,
    }
    failed = False
    for name, file in vectors.files.items():
        try:
            check_common(vectors, file)
            further.get(name, lambda *_: None)(vectors, file)
            if file["form"] == "CBOR":
                check_flips(file, lambda data: announced(vectors, data))
            else:
                public = bytes.fromhex(file["public_keys"][file["signed"]["by"]])
                purpose = one_value(bytes.fromhex(file["signed"]["protected"]))["cm-purpose"]
                check_flips(file, lambda data: open_signed(data, public, purpose, file["network"]))
            print(f"{name}: agreed")
        except Exception as error:
            failed = True
            print(f"{name}: {type(error).__name__}: {error}")
    print(f"cwt {cwt.__version__}, zstd {'checked' if zstandard else 'not checked: no package zstandard'}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
