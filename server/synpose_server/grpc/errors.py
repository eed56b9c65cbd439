"""The one place where an exception becomes a gRPC status."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, TypeAlias

import grpc.aio
from google.protobuf.message import DecodeError

from synpose.errors import InvalidInput, ServerError, SynposeError, status_of, to_problem
from synpose.wire import PROBLEM_TRAILER
from synpose_server.calls import current_call

__all__ = ["Context", "ErrorInterceptor", "Handler", "abort", "let_finish"]

_DROP_SECONDS, _IDLE_SECONDS = 5.0, 0.1

log = logging.getLogger(__name__)

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Answers every exception of a method with its status and its problem document.

    What is not a `SynposeError` is logged with its traceback, and the caller learns only that it happened. A call that
    is cancelled or past its deadline raises `CancelledError` in the method, whose generator is closed at once.
    """

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """The method's handler, guarded."""
        handler: Any = await continuation(handler_call_details)
        if handler is None:
            return None
        parse, serialize = _parser(handler.request_deserializer), handler.response_serializer
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(
                _unary(handler.unary_unary, parse), response_serializer=serialize
            )
        if handler.unary_stream:  # health's, which writes its answers itself
            return grpc.unary_stream_rpc_method_handler(
                _unary(handler.unary_stream, parse), response_serializer=serialize
            )
        return grpc.stream_stream_rpc_method_handler(
            _streaming(handler.stream_stream, parse), response_serializer=serialize
        )


def _parser(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """`deserialize` for the guarded part of a call: left to gRPC, a broken message is a failure of the server."""

    def parse(message: bytes) -> Any:
        try:
            return deserialize(message)
        except DecodeError:
            raise InvalidInput("a message is not what this method takes", field="body") from None

    return parse


def _unary(
    method: Callable[[Any, Context], Awaitable[Any]], parse: Callable[[bytes], Any]
) -> Callable[[Any, Any], Any]:
    async def answered(request: bytes, context: Context) -> Any:
        async with _errors_answered(context):
            return await method(parse(request), context)

    return answered


def _streaming(
    method: Callable[[Any, Context], AsyncGenerator[Any, None]], parse: Callable[[bytes], Any]
) -> Callable[[Any, Any], Any]:
    async def answered(requests: AsyncIterator[bytes], context: Context) -> None:
        parsed = (parse(request) async for request in requests)
        async with _errors_answered(context), aclosing(parsed), aclosing(method(parsed, context)) as responses:
            async for response in responses:
                await context.write(response)

    return answered


@asynccontextmanager
async def _errors_answered(context: Context) -> AsyncGenerator[None, None]:
    try:
        yield
    except grpc.aio.AbortError:
        raise
    except SynposeError as error:
        await abort(context, error)
    except Exception:
        log.exception("a gRPC call failed")
        await abort(context, ServerError("the server failed; its log says why"))


async def abort(context: Context, error: SynposeError) -> None:
    """End the call with the status of `error` and its problem document."""
    if (call := current_call.get()) is not None:
        call.reason = status_of(error).type
    code = grpc.StatusCode[status_of(error).grpc]
    problem = {key: _short(value) for key, value in to_problem(error).items()}
    trailer = (PROBLEM_TRAILER, json.dumps(problem, ensure_ascii=False).encode())
    await context.abort(code, _short(str(error)), (*(context.trailing_metadata() or ()), trailer))


async def let_finish(requests: AsyncIterator[Any], seconds: float = _DROP_SECONDS) -> None:
    """Drop what a caller still sends, for `seconds` at most, before the call is ended with an error.

    grpc.aio's clients (seen with 1.85) lose the status of a call that ends while one of their writes waits: they report
    INTERNAL instead.
    """
    with suppress(TimeoutError, StopAsyncIteration):
        async with asyncio.timeout(seconds):
            while True:
                await asyncio.wait_for(anext(requests), _IDLE_SECONDS)


def _short(value: Any) -> Any:
    """Names from outside may be of any length, and a peer drops trailers of more than 8 KiB in all."""
    return value[:299] + "…" if isinstance(value, str) and len(value) > 300 else value
