"""The model card: its measured part names what is shipped, and nothing but that part is ever rewritten."""

import pandas as pd
import pytest

from itlib.errors import InputError
from itlib.microworld import card
from itlib.models import micro


def test_the_card_names_every_shipped_base_by_the_hash_of_its_weights():
    text = card.CARD.read_text(encoding="utf-8")
    part = text[text.index(card.START) : text.index(card.END)]
    for size, seeds in micro.shipped().items():
        for seed in seeds:
            name = f"{size}/seed-{seed}"
            digest = micro.pins()[f"{name}/model.safetensors"][: card.SHORT]
            rows = [line for line in part.splitlines() if line.startswith(f"| {name} |")]
            assert len(rows) == 1 and digest in rows[0], f"{name}: run python -m itlib.microworld.card"
    named = [line for line in part.splitlines() if line.startswith("| micro-") and "/seed-" in line]
    assert len(named) == sum(map(len, micro.shipped().values())), "the card names a base that is not shipped"


def test_only_the_part_between_the_markers_changes():
    text = f"before\n{card.START}\nold\n{card.END}\nafter\n"
    filled = card.fill(text, f"{card.START}\nnew\n{card.END}")
    assert filled == f"before\n{card.START}\nnew\n{card.END}\nafter\n"
    for broken in ("nothing", f"{card.END} {card.START}", f"{card.START} x", f"{text}{text}"):
        with pytest.raises(InputError, match="markers"):
            card.fill(broken, "")


def test_seeds_of_one_size_share_a_column_as_mean_and_range():
    values = pd.DataFrame(
        {
            "micro-1m/seed-0": {"gates passed": 1, "gates": 2, "copy": 0.5},
            "micro-1m/seed-1": {"gates passed": 2, "gates": 2, "copy": 1.0},
            "micro-4m/seed-0": {"gates passed": 2, "gates": 2, "copy": 0.25},
        }
    )
    header, rows = card.measure_rows(values)
    assert header == ["measure", "micro-1m, 2 seeds", "micro-4m"]
    assert rows == [("copy", "0.750 (0.500 to 1.000)", "0.250")]
