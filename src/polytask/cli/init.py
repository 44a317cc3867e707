"""``polytask init``: from a table to a configuration."""

from polytask.cli.answer import Answer, Debug, Json, verb


@verb
def init(as_json: Json = False, debug: Debug = False) -> Answer:
    """Not yet."""
    return Answer({}, ())
