"""One live stream: what came in, what waits, what was answered. It outlives its connections."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from itertools import pairwise

from synpose.errors import InvalidInput, NotFound, ServerError, SynposeError
from synpose.live import Capture, Latency, LivePose, StreamCounters, StreamPolicy
from synpose_server.live.assemble import Assembler, PendingSet
from synpose_server.live.clocks import Clocks
from synpose_server.live.poser import Posed, Poser
from synpose_server.observe import count

__all__ = ["Session"]

log = logging.getLogger(__name__)

_MOST_WAITING = 8  # frame sets that wait to be computed; more are not read from the connection
_MOST_UNSENT = 64  # results that wait for a slow reader
_MOST_KEPT = 1024  # results that were sent and not acknowledged
_MOST_ALIGNING = 256  # images that wait until the clocks of the cameras are known
_ALIGN_SECONDS, _ALIGN_AT_MOST = 2.0, 16.0  # that they wait once some clock is known, and while none is


@dataclass(frozen=True, eq=False)
class _Image:
    camera: str
    time: float
    data: bytes
    received: float


@dataclass(eq=False)
class _Result:
    pose: LivePose
    ready: float  # time.monotonic


class Session:
    """The stream that `token` names, from its captures to its results.

    Doors call it on their event loop, where nothing blocks; it computes in threads of `working`, one at a time.
    `on_change` is called from either when there may be something to send or room for more. Memory is bounded: frame
    sets that wait, their bytes, and results that nobody takes.
    """

    def __init__(
        self,
        token: str,
        calibration_hash: str,
        poser: Poser,
        cameras: tuple[str, ...],
        policy: StreamPolicy,
        fps: float | None,
        working: Executor,
        max_bytes: int,
    ) -> None:
        self.token, self.calibration_hash, self.header = token, calibration_hash, poser.header
        self.policy, self.cameras = policy, cameras
        self.on_change: Callable[[], object] = lambda: None
        self.error: SynposeError | None = None
        self._poser, self._working, self._max_bytes = poser, working, max_bytes
        self._assembler = Assembler(cameras, policy, fps)
        self._clocks = Clocks(cameras)
        self._offsets: dict[str, float] | None = None if policy.clock == "align" else {}
        self._aligning: list[_Image] = []
        self._lock = threading.Lock()
        self._waiting: deque[PendingSet] = deque()
        self._waiting_bytes = 0
        self._working_now = self._ending = self._flushed = self._closed = False
        self._unsent: deque[_Result] = deque()
        self._kept: deque[LivePose] = deque()  # sent, not acknowledged
        self._forgotten = 0  # results before this sequence number cannot be sent again
        self._sent = 0  # none of this or a later one was sent yet
        self._captures = self._dropped = self._unread = 0

    # -- what comes in ---------------------------------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Whether more should be read; in mode `latest` there always is."""
        if self.policy.mode == "latest":
            return True
        with self._lock:
            return self._has_room()

    def _has_room(self) -> bool:
        return len(self._waiting) < _MOST_WAITING and self._waiting_bytes < self._max_bytes

    @property
    def captures(self) -> int:
        """How many captures have come."""
        return self._captures

    def take(self, capture: Capture, now: float) -> None:
        """Take in a capture that came at `now`; raises `InvalidInput` for one that does not fit the stream."""
        if self._ending:
            raise InvalidInput("a capture came after end", field="capture")
        for camera in capture.images:
            if camera not in self.cameras:
                names = ", ".join(self.cameras)
                raise InvalidInput(f"the stream has no such camera; it has {names}", field="capture", camera=camera)
        if not capture.whole and not capture.images:
            raise InvalidInput("a capture holds no image", field="capture.images")
        if not abs(capture.timestamp) < 1e12:
            raise InvalidInput("a timestamp must be a number of seconds", field="capture.timestamp")
        self._captures += 1
        if capture.whole:
            with self._late_counted():
                self._assembler.add_set(capture.timestamp, capture.images, now)
        else:
            for camera, data in capture.images.items():
                self._clocks.see(camera, capture.timestamp, now)
                self._aligning.append(_Image(camera, capture.timestamp, data, now))
            waiting = sum(len(image.data) for image in self._aligning)
            self._align(now, forced=len(self._aligning) > _MOST_ALIGNING or waiting > self._max_bytes)
        self._accept(self._assembler.take(now))
        while self._assembler.size > self._max_bytes:
            self._accept(self._assembler.force(now))

    @property
    def due(self) -> float | None:
        """When `tick` is to be called, if no capture comes before."""
        return min((due for due in (self._assembler.due, self._aligned_by) if due is not None), default=None)

    @property
    def _aligned_by(self) -> float | None:
        """When the images that wait for a silent camera's clock go on without it."""
        if not self._aligning:
            return None
        seconds = _ALIGN_SECONDS if self._clocks.begun else _ALIGN_AT_MOST
        return self._aligning[0].received + max(self.policy.max_wait, seconds)

    def tick(self, now: float) -> None:
        """Go on without images that were waited for long enough."""
        self._align(now)
        self._accept(self._assembler.take(now))

    def finish(self, now: float) -> None:
        """No capture follows: everything that waits is answered."""
        self._align(now, forced=True)
        self._accept(self._assembler.flush(now))
        self._ending = True
        self._wake()

    def _align(self, now: float, *, forced: bool = False) -> None:
        """Assemble the images that came, once the offsets of their clocks are known or were waited for long enough."""
        overdue = self._aligned_by is not None and now >= self._aligned_by
        if self._offsets is None and (forced or overdue or self._clocks.known):
            self._offsets = self._clocks.offsets()
        if self._offsets is None:
            return
        for image in self._aligning:
            time_aligned = image.time - self._offsets.get(image.camera, 0.0)
            with self._late_counted():
                self._assembler.add(image.camera, time_aligned, image.data, image.received)
        self._aligning.clear()

    @contextmanager
    def _late_counted(self) -> Iterator[None]:
        """Counts what is taken in by the block as late, if it was."""
        before = self._assembler.late
        yield
        if self._assembler.late > before:
            count("late_frame_sets")

    def _accept(self, sets: list[PendingSet]) -> None:
        if not sets:
            return
        with self._lock:
            for taken in sets:
                if self.policy.mode == "latest" and self._waiting:
                    overtaken = self._waiting.pop()
                    self._waiting_bytes -= overtaken.size
                    taken.starts_over |= overtaken.starts_over
                    self._dropped += 1
                    count("dropped_frame_sets")
                self._waiting.append(taken)
                self._waiting_bytes += taken.size
        self._wake()

    # -- computing -------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        with self._lock:
            if self._working_now or not self._has_work():
                return
            self._working_now = True
        self._working.submit(copy_context().run, self._work)

    def _has_work(self) -> bool:
        if self._closed or self.error is not None or self._flushed:
            return False
        if self.policy.mode == "every" and len(self._unsent) >= _MOST_UNSENT:
            return False
        return bool(self._waiting) or self._ending

    def _work(self) -> None:
        """Compute what waits, in a thread; ends when there is nothing, and never raises."""
        try:
            while True:
                with self._lock:
                    if not self._has_work():
                        self._working_now = False
                        break
                    had_room = self._has_room()
                    taken = self._waiting.popleft() if self._waiting else None
                    self._waiting_bytes -= taken.size if taken else 0
                if not had_room:
                    self.on_change()
                posed = self._poser.finish() if taken is None else self._poser.step(taken)
                with self._lock:
                    for one in posed:
                        self._keep(_Result(self._pose(one), one.answered))
                    self._flushed = taken is None  # at last: `is_answered` asks without the lock
                self.on_change()
        except Exception as error:  # told to the client by the door; the thread is the pool's
            if not isinstance(error, SynposeError):
                if not self._closed:  # what is given up ends with an error, too
                    log.exception("a stream failed")
                error = ServerError("the server failed; its log says why")
            with self._lock:
                self.error, self._working_now = error, False
                self._waiting.clear()
        self.on_change()

    def _keep(self, result: _Result) -> None:
        if self.policy.mode == "latest" and len(self._unsent) >= _MOST_UNSENT:
            self._unsent.popleft()
            self._unread += 1
        self._unsent.append(result)

    def _pose(self, posed: Posed) -> LivePose:
        taken = posed.taken
        assert posed.frame is not None
        steps = (taken.received, taken.assembled, posed.begun, posed.decoded, posed.computed, posed.answered)
        assembled, queued, decoded, computed, held = (max(0.0, 1e3 * (end - begin)) for begin, end in pairwise(steps))
        received = time.time() - (time.monotonic() - taken.received)
        latency = Latency(received, assembled, queued, decoded, computed, held, sent_ms=0.0)
        return LivePose(posed.frame, taken.skew, posed.missing, latency, self._counters(), self._clocks.offsets())

    @property
    def counters(self) -> StreamCounters:
        """What happened so far."""
        with self._lock:
            return self._counters()

    def _counters(self) -> StreamCounters:
        assembler = self._assembler
        return StreamCounters(
            captures=self._captures,
            frame_sets=assembler.closed,
            dropped=self._dropped + assembler.dropped,
            late=assembler.late,
            duplicates=assembler.duplicates,
            missing=assembler.missing,
            corrupt=self._poser.corrupt,
            unread=self._unread,
        )

    # -- what goes out ---------------------------------------------------------------------------------------------

    @property
    def is_answered(self) -> bool:
        """Whether nothing follows and every result was sent."""
        return self._flushed and not self._unsent

    def next_result(self) -> LivePose | None:
        """The next result to send, if there is one; it is kept until it is acknowledged."""
        with self._lock:
            if not self._unsent:
                return None
            result = self._unsent.popleft()
            sent_ms = 1e3 * (time.monotonic() - result.ready)
            pose = replace(result.pose, latency=replace(result.pose.latency, sent_ms=sent_ms))
            self._kept.append(pose)
            self._sent = max(self._sent, pose.sequence + 1)
            if len(self._kept) > _MOST_KEPT:
                self._forgotten = self._kept.popleft().sequence + 1
        self._wake()
        return pose

    def acknowledge(self, sequence: int) -> None:
        """Forget the results up to `sequence`."""
        with self._lock:
            self._acknowledge(sequence)

    def rewind(self, last_sequence: int | None) -> None:
        """Send again what comes after `last_sequence`.

        Raises `NotFound` if that is not kept any more, and `InvalidInput` if `last_sequence` was never sent.
        """
        following = 0 if last_sequence is None else last_sequence + 1
        with self._lock:
            if following < self._forgotten:
                raise NotFound("results after this one are not kept any more; start a new stream", field="resume")
            if following > self._sent:
                raise InvalidInput(f"result {last_sequence} was not sent yet", field="resume")
            self._acknowledge(following - 1)
            again = [_Result(pose, time.monotonic()) for pose in self._kept]
            self._kept.clear()
            self._unsent.extendleft(reversed(again))

    def _acknowledge(self, sequence: int) -> None:
        while self._kept and self._kept[0].sequence <= sequence:
            self._forgotten = self._kept.popleft().sequence + 1

    def close(self) -> None:
        """Compute nothing more; what is computed just now is thrown away."""
        with self._lock:
            self._closed = True
            self._poser.job.cancel()
            self._waiting.clear()
            self._unsent.clear()
            self._kept.clear()
        self.on_change()

    @property
    def is_closed(self) -> bool:
        """Whether the server has given the session up."""
        return self._closed
