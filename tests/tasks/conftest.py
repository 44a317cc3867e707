"""Shared by the tests of tasks."""

import jaxtyping
import pytest


@pytest.fixture
def no_type_checks():
    """Calls go through as they do for a user, who has no run-time type checker, so that our own message is seen."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
