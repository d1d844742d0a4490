"""`bundle`: what of a run may leave the house, under other names, looked through and summed up."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anndata as ad
import pandas as pd

from isthmus import store
from isthmus.data.archive import as_folder
from isthmus.data.write import atomic
from isthmus.data.write import write as write_container
from isthmus.errors import DataError, InputError, RecipeError
from isthmus.recipe import versions
from isthmus.report import page
from isthmus.report.share import ShareResults, share_page
from isthmus.report.table import to_csv
from isthmus.share import tabling
from isthmus.share.classes import CLASSES, holds_samples, statistics
from isthmus.share.disclosure import Measured, enforced, measured
from isthmus.share.house import House, opened
from isthmus.share.keys import Key, read_key
from isthmus.share.logs import log_text
from isthmus.share.manifest import FORMAT, MANIFEST, VERSION, files_of, read_manifest, seal, sha256, zipped
from isthmus.share.policy import Policy, generalised, load_policy, unlisted
from isthmus.share.pseudonyms import names_file, read_names, write_names
from isthmus.share.renaming import BAGS, Renamer, named
from isthmus.share.rounding import coarse, losses
from isthmus.share.searching import refuse, watched
from isthmus.share.words import lead, learnable
from isthmus.yaml_text import dump_yaml

__all__ = ["bundle", "check"]

log = logging.getLogger("isthmus.share")
REFITS = 16
COUNTS = ("n_", "members", "others", "samples")
"""How columns of the audit begin that count samples."""
OF_FEATURES = ("matched", "chance")
"""Columns of the audit that are shares of features, not of samples."""


@dataclass
class Draft:
    """A bundle that grows: where, from what, and what its manifest will say."""

    folder: Path
    house: House
    policy: Policy
    renamer: Renamer
    obs: pd.DataFrame
    stays: pd.Series
    audit: dict[str, Any] | None
    left_out: dict[str, str] = field(default_factory=dict)
    suppressed: dict[str, int] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    risks: list[str] = field(default_factory=list)

    @property
    def personal(self) -> bool:
        """Whether it holds rows of samples."""
        return bool({"embedding", "metadata"} & set(self.policy.include))

    @property
    def shared(self) -> pd.DataFrame:
        """The metadata of the samples that may stay."""
        return self.obs[self.stays.to_numpy()]

    @property
    def told(self) -> pd.DataFrame:
        """The metadata that counts are made of: those of the samples that are shared, or where none is of all."""
        return self.shared if self.personal else self.obs

    @property
    def grants(self) -> Measured:
        return measured(self.shared, self.policy.quasi, self.policy.sensitive)


def bundle(
    run: str | Path,
    out: str | Path,
    *,
    key: str | Path,
    policy: Policy | Mapping[str, Any] | str | Path | None = None,
    refits: int = REFITS,
    accept_risk: bool = False,
    overwrite: bool = False,
) -> Path:
    """Make of a run folder a bundle that others may have: pseudonymised, its disclosure controlled, its model audited.

    Parameters
    ----------
    run
        What `isthmus run` left.
    out
        A folder, or a `.zip`; it appears when all is done. The same run, key and policy give the same bytes.
    key
        The project's key file (see `keygen`); the names behind its pseudonyms are kept beside it.
    policy
        See `isthmus.share.policy.Policy`; without one no metadata leave.
    refits
        Of the audit's likelihood-ratio attack: how often the recipe is fitted again, even. 0 leaves that attack out,
        which is a risk to accept: the other one is far weaker.
    accept_risk
        Share a model that the audit finds above the policy's threshold, or that could not be audited; the manifest
        says so.
    overwrite
        Replace a bundle that is there.

    Returns
    -------
    Path
        That of `out`.

    Raises
    ------
    DataError
        The run, the key or the place is wrong, or a name would have been left in the bundle.
    RecipeError
        The policy is wrong, or a risk has to be accepted.
    """
    out, rules = Path(out), load_policy(policy)
    secret, house, obs, stays = check(run, out, key=key, policy=rules, overwrite=overwrite)
    for column, n in unlisted(house.obs, rules).items():
        log.warning("policy.columns.%s: levels that are not listed, %d, become %r", column, n,
                    rules.columns[column].other)  # fmt: skip
    names = named(secret, rules)
    renamer = Renamer(house, names, rules)
    audit, risks = _audited(house, rules, refits, accept=accept_risk)
    with TemporaryDirectory(prefix="isthmus-") as place:
        folder = Path(place) / "bundle"
        folder.mkdir()
        draft = Draft(folder, house, rules, renamer, obs, stays, audit, risks=risks)
        _fill(draft)
        watch = watched(house, draft.told, rules, renamer.columns)
        tree = _manifest(draft, {**watch.told(), "found": 0})
        text = json.dumps(seal(tree, secret), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        (folder / MANIFEST).write_text(text, encoding="utf-8")
        refuse(folder, watch)
        write_names(names)
        _deliver(folder, out)
    return out


def check(
    run: str | Path, out: str | Path, *, key: str | Path, policy: Policy, overwrite: bool = False
) -> tuple[Key, House, pd.DataFrame, pd.Series]:
    """Everything that a bundle can be refused for without an audit, which takes long.

    Returns
    -------
    tuple
        The key, the run, its metadata as the policy coarsens them, and which samples may stay.

    Raises
    ------
    DataError
        The run, the key, the file of names or the place is wrong, the policy does not fit, or no sample satisfies it.
    """
    out = Path(out)
    secret = read_key(key, outside=(run, out))
    _refuse(Path(run), out, overwrite=overwrite)
    house = opened(run)
    obs = generalised(house.obs, policy)
    stays = enforced(obs, policy.quasi, policy.sensitive, k=policy.k, l=policy.l, t=policy.t)
    if {"embedding", "metadata"} & set(policy.include) and not stays.any():
        raise DataError(
            "no sample satisfies the policy", where=f"k {policy.k}, l {policy.l}, t {policy.t:g}",
            hint="keep fewer columns, or coarser ones: wider bins, decades, rare levels merged",
        )  # fmt: skip
    if (kept := names_file(secret)).exists():
        read_names(kept, secret)
    return secret, house, obs, stays


def _refuse(run: Path, out: Path, *, overwrite: bool) -> None:
    """Say no where something would be lost or mixed."""
    if out.resolve().is_relative_to(run.resolve()) or run.resolve().is_relative_to(out.resolve()):
        raise DataError("lies within the run, or the run in it", where=str(out), wanted="another folder")
    if not out.exists():
        return
    if not overwrite:
        raise DataError("exists", where=str(out), hint="add --overwrite to replace it")
    if out.is_file() or any(out.iterdir()):  # it may be anything else, such as the key
        with as_folder(out) as there:
            read_manifest(there, str(out))


def _audited(house: House, policy: Policy, refits: int, *, accept: bool) -> tuple[dict[str, Any] | None, list[str]]:
    """What the audit found, and the risks that were accepted."""
    from isthmus.share.auditing import audit  # torch and all, when it is needed

    try:
        found = audit(house.folder, refits=refits).to_dict()
    except InputError as error:
        if isinstance(error, RecipeError) or not accept:
            hint = "put the data back where the run read them, or share it without an audit by --accept-risk"
            raise type(error)(
                error.what, where=error.where, met=error.met, wanted=error.wanted, hint=error.hint or hint
            ) from None
        return None, ["The model was not audited; it was shared all the same."]
    unknown = found["auc"] is None
    if unknown and not accept:
        hint = "share it without an audit by --accept-risk (the manifest will say so)"
        raise DataError("the audit could not score any attack on this model", where="audit", met="no AUC", hint=hint)
    above = not unknown and found["auc"] > policy.threshold
    if above and not accept:
        raise RecipeError(
            "the model gives away who it was trained on", where="audit", met=f"AUC {found['auc']:.2f}",
            wanted=f"at most {policy.threshold:.2f}",
            hint="train it with fewer epochs, more dropout or training.private, or say --accept-risk\n"
            "to share it all the same (the manifest will say so)",
        )  # fmt: skip
    if not refits and not accept:
        hint = "the weaker attack alone may find little where this one finds nearly all: raise refits, or --accept-risk"
        raise RecipeError("leaves out the likelihood-ratio attack", where="refits", met=0, hint=hint)
    risks = ["No attack on the model could be scored: it was not audited; it was shared all the same."] * unknown
    if above:
        said = f"Membership inference reaches AUC {found['auc']:.2f}, above the threshold of {policy.threshold:.2f}"
        risks.append(f"{said}; it was shared all the same.")
    if not refits:
        risks.append("Only the weaker membership attack was tried; the likelihood ratio may find far more.")
    return found, risks


def _fill(draft: Draft) -> None:
    """Write every part but the manifest."""
    _model(draft)
    renamer, house, folder = draft.renamer, draft.house, draft.folder
    (folder / "recipe.yaml").write_text(dump_yaml(renamer.recipe(house.recipe)), encoding="utf-8")
    flat = tabling.metrics(json.loads((house.folder / "metrics.json").read_bytes()), renamer, draft.policy)
    (folder / "metrics.json").write_text(json.dumps(flat, indent=1) + "\n", encoding="utf-8")
    history = losses(pd.read_csv(house.folder / "history.csv"))
    history = history.rename(columns={str(c): renamer.path(str(c)) for c in history.columns})
    _save(folder / "history.csv", history)
    (folder / "log.txt").write_text(log_text(house.folder / "log.txt", renamer), encoding="utf-8")
    draft.tables, left = tabling.tables(renamer, draft.policy)
    draft.left_out |= left
    counts, draft.suppressed = tabling.counted(house, draft.told, draft.policy)
    draft.tables |= counts
    draft.left_out["figures/"] = "they show samples and names; here they are drawn anew"
    _samples(draft)
    page.write(share_page(_results(draft, history)), folder)


def _save(path: Path, table: pd.DataFrame) -> None:
    """A table beside those of the report, and written as they are."""
    path.write_bytes(to_csv(table).encode("utf-8"))


def _model(draft: Draft) -> None:
    why = holds_samples(draft.house, draft.policy.smallest_cell)
    if why and "model" not in draft.policy.include:
        draft.left_out["model/"] = f"{why} (include: model)"
        log.warning("the model is left out: %s", why)
        return
    store.save(draft.folder / "model", draft.renamer.model())
    bags = [m["name"] for m in draft.house.stored.description["spec"]["modalities"] if m["kind"] == "bag"]
    if bags and not draft.policy.keep_feature_names:
        log.warning("new bags (%s) will not fit the model: %s", ", ".join(bags), BAGS)


def _samples(draft: Draft) -> None:
    """Personal artefacts, where they are asked for by name."""
    include = set(draft.policy.include)
    obs = draft.shared
    obs = obs.set_axis([draft.renamer.sample(s) for s in obs.index], axis=0).sort_index()
    obs.index.name = None
    if "metadata" in include:
        head = next((n for n in ("sample", "id", "index") if n not in obs), "")
        rows = obs.reset_index(drop=True)
        rows.insert(0, head, obs.index.to_numpy())
        _save(draft.folder / "obs.csv", rows)
    else:
        draft.left_out["obs"] = "metadata of samples"
    if "embedding" in include:
        old = draft.house.embedding
        order = [draft.renamer.sample(s) for s in draft.shared.index]
        z = old.to_df().loc[draft.shared.index].to_numpy()[pd.Index(order).get_indexer(obs.index)]
        told = obs.astype(object).where(obs.notna(), "").astype(str)
        rows = told if "metadata" in include else pd.DataFrame(index=obs.index)
        write_container(ad.AnnData(z, rows, old.var.copy()), draft.folder / "embedding.h5ad")
    else:
        draft.left_out["embedding.h5ad"] = "a row a sample; the decoder gives back its data"


def _results(draft: Draft, history: pd.DataFrame) -> ShareResults:
    files = pd.DataFrame([(name, CLASSES.of(name)) for name in files_of(draft.folder)], columns=["file", "class"])
    left = pd.DataFrame(
        [(n, CLASSES.of(n), w) for n, w in draft.left_out.items()], columns=["left out", "class", "why"]
    )
    return ShareResults(
        lead=lead(draft.house, draft.policy, draft.audit, draft.risks), files=files, left_out=left,
        policy=dump_yaml(draft.policy.told()), grants=draft.grants.to_dict() if draft.personal else {},
        removed=int((~draft.stays).sum()) if draft.personal else 0, tables=draft.tables, history=history,
        audit=_told(draft), learnable=learnable(draft.house, draft.policy, draft.audit),
        statistics=statistics(draft.house, draft.policy.smallest_cell), versions=versions(),
        recipe=(draft.folder / "recipe.yaml").read_text(encoding="utf-8"),
    )  # fmt: skip


def _told(draft: Draft) -> dict[str, Any]:
    """What of the audit may be told: nothing of columns that are not shared."""
    if draft.audit is None:
        return {}
    kept = set(draft.policy.kept) - tabling.of_few(draft.house, draft.policy)
    rows = [r for r in draft.audit["attributes"] if r["annotation"] in kept]
    numbers = ("auc", "tpr_at_fpr_01")
    told = {f"{n}{end}": coarse(draft.audit[f"{n}{end}"]) for n in numbers for end in ("", "_lower", "_upper")}
    keys = ("attack", "target", "model", "refits", "seed", "privacy")
    made = {"membership": draft.audit["membership"], "features": draft.audit["features"], "attributes": rows}
    return {**told, **{k: draft.audit[k] for k in keys}, **{k: [_uncounted(r) for r in v] for k, v in made.items()}}


def _uncounted(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the audit without numbers of samples, which may be small, its scores to two decimals."""
    return {k: v if k in OF_FEATURES else coarse(v) for k, v in row.items() if not k.startswith(COUNTS)}


def _manifest(draft: Draft, looked: Mapping[str, Any]) -> dict[str, Any]:
    policy, names = draft.policy, draft.renamer.names
    files = {
        name: {"sha256": sha256(draft.folder / name), "bytes": (draft.folder / name).stat().st_size,
               "class": CLASSES.of(name)}
        for name in files_of(draft.folder)
    }  # fmt: skip
    given = {
        domain: len(known) for domain, known in sorted(names.known.items()) if domain.startswith(("sample", "feat"))
    }
    if not draft.personal:
        given.pop("sample", None)
    return {
        "format": FORMAT, "format_version": VERSION, "words": lead(draft.house, policy, draft.audit, draft.risks),
        "versions": versions(), "files": files, "left_out": draft.left_out, "policy": policy.told(),
        "pseudonyms": {
            "scheme": "BLAKE2b with the project's key over domain and name, 80 bits, base 32",
            "features": "kept" if policy.keep_feature_names else "pseudonymised", "key_check": names.check,
            "names": given,
        },
        "disclosure": {
            "samples": draft.grants.to_dict() if draft.personal else None,
            "samples_taken_out": int((~draft.stays).sum()) if draft.personal else None,
            "quasi_identifiers": policy.quasi, "sensitive": policy.sensitive,
            "cells_suppressed": draft.suppressed, "smallest_cell": policy.smallest_cell, "rounding": policy.rounding,
        },
        "statistics": statistics(draft.house, draft.policy.smallest_cell), "canary": dict(looked),
        "audit": _told(draft) or None, "threshold": policy.threshold,
        "risk_accepted": bool(draft.risks), "risks": draft.risks,
        "a_reader_can_still_learn": learnable(draft.house, policy, draft.audit),
    }  # fmt: skip


def _deliver(folder: Path, out: Path) -> None:
    """The finished bundle to its place: whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic(out) as temporary:
        if out.suffix == ".zip":
            zipped(folder, temporary)
        else:
            shutil.copytree(folder, temporary)
