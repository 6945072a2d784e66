from hpc_curate.nearest import nearest

COLUMNS = [f"column_{number}" for number in range(50)]


def test_of_a_long_list_only_what_is_most_alike_is_said():
    assert nearest("moton", ["motion", *COLUMNS], 3) == "did you mean 'motion'?"
    assert nearest("xyz_4", COLUMNS, 2) == "there is column_4, column_49 and 48 more"
    assert nearest("xyz", ["b", "a"], 3) == "there is a, b"
    assert nearest("xyz", []) == "there is nothing"
