"""The coverage-guided fuzzer: `python -m tests.hostile.fuzz decoders|client|node [libFuzzer's options]`.

It needs `pip install atheris`. What it finds is written to a file that libFuzzer names; the same command with that
file repeats it. A find becomes a case in the tests beside this file.
"""

from __future__ import annotations

import logging
import sys

import atheris

with atheris.instrument_imports(include=["pgproxy.wire", "pgproxy.session", "pgproxy.backend", "pgproxy.operators"]):
    from tests.hostile.draw import FuzzedDraw
    from tests.hostile.targets import check_client, check_decoders, check_node

TARGETS = {
    "decoders": check_decoders,
    "client": lambda data: check_client(FuzzedDraw(atheris.FuzzedDataProvider(data))),
    "node": lambda data: check_node(FuzzedDraw(atheris.FuzzedDataProvider(data))),
}


def main() -> None:
    target = TARGETS[sys.argv.pop(1)]
    logging.disable(logging.WARNING)
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
