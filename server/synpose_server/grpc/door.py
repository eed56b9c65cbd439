"""What every gRPC call passes first: its id, its key, and the end of serving."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, aclosing, asynccontextmanager
from typing import Any, cast

import grpc.aio

from synpose.errors import SynposeError, status_of
from synpose_server.auth import Gate, secret_of
from synpose_server.calls import REQUEST_ID, call
from synpose_server.grpc.errors import Context, Handler, abort, let_finish
from synpose_server.lifecycle import Lifecycle

__all__ = ["DoorInterceptor"]

_PROBES = (
    "/grpc.health.v1.Health/",
    "/inference.GRPCInferenceService/ServerLive",
    "/inference.GRPCInferenceService/ServerReady",
)
_REFUSED_SECONDS = 1.0  # that a caller who streams may go on
_SCOPES = {  # of a call's key; any key does for other methods
    "EstimatePose3D": "estimate",
    "EstimateClip": "estimate",
    "StreamPoses": "stream",
    "ModelInfer": "estimate",
    "ModelMetadata": "estimate",
    "ModelReady": "estimate",
}


class DoorInterceptor(grpc.aio.ServerInterceptor):
    """The outermost; probes are answered to everybody and until the very end."""

    def __init__(self, gate: Gate, lifecycle: Lifecycle) -> None:
        self._gate, self._lifecycle = gate, lifecycle

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """The method's handler, behind the door."""
        handler: Any = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        kind = ("unary" if not handler.request_streaming else "stream") + (
            "_stream" if handler.response_streaming else "_unary"
        )
        behaviour, streams = getattr(handler, kind), handler.request_streaming
        single = not handler.response_streaming
        wrapped = self._single(method, behaviour) if single else self._streamed(method, behaviour, streams)
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        guarded = make(wrapped, handler.request_deserializer, handler.response_serializer)
        return cast("Handler", guarded)

    def _single(self, method: str, behaviour: Callable[[Any, Context], Awaitable[Any]]) -> Callable[..., Any]:
        async def answered(request: Any, context: Context) -> Any:
            async with self._passed(method, context):
                return await behaviour(request, context)

        return answered

    def _streamed(self, method: str, behaviour: Callable[[Any, Context], Any], streams: bool) -> Callable[..., Any]:
        async def answered(request: Any, context: Context) -> None:
            async with self._passed(method, context, request if streams else None):
                if streams and not self._gate.open:
                    request = self._while_let_in(method, context, request)
                answers = behaviour(request, context)
                if not inspect.isasyncgen(answers):
                    await answers
                    return
                async with aclosing(answers):
                    async for message in answers:
                        await context.write(message)

        return answered

    async def _while_let_in(self, method: str, context: Context, requests: AsyncIterable[Any]) -> AsyncIterator[Any]:
        """`requests` until their key is removed; then raises `Unauthenticated`, or `PermissionDenied`."""
        secret = secret_of(_headers(context))
        async for request in requests:
            self._gate.check(secret, *_scopes(method))
            yield request

    @asynccontextmanager
    async def _passed(
        self, method: str, context: Context, requests: AsyncIterable[Any] | None = None
    ) -> AsyncGenerator[None, None]:
        headers = _headers(context)
        with call("grpc", method, headers, context.peer()) as current, ExitStack() as stack:
            context.set_trailing_metadata(((REQUEST_ID, current.id),))
            try:
                if not method.startswith(_PROBES):
                    stack.enter_context(self._lifecycle.request())
                    current.key = stack.enter_context(self._gate.admit(secret_of(headers), *_scopes(method)))
                yield
                current.status = _code(context)
            except SynposeError as error:
                current.status, current.reason = status_of(error).grpc, status_of(error).type
                if requests is not None:
                    await let_finish(aiter(requests), _REFUSED_SECONDS)
                await abort(context, error)
            except grpc.aio.AbortError:
                current.status = _code(context)
                raise
            except BaseException:
                current.status = "CANCELLED"
                raise


def _headers(context: Context) -> dict[str, str]:
    return {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}


def _scopes(method: str) -> tuple[str, ...]:
    scope = _SCOPES.get(method.rpartition("/")[2])
    return () if scope is None else (scope,)


def _code(context: Context) -> str:
    code: Any = context.code()
    if isinstance(code, int):
        code = next((known for known in grpc.StatusCode if known.value[0] == code), None)
    return cast(str, code.name) if code is not None else "OK"
