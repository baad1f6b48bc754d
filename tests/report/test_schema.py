"""The schema's promise: version 1 files stay readable, and missing or foreign content is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from unimm.runs.record import SCHEMA_VERSION, Result

ADDED = tuple(name for name, field in Result.model_fields.items() if not field.is_required())
REQUIRED = tuple(name for name, field in Result.model_fields.items() if field.is_required())


def test_golden_version_1_still_parses(golden: dict[str, Any]) -> None:
    result = Result.model_validate(golden)
    assert result.schema_version == 1
    assert {score.name: score.value for score in result.scores}["geneval/overall"] == 0.1932
    del golden["started"]
    within = {"scores": {"__all__": {"stderr", "library_value"}}, "counts": {"understanding_before"}}
    added = {"started": True, **within, **dict.fromkeys(ADDED, True)}
    assert result.model_dump(mode="json", exclude=added) == golden


@pytest.mark.parametrize("name", REQUIRED)
def test_missing_field_is_refused(golden: dict[str, Any], name: str) -> None:
    del golden[name]
    with pytest.raises(ValidationError, match=name):
        Result.model_validate(golden)


def test_missing_n_of_a_score_is_refused(golden: dict[str, Any]) -> None:
    del golden["scores"][0]["n"]
    with pytest.raises(ValidationError, match=r"scores\.0\.n"):
        Result.model_validate(golden)


def test_unknown_fields_are_kept(golden: dict[str, Any]) -> None:
    golden["energy"] = {"joules": 12.0}
    golden["scores"][0]["items"] = [1, 0]
    dumped = Result.model_validate(golden).model_dump(mode="json")
    assert dumped["energy"] == {"joules": 12.0}
    assert dumped["scores"][0]["items"] == [1, 0]


def test_newer_version_is_refused(golden: dict[str, Any]) -> None:
    golden["schema_version"] = SCHEMA_VERSION + 1
    with pytest.raises(ValidationError, match="install the one that wrote version"):
        Result.model_validate(golden)
