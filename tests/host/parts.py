# SPDX-License-Identifier: Apache-2.0
"""What a virtual machine is made of: QEMU, a kernel, a root file system.

Each is a directory made by a program of the folder parts/ and named after the hash of all that went into it, so that
one that is there need not be made again, and a change makes a new one. They lie below build/vm.
"""

import fcntl
import hashlib
import pathlib
import shutil
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
CACHE = TOP / "build/vm"
RECIPES = pathlib.Path(__file__).resolve().parent / "parts"

# Name on the command line: suite and metapackage. The oldest that carrel runs on, the one between, the newest.
KERNELS = {
    "6.1": ("bookworm-security", "linux-image-cloud-amd64"),
    "6.12": ("bookworm-backports", "linux-image-cloud-amd64"),
    "newest": ("trixie-backports", "linux-image-cloud-amd64"),
}


def qemu():
    """The program."""
    return _made("qemu", ["qemu", "apt.sh"]) / "qemu"


def kernel(name):
    """A directory with release, vmlinuz, initrd and modules.ext4."""
    return _made(f"kernel-{name}", ["kernel", "apt.sh", "initrd-init"], *KERNELS[name])


def root():
    """A raw ext4 image."""
    return _made("root", ["root", "apt.sh", "packages", "masked-units", "files"]) / "root.ext4"


def _key(inputs, arguments):
    found = hashlib.sha256(repr(arguments).encode())
    for name in inputs:
        path = RECIPES / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                found.update(f"{file.relative_to(RECIPES)} {file.stat().st_mode:o}\n".encode() + file.read_bytes())
    return found.hexdigest()[:12]


def _made(name, inputs, *arguments):
    """The directory of a part, made by the first of INPUTS when it is not there; older ones of the name are removed."""
    directory = CACHE / f"{name}-{_key(inputs, arguments)}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            _make(name, directory, [str(RECIPES / inputs[0]), *arguments])
    return directory


def _make(name, directory, recipe):
    begun = time.monotonic()
    print(f"making {name} ...", end=" ", file=sys.stderr, flush=True)
    for old in CACHE.glob(f"{name}-" + "[0-9a-f]" * 12 + "*"):
        shutil.rmtree(old)
    unfinished = directory.with_name(directory.name + ".unfinished")
    unfinished.mkdir()
    result = subprocess.run([recipe[0], str(unfinished), *recipe[1:]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, errors="replace")
    if result.returncode != 0:
        shutil.rmtree(unfinished)
        print("failed", file=sys.stderr)
        raise RuntimeError(f"{name} could not be made:\n{result.stdout}")
    unfinished.rename(directory)
    print(f"{time.monotonic() - begun:.0f} s", file=sys.stderr)
