# SPDX-License-Identifier: Apache-2.0
"""A disk with images of sessions, for guests: made here, because a guest has no network and little time.

They are built where the tests of sessions look for Docker's, too, so that it is made once."""

import pathlib
import subprocess

import parts

STATE = parts.TOP / "build/gcc/dind-store"
NAMES = ("browser-small", "dind")
ROOM_MIB = 512  # for what sessions write to their scratch


def disk(root):
    """ROOT is a tree that `meson install --destdir` made. A file system that has what belongs into carrel's state_dir."""
    STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in NAMES:
        result = subprocess.run(
            [pathlib.Path(root) / "usr/bin/carrel", "image", "build", name, "--state-dir", STATE, "--config",
             pathlib.Path(root) / "etc/carrel", "--libexec-dir", pathlib.Path(root) / "usr/libexec/carrel"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if result.returncode != 0:
            raise RuntimeError(f"image {name}: {result.stdout}")
    made = parts.CACHE / "images.ext4"
    built = max((STATE / f"images/{name}.json").stat().st_mtime for name in NAMES)
    if not made.exists() or made.stat().st_mtime < built:
        _make(made)
    return made


def _make(path):
    unfinished = path.with_suffix(".unfinished")
    used = int(subprocess.run(["du", "-sm", STATE], capture_output=True, text=True, check=True).stdout.split()[0])
    with open(unfinished, "wb") as file:
        file.truncate((used * 5 // 4 + ROOM_MIB) << 20)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", STATE, unfinished], check=True)
    unfinished.rename(path)
