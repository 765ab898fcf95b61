"""Searches for bytes that break a decoder, guided by coverage (atheris, libFuzzer).

``python -m tests.fuzz.search FOLDER [-runs=N] [-max_total_time=SECONDS]``; a finding is a
traceback, an exit code and a file in FOLDER.
"""

import sys
from pathlib import Path

import atheris  # pyright: ignore[reportMissingImports] - only where it has wheels

INSTRUMENTED = ["core", "telemetry", "gateway", "tests.fuzz"]
with atheris.instrument_imports(  # pyright: ignore[reportAttributeAccessIssue] - lazily there
    include=INSTRUMENTED
):
    from tests.fuzz.decoders import one_input, seed


def main(argv: list[str]) -> None:
    folder = Path(argv[1])
    corpus = folder / "corpus"
    seed(corpus)
    options = [
        f"-dict={corpus.with_suffix('.dict')}",
        f"-artifact_prefix={folder}/",
        "-max_len=4096",
        "-timeout=20",
    ]
    atheris.Setup([argv[0], str(corpus), *argv[2:], *options], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
