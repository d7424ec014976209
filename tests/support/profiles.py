"""ICC profiles for tests, made by hand (ICC.1:2022): of primaries and a tone curve, as cameras and editors attach."""

import struct
from collections.abc import Callable

# Primaries as X, Y and Z of red, green and blue, adapted to D50.
Primaries = tuple[tuple[float, float, float], ...]
SRGB: Primaries = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
ADOBE_RGB: Primaries = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
DISPLAY_P3: Primaries = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
_D50 = (0.9642, 1.0, 0.8249)


def srgb_curve(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def gamma(exponent: float) -> Callable[[float], float]:
    return lambda value: value**exponent


def rgb_profile(primaries: Primaries, curve: Callable[[float], float], name: str) -> bytes:
    tags = {b"wtpt": _xyz(_D50), b"desc": _description(name), b"cprt": _text("none")}
    for letter, primary in zip("rgb", primaries, strict=True):
        tags[f"{letter}XYZ".encode()] = _xyz(primary)
        tags[f"{letter}TRC".encode()] = _curve(curve)
    return _profile(b"RGB ", tags)


def grey_profile(curve: Callable[[float], float], name: str = "grey") -> bytes:
    tags = {b"wtpt": _xyz(_D50), b"desc": _description(name), b"cprt": _text("none"), b"kTRC": _curve(curve)}
    return _profile(b"GRAY", tags)


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += struct.pack(">4sII", name, 132 + 12 * len(tags) + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = struct.pack(
        ">I4sI4s4s4s12s4s4sI4s4s8sI3i",
        128 + len(table) + len(body),
        *(
            b"none",
            0x02_40_00_00,
            b"mntr",
            space,
            b"XYZ ",
            bytes(12),
            b"acsp",
            b"none",
            0,
            b"none",
            b"none",
            bytes(8),
            0,
        ),
        *(round(value * 65_536) for value in _D50),
    )
    return header.ljust(128, b"\0") + table + body


def _xyz(values: tuple[float, ...]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65_536) for value in values))


def _curve(curve: Callable[[float], float]) -> bytes:
    table = [round(curve(i / 1023) * 65_535) for i in range(1024)]
    return b"curv" + bytes(4) + struct.pack(">I1024H", len(table), *table)


def _text(text: str) -> bytes:
    return b"text" + bytes(4) + text.encode() + b"\0"


def _description(text: str) -> bytes:
    data = text.encode() + b"\0"
    return b"desc" + bytes(4) + struct.pack(">I", len(data)) + data + bytes(78)
