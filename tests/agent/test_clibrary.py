"""A maker's library through the real loader: what a release lacks is told, once."""

from __future__ import annotations

import logging

import pytest
from tests.emulators.build import build

from ullage_agent.backends.clibrary import CLibrary
from ullage_contract.errors import NotSupported


@pytest.mark.compiler
def test_a_symbol_a_release_lacks_is_told_once_because_a_misspelt_one_looks_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(
        logging.WARNING, "ullage_agent.backends.clibrary"
    )  # whatever a command before set the root to
    library = CLibrary("MXSML", [str(build("mxsml"))])
    library.open()
    for _ in range(3):
        with pytest.raises(NotSupported, match="mxSmlInti"):
            library.function("mxSmlInti")
    assert not library.has("mxSmlAsked") and library.has("mxSmlInit")
    (told,) = caplog.records
    assert "has no mxSmlInti" in told.getMessage()
