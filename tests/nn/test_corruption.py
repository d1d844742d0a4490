import pytest
import torch

from isthmus.nn.corruption import corrupt_entries, drop_modalities
from isthmus.types import Batch

N = 4000


def mosaic(missing=0.0):
    draw = torch.Generator().manual_seed(0)
    x = {"a": torch.randn(N, 3, generator=draw), "b": torch.randn(N, 2, generator=draw)}
    observed = {m: torch.rand(v.shape, generator=draw) >= missing for m, v in x.items()}
    observed["b"][: N // 4] = False
    return Batch({m: v * observed[m] for m, v in x.items()}, observed, torch.arange(N))


def test_modalities_are_dropped_at_the_rate_and_the_last_one_stays():
    torch.manual_seed(0)
    batch = mosaic()
    seen = drop_modalities(batch, 0.4)
    here = torch.stack([seen.present("a"), seen.present("b")])
    assert here.any(dim=0).all()
    assert here[0, : N // 4].all()
    both = here[:, N // 4 :].float()
    assert both[0].mean().item() == pytest.approx(1 - 0.4 * 0.6 - 0.4 * 0.4 / 2, abs=0.03)
    assert both.all(dim=0).float().mean().item() == pytest.approx(0.6**2, abs=0.03)
    assert (seen.x["b"][~seen.present("b")] == 0).all()
    assert torch.equal(seen.x["a"][here[0]], batch.x["a"][here[0]])


def test_a_rate_of_zero_changes_nothing():
    batch = mosaic()
    seen = drop_modalities(batch, 0.0)
    assert all(torch.equal(seen.x[m], batch.x[m]) for m in batch.x)
    assert all(torch.equal(seen.observed[m], batch.observed[m]) for m in batch.x)


@pytest.mark.parametrize("kind", ["zero", "swap"])
def test_entries_are_masked_at_the_rate_among_the_observed_only(kind):
    batch = mosaic(missing=0.2)
    found = corrupt_entries(batch, 0.3, kind, torch.Generator().manual_seed(1))
    for m, x in batch.x.items():
        mask, known = found.masked[m], batch.observed[m]
        assert not (mask & ~known).any()
        assert mask.sum().item() / known.sum().item() == pytest.approx(0.3, abs=0.02)
        assert torch.equal(found.seen.observed[m], known & ~mask)
        assert torch.equal(found.read.x[m][~mask], x[~mask])
        assert (found.seen.x[m][mask] == 0).all()


def test_a_swapped_entry_is_another_of_its_column():
    batch = mosaic()
    found = corrupt_entries(batch, 0.5, "swap", torch.Generator().manual_seed(1))
    mask, x = found.masked["a"], batch.x["a"]
    for j in range(3):
        assert torch.isin(found.read.x["a"][mask[:, j], j], x[:, j]).all()
    assert (found.read.x["a"] != x)[mask].float().mean() > 0.99


def test_the_same_generator_gives_the_same_masks():
    one, two = (corrupt_entries(mosaic(), 0.5, "swap", torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one.read.x["b"], two.read.x["b"])
