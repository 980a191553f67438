"""Damaged bytes for every reader, and a child process in which they are read: little memory, no code of others, no writing."""

import collections
import dataclasses
import faulthandler
import os
import resource
import struct
import sys
import traceback
import typing
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

MEMORY = 2 << 30  # bytes beside what the child has when it starts
SECONDS = 10  # for one example
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen", "socket.connect", "ctypes.dlopen")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
ANNOTATIONS = (typing.__file__, collections.__file__, dataclasses.__file__)
EXTREMES = (0, 1, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1)

Content = st.SearchStrategy[bytes]
Reader = Callable[[bytes], object]


# ---- damage


@st.composite
def damaged(draw: st.DrawFn, valid: list[bytes]) -> bytes:
    """A valid file, damaged one to four times; most of the places are near its ends, where headers and directories are."""
    content = draw(st.sampled_from(valid))
    for _ in range(draw(st.integers(1, 4))):
        end = len(content)
        place = draw(st.integers(0, min(end, 300)) | st.integers(0, end) | st.integers(0, min(end, 300)).map(end.__sub__))
        content = draw(st.sampled_from(DAMAGES))(draw, content, place, valid)
    return content


def _flip(draw: st.DrawFn, content: bytes, place: int, _: list[bytes]) -> bytes:
    byte = content[place] ^ (1 << draw(st.integers(0, 7))) if place < len(content) else 0
    return content[:place] + bytes([byte]) + content[place + 1 :]


def _truncate(draw: st.DrawFn, content: bytes, place: int, _: list[bytes]) -> bytes:
    return content[:place]


def _splice(draw: st.DrawFn, content: bytes, place: int, valid: list[bytes]) -> bytes:
    other = draw(st.sampled_from(valid))
    start = draw(st.integers(0, len(other)))
    return content[:place] + other[start : start + draw(st.integers(1, 200))] + content[place:]


def _insert(draw: st.DrawFn, content: bytes, place: int, _: list[bytes]) -> bytes:
    return content[:place] + draw(st.binary(min_size=1, max_size=16)) + content[place:]


def _replace(draw: st.DrawFn, content: bytes, place: int, _: list[bytes]) -> bytes:
    new = draw(st.binary(min_size=1, max_size=16))
    return content[:place] + new + content[place + len(new) :]


def _extreme(draw: st.DrawFn, content: bytes, place: int, _: list[bytes]) -> bytes:
    """Write a number that a length or an offset must not be."""
    size = draw(st.sampled_from((1, 2, 4, 8)))
    number = draw(st.sampled_from(EXTREMES)) % 256**size
    return content[:place] + number.to_bytes(size, draw(st.sampled_from(("little", "big")))) + content[place + size :]


def _digits(draw: st.DrawFn, content: bytes, place: int, _: list[bytes]) -> bytes:
    """Write a number as text, which headers of JSON and NumPy have."""
    number = str(draw(st.sampled_from((*EXTREMES, -1)))).encode()
    return content[:place] + number + content[place + draw(st.integers(0, 4)) :]


DAMAGES = (_flip, _truncate, _splice, _insert, _replace, _extreme, _digits)


def with_length(content: bytes) -> bytes:
    """Return safetensors whose length fits its header again, up to the end of its JSON."""
    end = content.rfind(b"}", 0, 4096) + 1
    return struct.pack("<Q", max(end - 8, 0)) + content[8:]


def with_crcs(content: bytes) -> bytes:
    """Return a PNG whose chunks have the right CRCs again, as far as their lengths go."""
    fixed, place = content[:8], 8
    while place + 12 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        body = content[place + 4 : place + 8 + length]
        fixed += content[place : place + 4] + body + struct.pack(">I", zlib.crc32(body))
        place += 12 + length
    return fixed + content[place:]


# ---- the child


class NotAllowedError(BaseException):
    """A reader did what no reader may; no ``except Exception`` hides it."""


class Guard:
    """Raises where code of others is run, or something is written, while a reader reads."""

    def __init__(self) -> None:
        self.armed = False
        sys.addaudithook(self._check)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        self.armed = True
        try:
            yield
        finally:
            self.armed = False

    def _check(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.armed and _is_forbidden(event, arguments):
            self.armed = False
            raise NotAllowedError(f"{event} {arguments!r}"[:500])


def _is_forbidden(event: str, arguments: tuple[Any, ...]) -> bool:
    if event == "open":
        return bool((arguments[2] or 0) & WRITING)
    if event == "exec":  # importing runs code that has a file, typing evaluates annotations; what comes out of data has neither
        by, code = sys._getframe(2).f_code.co_filename, arguments[0]
        return not Path(code.co_filename).is_file() and by not in ANNOTATIONS
    return event.startswith(FORBIDDEN)


def fuzzed(read: Reader, contents: Content, allowed: tuple[type[Exception], ...], examples: int, place: Path) -> Counter[str]:
    """Read ``examples`` damaged contents in a forked child; return how many were read and how many raised what.

    Each is written to ``place`` before ``read`` is called with it.

    Raises:
        AssertionError: where an example raised anything that is not ``allowed``, did what a reader may not, or ended the child.
    """
    report = place.with_name("report")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = _child(read, contents, allowed, examples, place, report)
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    text = report.read_text() if report.exists() else ""
    assert status == 0, f"ended with {status} at {place.read_bytes()[:2000]!r}\n{text}"
    return Counter({line.rpartition(" ")[0]: int(line.rpartition(" ")[2]) for line in text.splitlines()})


def _child(read: Reader, contents: Content, allowed: tuple[type[Exception], ...], examples: int, place: Path, report: Path) -> int:
    warnings.simplefilter("ignore")
    faulthandler.disable()
    guard, seen = Guard(), Counter[str]()
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    @settings(
        max_examples=examples,
        deadline=timedelta(seconds=SECONDS),
        derandomize=True,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(contents)
    def every_example(content: bytes) -> None:
        place.write_bytes(content)
        try:
            with guard():
                read(content)
            seen["read"] += 1
        except allowed as error:
            seen[type(error).__name__] += 1

    try:
        every_example()
    except BaseException as error:
        error.__notes__ = []  # the example, which lies at ``place``
        report.write_text(traceback.format_exc()[-4000:])
        return 1
    report.write_text("".join(f"{name} {count}\n" for name, count in seen.items()))
    return 0
