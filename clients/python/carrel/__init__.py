# SPDX-License-Identifier: Apache-2.0
"""Client of carrel, which lends isolated sessions. Needs nothing but Python's standard library.

    with carrel.Client() as client:
        session = client.session.create("browser", owner="ada@example.com")
"""

from ._base import UNSET, Error
from ._client import Client
from ._methods import *  # noqa: F403  types, and a class for each kind of error
from ._streams import Stream

__all__ = [name for name in dir() if not name.startswith("_")]
