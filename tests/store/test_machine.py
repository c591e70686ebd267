"""The record of the machine: two processors never pass for one, and threads are counted but decide nothing."""

from __future__ import annotations

import json

import pytest

from harness.config import compose_config
from harness.execution.machine import machine, parse_cpuinfo, threads
from harness.snapshots.comparison import environment
from harness.snapshots.provenance import Stopwatch, provenance
from harness.store.records import modules_of

XEON = """\
processor\t: 0
cpu family\t: 6
model\t\t: 85
model name\t: Intel(R) Xeon(R)   Platinum 8259CL CPU @ 2.50GHz
flags\t\t: fpu sse2 avx avx2 fma avx512f ht

processor\t: 1
cpu family\t: 6
model name\t: another
"""
GRAVITON = """\
processor       : 0
Features        : fp asimd sve
CPU implementer : 0x41
CPU part        : 0xd40
"""


@pytest.mark.parametrize(
    ("text", "processor", "instruction_sets"),
    [
        (
            XEON,
            "Intel(R) Xeon(R) Platinum 8259CL CPU @ 2.50GHz (family 6, model 85)",
            ("avx", "avx2", "fma", "avx512f"),
        ),
        (XEON.replace("model\t\t: 85", "model\t\t: 106"), None, None),
        (XEON.replace(" avx512f", ""), None, ("avx", "avx2", "fma")),
        (GRAVITON, "cpu implementer 0x41 cpu part 0xd40", ("asimd", "sve")),
        ("", "unknown", ()),
    ],
)
def test_a_processor_is_told_by_name_model_and_instruction_sets(
    text: str, processor: str | None, instruction_sets: tuple[str, ...] | None
) -> None:
    found = parse_cpuinfo(text)
    assert processor is None or found[0] == processor
    assert instruction_sets is None or found[1] == instruction_sets
    assert text == XEON or found != parse_cpuinfo(XEON)


def test_this_machine_is_described_as_plain_data() -> None:
    found = machine()
    assert json.loads(json.dumps(found)) == found
    assert found["processor"]
    assert all(count >= 1 for count in threads().values())


def test_the_record_tells_processors_apart_and_leaves_threads_out() -> None:
    record = provenance(Stopwatch())
    here = environment(record)
    platform = record["platform"]
    assert isinstance(platform, dict)
    assert environment({**record, "threads": {"blas": 96}}) == here
    assert environment({**record, "platform": {**platform, "cpus": 96}}) == here
    assert environment({**record, "platform": {**platform, "processor": "another"}}) != here
    assert environment({**record, "platform": {**platform, "instruction_sets": []}}) != here


def test_the_code_of_the_configured_model_is_part_of_the_environment() -> None:
    """Otherwise an edited model would be told to give equal bits, as if nothing had changed."""

    def digest(*overrides: str) -> object:
        config = compose_config(overrides)
        code = provenance(Stopwatch(), modules_of(config.model, config.adaptation))["code"]
        assert isinstance(code, dict)
        return code["digest"]

    assert digest("model=linear") != digest("model=lightgbm")
    assert digest("adaptation=rolling_retrain") != digest("adaptation=ddgda")
