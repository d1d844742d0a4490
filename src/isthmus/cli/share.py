"""`isthmus share RUN --key FILE --out BUNDLE`, `share keygen`, `share pseudonymise`, `share BUNDLE --reverse`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from isthmus.errors import RecipeError

RUN = " "
"""The name of the verb that needs none."""
VERBS = ("keygen", "pseudonymise")


class _Verbs(TyperGroup):
    """What does not begin with a verb of its own is `share RUN`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The arguments, with the name of the verb that needs none."""
        return super().parse_args(ctx, args if args and args[0] in VERBS else [RUN, *args])


class _Nameless(TyperCommand):
    """A command whose usage does not show its name."""

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        """`isthmus share [OPTIONS] RUN`."""
        formatter.write_usage(ctx.command_path.rstrip(), " ".join(self.collect_usage_pieces(ctx)))


app = typer.Typer(cls=_Verbs, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

Key = Annotated[Path | None, typer.Option(help="the project's key file, as `share keygen` wrote it", metavar="FILE")]
KeepNames = Annotated[
    bool, typer.Option("--keep-feature-names", help="features keep their names; so does `keep_feature_names: true`")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace what is there")]


@app.command("keygen")
def keygen(
    out: Annotated[Path, typer.Option(help="the key file; it must not be there yet", metavar="FILE")],
) -> None:
    """Write a new key: 32 random bytes that only you may read (mode 0600), from which all pseudonyms follow.

    Whoever has it can reverse the names, and whoever loses it cannot: keep a copy, and the file of names that appears
    beside it (FILE.names.json), apart from runs and bundles. A key that is there is never replaced. Prints the path.
    """
    from isthmus.share.keys import keygen as made

    typer.echo(made(out))


@app.command("pseudonymise")
def pseudonymise(
    data: Annotated[list[str], typer.Argument(help="name=path for each modality, or one h5mu file", metavar="DATA...")],
    out: Annotated[Path, typer.Option(help=".csv, .parquet, .h5ad or .h5mu; no suffix: a folder of tables")],
    key: Key = None,
    policy: Annotated[
        Path | None, typer.Option(help="the bundle's policy: its project and site are part of pseudonyms")
    ] = None,
    obs: Annotated[Path | None, typer.Option(help="table of annotations, for models that are told confounders")] = None,
    keep_feature_names: KeepNames = False,
    overwrite: Overwrite = False,
) -> None:
    """Give new data the names of a bundle, so that its model applies to them: ids replaced, values as they are.

    Annotations stay only where the policy shares them in rows (include: [metadata]), as coarse as it says, and go to an
    .h5mu file or a folder; samples that fall short of k, l or t lose theirs. What is dropped is told. Bags (folders of
    slides' features) are refused: share their run with --keep-feature-names. Prints the path of what it wrote.
    """
    from isthmus.cli.apply import _one_or_several, _sources
    from isthmus.data.write import write
    from isthmus.share.renaming import NO_POLICY
    from isthmus.share.renaming import pseudonymise as renamed

    sources, secret = _sources(data), _given(key, "the one that the bundle was made with")
    if out.exists() and not overwrite:
        raise RecipeError("exists", where=str(out), hint="add --overwrite to replace it")
    paths = [*(sources.values() if isinstance(sources, dict) else [sources]), secret, policy, obs]
    if out.resolve() in {Path(p).resolve() for p in paths if p is not None}:
        raise RecipeError("is what it is to be made from", where="--out", met=str(out), wanted="another file")
    if policy is None:
        typer.echo(f"warning: {NO_POLICY}", err=True)
    rules = _rules(policy, None, keep=keep_feature_names)
    found = renamed(sources, key=secret, policy=rules, obs=None if obs is None else str(obs))
    made = _one_or_several(found, out)
    if made is not found and found.obs.shape[1]:
        typer.echo("warning: a single table holds no annotations: an .h5mu file or a folder (no suffix) does", err=True)
    typer.echo(write(made, out))


@app.command(RUN, cls=_Nameless, hidden=True)
def share(
    what: Annotated[Path, typer.Argument(help="a run folder; with --reverse a bundle", metavar="RUN")],
    out: Annotated[Path, typer.Option(help="the bundle, a folder or .zip; with --reverse a folder")],
    key: Key = None,
    policy: Annotated[Path | None, typer.Option(help="what may leave; without one no metadata do")] = None,
    include: Annotated[
        list[str] | None, typer.Option(help="a personal artefact to share: embedding, metadata or model; repeatable")
    ] = None,
    keep_feature_names: KeepNames = False,
    refits: Annotated[int, typer.Option(help="of the audit's likelihood-ratio attack; even; 0: leave it out")] = 16,
    accept_risk: Annotated[bool, typer.Option("--accept-risk", help="share above the audit's threshold")] = False,
    reverse: Annotated[bool, typer.Option("--reverse", help="give a bundle its names back")] = False,
    names: Annotated[Path | None, typer.Option(help="reverse: the file of names, if not beside the key")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Share what was learnt: a pseudonymised bundle of a run, its disclosure controlled, its model audited.

    share keygen --out KEY writes a new key. share RUN --key KEY --out BUNDLE makes a bundle. share pseudonymise
    rna=new.csv --key KEY --out FILE renames the samples and features of new data, so that the bundle's model applies to
    them. share BUNDLE --reverse --key KEY --out DIR gives the names back. Prints the path of what it wrote.

    `share keygen --help` and `share pseudonymise --help` tell of these.
    """
    if str(what) in VERBS:
        raise RecipeError("stands behind an option", where="share", met=str(what), wanted=f"isthmus share {what} ...")
    secret = _given(
        key, "the one that the bundle was made with" if reverse else "make one: isthmus share keygen --out KEY"
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was begun is removed
    if reverse:
        from isthmus.share.reversing import reverse as give_back

        typer.echo(give_back(what, out, key=secret, names=names, overwrite=overwrite))
        return
    from isthmus.share.audit_run import cost
    from isthmus.share.bundling import bundle, check

    rules = _rules(policy, include, keep=keep_feature_names)
    check(what, out, key=secret, policy=rules, overwrite=overwrite)
    typer.echo(f"audit: {cost(what, refits)}", err=True)
    made = bundle(what, out, key=secret, policy=rules, refits=refits, accept_risk=accept_risk, overwrite=overwrite)
    typer.echo(made)


def _given(key: Path | None, hint: str) -> Path:
    """The key, or where one comes from."""
    if key is None:
        raise RecipeError("is missing", where="--key", wanted="the project's key file", hint=hint)
    return key


def _rules(policy: Path | None, include: list[str] | None, *, keep: bool) -> Any:
    """The policy of the file, with what the options add."""
    from isthmus.share.policy import load_policy

    tree = load_policy(policy).model_dump(mode="json")
    tree["include"] = list(dict.fromkeys([*tree["include"], *(include or [])]))
    tree["keep_feature_names"] = tree["keep_feature_names"] or keep
    return load_policy(tree)
