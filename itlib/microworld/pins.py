"""Take the bases of a build into the package and pin the bytes of everything that is shipped.

    python -m itlib.microworld.pins FOLDER     copies FOLDER/NAME/seed-N and writes hashes.json

Only complete bases are taken. Pinning says what is shipped; whether it is worth shipping is for the gates to tell.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from itlib.errors import InputError, ItlibError
from itlib.files import sha256_file, write_atomic
from itlib.microworld import build, tokenizer
from itlib.microworld.lexicon import ASSETS
from itlib.microworld.recipes import BASES

FILES = ("config.json", "model.safetensors", "pretraining.json")


def take(folder: Path, assets: Path = ASSETS) -> dict[str, str]:
    """Copy every base of ``BASES`` from a build folder, pin them and the tokenizer, and return the pins.

    Raises:
        InputError: A base is missing from the folder or not complete.
    """
    for name, recipe in BASES.items():
        if build.record_of(folder / name, recipe) is None:
            raise InputError(f"{folder / name}: not a complete base of its recipe; run itlib.microworld.build first")
    for name in BASES:
        (assets / name).mkdir(parents=True, exist_ok=True)
        for file in FILES:
            shutil.copyfile(folder / name / file, assets / name / file)
    return pin(assets)


def pin(assets: Path = ASSETS) -> dict[str, str]:
    """Write the SHA-256 of every shipped base and of the tokenizer to ``hashes.json`` and return them by path."""
    paths = sorted([*assets.glob("*/seed-*/*.*"), *(assets / tokenizer.FOLDER.name).iterdir()])
    pins = {path.relative_to(assets).as_posix(): sha256_file(path) for path in paths}
    write_atomic(assets / "hashes.json", (json.dumps(pins, indent=1) + "\n").encode())
    return pins


def main(arguments: list[str] | None = None) -> int:
    """Take a build from the command line and return the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        if len(given) != 1:
            raise InputError("name one build folder: python -m itlib.microworld.pins FOLDER")
        pins = take(Path(given[0]))
    except ItlibError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    size = sum((ASSETS / path).stat().st_size for path in pins)
    print(f"{len(pins)} files pinned, {size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
