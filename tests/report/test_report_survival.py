"""The survival section: what it says, that it says so of baselines, and that names are text."""

from dataclasses import replace

import numpy as np
import pandas as pd
from report_results import HOSTILE
from test_report_page import Reader

from isthmus.evaluate import survival
from isthmus.plot import survival as plot
from isthmus.report import render
from isthmus.report.blocks import FigureBlock, Page, Prose, TableBlock
from isthmus.report.survival import survival_section, survival_words


def fold(n=240, *, noise=1.0, steep=1.0, seed=0):
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=n)
    happens, stops = rng.exponential(10 * np.exp(-signal)), rng.uniform(0, 30, n)
    outcome = np.column_stack([np.minimum(happens, stops), happens <= stops])
    half = n // 2
    risks = {"VAE": (signal + noise * rng.normal(size=n)) * steep, "pca": signal + rng.normal(size=n)}
    return survival.Fold(
        outcome[:half],
        outcome[half:],
        {k: (v[:half], v[half:]) for k, v in risks.items()},
        pd.DataFrame({"age": signal[half:] * 0.1}),
    )


def judged(made=None, **options):
    return survival.judge([made or fold(**options)], model="VAE", resamples=60)


def words(made):
    return survival_words({"os": made}, model="VAE")[0]


def test_a_baseline_that_is_better_is_said_and_a_gain_that_may_be_none_is_called_so():
    better, worse, chance = (judged(noise=n) for n in (0.1, 3.0, 1000.0))
    assert "The best baseline, PCA + ridge Cox, has " in words(better)
    assert "may be none" not in words(better)
    assert "the network is not needed for this" in words(worse)
    assert "no more than chance gives" in words(chance)
    assert "no more than chance gives" not in words(better)
    same = fold()
    equal = judged(replace(same, risks=same.risks | {"pca": same.risks["VAE"]}))
    assert "the network is not needed" in words(equal)
    assert "worse than the same Kaplan-Meier curve for everybody" in words(judged(steep=6.0))
    assert "worse than the same" not in words(better)


def test_the_section_shows_every_table_and_figure_of_every_head():
    found = {"os": judged(), "pfs": judged(seed=1)}
    section = survival_section(found, model="VAE", units={"os": "os_months"})
    figures = [b.name for b in section.blocks if isinstance(b, FigureBlock)]
    parts = ("concordance", "groups", "over_time", "calibration")
    assert figures == [f"survival_{h}_{part}" for h in ("os", "pfs") for part in parts]
    tables = {b.name: b for b in section.blocks if isinstance(b, TableBlock)}
    assert set(tables) == {"survival_os", "survival_os_nested", "survival_pfs", "survival_pfs_nested"}
    shown = tables["survival_os"].excerpt
    assert shown["representation"].tolist() == ["VAE", "PCA + ridge Cox", "Kaplan-Meier of train"]
    assert tables["survival_os"].bold == (True, False, False)
    scores = found["os"].scores.set_index("representation")
    assert shown["Harrell's C"].iloc[0] == scores.loc["VAE", "harrell"]
    ends = scores.loc["VAE", ["harrell_lower", "harrell_upper"]]
    assert shown["interval"].tolist()[::2] == ["{:.3f}–{:.3f}".format(*ends), "–"]
    assert "(os_months)" in tables["survival_os"].caption
    assert survival_section({}, model="VAE", units={}).blocks == ()


def test_what_is_taken_within_strata_is_said():
    made = fold(steep=6.0)
    strata = tuple(np.array(["a", "b"])[np.arange(len(y)) % 2] for y in (made.train, made.test))
    for given, said in ((None, False), (strata, True)):
        found = judged(replace(made, strata=given))
        section = survival_section({"os": found}, model="VAE", units={})
        captions = {b.name: b.caption for b in section.blocks if isinstance(b, FigureBlock)}
        assert ("cuts are those of each stratum" in captions["survival_os_groups"]) == said
        assert ("within strata" in captions["survival_os_over_time"]) == said
        assert ("curve for everybody of a stratum" in words(found)) == said


def test_too_few_events_for_the_nested_test_are_said():
    made = fold(40)
    wide = replace(made, clinical=pd.DataFrame(np.random.default_rng(0).normal(size=(20, 12))).add_prefix("c"))
    section = survival_section({"os": judged(wide)}, model="VAE", units={})
    assert any(isinstance(b, Prose) and "Too few events for 12 columns" in b.text for b in section.blocks)


def test_names_are_text_and_pages_well_formed():
    made, label = fold(), "".join(HOSTILE)
    risks = {label: made.risks["VAE"], "pca": made.risks["pca"]}
    found = survival.judge([replace(made, risks=risks)], model=label, resamples=20)
    section = survival_section({f"os{label}": found}, model=label, units={f"os{label}": label})
    text = render(Page("t", "s", survival_words({label: found}, model=label), [section]))
    Reader(text)
    assert "documentElement.dataset.hit=1<" not in text
    assert "<img src=x" not in text


def test_numbers_at_risk_stand_under_the_curves():
    found = judged()
    figure = plot.kaplan_meier(found.groups, unit="months")
    upper, lower = figure.axes
    low = found.groups["low"]
    texts = [t.get_text() for t in lower.texts]
    ticks = [t for t in upper.get_xticks() if t <= low.time[-1]]
    first = str(next(iter(found.groups.values())).at_risk[0])
    assert texts[0] == first
    for k, tick in enumerate(ticks):
        assert texts[k] == f"{int((low.time >= tick).any() and low.at_risk[np.searchsorted(low.time, tick)]):,}"
    steps = upper.lines[0]
    assert steps.get_drawstyle() == "steps-post"
    np.testing.assert_array_equal(steps.get_ydata(), low.survival)


def test_a_figure_without_data_says_so():
    empty = judged().calibration.iloc[:0]
    assert plot.calibration(empty).texts[0].get_text() == "No group was observed for so long."
    assert plot.kaplan_meier({}).texts[0].get_text() == "No survival is known."


def test_the_interval_goes_as_far_as_the_curve_where_nobody_is_left():
    curve = survival.kaplan_meier([1, 2, 3, 5], [1, 0, 1, 1])
    axes = plot.kaplan_meier({"all": curve}).axes[0]
    band = axes.collections[0].get_paths()[0].vertices
    at_end = band[band[:, 0] == 5, 1]
    assert band[:, 0].max() == axes.lines[0].get_xdata().max() == 5
    assert at_end.min() == curve.lower[-2]
    assert at_end.max() == curve.upper[-2]
