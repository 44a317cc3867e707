"""``polytask methods``."""

from polytask.balance import METHODS


def test_the_table_names_every_method_and_what_it_needs(polytask):
    outcome = polytask("methods", "--json")
    assert outcome.code == 0
    listed = {method["name"]: method for method in outcome.json["methods"]}
    assert set(listed) == set(METHODS)
    assert listed["upgrad"]["needs"] == "gramian"
    assert listed["famo"]["needs_after_step"] is True
    assert all(method["paper"] and method["verified"] and method["idea"] for method in listed.values())


def test_the_table_is_readable(polytask):
    outcome = polytask("methods")
    assert outcome.code == 0
    first_words = {line.split()[0] for line in outcome.out.splitlines() if line.strip()}
    assert set(METHODS) <= first_words


def test_a_card(polytask):
    card = METHODS["nash_mtl"].card
    assert card.title in polytask("methods", "nash_mtl").out
    assert polytask("methods", "nash_mtl", "--json").json["url"] == card.url


def test_an_unknown_method_names_the_nearest(polytask):
    outcome = polytask("methods", "fairgard")
    assert outcome.code == 2
    assert "did you mean 'fairgrad'?" in outcome.err
