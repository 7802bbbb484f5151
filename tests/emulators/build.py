"""Compiles an emulator of a maker's library, once a session and kind.

``build("nvml")`` compiles tests/emulators/nvml/*.c into a shared library and returns its path. The name
the loader looks for is the emulator's own: the comment ``soname: libnvidia-ml.so.1`` in one of its
sources. Put ``path.parent`` first in LD_LIBRARY_PATH of the process that is to find it.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@cache
def _place() -> Path:
    place = Path(tempfile.mkdtemp(prefix="ullage-emulators-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place


def compiler() -> str | None:
    """The C compiler: $CC, else cc, gcc or clang on the path; None where there is none."""
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and (found := shutil.which(name)):
            return found
    return None


@cache
def build(name: str, defines: tuple[str, ...] = (), hidden: tuple[str, ...] = ()) -> Path:
    """The compiled library of tests/emulators/``name``. Skips the test where there is no compiler.

    defines: macros, "NAME" or "NAME=VALUE". hidden: functions the library must not export, as an older
    one that does not have them yet.
    """
    cc = compiler()
    if cc is None:
        pytest.skip("no C compiler: the emulators of makers' libraries cannot be built")
    sources = sorted((HERE / name).glob("*.c"))
    assert sources, f"no emulator {name}: {HERE / name} holds no C source"
    text = "".join(source.read_text(encoding="utf-8") for source in sources)
    soname = re.search(r"soname:\s*(\S+)", text)
    assert soname, f"emulator {name} names no soname in a comment"
    place = Path(tempfile.mkdtemp(dir=_place(), prefix=f"{name}-"))
    target = place / soname.group(1)
    command = [cc, "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    command += [f"-D{define}" for define in defines]
    command += [f"-Wl,-soname,{soname.group(1)}"]
    if hidden:
        script = place / "hidden.map"
        script.write_text(
            "{ global: *; local: " + " ".join(f"{symbol};" for symbol in hidden) + " };\n", encoding="ascii"
        )
        command += [f"-Wl,--version-script,{script}"]
    command += [str(source) for source in sources] + ["-o", str(target), "-lm", "-lpthread"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"emulator {name} does not compile:\n{done.stderr}"
    return target
