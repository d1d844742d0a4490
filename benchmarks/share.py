"""What sharing costs and leaves: the example of docs/privacy.md, and how fast bytes are looked through.

    python benchmarks/share.py [--refits 8]

Runs examples/share_brca.yaml, makes its bundle with examples/share_brca_policy.yml, verifies it, and prints what stands
in its manifest. Then 10,000 random identifiers are looked for in 100 MB of numbers as text, and of random bytes.
"""

import argparse
import json
import secrets
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import isthmus as ist
from isthmus import experiment
from isthmus.data.archive import as_folder
from isthmus.recipe import load_recipe
from isthmus.share.canary import Canary, Watch

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def example(refits: int) -> None:
    """Run, share, verify; what the manifest says."""
    with TemporaryDirectory() as name:
        place = Path(name)
        experiment.run(load_recipe(EXAMPLES / "share_brca.yaml"), place / "run")
        key = ist.share.keygen(place / "project.key")
        started = time.process_time()
        policy = EXAMPLES / "share_brca_policy.yml"
        bundle = ist.share.bundle(
            place / "run", place / "brca.zip", key=key, policy=policy, refits=refits, accept_risk=True
        )
        print(f"bundle: {time.process_time() - started:.0f} s of processor, {bundle.stat().st_size / 1e6:.1f} MB")
        started = time.process_time()
        found = ist.share.verify(bundle, key=key)
        print(f"verify: {time.process_time() - started:.1f} s of processor; {'holds' if found.ok else found.problems}")
        out = ist.share.reverse(bundle, place / "named", key=key)
        same = all(
            (out / "model" / f).read_bytes() == (place / "run" / "model" / f).read_bytes()
            for f in ("weights.safetensors", "prepare.safetensors")
        )
        told, before = (json.loads((at / "model" / "model.json").read_bytes()) for at in (out, place / "run"))
        same = same and {**told, "history": []} == {**before, "history": []}
        print(f"reversed model is the run's, byte by byte, but for the losses of its history: {same}")
        with as_folder(bundle) as folder:
            manifest = json.loads((folder / "manifest.json").read_bytes())
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            print(f"unpacked, as it is looked through: {size / 1e6:.1f} MB")
        for part in ("words", "left_out", "disclosure", "canary", "audit", "risks", "a_reader_can_still_learn"):
            print(part, json.dumps(manifest[part], indent=1))


def search() -> None:
    """10,000 identifiers in 100 MB."""
    ids = [f"TCGA-{secrets.token_hex(2).upper()}-{secrets.token_hex(2).upper()}" for _ in range(5000)]
    ids += [f"Q{secrets.token_hex(3)}" for _ in range(5000)]
    watch = Watch([Canary(text, f"sample {k}") for k, text in enumerate(ids)])
    rng = np.random.default_rng(0)
    rows = "\n".join(",".join(f"{x:.6f}" for x in row) for row in rng.normal(size=(1000, 1000)))
    text = (rows * (10**8 // len(rows) + 1)).encode()[: 10**8]
    for what, content, is_text in (("text", text, True), ("bytes", rng.bytes(10**8), False)):
        list(watch.in_bytes(content[:1000], what, text=is_text))  # compiled
        started = time.process_time()
        hits = list(watch.in_bytes(content, what, text=is_text))
        print(f"10,000 ids in 100 MB of {what}: {time.process_time() - started:.2f} s of processor, {len(hits)} found")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--refits", type=int, default=8)
    search()
    example(parser.parse_args().refits)
