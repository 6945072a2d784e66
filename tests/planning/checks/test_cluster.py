"""What a cluster says against what stages ask for: each mismatch is one line that says what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hpc_curate.cluster.slurm_site import Account, Ask, Nodes, Partition, Site
from hpc_curate.planning.checks import OK, RED, SILENT, WARNING, cluster

ASK = Ask(("scan", "cut"), "cpu", 240.0, 2, 6000.0, 0, "", None, None)
CONFIG = {"MaxArraySize": "1001", "ClusterName": "c", "AccountingStorageType": "accounting_storage/none"}
SITE = Site(
    config=CONFIG,
    partitions={
        "cpu": Partition("cpu", default=True, max_minutes=1440.0),
        "long": Partition("long", max_minutes=None),
        "gpu": Partition("gpu", max_minutes=1440.0, qos="gpu_limits"),
        "closed": Partition("closed", state="DOWN"),
    },
    nodes=[
        Nodes("cpu", 10, "idle", 64, 256_000, {}),
        Nodes("long", 2, "drain", 64, 256_000, {}),
        Nodes("gpu", 4, "mix", 32, 512_000, {"a100": 4}),
        Nodes("gpu", 1, "down*", 32, 512_000, {"h100": 8}),
    ],
    accounts=None,
    qos_minutes=None,
    silent={},
)
ACCOUNTED = replace(
    SITE,
    config={**CONFIG, "AccountingStorageType": "accounting_storage/slurmdbd", "AccountingStorageEnforce": "none"},
    accounts=[
        Account("physics", "", ("normal", "high"), 50, None, default=True),
        Account("biology", "", ("normal",), None, 120.0),
    ],
    qos_minutes={"normal": None, "high": 60.0, "gpu_limits": 30.0, "others": None},
)
STRICT = replace(
    ACCOUNTED, config={**ACCOUNTED.config, "AccountingStorageEnforce": "associations,limits,qos,safe"}
)  # fmt: skip


def only(findings: list[cluster.Finding]) -> cluster.Finding:
    (found,) = [finding for finding in findings if finding.verdict != OK]
    assert found.advice
    return found


def test_where_all_is_well_nothing_is_to_be_done() -> None:
    for site in (SITE, ACCOUNTED, STRICT):
        findings = [*cluster.site(site), *cluster.options(site, [ASK]), *cluster.sizes(site, ASK)]
        assert {finding.verdict for finding in findings} == {OK}
        assert not any(finding.advice for finding in findings)


@pytest.mark.parametrize(
    ("partition", "verdict", "word"),
    [
        ("cpus", RED, "did you mean 'cpu'?"),
        ("closed", RED, "is DOWN"),
        ("cpu,gpus", RED, "did you mean 'gpu'?"),
        ("long", WARNING, "none of its 2 nodes is up"),
    ],
)
def test_a_partition_that_starts_nothing(partition: str, verdict: str, word: str) -> None:
    found = only(cluster.partitions(SITE, [replace(ASK, partition=partition)]))
    assert (found.verdict, word in found.found) == (verdict, True)


def test_without_a_partition_the_sites_default_is_taken_if_there_is_one() -> None:
    ask = replace(ASK, partition=None)
    (found,) = cluster.partitions(SITE, [ask])
    assert (found.verdict, found.what) == (OK, "partition cpu (the default)")
    none = replace(SITE, partitions={"cpu": Partition("cpu")})
    assert only(cluster.partitions(none, [ask])).verdict == RED


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"minutes": 1441.0}, "partition cpu allows 24:00:00"),
        ({"minutes": 121.0, "account": "biology"}, "account biology allows 2:00:00"),
        ({"minutes": 61.0, "qos": "high", "account": "physics"}, "QOS high allows 1:00:00"),
        ({"minutes": 31.0, "partition": "gpu", "account": "physics"}, "QOS gpu_limits allows 0:30:00"),
    ],
)
def test_a_walltime_above_the_tightest_limit(changes: dict[str, object], word: str) -> None:
    found = only(cluster.walltimes(ACCOUNTED, [replace(ASK, **changes)]))
    assert found.verdict == RED and word in found.found
    assert "resources.scan.minutes=" in found.advice


def test_of_several_partitions_the_one_with_the_most_time_counts() -> None:
    assert cluster.walltimes(SITE, [replace(ASK, minutes=9999.0, partition="cpu,long")]) == []


def test_stages_that_hit_the_same_limit_stand_in_one_line() -> None:
    asks = [replace(ASK, minutes=2000.0), replace(ASK, stages=("dedup",), cpus=8, minutes=2000.0)]
    found = only(cluster.walltimes(SITE, asks))
    assert found.what == "walltime of scan, cut, dedup"
    assert found.advice.startswith("resources.default.minutes=1440")


@pytest.mark.parametrize(
    ("changes", "verdict", "word"),
    [
        ({"cpus": 65}, RED, "at most 64 CPUs"),
        ({"memory_mb": 300_000.0}, RED, "256.0 GB"),
        ({"gpus": 1}, RED, "no node of cpu has any"),
        ({"gpus": 5, "partition": "gpu"}, WARNING, "down now"),
        ({"gpus": 1, "gpu_type": "l4", "partition": "gpu"}, RED, "GPUs h100"),
    ],
)
def test_a_size_that_no_node_has(changes: dict[str, object], verdict: str, word: str) -> None:
    found = only(cluster.sizes(SITE, replace(ASK, **changes)))
    assert found.verdict == verdict and word in found.found


def test_a_type_of_gpu_that_is_there_is_well() -> None:
    assert cluster.sizes(SITE, replace(ASK, gpus=4, gpu_type="a100", partition="gpu")) == []


@pytest.mark.parametrize(("site", "verdict"), [(ACCOUNTED, WARNING), (STRICT, RED)])
def test_a_wrong_account_or_qos_is_red_where_slurm_enforces_it(site: Site, verdict: str) -> None:
    assert only(cluster.accounts(site, [replace(ASK, account="chemistry")])).verdict == verdict
    assert only(cluster.accounts(site, [replace(ASK, account="biology", qos="high")])).verdict == verdict
    assert only(cluster.accounts(replace(site, accounts=[]), [ASK])).verdict == verdict


def test_a_qos_that_does_not_exist_is_red() -> None:
    found = only(cluster.accounts(ACCOUNTED, [replace(ASK, qos="hihg")]))
    assert (found.verdict, found.found) == (RED, "there is none of that name; did you mean 'high'?")


def test_without_accounting_nobody_checks_accounts() -> None:
    assert cluster.accounts(SITE, [ASK]) == []
    (found,) = cluster.accounts(SITE, [replace(ASK, account="physics")])
    assert found.verdict == OK and "nobody checks" in found.found


@pytest.mark.parametrize(
    ("settings", "stages", "verdicts"),
    [
        ({}, 11, [OK, OK]),
        ({"max_array_size": 1002}, 11, [RED, OK]),
        ({"max_submit_jobs": 51}, 11, [OK, RED]),
        ({"max_array_size": 100, "max_submit_jobs": 50}, 11, [OK, OK]),
        ({}, 50, [OK, WARNING]),
    ],
)
def test_limits_of_the_settings_against_those_of_the_cluster(
    settings: dict[str, int], stages: int, verdicts: list[str]
) -> None:
    assert [finding.verdict for finding in cluster.limits(ACCOUNTED, settings, stages)] == verdicts


def test_what_does_not_answer_is_silent_and_nothing_is_concluded_from_it() -> None:
    silent = replace(ACCOUNTED, partitions=None, nodes=None, accounts=None, qos_minutes=None, silent={"sinfo": "busy"})
    assert cluster.options(silent, [ASK]) == [] and cluster.sizes(silent, ASK) == []
    assert only(cluster.site(silent)).verdict == SILENT
