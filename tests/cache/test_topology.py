"""What the nodes of a cluster report of their slots, and how often a scan has to go round."""

from math import inf

import pytest

from dynamirror.cache.topology import NodeReport, Topology

A, B, C = b"a" * 40, b"b" * 40, b"c" * 40


def report(
    own: bytes, slots: dict[bytes, bytes], *, half: bytes = b"", epoch: int = 1
) -> NodeReport:
    """What a node reports, in which all have the same epoch but the node itself."""
    lines = []
    for name in (A, B, C):
        flags, its = (b"myself,master", epoch) if name == own else (b"master", 1)
        words = [name, b"10.0.0.1:6379@16379,host", flags, b"-", b"0", b"1700", b"%d" % its]
        words += [b"connected", slots.get(name, b""), half if name == own else b""]
        lines.append(b" ".join(words).rstrip())
    lines.append(b"d" * 40 + b" :0@0 slave,fail,noaddr " + A + b" 0 0 1 disconnected")
    return NodeReport.parse(b"\n".join(lines) + b"\n")


BOTH = {A: b"0-8000", B: b"8001-16383"}
MORE = {A: b"0-8001", B: b"8002-16383"}
OUT, IN, AWAY = b"[8001->-" + A + b"]", b"[8001-<-" + B + b"]", b"[8001->-" + C + b"]"


@pytest.mark.parametrize(
    ("reports", "passes"),
    [
        ((report(A, BOTH), report(B, BOTH)), 1),
        ((report(A, BOTH, half=IN), report(B, BOTH, half=OUT)), 2),
        ((report(A, BOTH), report(B, BOTH, half=OUT)), 2),
        ((report(A, BOTH), report(B, BOTH, half=AWAY)), inf),
        ((report(A, MORE), report(B, BOTH)), inf),
        ((NodeReport(),), 1),
        ((), 1),
    ],
    ids=["at rest", "half-way", "half of half-way", "to a new node", "no agreement", "one", "none"],
)
def test_a_scan_goes_round_as_often_as_keys_can_hide(
    reports: tuple[NodeReport, ...], passes: float
) -> None:
    assert Topology((), reports).passes == passes


def test_a_layout_differs_once_a_node_has_taken_a_slot_though_it_gave_it_back() -> None:
    before = Topology((), (report(A, BOTH), report(B, BOTH)))
    assert before == Topology((), (report(A, BOTH), report(B, BOTH)))
    assert before != Topology((), (report(A, MORE), report(B, MORE)))
    assert before != Topology((), (report(A, BOTH, epoch=2), report(B, BOTH)))
