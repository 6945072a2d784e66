"""Plans by what they ask for."""

from hpc_curate.report import asked


def test_what_is_not_as_the_code_has_it_is_told_with_the_default():
    settings = {"stage": {"shots": {"name": "shots", "min_duration_s": 3.5, "longer": "split"}}}
    assert asked.changed(settings) == [("stage.shots.min_duration_s", "3.5", "2.0")]


def test_rules_are_told_one_by_one():
    settings = {"stage": {"gate": {"name": "gate", "rules": {"fps": {"min": 10}, "codec": {"forbidden": ["gif"]}}}}}
    found = [(path, value) for path, value, _ in asked.changed(settings)]
    assert found == [("stage.gate.rules.fps.min", "10"), ("stage.gate.rules.codec.forbidden", "[gif]")]


def test_plans_are_named_by_what_sets_them_apart(prepared):
    low, high, bare = (
        prepared(override)
        for override in ("stage.select.rules.fps.min=5", "stage.select.rules.fps.min=25", "~stage.select.rules.fps")
    )
    assert asked.differences([low, high, bare]) == [("stage.select.rules.fps.min", ["5", "25", None])]
    names = asked.named([low, high, bare, low])
    assert {name: plan.hash for name, plan in names.items()} == {
        "select.fps.min=5": low.hash,
        "select.fps.min=25": high.hash,
        "no select.fps.min": bare.hash,
    }
    assert list(asked.named([low])) == [low.hash]


def test_a_name_stays_short_however_much_differs(prepared):
    names = list(asked.named([prepared(f"select={one}") for one in ("lenient", "strict")]))
    assert len(set(names)) == 2
    assert all(len(name) < 80 for name in names)
    assert all(" more" in name for name in names)
