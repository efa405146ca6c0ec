"""Write the seeds of the targets into the corpus: `python -m tests.fuzz.seed`, after a target came or a format changed."""

from __future__ import annotations

from tests.fuzz.loop import CORPUS, target, target_names


def main() -> None:
    for name in target_names():
        folder = CORPUS / name
        folder.mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(target(name).seeds()):
            (folder / f"seed-{number}").write_bytes(data)


if __name__ == "__main__":
    main()
