"""Which replica answers a call."""

from __future__ import annotations

import random

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

__all__ = ["StickyRouter"]


class StickyRouter(RequestRouter):  # type: ignore[misc] # Ray is not there when types are checked
    """A stream that is resumed goes to the replica that holds it; of two others, the less busy one is taken.

    A token begins with the id of its replica (`Sessions.name`); clients send it as `x-session-id` or, over gRPC, as
    `session_id`. Where that replica is gone, any other says that it does not know the stream.
    """

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """The replicas to ask, all of one rank."""
        if pending_request is not None and (token := pending_request.metadata.session_id):
            wanted = token.partition(".")[0]
            holding = [replica for replica in candidate_replicas if replica.replica_id.unique_id == wanted]
            if holding:
                return [holding]
        return [random.sample(candidate_replicas, min(2, len(candidate_replicas)))]
