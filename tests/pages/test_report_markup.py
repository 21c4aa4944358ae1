"""Elements: all text is escaped, markup is not escaped twice."""

from rnas.pages.markup import Markup, element


def test_text_and_attributes_are_escaped():
    assert element("p", "a < b & c", title='"<') == '<p title="&quot;&lt;">a &lt; b &amp; c</p>'


def test_children_nest_and_nothing_is_nothing():
    inner = element("b", 1)
    assert element("p", [inner, None, " x"], class_="k", aria_label="y", hidden=None, open=True) == (
        '<p class="k" aria-label="y" open><b>1</b> x</p>'
    )


def test_only_markup_stays_as_it_is():
    assert element("p", Markup("<i>")) == "<p><i></p>"
    assert element("p", str(Markup("<i>"))) == "<p>&lt;i&gt;</p>"


def test_void_elements_are_not_closed():
    assert element("meta", name="viewport") == '<meta name="viewport">'
