"""When a pod stopped holding: the rules for its last instant, and how sure it is. Pure.

Ends are told by three clocks: containers by the node's, deletions by ours or the API server's. What cannot be true
(an end after it was told, or before the pod came) is never taken.
"""

from __future__ import annotations

from ullage_collector.allocation.kubernetes.pods import Pod
from ullage_contract.sample import Value

Said = dict[str, Value]
"""What is said of an end in the holding's attributes. ``end_estimated``: by what it was estimated, where it was."""


def finished(pod: Pod, from_us: int, at_us: int, skew_seconds: float | None) -> tuple[int, Said]:
    """The end of a terminal pod that was told at ``at_us``: when its last container ended.

    skew_seconds: by how much its node's clock is ahead; None: nothing worth a word.
    """
    latest = min(at_us, pod.status_us) if pod.status_us is not None else at_us
    said: Said = {"phase": pod.phase}
    if pod.finished_us is None:
        # No container ever ran, or nobody knows how it ended (an eviction, a lost node): the status tells.
        return max(from_us, latest), said | {"end_estimated": "status"}
    end = pod.finished_us
    if skew_seconds is not None:
        end -= round(skew_seconds * 1e6)
        said["clock_skew_seconds"] = round(skew_seconds)
    if not from_us <= end <= latest:
        return max(from_us, latest), said | {"end_estimated": "clock"}
    return end, said


def went(
    from_us: int, fresh_us: int | None, at_us: int, deletion_us: int | None, released_us: int | None
) -> tuple[int, Said]:
    """The end of a pod that went unseen, after ``fresh_us`` (None: since it came) and not after ``at_us``.

    What the node saw of its devices is the best evidence, then by when it was to be gone (deletion_us), else it is
    the last moment at which it was seen.
    """
    least = max(from_us, fresh_us if fresh_us is not None else from_us)
    if least >= at_us:
        return max(from_us, at_us), {"deleted": 1}
    if released_us is not None and from_us <= released_us <= at_us:
        return released_us, {"deleted": 1, "end_estimated": "released"}
    if deletion_us is not None:
        return min(max(deletion_us, least), at_us), {"deleted": 1, "end_estimated": "deletion"}
    return least, {"deleted": 1, "end_estimated": "last_seen"}
