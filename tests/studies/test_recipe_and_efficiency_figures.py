"""Figures of the recipe and efficiency studies show what their frames hold, and do not break on gaps."""

import numpy as np
import pandas as pd

from itlib.studies import efficiency_figures, efficiency_tables, recipe_figures, recipe_tables


def probes():
    rows = []
    for seed in range(3):
        for step, form in ((0, 0.0), (1, 0.3), (4, 0.95), (10, 0.95), (40, 0.95)):
            score = form if seed < 2 else form / 2  # the last run never meets the rule
            for metric, value in (("instruction_following_full", score), ("exact_match", 0.1), ("reference_loss", 1.4)):
                rows.append({"digest": f"run {seed}", "seed": seed, "step": step, "metric": metric, "value": value})
    return pd.DataFrame(rows)


def test_a_triangle_per_run_that_the_rule_stops():
    stops = recipe_tables.stops(probes())
    assert list(stops["stop"].dropna()) == [40.0, 40.0]
    axes = recipe_figures.learning(probes(), stops)
    triangles = [line for line in axes[1].lines if line.get_marker() == "^"]
    assert [float(line.get_xdata()[0]) for line in triangles] == [40.0, 40.0]
    labels = [text.get_text() for text in axes[0].get_legend().get_texts()]
    assert labels == ["instruction following (full instructions)", "exact match"]


def test_the_rate_axis_names_every_rate_and_the_lines_are_means():
    scores = pd.DataFrame(
        [(size, rate, seed, rate * 100 + seed) for size in (8, 64) for rate in (1e-3, 2e-3) for seed in (0, 1)],
        columns=["batch_size", "learning_rate", "seed", "value"],
    )
    ax = recipe_figures.batches(scores, y_label="exact match")
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0.001", "0.002"]
    lines = {line.get_label(): line for line in ax.lines if line.get_label().startswith("batch")}
    np.testing.assert_allclose(lines["batch 8"].get_ydata(), [0.6, 0.7])


def test_signals_draw_every_finished_run_once_per_panel():
    table = pd.DataFrame({
        "seed": [0, 0, 1, 1], "batch_size": [8, 64, 8, 64], "learning_rate": 1e-3,
        "gradient_norm": [1.0, 2.0, 3.0, 4.0], "early_loss": 1.0, "value": [0.1, 0.2, 0.3, np.nan],
    })  # fmt: skip
    for ax in recipe_figures.signals(table, y_label="exact match"):
        drawn = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in ax.lines])
        assert sorted(drawn[np.isfinite(drawn)]) == [0.1, 0.2, 0.3]


def curves(seeds=3):
    kinds = {"opposite": "latent", "two_hop": "composed", "addition": "weak", "two_digit_addition": "flat"}
    rows = [
        {
            "arm": "middle model", "metric": "exact_match", "status": "done", "seed": seed, "digest": f"{seed} {n}",
            "family": family, "familiarity": kind, "examples": n, "value": n / 2000 + 0.01 * seed,
        }
        for seed in range(seeds) for n in (25, 200, 1600) for family, kind in kinds.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_both_positions_and_the_curves_are_in_one_figure():
    groups = {
        by: efficiency_tables.curves(curves(), ["middle model"], "exact_match", by)[0]
        for by in ("familiarity", "family")
    }
    axes = efficiency_figures.disagreement(groups, y_label="exact match")
    texts = [text.get_text() for ax in axes for text in ax.texts]
    assert sum("2310.05492" in text for text in texts) == 2 and sum("2303.14742" in text for text in texts) == 2
    labels = [[text.get_text() for text in ax.get_legend().get_texts()] for ax in axes]
    assert labels == [["latent", "composed"], ["addition", "two_digit_addition"]]
    nothing = {by: frame.iloc[:0] for by, frame in groups.items()}
    assert len(efficiency_figures.disagreement(nothing, y_label="loss")) == 2


def test_sizes_of_other_arms_are_no_gaps():
    frame = pd.concat([curves(), curves().query("examples != 200").assign(arm="larger model")], ignore_index=True)
    curve, points = efficiency_tables.curves(frame, ["middle model", "larger model", "absent"], "exact_match", "arm")
    assert curve.groupby("arm")["examples"].nunique().to_dict() == {"larger model": 2, "middle model": 3}
    assert curve["mean"].notna().all() and len(points) == 3 * 3 + 3 * 2
    assert len(efficiency_tables.curves(frame, ["absent"], "exact_match", "arm")[0]) == 0


def test_differences_are_paired_by_seed():
    def arm(name, values):
        rows = [
            {"arm": name, "kind": "test", "metric": "exact_match", "status": "done", "seed": seed, "family": "f"}
            | {"n_train": 400, "value": value, "digest": f"{name} {seed}"}
            for seed, value in values.items()
        ]
        return pd.DataFrame(rows)

    frame = pd.concat([arm("plain", {0: 0.5, 1: 0.9, 2: 0.4}), arm("default", {0: 0.4, 1: 0.7})], ignore_index=True)
    row = recipe_tables.differences(frame, "exact_match", [("plain", "default")]).iloc[0]
    assert row["seeds"] == 2 and np.isclose(row["mean"], 0.15)
