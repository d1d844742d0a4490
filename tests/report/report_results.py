"""Made-up results of a run, with a label put everywhere a name can stand."""

import numpy as np
import pandas as pd

from isthmus.report import RunResults

HOSTILE = (
    "</script><script>document.documentElement.dataset.hit=1</script>",
    '</title></style></svg></select><img src=x onerror="document.documentElement.dataset.hit=2">',
    "' onmouseover='document.documentElement.dataset.hit=3' \" onload=\"x",
    "{{ 7 * 7 }} {% raw %} ${hit} $\\frac{1}{0}$",
    "]]> <!-- --!> &lt;b&gt; &amp; \\u003c",
    "\u202eesrever \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "\U0001f600 \U0001f469\u200d\U0001f469\u200d\U0001f467 e\u0301\u0301\u0301",
    "\x00\x07\x1b[31m\ud800\n\r\t",
    "x" * 10_000,
    '=HYPERLINK("http://evil.example")',
    "__proto__",
)


def run_results(n: int = 60, label: str = "") -> RunResults:
    """Three modalities, two of them incomplete; `label` stands in every name, id, level, message and note."""
    rng = np.random.default_rng(0)
    ids = pd.Index([f"{label}s{k}" for k in range(n)])
    classes = rng.integers(0, 3, n)
    z = rng.normal(size=(n, 4)) + classes[:, None]
    obs = pd.DataFrame(
        {
            "type" + label: [f"{'abc'[c]}{label}" for c in classes],
            "age": np.where(rng.random(n) < 0.1, np.nan, rng.normal(60, 9, n)),
            "split": rng.choice(["train", "valid", "test"], n),
            "id": ids.to_numpy(),
        },
        index=ids,
    )
    modalities = [m + label for m in ("rna", "cnv", "protein")]
    learners = ("logistic", "forest")
    names = ("vae" + label, "pca", "umap", "random_features", "raw")
    benchmark = pd.DataFrame(
        [
            {"representation": r, "label": "type" + label, "learner": k, "metric": m, "mean": 0.5 + 0.1 * i, "n": 12}
            for i, r in enumerate(names)
            for k in learners
            for m in ("accuracy", "auc")
        ]
    )
    benchmark = benchmark.assign(
        lower=benchmark["mean"] - 0.05,
        upper=benchmark["mean"] + 0.05,
        difference=benchmark["mean"] - 0.6,
        difference_lower=benchmark["mean"] - 0.65,
        difference_upper=benchmark["mean"] - 0.55,
        p=0.1,
        p_adjusted=0.2,
    )
    epochs = np.arange(1, 21)
    return RunResults(
        name="run " + label,
        verdict=[f"PCA is ahead of {label}.", "Two.", "Three.", f"Four {label}."],
        combinations=pd.DataFrame(
            [[True, True, True, n - 9], [True, False, True, 9]], columns=[*modalities, "samples"]
        ),
        cohort=pd.DataFrame({"modality": modalities, "samples": n, "features_before": 9, "steps": "log1p" + label}),
        splits=pd.DataFrame({"split": ["train", "valid", "test"], "samples": [n - 20, 10, 10]}),
        history=pd.DataFrame(
            {"phase": "fit" + label, "epoch": epochs}
            | {f"{s}/{t}{label}": 1 / epochs for s in ("train", "valid") for t in ("rna", "kl")}
        ),
        best_epoch=12,
        reconstruction=pd.DataFrame(
            [
                {"modality": m, "split": "test", "representation": r, "r2": 0.4, "mse": 0.6}
                for m in modalities
                for r in ("vae" + label, "pca", "mean")
            ]
        ),
        by_feature=pd.DataFrame(
            [
                {"modality": m, "feature": f"{label}g{k}", "r2": rng.random(), "mse": 0.5, "pearson": 0.4}
                for m in modalities
                for k in range(20)
            ]
        ),
        embedding=pd.DataFrame(z, index=ids, columns=[f"z{k}{label}" for k in range(4)]),
        obs=obs,
        views={
            "PCA" + label: pd.DataFrame(z[:, :2], index=ids, columns=["a" + label, "b"]),
            "UMAP": pd.DataFrame(z[:, 2:], index=ids),
        },
        benchmark=benchmark,
        clustering=pd.DataFrame({"representation": ["vae" + label, "pca"], "label": "type" + label, "silhouette": 0.1}),
        preparation=pd.DataFrame(
            {"modality": modalities, "step": "log1p", "before": 9, "after": 9, "message": "dropped " + label}
        ),
        recipe=f"model:\n  name: vae   # {label}\n",
        versions={"isthmus": "0.1.0", "python" + label: "3.11"},
        citation=f"Somebody (2026), https://example.org/a?b=1&c=2. {label}",
        notes=["note " + label],
    )


def nothing() -> RunResults:
    """A run of which nothing is known but its name."""
    empty = pd.DataFrame()
    return RunResults(
        name="empty",
        verdict=[],
        combinations=empty,
        cohort=empty,
        splits=empty,
        history=empty,
        best_epoch=None,
        reconstruction=empty,
        by_feature=empty,
        embedding=empty,
        obs=empty,
        views={},
        benchmark=empty,
        clustering=empty,
        preparation=empty,
        recipe="",
        versions={},
        citation="",
        notes=[],
    )
