"""Damage to files, drawn from a seed: what half a download or a broken disk leaves."""

import json
from pathlib import Path
from random import Random

KINDS = ("cut", "flipped", "reencoded", "nested", "oversized", "swapped")


def damage(file: Path, rng: Random) -> str:
    """Damage a file in one way, and return which."""
    kind = rng.choice(KINDS)
    content = file.read_bytes()
    if kind == "cut":
        content = content[: rng.randrange(len(content))]
    elif kind == "flipped":
        content = _flipped(content, rng)
    elif kind == "reencoded":
        text = content.decode("latin-1")
        content = text.encode(rng.choice(["utf-16", "utf-8-sig", "cp500"]))
    elif kind == "nested":
        content = _nested(content, rng)
    elif kind == "oversized":
        content = _oversized(content, rng)
    else:
        content = _swapped(content, rng)
    file.write_bytes(content)
    return kind


def _flipped(content: bytes, rng: Random) -> bytes:
    flipped = bytearray(content)
    near = min(len(content), 4_096)  # the header of weights, most of a configuration
    for _ in range(rng.choice([1, 8])):
        flipped[rng.randrange(near)] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def _nested(content: bytes, rng: Random) -> bytes:
    depth = rng.choice([2_000, 200_000])
    deep = rng.choice([b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth])
    return rng.choice([deep, content.replace(b":", b":" + deep + b',"more":', 1)])


def _oversized(content: bytes, rng: Random) -> bytes:
    """One number of a JSON object becomes huge; of another file, it is padded."""
    try:
        settings = json.loads(content)
        numbers = [key for key, value in settings.items() if isinstance(value, int)]
        settings[rng.choice(numbers)] = rng.choice([10**6, 10**12, 10**30, -(10**9)])
        return json.dumps(settings).encode()
    except (ValueError, LookupError, AttributeError):
        return content + b"\0" * rng.choice([1, 1 << 20])


def _swapped(content: bytes, rng: Random) -> bytes:
    """One value of a JSON object becomes one of another type; of another file, bytes swap."""
    try:
        settings = json.loads(content)
        settings[rng.choice(sorted(settings))] = rng.choice([None, [], {}, "x", -1, 0.5, True])
        return json.dumps(settings).encode()
    except (ValueError, LookupError, AttributeError):
        return content[::-1]
