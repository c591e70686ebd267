"""The configuration, described by its own classes: what each key accepts and means, as a reference and JSON Schema."""

from harness.config.schema.described import DescribedKey, describe_file, describe_keys, experiment_schema, group_schema
from harness.config.schema.groups import GROUP_RECORDS, classes_of_group, processors
from harness.config.schema.options import REQUIRED, Option, options_of, summary_of

__all__ = [
    "GROUP_RECORDS",
    "REQUIRED",
    "DescribedKey",
    "Option",
    "classes_of_group",
    "describe_file",
    "describe_keys",
    "experiment_schema",
    "group_schema",
    "options_of",
    "processors",
    "summary_of",
]
