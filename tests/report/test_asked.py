"""Plans by what they ask for."""

from dataclasses import replace

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


def test_plans_are_named_by_the_overrides_they_were_made_from(prepared):
    words = (["run_dir=a", "select=lenient"], ["run_dir=b", "+limits.attempts=5", "select=strict"], ["input=c"])
    rules = ({"fps": 5}, {"fps": 25, "motion": 1}, {"fps": 10})
    bare = prepared()
    plans = [
        replace(bare, hash=str(at), asked=(*one, "launch=none"), settings={"stage": rule})
        for at, (one, rule) in enumerate(zip(words, rules, strict=True))
    ]
    assert list(asked.named(plans)) == ["select=lenient", "+limits.attempts=5, select=strict", "input=c"]
    plans[2] = replace(plans[2], asked=("launch=none",))
    assert list(asked.named(plans))[2] == "select not given, limits.attempts not given"
    plans[0] = replace(plans[0], asked=())  # by retry
    assert list(asked.named(plans)) == ["fps=5, no motion", "fps=25, motion=1", "fps=10, no motion"]


def test_a_name_stays_short_however_much_differs(prepared):
    names = list(asked.named([prepared(f"select={one}") for one in ("lenient", "strict")]))
    assert len(set(names)) == 2
    assert all(len(name) < 80 for name in names)
    assert all(" more" in name for name in names)
