"""squeue's and sacct's JSON in every version there is, into one record; a version nobody looked at is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ullage_collector.allocation.slurm import data_parser
from ullage_collector.allocation.slurm.gres import Gres
from ullage_contract.errors import BadInput

FIXTURES = Path(__file__).parents[1] / "fixtures" / "slurm"
WRITTEN = [version for version in data_parser.VERSIONS if version != "v0.0.38"]


def _read(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


@pytest.mark.parametrize("version", WRITTEN)
def test_one_world_reads_the_same_in_every_version_of_squeue(version: str) -> None:
    jobs = {job.job_id: job for job in data_parser.read_squeue(_read(f"squeue_{version}.json"))}
    two = jobs[101]
    assert (two.start, two.states, two.reservation, two.restarts) == (1795270101, ("RUNNING",), "r1", 0)
    assert two.nodes == ("g1", "g2")
    # The details stand in the order of the job's resources, g2 first.
    assert two.gres == {"g2": (Gres("gpu", "h200", 2, (4, 5)),), "g1": (Gres("gpu", "h200", 2, (0, 7)),)}
    assert (jobs[103].label, jobs[103].restarts) == ("102_0", 1)
    assert (jobs[105].label, jobs[105].suspended, jobs[105].suspend) == ("104+1", True, 1795270140)
    assert jobs[106].gres["s1"] == (Gres("shard", "a100", 3, parts=((0, 3, 4),)),)
    assert (jobs[107].completing, jobs[107].over, jobs[107].end, jobs[107].gres) == (
        True,
        True,
        1795270120,
        {},
    )
    assert jobs[108].comment == "fence:GPU-x:12"
    assert not jobs[109].began
    assert [job.label for job in jobs.values() if job.began and not job.over] == [
        "101",
        "102_0",
        "104+1",
        "106",
        "108",
    ]
    assert jobs[101].het_job_id is None
    assert jobs[101].array_job_id is None


@pytest.mark.parametrize("version", WRITTEN)
def test_one_world_reads_the_same_in_every_version_of_sacct(version: str) -> None:
    jobs = data_parser.read_sacct(_read(f"sacct_{version}.json"))
    first, again, task, part, waiting = jobs
    assert (first.states, first.start, first.end, first.over) == (("REQUEUED",), 1795270101, 1795270142, True)
    assert first.nodes == ("g1", "g2")
    assert first.tres["gres/gpu:h200"] == 4
    assert first.reservation == "r1"
    assert (again.start, again.end, again.over) == (1795270300, None, False)
    assert (task.label, part.label) == ("102_0", "104+1")
    assert (waiting.began, waiting.nodes) == (False, ())
    assert again.restarts == (1 if version >= "v0.0.42" else None)


def test_what_was_recorded_from_a_real_one_is_read() -> None:
    jobs = data_parser.read_squeue(_read("squeue_v0.0.38.json"))
    by_label = {job.label: job for job in jobs}
    assert {"2", "3_1", "3_2", "3_3", "4+0", "4+1"} <= by_label.keys()
    assert by_label["2"].suspended
    assert by_label["2"].nodes == ("g1", "g2")
    assert all(found[0].indices for found in by_label["2"].gres.values())
    assert any(job.completing and not job.gres and job.end for job in jobs)
    assert any((job.comment or "").startswith("fence:") for job in jobs)
    past = data_parser.read_sacct(_read("sacct_v0.0.38.json"))
    requeued = [job for job in past if job.states == ("REQUEUED",)]
    assert requeued
    assert requeued[0].tres["gres/gpu"] >= 1
    assert {job.label for job in past} >= {"3_1", "4+1"}


def _with_meta(meta: object) -> bytes:
    return json.dumps({"meta": meta, "jobs": [], "errors": []}).encode()


def test_an_unknown_version_is_refused_by_name_with_those_known() -> None:
    with pytest.raises(BadInput, match=r"data_parser v0\.0\.99, .*v0\.0\.38, v0\.0\.39"):
        data_parser.read_squeue(_with_meta({"plugin": {"data_parser": "data_parser/v0.0.99"}}))
    with pytest.raises(BadInput, match=r"v0\.0\.37"):
        data_parser.read_sacct(_with_meta({"plugin": {"type": "openapi/dbv0.0.37"}}))
    with pytest.raises(BadInput, match="does not say"):
        data_parser.read_sacct(_with_meta({"plugin": {}}))


@pytest.mark.parametrize(
    "said", [b"", b"[]", b"slurm_load_jobs error", b'{"meta": 3}', b"\xff{}", b"{" * 5000]
)
def test_what_is_no_answer_is_refused(said: bytes) -> None:
    with pytest.raises(BadInput):
        data_parser.read_squeue(said)


def test_an_error_in_the_answer_is_no_empty_cluster() -> None:
    meta = {"plugin": {"type": "openapi/dbv0.0.38"}}
    bad = {"description": "Unable to parse time format", "error_number": 9000, "error": "Query empty"}
    with pytest.raises(BadInput, match="Unable to parse"):
        data_parser.read_sacct(json.dumps({"meta": meta, "errors": [bad]}).encode())
    nobody = {"description": "Nothing found", "error_number": 9003, "error": "Nothing found with query"}
    assert data_parser.read_sacct(json.dumps({"meta": meta, "errors": [nobody]}).encode()) == []


def test_details_without_an_order_are_given_to_no_node_unless_they_are_equal() -> None:
    said = json.loads(_read("squeue_v0.0.44.json"))
    job = said["jobs"][0]
    job["job_resources"] = None
    assert data_parser.read_squeue(json.dumps(said).encode())[0].gres == {}
    job["gres_detail"] = ["gpu:h200:2(IDX:0-1)"] * 2
    assert data_parser.read_squeue(json.dumps(said).encode())[0].gres.keys() == {"g1", "g2"}


def test_a_resized_job_begins_anew_where_it_was_resized() -> None:
    said = json.loads(_read("squeue_v0.0.44.json"))
    said["jobs"][0]["resize_time"] = {"set": True, "infinite": False, "number": 1795270500}
    assert data_parser.read_squeue(json.dumps(said).encode())[0].start == 1795270500


def test_numbers_may_be_plain_or_set_infinite_number() -> None:
    said = json.loads(_read("squeue_v0.0.45.json"))
    said["jobs"][0]["start_time"] = 1795270101
    said["jobs"][0]["array_job_id"] = None
    said["jobs"][1]["restart_cnt"] = {"set": True, "infinite": False, "number": 1}
    said["jobs"][0]["end_time"] = {"set": True, "infinite": True, "number": 0}
    first, second = data_parser.read_squeue(json.dumps(said).encode())[:2]
    assert (first.start, first.end, second.restarts) == (1795270101, None, 1)


def test_one_jobs_odd_record_hides_no_other() -> None:
    said = json.loads(_read("squeue_v0.0.44.json"))
    said["jobs"][0]["gres_detail"] = ["gpu:h200:2(NEW:0..1)/x/y", "gpu:h200:2(IDX:a)"]
    said["jobs"][1]["nodes"] = "g[1-"
    first, second, third = data_parser.read_squeue(json.dumps(said).encode())[:3]
    assert (first.gres, first.nodes, first.began) == ({}, ("g1", "g2"), True)
    assert first.doubt is not None
    assert (second.nodes, second.began) == ((), False)
    assert "does not close" in (second.doubt or "")
    assert (third.doubt, len(third.gres)) == (None, 1)
