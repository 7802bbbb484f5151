"""What the settings switch on, and that it ends cleanly."""

from __future__ import annotations

import http.client
from pathlib import Path

import pytest
from batch_rows import card_sample, xid
from picture import row
from wire_server import WireServer

from ullage_agent.config import Config, Metrics, Otlp, Push
from ullage_agent.config import Spool as SpoolSettings
from ullage_agent.outputs.wiring import outputs
from ullage_agent.sink import Sink
from ullage_contract.clock import ManualClock, SystemClock
from ullage_contract.errors import ConfigError
from ullage_contract.sample import Family


def config(data: Path, **more: object) -> Config:
    more.setdefault("metrics", Metrics(None))
    return Config(node="n1", cluster="c1", data=data, **more)  # type: ignore[arg-type]


def test_nothing_configured_is_nothing_done(tmp_path: Path) -> None:
    made = outputs(config(tmp_path), clock=ManualClock())
    assert made.sinks == () and made.push is None and made.port is None
    assert (made.spool_bytes, made.spool_dropped_batches) == (0, 0)
    made.start()
    made.close()
    assert list(tmp_path.iterdir()) == []


def test_everything_configured_pushes_serves_and_ends(tmp_path: Path) -> None:
    with WireServer() as server:
        settings = config(
            tmp_path,
            metrics=Metrics(("127.0.0.1", 0)),
            push=Push(url=f"http://127.0.0.1:{server.port}/", batch_seconds=1.0),
            otlp=Otlp(endpoint="http://127.0.0.1:9"),
        )
        made = outputs(
            settings, clock=SystemClock(), machine_id="m", boot_id="b", health=lambda: (True, "fine")
        )
        assert all(isinstance(sink, Sink) for sink in made.sinks)
        made.start()
        for sink in made.sinks:
            sink.samples([card_sample(1), row(Family.NODE, "n1", {"load1": 1.0})])
            sink.events([xid(1)])
            sink.sources(())
        server.wait_for(lambda s: {b.lane for b in s.batches} == {"samples", "events"})
        assert made.port is not None
        connection = http.client.HTTPConnection("127.0.0.1", made.port, timeout=10)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read()
        connection.close()
        assert b'ullage_node_load1{cluster="c1",node="n1"} 1.0' in text
        assert b'ullage_spool_batches{lane="samples"}' in text
        made.close()
        made.close()  # the sampler closes its sinks, too
    assert {p.name for p in (tmp_path / "agent/spool").iterdir()} == {"samples", "events"}
    batch = next(b for b in server.batches if b.lane == "samples")
    assert (batch.cluster, batch.node, batch.machine_id, batch.boot_id) == ("c1", "n1", "m", "b")


def test_a_day_of_batches_is_the_bound_whatever_their_length(tmp_path: Path) -> None:
    settings = config(
        tmp_path,
        push=Push(url="http://127.0.0.1:9", batch_seconds=30.0),
        spool=SpoolSettings(max_age_seconds=90.0),
    )
    made = outputs(settings, clock=ManualClock())
    assert made.push is not None
    for n in range(5):
        made.push.samples([card_sample(n)])
        made.push.step(everything=True)
    assert made.spool_dropped_batches == 2 and made.spool_bytes > 0
    made.close()


def test_otlp_headers_come_from_a_file_and_mistakes_do_not_show_them(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("# token of the receiver\nAuthorization: Bearer secret\n\nsecret without a name\n")
    settings = config(tmp_path, otlp=Otlp(endpoint="http://127.0.0.1:9", headers_file=file))
    with pytest.raises(ConfigError, match="line 4") as caught:
        outputs(settings, clock=ManualClock())
    assert "secret" not in str(caught.value)
    file.write_text("Authorization: Bearer secret\n")
    outputs(settings, clock=ManualClock()).close()
    file.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        outputs(settings, clock=ManualClock())
