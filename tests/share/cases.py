"""The list of architectures that the conformance suite runs over; a new architecture gets its entry here."""

import dataclasses

from polytask.share import HardSharing

from .toys import MMoE, Stitched


@dataclasses.dataclass(frozen=True)
class Case:
    """An architecture in one setting.

    Attributes:
        name: Its name in the registry, or, of a toy, the one it gets for the test.
        made: The class.
        options: Options that differ from the defaults.
        bad: For every option a value that is not allowed.
    """

    name: str
    made: type
    options: dict = dataclasses.field(default_factory=dict)
    bad: dict = dataclasses.field(default_factory=dict)

    def __str__(self):
        return "-".join([self.name, *(f"{key}={value}" for key, value in self.options.items())])


CASES = [
    Case("hard", HardSharing, bad={"width": 0, "head_hidden": [0]}),
    Case("hard", HardSharing, {"head_hidden": [5]}),
    Case("toy_mmoe", MMoE, bad={"experts": 0, "width": 1.5, "dropout": 1.0, "balance": "much"}),
    Case("toy_mmoe", MMoE, {"experts": 1}),
    Case("toy_mmoe", MMoE, {"experts": 3, "balance": 0.5}),
    Case("toy_stitched", Stitched, bad={"own": -0.1}),
]
