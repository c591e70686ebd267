"""The configuration, described by its own classes: what each key accepts and means, as a reference and JSON Schema."""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import PydanticSchemaGenerationError, TypeAdapter

from harness.config import (
    HYDRA,
    EvaluationConfig,
    ExperimentConfig,
    OutputConfig,
    SamplesConfig,
    WindowsConfig,
    config_folder,
)
from harness.config.instantiate import hints_of, keys_of, locate, record_of
from harness.config.reference import ReferenceResults
from harness.config.tolerances import SuiteFile, Tolerances, yaml_of
from harness.errors import ConfigError
from harness.errors.limits import accepts, alternatives, is_record
from harness.samples import preprocess
from harness.store.records import TARGET, join_key, public_name, targets_in

# Folders whose files need no `_target_`, as there is one class only.
GROUP_RECORDS: Mapping[str, type] = MappingProxyType(
    {
        "windows": WindowsConfig,
        "samples": SamplesConfig,
        "evaluation": EvaluationConfig,
        "output": OutputConfig,
        "suites": SuiteFile,
        "regression": Tolerances,
        "reference": ReferenceResults,
    }
)
# Fields of an experiment that no file holds.
_NOT_IN_FILES = ("choices", "command", "composed")


def processors() -> tuple[type[preprocess.Processor], ...]:
    """Return the processors that a `Pipeline` can be made of, by name."""
    found = [value for name, value in sorted(vars(preprocess).items()) if not name.startswith("_")]
    classes = [cls for cls in found if inspect.isclass(cls) and issubclass(cls, preprocess.Processor)]
    return tuple(cls for cls in classes if not inspect.isabstract(cls))


def classes_of_group(group: str, search_path: Sequence[str | Path] = ()) -> dict[str, type]:
    """Return target → class of every object that a file of the group names, those of the search path included."""
    files = [p for folder in (config_folder(), *search_path) for p in sorted(Path(folder, group).glob("*.yaml"))]
    found = {target: locate(target, str(path)) for path in files for target in targets_in(read_yaml(path))}
    if preprocess.Pipeline in found.values():
        found |= {public_name(c): c for c in processors()}
    return dict(sorted(found.items()))


def is_global(path: Path) -> bool:
    """Return whether a file changes several groups."""
    return path.read_text(encoding="utf-8").startswith("# @package _global_")


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping that a file holds, references unresolved; an empty one when it holds nothing."""
    node = yaml_of(path)
    if not isinstance(node, Mapping):
        raise ConfigError("A configuration file is a mapping.", where=str(path), got=repr(node), expected="KEY: VALUE")
    return {str(key): value for key, value in node.items()}


# The default of a key that has none, as Hydra writes it.
REQUIRED = "???"
# A section in Google's style, and one in numpy's, which a user's class may have.
_GOOGLE = re.compile(r"^(?:Args|Attributes|Parameters):\n((?:[ \t]+.*\n?|\n)*)", flags=re.MULTILINE)
_NUMPY = re.compile(r"^(?:Attributes|Parameters)\n-{3,}\n((?:(?!^\w[\w ]*\n-{3,}$).*\n?)*)", flags=re.MULTILINE)


@dataclass(frozen=True)
class DescribedKey:
    """One dotted key of a configuration; `value` of an object is its class, or "" where there is one class only.

    `accepts` says its type and the values that are accepted in words of YAML, `meaning` is what the docstring says.
    """

    key: str
    value: object
    accepts: str
    meaning: str


@dataclass(frozen=True)
class Option(DescribedKey):
    """One key of a class, whose type is `hint`; its value is the default, `REQUIRED` where it has none."""

    hint: Any


def options_of(cls: type) -> tuple[Option, ...]:
    """Return the keys of a class, in the order of its signature; the type of what nobody has typed is `Any`."""
    meanings, hints = _meanings(cls), hints_of(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else {}
    found = []
    for name, parameter in keys_of(cls).items():
        factory = fields[name].default_factory if name in fields else dataclasses.MISSING
        default = parameter.default if factory is dataclasses.MISSING else factory()
        if dataclasses.is_dataclass(default) and not isinstance(default, type):
            default = dataclasses.asdict(default)  # as YAML gives it
        default = REQUIRED if default is parameter.empty else default
        hint = hints.get(name, Any)
        found.append(Option(name, default, accepts(hint), meanings.get(name, ""), hint))
    return tuple(found)


def summary_of(cls: type) -> str:
    """Return the first paragraph of a class's docstring as one line."""
    return _line((inspect.getdoc(cls) or "").partition("\n\n")[0])


def _meanings(cls: type) -> dict[str, str]:
    """Return name → meaning from the sections of docstrings, bases first, that list names; ``low, high:`` share one."""
    text = "\n\n".join(inspect.getdoc(base) or "" for base in reversed(cls.__mro__))
    found: dict[str, str] = {}
    for section, end_of_names in ((_NUMPY, "\n"), (_GOOGLE, ":")):
        for body in section.findall(text):
            for entry in re.split(r"^(?=\S)", textwrap.dedent(body), flags=re.MULTILINE):
                names, _, meaning = entry.partition(end_of_names)
                found |= dict.fromkeys((name.strip() for name in names.split(":")[0].split(",")), _line(meaning))
    return {name: meaning for name, meaning in found.items() if name and meaning}


def _line(text: str) -> str:
    return re.sub(r"\bNone\b", "null", " ".join(text.split()).replace("``", "`"))


def describe_keys(tree: Mapping[str, Any], prefix: str = "") -> tuple[DescribedKey, ...]:
    """Return every key of a composed tree (references resolved) that is `prefix` or lies below it, in its order."""
    found = _keys(ExperimentConfig, tree, "")
    return tuple(k for k in found if not prefix or k.key == prefix or k.key.startswith(f"{prefix}."))


def describe_file(group: str, path: Path) -> tuple[DescribedKey, ...]:
    """Return every key that a file of a group may hold, with the file's value or else the class's default.

    A file that changes several groups is described by the keys that it changes, dotted from the root; so is the main
    file, whose `group` is empty.
    """
    node = {k: v for k, v in read_yaml(path).items() if k not in HYDRAS_KEYS}
    if not group or is_global(path):
        return tuple(_keys(ExperimentConfig, node, ""))
    cls = GROUP_RECORDS[group] if group in GROUP_RECORDS else locate(node.get(TARGET), join_key(str(path), TARGET))
    return tuple(_keys(cls, {option.key: option.value for option in options_of(cls)} | node, ""))


def _keys(cls: type, node: Mapping[str, Any], path: str) -> Iterator[DescribedKey]:
    known = {option.key: option for option in options_of(cls)}
    for name, value in node.items():
        if name == TARGET or (cls is ExperimentConfig and name in _NOT_IN_FILES):
            continue
        key = join_key(path, name)
        option = known.get(name, Option(name, None, accepts(Any), "", Any))
        inner = _class_of(option, value, key)
        yield DescribedKey(key, value if inner is None else value.get(TARGET, ""), option.accepts, option.meaning)
        if inner is not None:
            yield from _keys(inner, value, key)
            continue
        for part in alternatives(option.hint):
            # A record that could stand here, or a list of mappings of one kind.
            for place, record in ((key, part), *((f"{key}[]", item) for item in typing.get_args(part))):
                for own in options_of(record) if is_record(record) else ():
                    yield DescribedKey(f"{place}.{own.key}", own.value, own.accepts, own.meaning)


def _class_of(option: Option, value: object, key: str) -> type | None:
    """Return the class whose keys a mapping holds; None for what is no such mapping."""
    if not isinstance(value, Mapping):
        return None
    if TARGET in value:
        return locate(value[TARGET], join_key(key, TARGET))
    found = record_of(option.hint, value)
    if found is None and "." not in key:
        # A file that changes some keys of a group, whichever of its choices that is for.
        classes = classes_of_group(key).values()
        found = next((c for c in classes if set(value) <= {o.key for o in options_of(c)}), None)
    return found


Schema = dict[str, Any]
_DRAFT = "https://json-schema.org/draft/2020-12/schema"
# What Hydra fills in: a reference to another key or to the environment, or a value that the command must give.
_FILLED_IN: Schema = {"type": "string", "pattern": r"\$\{.+\}|^\?\?\?$"}
_DEFAULTS_LIST = "Hydra's defaults list: the files that this one changes."
_DEFAULTS: Schema = {"defaults": {"type": "array", "description": _DEFAULTS_LIST}}
# Keys of a file that are Hydra's, which describes them itself.
_HYDRAS: Schema = {**_DEFAULTS, HYDRA: {"type": "object", "description": "Hydra's own keys."}}
HYDRAS_KEYS = tuple(_HYDRAS)


def group_schema(group: str, search_path: Sequence[str | Path] = ()) -> Schema:
    """Return the schema of a file ``GROUP/NAME.yaml``; no key is required, as a file may change another one.

    The keys of an object follow from its ``_target_``; a class that no file of the group names may have any.
    """
    classes = classes_of_group(group, search_path)
    schema = _group(group, classes)
    schema["properties"] = {**_DEFAULTS, **schema["properties"]}
    return {"$schema": _DRAFT, "title": f"driftbench: a file of `{group}`", **schema, "$defs": _definitions(classes)}


def experiment_schema(search_path: Sequence[str | Path] = ()) -> Schema:
    """Return the schema of a file that changes several groups (``# @package _global_``), such as an experiment."""
    properties: Schema = {}
    classes: dict[str, type] = {}
    for option in options_of(ExperimentConfig):
        own = classes_of_group(option.key, search_path)
        classes |= own
        if own or option.key in GROUP_RECORDS:
            properties[option.key] = {"description": option.meaning, **_group(option.key, own)}
        elif option.key not in _NOT_IN_FILES:
            properties[option.key] = _property(option, classes)
    return {
        "$schema": _DRAFT,
        "title": "driftbench: a file that changes several groups, such as an experiment",
        "type": "object",
        "properties": {**_HYDRAS, **properties},
        "additionalProperties": False,
        "$defs": _definitions(classes),
    }


def _group(group: str, classes: Mapping[str, type]) -> Schema:
    return _object(GROUP_RECORDS[group], classes) if group in GROUP_RECORDS else _by_target(classes)


def _by_target(classes: Mapping[str, type]) -> Schema:
    """Return the schema of a mapping with a ``_target_``: each class that is known has its own keys."""
    cases = [
        {"if": {"properties": {TARGET: {"const": name}}, "required": [TARGET]}, "then": {"$ref": f"#/$defs/{name}"}}
        for name in classes
    ]
    examples = {"examples": list(classes)} if classes else {}
    target = {"type": "string", **examples, "description": "The class that is made of the other keys."}
    return {"type": "object", "properties": {TARGET: target}} | ({"allOf": cases} if cases else {})


def _definitions(classes: Mapping[str, type]) -> Schema:
    return {name: _object(cls, classes, {**_DEFAULTS, TARGET: {"const": name}}) for name, cls in classes.items()}


def _object(cls: type, classes: Mapping[str, type], more: Mapping[str, Any] = MappingProxyType({})) -> Schema:
    properties = {option.key: _property(option, classes) for option in options_of(cls)}
    schema: Schema = {"type": "object", "description": summary_of(cls), "properties": {**more, **properties}}
    return {**schema, "additionalProperties": False}


def _property(option: Option, classes: Mapping[str, type]) -> Schema:
    takes_text = any(part in (str, Any, object) for part in alternatives(option.hint))
    schema: Schema = {"description": option.meaning} if option.meaning else {}
    schema |= _value(option.hint, classes, () if takes_text else (_FILLED_IN,))
    if option.value is None or (isinstance(option.value, bool | int | float | str) and option.value != REQUIRED):
        schema["default"] = option.value
    return schema


def _value(hint: Any, classes: Mapping[str, type], more: Sequence[Schema] = ()) -> Schema:
    parts = alternatives(hint)
    accepted = [*(_one(part, classes) for part in parts), *more]
    if any(map(is_record, parts)):  # without a `_target_` a mapping is the record
        accepted = [{**s, "required": [TARGET]} if s.get("properties", {}).keys() == {TARGET} else s for s in accepted]
    return accepted[0] if len(accepted) == 1 else {"anyOf": accepted}


def _one(hint: Any, classes: Mapping[str, type]) -> Schema:
    """Return pydantic's schema of plain values, and ours of objects and of what holds some."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and arguments[1:] == (Ellipsis,):
        return {"type": "array", "items": _value(arguments[0], classes)}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _value(arguments[1], classes)}
    if is_record(hint):
        known = [name for name, cls in classes.items() if cls is hint]
        return {"$ref": f"#/$defs/{known[0]}"} if known else _object(hint, classes)
    try:
        return {key: value for key, value in TypeAdapter(hint).json_schema().items() if key != "title"}
    except PydanticSchemaGenerationError:
        return _by_target(classes)
