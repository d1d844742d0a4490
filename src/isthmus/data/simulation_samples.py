"""The samples of a simulated cohort: factors, classes, sites, patients, age, sex and survival.

Shared factors of a sample are N(mean of its class, 1), the variance divided between patient and sample. Event times are
Weibull (shape 1.5, scale 36 months) with log hazard linear in the standardised shared factors of the patient and age;
censoring times are exponential, scaled so that the asked share of patients is censored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from isthmus.data.simulation_settings import Simulation

SHAPE, SCALE = 1.5, 36.0
AGE_HAZARD = 0.3
"""Log hazard of one standard deviation of age, as a share of `hazard`."""


@dataclass(frozen=True)
class Samples:
    """What is true of the samples, one row each, and the parameters it was drawn with."""

    obs: pd.DataFrame
    factors: pd.DataFrame
    class_means: pd.DataFrame
    survival: pd.DataFrame
    log_risk: pd.DataFrame


def draw_samples(s: Simulation) -> Samples:
    """Samples `S0001`, ... with annotations and shared factors."""
    patient = np.arange(s.n) // s.samples_per_patient
    count = int(patient[-1]) + 1
    labels = s.rng("classes").permutation(np.arange(count) % s.classes)
    means = _class_means(s)
    own = s.patient_share if s.samples_per_patient > 1 else 0.0
    common, single = s.rng("patients").normal(size=(count, s.shared)), s.rng("shared").normal(size=(s.n, s.shared))
    values = means[labels][patient] + np.sqrt(own) * common[patient] + np.sqrt(1 - own) * single
    ids = pd.Index(_names("S", s.n), dtype=object)
    names = [f"shared_{i}" for i in range(s.shared)]
    factors = pd.DataFrame(values, index=ids, columns=names)
    of_patient = factors.groupby(patient).mean().to_numpy()
    standard = (of_patient - of_patient.mean(axis=0)) / np.maximum(of_patient.std(axis=0), 1e-12)
    age = _age(s, standard[:, -1])
    coefficients, risk = _risk(s, standard, age)
    time, event = _survival(s, risk)
    obs = pd.DataFrame(
        {
            "class": _category("class_", labels[patient]),
            "site": _category("site_", _sites(s, labels)[patient]),
            "batch": _category("batch_", s.rng("batch").integers(s.batches, size=s.n)),
            "patient": np.array(_names("P", count), dtype=object)[patient],
            "age": age[patient],
            "sex": pd.Categorical(np.where(s.rng("sex").random(count) < 0.5, "F", "M")[patient], ["F", "M"]),
            "time": time[patient],
            "event": event[patient],
        },
        index=ids,
    )
    classes = pd.DataFrame(means, index=[f"class_{i}" for i in range(s.classes)], columns=names)
    survival = pd.DataFrame({"log_hazard": coefficients}, index=[*names, "age"])
    return Samples(obs, factors, classes, survival, pd.DataFrame({"log_risk": risk[patient]}, index=ids))


def _names(letter: str, n: int) -> list[str]:
    width = max(4, len(str(n)))
    return [f"{letter}{i + 1:0{width}d}" for i in range(n)]


def _category(prefix: str, codes: np.ndarray) -> pd.Categorical[object]:
    levels = [f"{prefix}{i}" for i in range(int(codes.max()) + 1)]
    return pd.Categorical.from_codes(codes.astype(np.int64), pd.Index(levels, dtype=object))


def _class_means(s: Simulation) -> np.ndarray:
    """Means `separation` apart from each other where the shared factors have room for that, centred."""
    directions = s.rng("class means").normal(size=(max(s.classes, s.shared), s.shared))
    if s.classes <= s.shared:
        directions = np.linalg.qr(directions.T)[0].T
    else:
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    means = directions[: s.classes] * s.separation / np.sqrt(2)
    return np.asarray(means - means.mean(axis=0))


def _sites(s: Simulation, labels: np.ndarray) -> np.ndarray:
    rng = s.rng("site")
    free = rng.integers(s.sites, size=len(labels))
    return np.where(rng.random(len(labels)) < s.confounding, labels % s.sites, free)


def _age(s: Simulation, factor: np.ndarray) -> np.ndarray:
    """Years: 60 on average, correlated by about 0.6 with the last shared factor."""
    years = 60 + 10 * (0.6 * factor + 0.8 * s.rng("age").normal(size=len(factor)))
    return np.clip(np.round(years), 18, 95).astype(np.int64)


def _risk(s: Simulation, standard: np.ndarray, age: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of the standardised factors and age, and the log hazard of each patient."""
    weights = s.rng("hazard").normal(size=standard.shape[1])
    coefficients = s.hazard * np.append(weights / np.linalg.norm(weights), AGE_HAZARD)
    old = (age - age.mean()) / max(float(age.std()), 1e-12)
    return coefficients, np.column_stack([standard, old]) @ coefficients


def _survival(s: Simulation, risk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Months until the event or censoring, and whether the event was seen (1) or not (0)."""
    rng = s.rng("survival")
    when = SCALE * (rng.exponential(size=len(risk)) / np.exp(risk)) ** (1 / SHAPE)
    until = rng.exponential(size=len(risk))
    lost = min(round(s.censoring * len(risk)), len(risk))
    order = np.sort(when / until)[::-1]
    scale = np.inf if lost == 0 else order[lost - 1] * (1 - 1e-12)
    event = when <= scale * until
    return np.maximum(np.where(event, when, scale * until), 0.01), event.astype(np.int64)
