"""No test of a Tempest run counts as passed unless it passed, whichever way it came to no result."""

from __future__ import annotations

from typing import Any

from cloudseed.cli.tempest_results import Outcome, area, bare, by_area, reason, settle

GROUP = "tempest.api.image.v2.test_images.ListTest"


def record(test: str, status: str, why: str = "") -> dict[str, Any]:
    return {"id": test, "status": status, "seconds": 0.5, "reason": why}


def test_ids_lose_their_tags_only() -> None:
    assert bare(f"{GROUP}.test_a[id-123,smoke]") == f"{GROUP}.test_a"
    assert bare(f"{GROUP}.test_b") == f"{GROUP}.test_b"


def test_areas_are_apis_or_scenarios() -> None:
    assert area(f"{GROUP}.test_a") == "tempest.api.image"
    assert area("tempest.scenario.test_server_basic_ops.Ops.test_it") == "tempest.scenario"


def test_a_test_has_its_own_outcome() -> None:
    wanted = [f"{GROUP}.test_a[id-1]", f"{GROUP}.test_b[id-2]"]
    got = settle(wanted, [record(wanted[0], "exists"), record(wanted[0], "success"), record(wanted[1], "fail", "why")])
    assert got == {wanted[0]: Outcome("passed", 0.5, ""), wanted[1]: Outcome("failed", 0.5, "why")}


def test_a_class_that_fails_or_skips_gives_its_outcome_to_its_tests() -> None:
    wanted = [f"{GROUP}.test_a", f"{GROUP}Two.test_b"]
    got = settle(wanted, [record(f"setUpClass ({GROUP})", "skip", "no cinder"),
                          record(f"setUpClass ({GROUP}Two)", "fail", "boom")])
    assert [got[test].status for test in wanted] == ["skipped", "failed"]
    assert got[wanted[0]].reason == "no cinder"


def test_what_never_ended_is_missing() -> None:
    got = settle([f"{GROUP}.test_a"], [record(f"{GROUP}.test_a", "exists"), record(f"{GROUP}.test_a", "inprogress")])
    assert got[f"{GROUP}.test_a"].status == "missing"


def test_the_table_adds_up() -> None:
    outcomes = {f"{GROUP}.test_a": Outcome("passed", 1, ""), "tempest.scenario.x.Y.z": Outcome("missing", 0, "")}
    table = by_area(outcomes)
    assert list(table) == ["tempest.api.image", "tempest.scenario", "total"]
    assert table["total"] == {"passed": 1, "failed": 0, "skipped": 0, "missing": 1}
    assert by_area({}) == {"total": {"passed": 0, "failed": 0, "skipped": 0, "missing": 0}}


def test_a_reason_is_the_exception_and_what_the_cloud_said() -> None:
    trace = ('Traceback (most recent call last):\n  File "a.py", line 1, in f\n    g()\n'
             "tempest.lib.exceptions.NotFound: Object not found\nDetails: {'code': 404}\n")
    expected = "tempest.lib.exceptions.NotFound: Object not found Details: {'code': 404}"
    assert reason("fail", {"traceback": trace}) == expected
    assert reason("skip", {"reason": "no\n cinder"}) == "no cinder"
