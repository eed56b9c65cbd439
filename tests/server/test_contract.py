"""Requests made up from the OpenAPI document, and messages that are mangled: no failure of the server."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.core.result import Ok
from tests.server.fake_engine import FakeEngine
from tests.server.live_server import serve
from tests.server.test_serve import REQUEST, running

from synpose_server.settings import Settings

CODES = {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND,
         grpc.StatusCode.RESOURCE_EXHAUSTED}  # fmt: skip


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve(FakeEngine(Settings())) as url:
        yield url


def test_made_up_requests(url: str) -> None:
    """Whatever the document allows, and what it does not, is answered without a failure."""
    schema = schemathesis.openapi.from_dict(httpx.get(f"{url}/openapi.json").json())
    asked = 0
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()

        @settings(max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def ask(case: schemathesis.Case[Any]) -> None:
            nonlocal asked
            asked += 1
            answer = case.call(base_url=url)
            assert answer.status_code < 500 or answer.status_code == 503, (case.as_curl_command(), answer.text)

        ask()
    assert asked > 20


def test_mangled_messages() -> None:
    """Bytes of a good request, changed at random places, get an answer or an error of the caller's; never INTERNAL."""
    codes: set[grpc.StatusCode] = set()
    chance, good = random.Random(7), REQUEST.SerializeToString()
    with running() as (_, _, target), grpc.insecure_channel(target) as channel:
        method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/synpose.v1.PoseService/EstimatePose3D"
        )
        for _ in range(300):
            message = bytearray(good)
            for _ in range(chance.randint(1, 8)):
                place = chance.randrange(len(message))
                if chance.random() < 0.3:
                    del message[place : place + chance.randint(1, 20)]
                else:
                    message[place : place + 1] = chance.randbytes(chance.randint(1, 3))
            codes.add(method.future(bytes(message), timeout=10).code())
    assert codes <= CODES
    assert len(codes) > 1
