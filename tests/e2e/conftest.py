"""The PyPI client, connected to the test module's server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redisai

from harness import Server


@pytest.fixture
def con(server: Server) -> Iterator[redisai.Client]:
    client = redisai.Client(host="127.0.0.1", port=server.port)
    client.flushall()
    yield client
    client.close()
    server.check_health()
