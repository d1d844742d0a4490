"""Names replaced: in a model, in a recipe, in tables, and in data to which a shared model is to be applied."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any

import anndata as ad
import mudata as md
import pandas as pd

from isthmus.data.bag_files import feature_folder
from isthmus.data.bags import is_bag
from isthmus.data.cohort import build
from isthmus.data.images import is_image
from isthmus.data.read import read
from isthmus.errors import RecipeError
from isthmus.share.canary import NUMBER, vocabulary
from isthmus.share.disclosure import enforced
from isthmus.share.harmless import WITHHELD, message
from isthmus.share.house import House, prepared
from isthmus.share.keys import read_key
from isthmus.share.policy import Policy, generalised, load_policy
from isthmus.share.pseudonyms import COLUMN, SAMPLE, Names, feature, value, write_names
from isthmus.share.rounding import significant
from isthmus.store import Stored

__all__ = ["Renamer", "pseudonymise"]

COLUMN_KEYS = frozenset(
    ("by", "censoring", "class_column", "classes", "column", "columns", "covariates", "event", "group", "id_column",
     "label", "labels", "leave_out", "order", "sites", "strata", "stratify", "target", "time")
)  # fmt: skip
"""Keys of a recipe under which columns of obs are named."""
BEFORE_COLUMNS = ("head", "auxiliary", "adversary", "hsic", "correlation", "confounder")
"""Parts of the names of loss terms and targets after which a head or a column is named."""
PATH_KEYS = frozenset(("path", "file", "obs", "read"))
LOOKS_LIKE_PATH = re.compile(r"^(/|~|\$|\.{1,2}[/\\]|[A-Za-z]:[/\\]|\\\\)|[\w.-]+/[\w.-]+.*\.\w{2,6}$")
TOKEN = re.compile(r"[^\s,;:()\[\]{}'\"=]+")


class Renamer:
    """A run's names, and what each becomes.

    Parameters
    ----------
    house
        The run.
    names
        Pseudonyms under the project's key.
    policy
        Which columns of obs keep their names.
    """

    def __init__(self, house: House, names: Names, policy: Policy) -> None:
        self.house, self.names, self.kept = house, names, frozenset(policy.kept)
        self.as_is = frozenset(c for c, rule in policy.kept.items() if rule.keep)
        self.inputs = {m: dict(zip(f, names.every(feature(m), f), strict=True)) for m, f in house.features.items()}
        self.columns = {str(c): self._column(str(c)) for c in house.obs.columns}
        for head, keys in dict(house.stored.description["recipe"].get("heads") or {}).items():
            read_ = [keys.get(k) for k in ("column", "time", "event", "censoring", "strata")]
            if head not in self.columns and any(self.columns.get(c, c) != c for c in read_):
                self.columns[head] = names.of(COLUMN, head)
        self.described = self._described()
        made = prepared(house.stored, self.described)
        self.outputs = {m: dict(zip(house.prepared[m], made[m], strict=True)) for m in made}

    def _column(self, name: str) -> str:
        return name if name in self.kept else self.names.of(COLUMN, name)

    def sample(self, name: object) -> str:
        return self.names.of(SAMPLE, str(name))

    def level(self, column: str, text: str) -> str:
        """A value of a column, as it is where the column is shared as it is; not where it is shared coarser."""
        return text if column in self.as_is else self.names.of(value(column), text)

    def feature(self, modality: str, name: str) -> str:
        """A feature, before or after preparation."""
        found = self.outputs.get(modality, {}).get(name) or self.inputs.get(modality, {}).get(name)
        return WITHHELD if found is None else found

    def said(self, text: str) -> str:
        """A text, if every word of it is one of ours."""
        words = [w.strip(".") for w in TOKEN.findall(text)]
        ours = vocabulary() | set(self.house.modalities)
        return text if all(w in ours or NUMBER.fullmatch(w) or not w for w in words) else WITHHELD

    # ---- model

    def model(self) -> Stored:
        """The model under the new names."""
        old = self.house.stored
        description = dict(old.description)
        description["prepare"] = self.described
        description["recipe"] = self.recipe(old.description["recipe"])
        description["spec"] = self._spec(old.description["spec"])
        description["history"] = [
            {self.path(k): significant(k, v) for k, v in row.items()} for row in old.description["history"]
        ]
        return Stored(old.weights, old.learnt, description)

    def path(self, key: str) -> str:
        """A name of several parts, such as `train/head/age`, with columns of obs and names of heads replaced."""
        parts = key.split("/")
        named = [i > 0 and parts[i - 1] in BEFORE_COLUMNS for i in range(len(parts))]
        return "/".join(self.columns.get(p, p) if n else p for p, n in zip(parts, named, strict=True))

    def _spec(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        made = dict(spec)
        for key in ("targets", "covariates"):
            made[key] = [self._read(t) if isinstance(t, dict) else self.columns.get(t, t) for t in spec[key]]
        return made

    def _read(self, target: Mapping[str, Any]) -> dict[str, Any]:
        """A target or covariate of the spec."""
        name, columns = target["name"], list(target.get("columns", ()))
        made = {**target, "name": self.columns.get(name, name) if "/" not in name else self.path(name)}
        if "columns" in target:
            made["columns"] = [self.columns.get(c, c) for c in columns]
        made["classes"] = [self.level((columns or [name])[0], str(c)) for c in target.get("classes", ())]
        return made

    def _described(self) -> dict[str, Any]:
        """The description of the preparation."""
        described = dict(self.house.stored.description["prepare"])
        described["pipelines"] = {m: self._pipeline(m, p) for m, p in described["pipelines"].items()}
        if "residual" in described:
            told = [self._read(c) for c in described["residual"]["covariates"]]
            described["residual"] = {**described["residual"], "covariates": told}
        return described

    def _pipeline(self, modality: str, described: Mapping[str, Any]) -> dict[str, Any]:
        names = self.inputs[modality]

        def renamed(node: Any, key: str = "") -> Any:
            if isinstance(node, dict):
                return {names.get(k, k): renamed(v, k) for k, v in node.items()}
            if isinstance(node, list):
                return [renamed(v, key) for v in node]
            if isinstance(node, str):
                if key in ("message", "message_"):
                    return message(node)
                return names[node] if node in names else _no_path(node, key)
            return node

        return {**renamed(described), "modality": modality}

    # ---- recipe

    def recipe(self, tree: Mapping[str, Any]) -> dict[str, Any]:
        """A recipe: features, columns and their values renamed, places of files withheld."""
        made = {k: self._node(v, k) for k, v in tree.items() if k != "prepare"}
        made["prepare"] = {m: self._steps(m, steps) for m, steps in dict(tree.get("prepare") or {}).items()}
        if isinstance(data := made.get("data"), dict):
            made["data"] = self._data(data, dict(tree["data"]))
        return {k: made[k] for k in tree if k in made}

    def _steps(self, modality: str, steps: Any) -> Any:
        names = self.inputs.get(modality, {})
        return _mapped(steps, lambda text, key: names[text] if text in names else _no_path(text, key))

    def _data(self, data: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """Files under the name of what they hold; how they are read is left out."""
        read_, by = given.get("read"), (given.get("split") or {}).get("by")
        if isinstance(read_, Mapping):
            data["read"] = {m: {"path": f"{m}{_suffix(_path_of(s))}"} for m, s in read_.items()}
        elif isinstance(read_, str):
            data["read"] = f"cohort{_suffix(read_)}"
        if given.get("obs") is not None:
            data["obs"] = {"path": f"obs{_suffix(_path_of(given['obs']))}"}
        if isinstance(by, Mapping):
            levels = {c: {self.level(c, v): part for v, part in parts.items()} for c, parts in by.items()}
            data["split"]["by"] = {self.columns.get(c, c): v for c, v in levels.items()}
        return data

    def _node(self, node: Any, key: str) -> Any:
        if isinstance(node, dict):
            inner = key if key in COLUMN_KEYS else ""
            named = key in ("heads", *COLUMN_KEYS)
            return {self._key(k, column=named): self._node(v, inner or k) for k, v in node.items()}
        if isinstance(node, list):
            made = [self._node(v, key) for v in node]
            return [v for m in made for v in (m if isinstance(m, tuple) else (m,))]
        if not isinstance(node, str):
            return node
        if node in self.columns and (key in COLUMN_KEYS or node not in vocabulary()):
            return self.columns[node]
        found = tuple(dict.fromkeys(o[node] for o in (*self.outputs.values(), *self.inputs.values()) if node in o))
        if found and key not in ("name", "kind"):
            return found if len(found) > 1 else found[0]
        return _no_path(node, key)

    def _key(self, key: str, *, column: bool) -> str:
        return self.columns.get(key, key) if column or key not in vocabulary() else key


def _mapped(node: Any, of: Callable[[str, str], str], key: str = "") -> Any:
    """A tree with every text replaced; `of` is told the key it stands under."""
    if isinstance(node, dict):
        return {k: _mapped(v, of, k) for k, v in node.items()}
    if isinstance(node, list):
        return [_mapped(v, of, key) for v in node]
    return of(node, key) if isinstance(node, str) else node


def _no_path(text: str, key: str) -> str:
    """A text, or where it is the place of a file what the file is for."""
    if key in PATH_KEYS or LOOKS_LIKE_PATH.search(text):
        return f"{key or 'file'}{_suffix(text)}"
    return text


def _suffix(path: str) -> str:
    """`.csv.gz`; at most two, and of letters."""
    found = [s for s in PurePath(path).suffixes[-2:] if re.fullmatch(r"\.[A-Za-z0-9]{1,8}", s)]
    known = [s for s in found if s.lower() in _SUFFIXES]
    return "".join(known)


_SUFFIXES = frozenset(
    [
        ".csv",
        ".tsv",
        ".txt",
        ".parquet",
        ".h5ad",
        ".h5mu",
        ".gz",
        ".bz2",
        ".xz",
        ".zst",
        ".xlsx",
        ".json",
        ".yaml",
        ".gmt",
        ".npz",
        ".npy",
        ".zarr",
        ".h5",
        ".pt",
    ]
)


def _path_of(source: Any) -> str:
    return str(source.get("path", "")) if isinstance(source, Mapping) else str(source)


log = logging.getLogger("isthmus.share")
NO_POLICY = (
    "without a policy: its project and site are part of the pseudonyms, which fit a bundle made with either "
    "only under the same policy"
)


BAGS = "share the run with keep_feature_names: its model then takes the folder of bags itself"


def pseudonymise(
    sources: Mapping[str, Any] | md.MuData | str | Path, *, key: str | Path, policy: Any = None, obs: Any = None
) -> md.MuData:
    """Data under the names of a shared model: samples and features renamed by the same key, values as they are.

    Annotations stay where the policy shares them in rows (`include: [metadata]`), as coarse as it says; samples of a
    class that falls short of k, l or t lose theirs. A warning says what was dropped.

    Parameters
    ----------
    sources
        A MuData, or what `isthmus.read` takes.
    key
        The project's key file.
    policy
        The policy that the bundle was made with (its project, site and whether features keep their names).
    obs
        Annotations of the samples, as `isthmus.read` takes them.

    Returns
    -------
    MuData
        The names are added to those kept beside the key.

    Raises
    ------
    DataError
        The key or the data is wrong.
    RecipeError
        A modality holds bags: their names are those of files.
    """
    rules = load_policy(policy)
    names = named(read_key(key), rules)
    if policy is None:
        log.warning(NO_POLICY)
    for modality in _bags(sources):
        raise RecipeError("holds bags, whose files cannot be pseudonymised", where=f"modality {modality!r}", hint=BAGS)
    if not isinstance(sources, md.MuData) or obs is not None:
        sources = read(dict(sources) if isinstance(sources, Mapping) else sources, obs)
    mods = {m: _renamed(a, m, names) for m, a in sources.mod.items()}
    told = _annotations(pd.DataFrame(sources.obs), rules).set_axis(names.every(SAMPLE, sources.obs_names), axis=0)
    write_names(names)
    return build(mods, told)


def _bags(sources: Mapping[str, Any] | md.MuData | str | Path) -> list[str]:
    """Modalities of bags, as far as they are told before anything is read."""
    if isinstance(sources, md.MuData):
        return [m for m, a in sources.mod.items() if is_bag(a)]
    if isinstance(sources, Mapping):
        keys = {m: s.get("path") if isinstance(s, Mapping) else s for m, s in sources.items()}
        paths = {str(m): Path(s) for m, s in keys.items() if isinstance(s, str | Path)}
    else:
        paths = {p.name: p for p in sorted(Path(sources).iterdir())} if Path(sources).is_dir() else {}
    return [m for m, p in paths.items() if p.is_dir() and feature_folder(p) is not None]


def _annotations(obs: pd.DataFrame, policy: Policy) -> pd.DataFrame:
    """What a policy shares of new samples' annotations, row by row."""
    rows = "metadata" in policy.include
    kept = {c: rule for c, rule in policy.kept.items() if rows and c in obs}
    if gone := obs.shape[1] - len(kept):
        why = "does not share them" if rows else "does not include metadata"
        log.warning("%d of %d annotations are dropped: the policy %s", gone, obs.shape[1], why)
    policy = policy.model_copy(update={"columns": kept})
    told = generalised(obs, policy)
    stays = enforced(told, policy.quasi, policy.sensitive, k=policy.k, l=policy.l, t=policy.t)
    if kept and (short := int((~stays).sum())):
        log.warning("%d of %d samples lose their annotations: they fall short of k, l or t", short, len(obs))
    numbers = [c for c, rule in kept.items() if rule.keep and pd.api.types.is_numeric_dtype(obs[c])]
    told = told.assign(**{c: obs[c] for c in numbers})
    return pd.DataFrame({c: told[c].where(stays) for c in told.columns}, index=obs.index)


def named(key: Any, policy: Policy) -> Names:
    """Names under a key, as a policy wants them."""
    keep = frozenset(("feature",)) if policy.keep_feature_names else frozenset[str]()
    return Names(key, policy.project, policy.site, keep)


def _renamed(adata: ad.AnnData, modality: str, names: Names) -> ad.AnnData:
    obs = pd.DataFrame(index=names.every(SAMPLE, adata.obs_names))
    if is_image(adata):
        return ad.AnnData(None, obs, obsm={"image": adata.obsm["image"]})
    if is_bag(adata):
        raise RecipeError("holds bags, whose files cannot be pseudonymised", where=f"modality {modality!r}", hint=BAGS)
    var = pd.DataFrame(index=names.every(feature(modality), adata.var_names))
    return ad.AnnData(adata.X, obs, var)
