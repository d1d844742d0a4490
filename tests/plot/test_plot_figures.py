import matplotlib.colors as mc
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus import plot
from isthmus.errors import DataError
from isthmus.plot.embedding import GRID_POINTS, between_share, density
from isthmus.plot.scores import interval, is_baseline, main_metric
from isthmus.plot.style import ACCENT, CLASSES, INK, PAPER
from isthmus.plot.training import shares
from isthmus.report.svg import to_svg

RNG = np.random.default_rng(0)


def texts(figure):
    return [t.get_text() for t in figure.findobj(lambda a: hasattr(a, "get_text"))]


def scattered(figure):
    return np.concatenate([np.asarray(c.get_offsets()) for a in figure.axes for c in a.collections])


def history(epochs=10, phases=("fit",)):
    n = epochs * len(phases)
    return pd.DataFrame(
        {
            "phase": np.repeat(phases, epochs),
            "epoch": np.tile(np.arange(1, epochs + 1), len(phases)),
            "train/kl": np.linspace(0, 3, n),
            "train/total": np.linspace(9, 5, n),
            "valid/total": np.linspace(9, 6, n),
            "train/rna": np.linspace(9, 2, n),
        }
    )


class TestLossCurves:
    def test_a_panel_per_term_with_the_total_first(self):
        figure = plot.loss_curves(history())
        assert [a.get_title("left") for a in figure.axes if a.axison] == ["total", "kl", "rna"]

    def test_lines_are_the_history(self):
        frame = history()
        lines = {line.get_label(): line for line in plot.loss_curves(frame, best_epoch=7).axes[0].lines}
        assert (lines["train"].get_ydata() == frame["train/total"]).all()
        assert (lines["valid"].get_ydata() == frame["valid/total"]).all()
        assert (lines["valid"].get_xdata() == frame["epoch"]).all()
        assert lines["best epoch (7)"].get_xdata()[0] == 7

    def test_epochs_that_begin_again_are_counted_on(self):
        figure = plot.loss_curves(history(5, ("pretrain", "fit")), best_epoch=2)
        axes = figure.axes[0]
        assert (axes.lines[0].get_xdata() == np.arange(1, 11)).all()
        assert axes.lines[-1].get_xdata()[0] == 7  # the second epoch of the last phase
        assert {"pretrain", "fit"} <= set(texts(figure))

    def test_one_epoch_is_a_mark_and_none_is_a_sentence(self):
        assert plot.loss_curves(history(1)).axes[0].lines[0].get_marker() == "o"
        assert "No epoch was trained." in texts(plot.loss_curves(pd.DataFrame()))


def test_shares_of_terms_sum_to_one_and_leave_the_total_out():
    figure = plot.term_shares(history())
    layers = figure.axes[0].collections
    assert len(layers) == 2
    top = max(layers[-1].get_paths()[0].vertices[:, 1])
    first_epoch = [v for x, v in layers[0].get_paths()[0].vertices if x == 1]
    assert top == pytest.approx(1)
    assert max(first_epoch) == 0  # kl begins at nothing
    last_epoch = [v for x, v in layers[0].get_paths()[0].vertices if x == 10]
    assert max(last_epoch) == pytest.approx(3 / 5)


class TestReconstruction:
    def frame(self, n):
        return pd.DataFrame({"modality": "rna", "feature": np.arange(n).astype(str), "r2": RNG.uniform(-0.5, 1, n)})

    @pytest.mark.parametrize("n", [1, 100_000])
    def test_bars_count_every_feature_and_the_line_is_the_median(self, n):
        frame = self.frame(n)
        axes = plot.reconstruction_by_feature(frame).axes[0]
        assert sum(p.get_height() for p in axes.patches) == n
        assert axes.lines[0].get_xdata()[0] == pytest.approx(frame["r2"].median())

    def test_features_without_variance_are_counted_and_those_far_below_are_kept(self):
        frame = pd.DataFrame({"modality": "rna", "r2": [np.nan, -50.0, 0.5]})
        figure = plot.reconstruction_by_feature(frame)
        assert sum(p.get_height() for p in figure.axes[0].patches) == 2
        assert figure.axes[0].patches[0].get_height() == 1
        assert any("3 features, 1 without variance" in t for t in texts(figure))

    def test_nothing_known(self):
        frame = pd.DataFrame({"modality": ["rna"], "r2": [np.nan]})
        assert sum(p.get_height() for p in plot.reconstruction_by_feature(frame).axes[0].patches) == 0
        assert "No feature was scored." in texts(plot.reconstruction_by_feature(frame.iloc[:0]))


class TestScatter:
    @pytest.mark.parametrize(("n", "drawn"), [(1, 1), (500, 500), (100_000, 20_000)])
    @pytest.mark.parametrize("kind", ["categorical", "numeric"])
    def test_a_mark_per_sample_up_to_the_bound(self, n, drawn, kind):
        xy = pd.DataFrame(RNG.normal(size=(n, 2)))
        colours = pd.Series(RNG.integers(0, 30, n)).where(RNG.random(n) > 0.1)
        points = scattered(plot.embedding_scatter(xy, colours, "age", kind=kind))
        assert len(points) == drawn
        assert set(points[:, 0]) <= set(xy[0])

    def test_a_class_has_one_colour_at_its_own_places(self):
        xy = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "b": 0.0})
        figure = plot.embedding_scatter(xy, pd.Series(["p", "q", "p", None]), "type")
        seen = {mc.to_hex(c.get_facecolor()[0]): sorted(c.get_offsets()[:, 0]) for c in figure.axes[0].collections}
        assert seen == {CLASSES[0]: [0, 2], CLASSES[1]: [1], PAPER: [3]}
        assert {"p (2)", "q (1)", "missing (1)", "type", "a", "b"} <= set(texts(figure))

    def test_classes_past_the_eighth_differ_by_more_than_colour(self):
        xy = pd.DataFrame(RNG.normal(size=(24, 2)))
        marks = plot.embedding_scatter(xy, pd.Series(range(24)).astype(str), "k").axes[0].collections
        looks = [(mc.to_hex(c.get_facecolor()[0]), mc.to_hex(c.get_edgecolor()[0])) for c in marks]
        assert looks[0] == (CLASSES[0], PAPER)
        assert looks[8] == (PAPER, CLASSES[8])
        assert looks[16] == (CLASSES[16], INK)
        assert len(set(looks)) == 24

    def test_wrong_shapes_are_refused(self):
        with pytest.raises(DataError, match="two columns"):
            plot.embedding_scatter(pd.DataFrame(np.zeros((3, 3))), pd.Series([1, 2, 3]), "x")
        with pytest.raises(DataError, match="per sample"):
            plot.embedding_scatter(pd.DataFrame(np.zeros((3, 2))), pd.Series([1]), "x")


class TestRidgelines:
    def test_a_ridge_per_class_and_dimension(self):
        z, classes = RNG.normal(size=(90, 3)), pd.Series(list("abc") * 30)
        axes = [a for a in plot.ridgelines(z, classes, ["x", "y", "z"]).axes if a.axison]
        assert [a.get_title("left") for a in axes] == ["x", "y", "z"]
        assert [len(a.patches) for a in axes] == [3, 3, 3]
        assert [t.get_text() for t in axes[0].get_yticklabels()] == ["a", "b", "c"]

    def test_the_dimensions_that_tell_classes_apart_are_kept(self):
        z, classes = RNG.normal(size=(200, 40)), pd.Series(["a", "b"] * 100)
        z[:, 33] += 5 * (classes == "a")
        figure = plot.ridgelines(z, classes, [f"z{k}" for k in range(40)])
        assert len(figure.axes) == 12
        assert "z33" in texts(figure)

    @pytest.mark.parametrize("n", [1, 100_000])
    def test_few_and_many(self, n):
        figure = plot.ridgelines(RNG.normal(size=(n, 1)), pd.Series(["a"] * n), ["z0"])
        assert len(figure.axes[0].patches) == 1

    def test_no_label(self):
        assert "No sample has a label." in texts(plot.ridgelines(np.zeros((2, 1)), pd.Series([None, None]), ["z"]))

    @given(st.lists(st.floats(-100, 100), min_size=1, max_size=60))
    @settings(max_examples=50)
    def test_density_is_one_in_all(self, values):
        x = np.array(values)
        low, high = x.min() - 200.0, x.max() + 200.0  # far enough that nothing is smoothed over the edge
        y = density(x, low, high)
        assert (y >= 0).all()
        assert y.sum() * (high - low) / GRID_POINTS == pytest.approx(1, abs=0.05)

    def test_share_between_classes(self):
        codes = np.array([0, 0, 1, 1, -1])
        assert between_share(np.array([1.0, 1, 5, 5, 99]), codes) == pytest.approx(1)
        assert between_share(np.array([1.0, 5, 1, 5, 99]), codes) == pytest.approx(0)
        x = np.array([1.0, 2, 4, 5, 99])  # by hand: between 4 * 1.5^2 = 9, within 4 * 0.5^2 = 1
        assert between_share(x, codes) == pytest.approx(0.9)
        assert np.isnan(between_share(np.ones(5), codes))


class TestBenchmark:
    frame = pd.DataFrame(
        [
            {"representation": r, "label": k, "learner": j, "metric": m, "mean": 0.6 + 0.1 * i, "sd": 0.02}
            for i, r in enumerate(("pca", "vae", "random_features"))
            for k in ("type", "age")
            for j in ("logistic", "svm")
            for m in (("accuracy", "auc") if k == "type" else ("r2",))
        ]
    )

    def test_one_metric_per_label(self):
        rows = main_metric(self.frame)
        assert set(map(tuple, rows[["label", "metric"]].to_numpy())) == {("type", "auc"), ("age", "r2")}

    def test_numbers_are_predicted_by_ridge_regression_under_the_name_of_the_logistic_one(self):
        found = [a.get_title("left") for a in plot.benchmark(self.frame).axes]
        assert found == ["type · logistic", "type · svm", "age · ridge", "age · svm"]

    def test_a_number_below_0_has_the_minus_of_the_axis(self):
        found = texts(plot.benchmark(self.frame.assign(mean=-0.25)))
        assert "\u22120.250" in found
        assert "-0.250" not in found

    def test_dots_and_intervals_are_the_table(self):
        figure = plot.benchmark(self.frame)
        assert len(figure.axes) == 4
        dots = {
            round(float(line.get_xdata()[0]), 6): mc.to_hex(line.get_markerfacecolor())
            for line in figure.axes[0].lines
            if line.get_marker() == "o"
        }
        assert dots == {0.6: PAPER, 0.7: ACCENT, 0.8: PAPER}  # the model is filled
        spans = [tuple(line.get_xdata()) for line in figure.axes[0].lines if line.get_marker() == "None"]
        assert any(np.allclose(s, (0.68, 0.72)) for s in spans)

    def test_the_model_stands_first(self):
        labels = [t.get_text() for t in plot.benchmark(self.frame).axes[0].get_yticklabels()]
        assert labels == ["vae", "pca", "random_features"]

    def test_limits_are_taken_before_the_spread(self):
        frame = pd.DataFrame({"mean": [0.5, 0.5], "sd": [0.1, 0.1], "lower": [0.3, np.nan], "upper": [0.9, np.nan]})
        lower, upper = interval(frame)
        assert lower == pytest.approx([0.3, 0.4])
        assert upper == pytest.approx([0.9, 0.6])

    def test_baselines_by_name(self):
        assert all(map(is_baseline, ["PCA", "umap", "random_features/3", "raw features", "train mean"]))
        assert not any(map(is_baseline, ["vae", "autoencoder", "MosaicVAE"]))

    def test_without_scores(self):
        assert "No label was predicted." in texts(plot.benchmark(self.frame.iloc[:0]))


def test_presence_draws_the_table():
    rows = pd.DataFrame({"rna": [True, True, False], "cnv": [True, False, True], "samples": [3, 50, 7]})
    dots, bars = plot.presence(rows).axes
    assert [p.get_width() for p in bars.patches] == [50, 7, 3]
    filled = [c for c in dots.collections if len(c.get_facecolor()) and mc.to_hex(c.get_facecolor()[0]) == INK]
    assert sum(len(c.get_offsets()) for c in filled) == 4
    assert (filled[0].get_offsets() == [[0, 0]]).all()  # the largest: rna alone


def drawn_texts(figure):
    """Text and box of every text that is drawn: ticks out of sight are not."""
    axes = [a for a in figure.axes if a.axison]
    axises = [x for a in axes for x in (a.xaxis, a.yaxis)]
    ticks = [t for x in axises for t in x.get_major_ticks()]
    seen = {id(t) for x in axises for t in x._update_ticks()}
    hidden = {id(t.label1) for t in ticks if id(t) not in seen} | {id(t.label2) for t in ticks}
    every = [t for t in figure.findobj(lambda a: type(a).__name__ in ("Text", "Annotation")) if t.get_text()]
    renderer = figure._get_renderer()
    return [(t.get_text(), t.get_window_extent(renderer)) for t in every if t.get_visible() and id(t) not in hidden]


def test_no_text_lies_on_another_or_out_of_the_figure():
    classes = pd.Series([f"a class with a long name, number {k}" for k in range(24)] * 4)
    frame = TestBenchmark.frame.replace({"vae": "a model with a very long name indeed", "type": "l" * 99})
    figures = [
        plot.embedding_scatter(pd.DataFrame(RNG.normal(size=(96, 2))), classes, "annotation " * 9),
        plot.benchmark(frame),
        plot.ridgelines(RNG.normal(size=(96, 6)), classes, [f"term {k} " * 9 for k in range(6)]),
        plot.presence(pd.DataFrame({"m" * 30: [True], "n" * 30: [True], "samples": [3]})),
        plot.loss_curves(history(30, ("warm up", "fit")).rename(columns=lambda c: c.replace("rna", "r" * 80))),
        plot.reconstruction_by_feature(pd.DataFrame({"modality": ["m" * 99, "n"], "r2": [0.1, -20]})),
        plot.term_shares(history()),
    ]
    for figure in figures:
        to_svg(figure)  # lays it out
        drawn = drawn_texts(figure)
        assert len(drawn) > 3
        for k, (name, box) in enumerate(drawn):
            assert box.x0 > -1, name
            assert box.x1 < figure.bbox.x1 + 1, name
            for other_name, other in drawn[k + 1 :]:
                across = min(box.x1, other.x1) - max(box.x0, other.x0)
                down = min(box.y1, other.y1) - max(box.y0, other.y0)
                assert across < 1 or down < 1.5, (name, other_name)


def test_the_same_figure_gives_the_same_bytes():
    first, second = (to_svg(plot.loss_curves(history(), best_epoch=3)) for _ in range(2))
    assert first == second


def test_shares_are_weighted_where_weights_are_known_and_leave_out_other_players():
    frame = history().rename(columns={"train/total": "train/model/total"}).assign(**{"train/critic": 5.0})
    raw = shares(frame)
    assert list(raw) == ["kl", "rna", "critic"]
    np.testing.assert_allclose(raw.iloc[-1], [0.3, 0.2, 0.5])
    weighted = shares(frame.assign(**{"weight/kl": 2.0, "weight/rna": 3.0}))
    assert list(weighted) == ["kl", "rna"]
    np.testing.assert_allclose(weighted.iloc[-1], [0.5, 0.5])
    np.testing.assert_allclose(weighted.sum(axis=1), 1)


def test_balance_shades_the_band_of_every_part():
    frame = history()
    parts = pd.DataFrame({"recon": np.linspace(0.2, 0.8, 10), "kl": np.linspace(0.8, 0.2, 10)})
    figure = plot.balance(frame, parts, {"recon": (0.5, 1.0), "kl": (0.0, 0.1)})
    for axes, (name, (low, high)) in zip(figure.axes, {"recon": (0.5, 1.0), "kl": (0.0, 0.1)}.items(), strict=True):
        assert axes.get_title("left") == name
        assert (axes.lines[0].get_ydata() == parts[name]).all()
        ends = axes.patches[0].get_extents().transformed(axes.transData.inverted())
        np.testing.assert_allclose([ends.y0, ends.y1], [low, high], atol=1e-6)
