"""Mutated inputs for every loader and for parameters: each is read, or refused by our own error in one line."""

import io
import json
import random
import time
from pathlib import Path

import pandas as pd

from itlib import figures, instruction_table, scores_file
from itlib.claims import load_claim
from itlib.declared import FOLDER
from itlib.drawing import draw, drawing_of, read_drawing, write_drawing
from itlib.errors import InputError, RunError
from itlib.methods import method_of
from itlib.params import from_yaml, overrides, parse_overrides, schema
from itlib.redraw import trace
from itlib.resolve import resolve
from itlib.sources.local import read_file
from itlib.spec import MethodSpec, RunSpec, flatten, from_mapping, with_fields
from itlib.studies.tuned_arms import arm_fields
from itlib.verify import read_reference, read_report
from itlib.yamlio import load_strict

SLOW = 5.0  # seconds; an input that takes longer is a way to stop a service
NASTY = [
    b"!!python/object/apply:os.system ['true']",
    b"!!python/name:os.system",
    b"&a [*a, *a, *a]",
    b"*a",
    b"<<: *a",
    b"---\n",
    b"__import__('os').system('true')",
    b"{{ 7 * 7 }}",
    b"{% for x in y %}",
    b"../../etc/passwd",
    b"..\\..\\",
    b"/dev/zero",
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\x1b]0;title\x07",
    b"\x1b[2J",
    b"\r",
    b"\r\n",
    b"\xed\xa0\x80",
    b"\xc0\xaf",
    b"NaN",
    b"Infinity",
    b"-0",
    b"1e999",
    b"9" * 400,
    b"0x1F",
    b"017",
    b"12:30:45",
    b"no",
    b"~",
    b"null",
    b"true",
    b"[",
    b"]",
    b"{",
    b"}",
    b'"',
    b"'",
    b"'''",
    b"\\",
    b",",
    b":",
    b"=",
    b"#",
    b"[" * 2000,
    b'{"a":' * 1500,
    b"<|im_start|>assistant",
    b"<script>alert(1)</script>",
    b"<s>",
    b"</s>",
    b"\\ud800",
    b"\\u0000",
    b"%s%n",
    b"$(true)",
    b"`true`",
    b"; true",
    b"\t",
    "‮".encode(),
    "\N{ZERO WIDTH SPACE}".encode(),
    "é".encode("latin-1"),
]


def mutated(content, dictionary, rng):
    """Return a content with a few changes: bytes flipped, taken out, said twice, cut off, moved, nasty ones put in."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        at, length = rng.randrange(len(found) + 1), rng.choice((1, 1, 2, 5, 20))
        kind = rng.randrange(7)
        if kind == 0 and at < len(found):
            found[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del found[at : at + length]
        elif kind == 2:
            found[at:at] = found[at : at + length] * rng.choice((1, 2, 30))
        elif kind == 3:
            del found[at:]
        elif kind in (4, 5):
            found[at : at + rng.choice((0, length))] = rng.choice(dictionary)
        else:
            other = rng.randrange(len(found) + 1)
            found[other:other] = found[at : at + length]
    return bytes(found)


def from_file(name, function):
    """A target that reads a file of that name."""

    def target(folder, content):
        path = folder / name
        path.write_bytes(content)
        return function(path)

    return target


def text(content):
    return content.decode("utf-8", "replace")


def _claim(path):
    return load_claim(path.stem, path.parent)


def _drawing(path):
    return draw(read_drawing(path.parent)[0])


def _report(path):
    manifest, _ = read_report(path.parent)
    return manifest["files"]


def _overrides(folder, content):
    pairs = text(content).split("\n")
    return overrides(schema("00_tour"), parse_overrides(pairs[: len(pairs) // 2 * 2]))


def _arm(folder, content):
    return arm_fields(text(content))


def _method(folder, content):
    name, *options = text(content).split("\n")
    return method_of(MethodSpec(method=name, method_options=tuple(options)))


def _spec(folder, content):
    try:
        mapping = json.loads(text(content))
    except (ValueError, RecursionError):
        return None  # the store reads specs with care of its own, see test_corruption.py
    return from_mapping(mapping) if isinstance(mapping, dict) else None


def _resolved(folder, content):
    """One field of a run set to any text or number."""
    name, _, value = text(content).partition("=")
    for read in (int, float, str):
        try:
            return resolve(with_fields(RunSpec(), **{name: read(value)}))
        except ValueError:
            if read is str or not isinstance(value, str):
                raise
    return None


ROWS = [
    {"instruction": "Name a colour.", "input": "", "output": "red"},
    {"instruction": "Add.", "input": "1 and 2", "output": "3"},
    {"instruction": "Say no.", "output": "no"},
]
TURNS = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}] * 3
SHARED = [{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}] * 3
LINES = "\n".join(json.dumps(row) for row in ROWS + TURNS).encode()
SCORES = b"run,family,metric,value,n\n0123456789ab,gsm8k,exact_match,0.5,10\nba9876543210,all,judge,7.5,\n"
TABLE = b"model,task,instruction,observed,accuracy\nm,t,1,yes,0.25\nm,t,2,no,1\nm,u,1,1,0.5\nm,u,2,0,0.25\n"
PARAMS = b"study: 00_tour\nprofile: smoke\nseeds: [0, 1]\nsizes: [16, 64]\nlearning_rate: 2e-3\nmodel: micro-1m\n"
ALPACA = b"instruction,input,output\nName,,red\nAdd,1,2\nSay,,no\n"
FIELDS = sorted(flatten(RunSpec()))


def _parquet():
    buffer = io.BytesIO()
    pd.DataFrame(ROWS).to_parquet(buffer)
    return buffer.getvalue()


def _images(folder):
    from matplotlib.figure import Figure

    from itlib.theme import save_images

    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([0, 1])
    about = {"study": "s", "command": "c", "runs": []}
    return {path.suffix: path.read_bytes() for path in save_images(figure, folder, "x", metadata=about)}


def targets(folder):
    """Return name to (seeds, words of its language, function of a folder and bytes)."""
    images = _images(folder)
    reference = {"environment": {}, "claims": [{"id": "L1", "verdict": "inconclusive"}], "frame": {"rows": 2}}
    scores = pd.DataFrame({"arm": ["a", "b"], "skill": ["x", "x"], "value": [0.25, 0.5]})
    write_drawing(drawing_of(figures.arms(scores)), folder, {"study": "s"})
    drawing = (folder / "drawing.json").read_bytes()
    claim = (FOLDER / "TOUR.yaml").read_bytes()
    return {
        "params": ([PARAMS], (b"budget: 0", b"seeds: [1, 1]"), from_file("p.yaml", from_yaml)),
        "yaml": ([PARAMS, b"a: {b: [1, 2], c: *x}\nd: &x 1\n"], (), from_file("y.yaml", load_strict)),
        "overrides": ([b"seeds\n[0,1]\nlearning_rate\n2e-3\nprofile\ncpu"], (b"\n", b"budget"), _overrides),
        "claim": ([claim], (b"margin: nan",), from_file("TOUR.yaml", _claim)),
        "json": ([json.dumps(rows).encode() for rows in (ROWS, TURNS, SHARED)], (b'"role"', b'"system"'),
                 from_file("d.json", read_file)),
        "jsonl": ([LINES], (b"\n", b'{"text": "x"}'), from_file("d.jsonl", read_file)),
        "csv": ([ALPACA], (b'"a\nb"',), from_file("d.csv", read_file)),
        "txt": ([b"one two three\n\nfour five\n\nsix\n"], (), from_file("d.txt", read_file)),
        "parquet": ([_parquet()], (), from_file("d.parquet", read_file)),
        "scores": ([SCORES], (b"exact_match", b"nan"), from_file("s.csv", scores_file.read)),
        "table": ([TABLE], (b"PD", b"101", b'"a\nb"'), from_file("t.csv", instruction_table.read)),
        "spec": ([json.dumps(flatten(RunSpec())).encode(), b'{"seed": 1, "method": "lora"}'], (), _spec),
        "resolved": ([f"{name}=1".encode() for name in FIELDS], tuple(name.encode() for name in FIELDS), _resolved),
        "arm": ([b"lora 16 attention", b"full embeddings", b"half level=layer", b"prompt 20"], (b"alpha=", b" "), _arm),
        "method": ([b"half\nlevel=layer", b"lora\ninner=orthonormal"], (b"\n", b"="), _method),
        "drawing": ([drawing], (b"itlib.files.write_atomic", b"os.system"),
                    from_file("drawing.json", _drawing)),
        "report": ([b'{"files": {"frame.csv": "00"}}'], (), from_file("manifest.json", _report)),
        "reference": ([json.dumps(reference).encode()], (), from_file("r.json", read_reference)),
        **{f"image {suffix}": ([content], (), from_file(f"x{suffix}", trace)) for suffix, content in images.items()},
    }  # fmt: skip


def fuzz(folder, n_inputs, seed):
    """Feed inputs to every target in turn; return how many of each were read and refused.

    Raises:
        AssertionError: Another error than ours, one of several lines, or an input that takes seconds.
    """
    folder = Path(folder)
    found, order = {}, sorted(targets(folder).items())
    each = -(-n_inputs // len(order))
    for name, (seeds, words, target) in order:
        rng = random.Random(f"{seed} {name}")
        dictionary = [*NASTY, *words, *words]
        read = refused = 0
        for number in range(each):
            content = mutated(rng.choice(seeds), dictionary, rng)
            began = time.monotonic()
            try:
                target(folder, content)
                read += 1
            except (InputError, RunError) as error:
                refused += 1
                line = str(error)
                assert line and "\n" not in line and len(line) < 2000, (name, number, content, line)
                assert "\x1b" not in line and "\x00" not in line, (name, number, content, line)
            except BaseException as error:
                raise AssertionError(f"{name} {number}: {type(error).__name__}: {error}: {content!r:.600}") from error
            assert time.monotonic() - began < SLOW, (name, number, content)
        found[name] = (read, refused)
    return found
