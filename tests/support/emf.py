"""The rules of CloudWatch's embedded metric format.

Source: AWS, "Specification: Embedded metric format": its JSON schema, and what its text says of target members.
"""

import json
from typing import Any

import jsonschema

_UNITS = ["Seconds", "Microseconds", "Milliseconds", "Bytes", "Kilobytes", "Megabytes", "Percent", "Count", "None"]
_SCHEMA = {
    "type": "object",
    "required": ["_aws"],
    "properties": {
        "_aws": {
            "type": "object",
            "required": ["Timestamp", "CloudWatchMetrics"],
            "properties": {
                "Timestamp": {"type": "integer"},
                "CloudWatchMetrics": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["Namespace", "Dimensions", "Metrics"],
                        "additionalProperties": False,
                        "properties": {
                            "Namespace": {"type": "string", "minLength": 1, "maxLength": 1024},
                            "Dimensions": {
                                "type": "array",
                                "minItems": 1,
                                "items": {
                                    "type": "array",
                                    "maxItems": 30,
                                    "items": {"type": "string", "minLength": 1, "maxLength": 250},
                                },
                            },
                            "Metrics": {
                                "type": "array",
                                "minItems": 1,
                                "maxItems": 100,
                                "items": {
                                    "type": "object",
                                    "required": ["Name"],
                                    "additionalProperties": False,
                                    "properties": {
                                        "Name": {"type": "string", "minLength": 1, "maxLength": 1024},
                                        "Unit": {"enum": _UNITS},
                                        "StorageResolution": {"enum": [1, 60]},
                                    },
                                },
                            },
                        },
                    },
                },
            },
        }
    },
}
_NUMBER = (int, float)
MOST_VALUES = 100
LONGEST_VALUE = 1024
LARGEST_EVENT = 256 * 1024  # bytes: AWS, "CloudWatch Logs quotas"


def checked(line: str) -> dict[str, Any]:
    """Return what a line says. Raises AssertionError if CloudWatch would not take it."""
    assert "\n" not in line
    assert len(line.encode()) <= LARGEST_EVENT
    found: dict[str, Any] = json.loads(line)
    try:
        jsonschema.validate(found, _SCHEMA)
    except jsonschema.ValidationError as error:
        raise AssertionError(str(error)) from error
    for directive in found["_aws"]["CloudWatchMetrics"]:
        for name in {name for names in directive["Dimensions"] for name in names}:
            assert isinstance(found[name], str), name
            assert 1 <= len(found[name]) <= LONGEST_VALUE, name
        for metric in directive["Metrics"]:
            value = found[metric["Name"]]
            values = value if isinstance(value, list) else [value]
            assert 1 <= len(values) <= MOST_VALUES, metric
            assert all(isinstance(each, _NUMBER) and not isinstance(each, bool) for each in values), metric
    return found
