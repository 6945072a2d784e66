"""Markup is what was built as markup; everything else is text."""

from hpc_curate.report.markup import Markup, join, table, tag


def test_text_is_escaped_and_markup_is_not_escaped_again():
    inner = tag("b", "a < b & c")
    assert inner == "<b>a &lt; b &amp; c</b>"
    assert tag("p", inner, "<i>") == "<p><b>a &lt; b &amp; c</b>&lt;i&gt;</p>"


def test_attributes_are_quoted_and_none_is_left_out():
    assert (
        tag("a", title='"><script>', class_="x", aria_label=None)
        == '<a title="&quot;&gt;&lt;script&gt;" class="x"></a>'
    )
    assert tag("meta", http_equiv="a") == '<meta http-equiv="a"/>'


def test_markup_that_is_joined_with_text_is_text_again():
    assert tag("p", Markup("<b>") + "<i>") == "<p>&lt;b&gt;&lt;i&gt;</p>"


def test_characters_that_cannot_be_seen_are_shown():
    assert tag("p", "a\u202eb\x00c") == "<p>a\\u202eb\\u0000c</p>"


def test_nothing_is_nothing_and_lists_are_walked():
    assert join([None, ["a", None, [tag("i")]], 3]) == "a<i></i>3"


def test_numbers_of_a_table_stand_to_the_right():
    assert '<td>x</td><td class="n">3</td>' in table(["name", "count"], [["x", 3]])
