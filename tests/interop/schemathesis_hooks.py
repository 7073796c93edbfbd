"""Most generated messages name the caller's own ids, so that they get further than to 017."""

import os
import re
import zlib

import schemathesis

OWN = {"OperatorID": "CH*ABC", "ProviderID": "DE-EMP"}
EVSE = "CH*ABC*E%d"
PATTERN = {
    "OperatorID": r"[A-Za-z]{2}[*]?[A-Za-z0-9]{3}|[+]?[0-9]{1,3}[*][0-9]{3}",
    "ProviderID": r"[A-Za-z]{2}[*-]?[A-Za-z0-9]{3}",
    "EvseID": r"[A-Za-z]{2}[*]?[A-Za-z0-9]{3}[*]?[Ee][A-Za-z0-9*]{1,30}|[+]?[0-9]{1,3}[*][0-9]{3}[*][0-9*]{1,32}",
}


def named(name, value):
    # What breaks the pattern stays as it is: it has to be refused.
    if not isinstance(value, str) or not re.fullmatch(PATTERN[name], value):
        return value
    # Not by chance: what was found is found again.
    number = zlib.crc32(value.encode())
    if number % 10 == 0:
        return value
    if name == "EvseID":
        return EVSE % (number % 7)
    return OWN[name]


def walk(node):
    if isinstance(node, dict):
        return {
            name: named(name, value) if name in (*OWN, "EvseID") else walk(value)
            for name, value in node.items()
        }
    return [walk(apart(item, place)) for place, item in enumerate(node)] if isinstance(node, list) else node


def apart(item, place):
    """A schema cannot say that no two products of a list have one id."""
    if isinstance(item, dict) and isinstance(item.get("ProductID"), str) and 0 < len(item["ProductID"]) < 90:
        return {**item, "ProductID": f"{item['ProductID']}{place}"}
    return item


@schemathesis.hook
def map_body(context, body):
    return walk(body) if isinstance(body, (dict, list)) else body
