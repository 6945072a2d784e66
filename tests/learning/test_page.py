import re

from hpc_curate.learning import page
from hpc_curate.learning.figures import Bin


def test_what_is_as_predicted_lies_on_the_line():
    drawn = page.plot([Bin(0.0, 0.0, 5), Bin(0.5, 0.5, 5), Bin(1.0, 0.25, 5)])
    line = re.search(r'<line x1="(\S+)" y1="(\S+)" x2="(\S+)" y2="(\S+)" class="bound"/>', drawn)
    points = [(float(x), float(y)) for x, y in re.findall(r'cx="(\S+)" cy="(\S+)"', drawn)]
    x1, y1, x2, y2 = map(float, line.groups())
    assert points[0] == (x1, y1) and points[1] == ((x1 + x2) / 2, (y1 + y2) / 2)
    assert points[2] == (x2, y1 + (y2 - y1) / 4)
    assert "predicted 1, observed 0.25, 5 clips" in drawn


def test_ratings_have_the_scale_that_they_have():
    assert ">5<" in page.plot([Bin(1.0, 2.0, 1), Bin(5.0, 4.0, 1)])


def test_names_of_columns_are_text():
    written = page.render("Utility: <b>", {"auc": "0.9"}, [Bin(0.5, 0.5, 1)], [["<script>", "stage x 1", "+1", "+0"]])
    assert "<script>" not in written and "&lt;script&gt;" in written and "Utility: &lt;b&gt;" in written
