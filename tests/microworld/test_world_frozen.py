"""The world is frozen: its bytes are pinned, and equal in every process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import world_frozen

from itlib.microworld import tokenizer
from itlib.spec import WORLD_VERSION

VERSION = 2
PINS = {
    "lexicon": "a50196bba46f27ab8c67dba9bf2b8ca260291155416c46e08d5c025c7588a892",
    "facts": "9f38116aee66a6c1d02b9b469c8f0c0d9cb84f0b36b47bb44e1a0ec76151d1de",
    "prose": "4b007aedda30fcbea9cb37c99d1ef803b92b4cc9174f92332448f31db055c16d",
    "second language": "91b21cf710854f5b269d49a01fbbcd84f405730eeda129de860d5e02b7712792",
    "vocabulary": "c82d65d46d1d98fa0a837312cc9436d53e177ac3c65bc275504e371dc3869b79",
    "templates": "48ea35cc2d228d8c8b3e17f9f44a637d1e40e0397b17dd0fad5ef02cc4a73124",
    "documents": "3f58f29c2b8c6cec49402b7d0499f1862217ac92e720fe8a75a9a17aac1b63e5",
    "reference": "fe0fd5789e70a5beb1d6c9611ccb8754f8d2636f103e5be0a7e0876989546f53",
    "pool": "3d29f1f2edf083d052b037b985d82074d00b8c86e783bc0884c9d4a7462e4823",
    "standard pool": "0c464f8969fd7c68a228225c641124b96bf123054275cf336f269514444250bb",
    "worded pool": "11d884007d80cb794664b80faae7e5bfd94a50e5a7c8379ba293e940964180f1",
    "unbalanced pool": "bbaf8c4e203cddde1ede789c4f73f25d40d0d5ecc3359da6e2100a82d8be3f8a",
    "noisy pool": "d54f93285ff7a0df559ec28d9a8eea7f94821518198295f6adbdd33c4e813885",
    "held-out items, observed": "39ef5d4ff493cf3c391d7af3710b0470731fbc44f0c1c80c7681b47caa2d93ea",
    "held-out items, unobserved": "c5dd0e20f6025362f689535480361c6c641469685fdb5b86dd27261cbdd80128",
    "held-out items, unobserved_wrapper": "86e2292caf7b831a2cc4bcf9c1884d1abcec3c3f7393be526fe0ffccac495516",
    "held-out items, unobserved_phrase": "65c8cdd478d04601d80f177adef2f781b8deeb7b96757b22f40a295a659d49fd",
    "held-out items, dev": "c2cabccd595d51d476e65eef3e54e88a829e47aa67a12730c217439a6f7e82b8",
    "held-out items, dev_wrapper": "e131e35fae7654e97cf1cc26f68b397f91fa585e2f2c8ae1806bbf05e17b9b49",
    "held-out items, name": "9cc48911d27d6faca3d295d613092c925fd4cce05d3263db94cb9a573b5f1ebd",
    "held-out items, none": "1b2228d23f3823bdba05e5e472c8afc26d1f92d26024b9d32c7b551944ac0426",
    "held-out items, negated": "d178fad39daade0972732250eb7f224f627d77cd87714f840b1c30dc14e0e9af",
    "held-out items, wrong_task": "aa3f5a31ed5940bd981d1830d16322c16a80f3044591da78e0eb98b8b286d6b8",
    "held-out items, wrong_task_literal": "70bb15a562edfe1cac19484078ab0aa1a214f1ad590020d5a575105f7f55d422",
    "held-out items, random": "7fbeb54684ba0ddbc8c88d7ec6b2ecbe5dd94de22617ac8d1649f44ecfc3c824",
}


@pytest.fixture(scope="module")
def digests():
    return world_frozen.digests()


def test_the_world_is_the_one_the_shipped_bases_and_published_results_know(digests):
    changed = sorted(name for name in {*PINS, *digests} if PINS.get(name) != digests.get(name))
    assert not changed and WORLD_VERSION == VERSION, (
        f"{', '.join(changed)} changed: this is a new world. It needs a new WORLD_VERSION, base models pretrained on "
        "it and results made with them; then pin what `python tests/world_frozen.py` prints. If nothing was meant to "
        "change, undo what did it."
    )


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_another_process_with_another_hash_seed_makes_equal_bytes(digests, hash_seed):
    done = subprocess.run(
        [sys.executable, str(Path(world_frozen.__file__))],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == digests


def test_a_second_run_makes_equal_bytes(digests):
    assert world_frozen.digests() == digests


def test_the_shipped_tokenizer_is_the_one_the_world_builds():
    built, shipped = tokenizer.build(), tokenizer.load()
    assert built.backend_tokenizer.to_str() == shipped.backend_tokenizer.to_str()
    assert built.chat_template == shipped.chat_template
    assert (built.pad_token, built.eos_token, built.unk_token) == (
        shipped.pad_token, shipped.eos_token, shipped.unk_token,
    )  # fmt: skip
    assert list(built.get_vocab().values()) and len(built) == len(tokenizer.vocabulary())
