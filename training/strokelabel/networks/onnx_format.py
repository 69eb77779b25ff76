"""Writer of the ONNX format, as much of it as networks of convolutions need.

ONNX is a protocol buffer. Its few messages are written here by their field numbers (`onnx.proto`), so that a network
becomes an ONNX model from its weights file wherever it is used: neither torch nor the package `onnx` is needed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

OPSET: Final = 17
_IR_VERSION: Final = 8
_FLOAT: Final = 1
"""Number of the type float32."""

Attribute = int | float | Sequence[int]


def node(kind: str, inputs: Sequence[str], output: str, **attributes: Attribute) -> bytes:
    """Return a `NodeProto` with one output, named after it."""
    return b"".join(
        (
            *(_text(1, name) for name in inputs),
            _text(2, output),
            _text(3, output),
            _text(4, kind),
            *(_message(5, _attribute(name, value)) for name, value in attributes.items()),
        )
    )


def tensor(name: str, values: np.ndarray) -> bytes:
    """Return a `TensorProto` of float32."""
    data = np.ascontiguousarray(values, dtype="<f4")
    sizes = b"".join(_integer(1, size) for size in data.shape)
    return sizes + _integer(2, _FLOAT) + _text(8, name) + _message(9, data.tobytes())


def volumes(name: str, channels: int) -> bytes:
    """Return a `ValueInfoProto` of float32 volumes (batch, channels, x, y, z) of any size."""
    sides: list[int | str] = ["batch", channels, *(f"{name}_{axis}" for axis in "xyz")]
    shape = b"".join(
        _message(1, _integer(1, side) if isinstance(side, int) else _text(2, side)) for side in sides
    )
    return _text(1, name) + _message(2, _message(1, _integer(1, _FLOAT) + _message(2, shape)))


def model(
    nodes: Iterable[bytes],
    tensors: Iterable[bytes],
    values: tuple[bytes, bytes],
    producer: tuple[str, str],
    metadata: Mapping[str, str],
) -> bytes:
    """Return a `ModelProto`, which is what an .onnx file holds.

    Args:
        nodes: from `node`, each after those whose outputs it takes.
        tensors: the weights, from `tensor`.
        values: the input and the output, from `volumes`.
        producer: name and version of the program.
        metadata: text by key.
    """
    graph = b"".join(
        (
            *(_message(1, one) for one in nodes),
            _text(2, "network"),
            *(_message(5, one) for one in tensors),
            _message(11, values[0]),
            _message(12, values[1]),
        )
    )
    entries = (_text(1, key) + _text(2, value) for key, value in metadata.items())
    return b"".join(
        (
            _integer(1, _IR_VERSION),
            _text(2, producer[0]),
            _text(3, producer[1]),
            _message(7, graph),
            _message(8, _text(1, "") + _integer(2, OPSET)),
            *(_message(14, entry) for entry in entries),
        )
    )


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, int):
        return _text(1, name) + _integer(3, value) + _integer(20, 2)
    if isinstance(value, float):
        return _text(1, name) + _varint(2 << 3 | 5) + struct.pack("<f", value) + _integer(20, 1)
    return _text(1, name) + b"".join(_integer(8, one) for one in value) + _integer(20, 7)


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode("utf-8"))


def _message(field: int, content: bytes) -> bytes:
    """Return a field of bytes: text, an array, or a message within the message."""
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _integer(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    """Return a number of 0 or more, seven bits a byte, lowest first; the highest bit says that more follow."""
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
