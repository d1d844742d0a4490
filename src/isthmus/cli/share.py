"""`isthmus share RUN --key FILE --out BUNDLE`, `share keygen`, `share pseudonymise`, `share BUNDLE --reverse`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus.errors import RecipeError

KEYGEN, PSEUDONYMISE = "keygen", "pseudonymise"


def command(
    what: Annotated[str, typer.Argument(help="a run folder, a bundle, `keygen` or `pseudonymise`", metavar="RUN")],
    data: Annotated[
        list[str] | None, typer.Argument(help="pseudonymise: name=path for each modality", metavar="[DATA...]")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="the bundle (a folder or .zip), key, table or folder")] = None,
    key: Annotated[Path | None, typer.Option(help="the project's key file")] = None,
    policy: Annotated[Path | None, typer.Option(help="what may leave; without one no metadata do")] = None,
    include: Annotated[
        list[str] | None, typer.Option(help="a personal artefact to share: embedding, metadata or model")
    ] = None,
    keep_feature_names: Annotated[bool, typer.Option("--keep-feature-names", help="features keep their names")] = False,
    refits: Annotated[int, typer.Option(help="of the audit's likelihood-ratio attack; 0: leave it out")] = 16,
    accept_risk: Annotated[bool, typer.Option("--accept-risk", help="share above the audit's threshold")] = False,
    reverse: Annotated[bool, typer.Option("--reverse", help="give a bundle its names back")] = False,
    names: Annotated[Path | None, typer.Option(help="reverse: the file of names, if not beside the key")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace what is there")] = False,
) -> None:
    """Share what was learnt: a pseudonymised bundle of a run, its disclosure controlled, its model audited.

    share keygen --out KEY writes a new key. share RUN --key KEY --out BUNDLE makes a bundle. share pseudonymise
    rna=new.csv --key KEY --out FILE renames the samples and features of new data, so that the bundle's model applies to
    them. share BUNDLE --reverse --key KEY --out DIR gives the names back. Prints the path of what it wrote.
    """
    if out is None:
        raise RecipeError("is missing", where="--out", wanted="where to write")
    if what == KEYGEN:
        from isthmus.share.keys import keygen

        typer.echo(keygen(out))
        return
    if key is None:
        hint = "make one: isthmus share keygen --out KEY"
        raise RecipeError("is missing", where="--key", wanted="the project's key file", hint=hint)
    if data and what != PSEUDONYMISE:
        raise RecipeError("is one argument too many", where="share", met=data[0], wanted="one run folder or bundle")
    if what == PSEUDONYMISE:
        if policy is None:
            from isthmus.share.renaming import NO_POLICY

            typer.echo(f"warning: {NO_POLICY}", err=True)
        typer.echo(
            _pseudonymised(data or [], out, key, _rules(policy, include, keep=keep_feature_names), overwrite=overwrite)
        )
    elif reverse:
        from isthmus.share.reversing import reverse as give_back

        typer.echo(give_back(Path(what), out, key=key, names=names, overwrite=overwrite))
    else:
        from isthmus.share.audit_run import cost
        from isthmus.share.bundling import bundle, check

        rules = _rules(policy, include, keep=keep_feature_names)
        check(what, out, key=key, policy=rules, overwrite=overwrite)
        typer.echo(f"audit: {cost(what, refits)}", err=True)
        typer.echo(
            bundle(what, out, key=key, policy=rules, refits=refits, accept_risk=accept_risk, overwrite=overwrite)
        )


def _rules(policy: Path | None, include: list[str] | None, *, keep: bool) -> Any:
    """The policy of the file, with what the options add."""
    from isthmus.share.policy import load_policy

    tree = load_policy(policy).model_dump(mode="json")
    tree["include"] = list(dict.fromkeys([*tree["include"], *(include or [])]))
    tree["keep_feature_names"] = tree["keep_feature_names"] or keep
    return load_policy(tree)


def _pseudonymised(data: list[str], out: Path, key: Path, policy: Any, *, overwrite: bool) -> Path:
    """New data under the names of a bundle."""
    from isthmus.cli.apply import _one_or_several, _sources
    from isthmus.data.write import write
    from isthmus.share.renaming import pseudonymise

    if not data:
        raise RecipeError("names no data", where="share pseudonymise", wanted="name=path for each modality")
    if out.exists() and not overwrite:
        raise RecipeError("exists", where=str(out), hint="add --overwrite to replace it")
    return write(_one_or_several(pseudonymise(_sources(data), key=key, policy=policy), out), out)
