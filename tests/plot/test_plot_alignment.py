"""The trade-off of an alignment's weight: what is drawn is what was found."""

import numpy as np
import pandas as pd

from isthmus.plot.alignment import alignment_tradeoff


def found():
    weights = np.repeat([0.0, 0.1, 1.0], 2)
    return pd.DataFrame(
        {"weight": weights, "seed": [0, 1] * 3, "task": [0.5, 0.7, 0.8, 0.8, 0.6, 0.4], "retrieval": weights / 2,
         "chance": 0.05, "rank": 5 - weights}
    )  # fmt: skip


def test_a_panel_per_score_with_means_over_seeds_and_chance():
    figure = alignment_tradeoff(found())
    shown = {a.get_title(loc="left") or a.get_title(): a for a in figure.axes if a.get_visible()}
    assert len(shown) == 3
    task = next(a for title, a in shown.items() if title.startswith("Task"))
    np.testing.assert_allclose(task.lines[1].get_ydata(), [0.6, 0.8, 0.5])
    assert [t.get_text() for t in task.get_xticklabels()] == ["0", "0.1", "1"]
    partners = next(a for title, a in shown.items() if title.startswith("Partners"))
    assert [t.get_text() for t in partners.texts] == ["chance"]
    np.testing.assert_allclose(partners.lines[2].get_ydata(), 0.05)


def test_without_scores_it_says_so():
    assert "No alignment" in alignment_tradeoff(found().iloc[:0]).texts[0].get_text()
