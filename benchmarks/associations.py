"""What survives of real associations once groups are taken out.

    python benchmarks/associations.py

The recipes `examples/associate_*.yaml` on public data (see ISTHMUS_DATA), under the designs named: pairs accepted as
the samples stand, with the groups taken out, both ways; the correlation that a pair alone needs; what the same test
accepts once the samples of one modality are permuted within groups.
"""

from pathlib import Path

from isthmus.associating.recipe import load_associate_recipe
from isthmus.associating.study import adjusted, direct
from isthmus.associating.tables import tables
from isthmus.experiment import cohort

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
ASKED = {
    "nutrimouse": [["genotype"], ["diet"], ["genotype", "diet"], ["genotype*diet"]],
    "nci60": [["PBO_vs_Leukemia"]],
    "covid": [["Group"]],
    "microbiome": [["Study.Group"]],
}
HUB = 100
FURTHER = {"microbiome": "Family_ID"}


def row(name, design, blocks=None):
    keys = [f"associate.design=[{', '.join(design)}]", "associate.targets=null"]
    recipe = load_associate_recipe(
        EXAMPLES / f"associate_{name}.yaml", keys + ([f"associate.blocks={blocks}"] if blocks else [])
    )
    given = tables(cohort(recipe.base), recipe)
    found = direct(given, recipe.associate)
    kept = int(adjusted(found)["marginal_hit"].sum())
    naive, hits = found.marginal.n_hits, found.hits
    out = " and ".join(design) + (f", permuted within {blocks}" if blocks else "")
    lost = f"{100 * (naive - kept) / naive:.1f} %" if naive else "–"
    print(
        f"| {name} | {hits.n_samples} | {hits.n_tests:,} | {out} | {hits.minimum_detectable:.2f} | {naive:,} | "
        f"{hits.n_hits:,} | {kept:,} | {lost} | {found.control.n_hits} |"
    )
    return hits.table


if __name__ == "__main__":
    print("| data | n | pairs | taken out | needed alone | as they stand | taken out | both | lost | permuted |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, designs in ASKED.items():
        for design in designs:
            table = row(name, design)
        if name in FURTHER:
            row(name, designs[0], FURTHER[name])
        if name == "covid":
            degree = table["y"].value_counts()
            hubs = degree[degree >= HUB]
    share = hubs.sum() / degree.sum()
    print(f"\ncovid: {len(hubs)} metabolites go with {HUB} proteins or more each, {100 * share:.0f} % of the pairs")
