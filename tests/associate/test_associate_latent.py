"""Latent-mediated scores: loadings algebra, a null that holds, planted links found, networks told apart from none."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

import isthmus as ist
from isthmus.associate import latent, refits
from isthmus.associate.design import design_of
from isthmus.associate.latent import Cross, Embedded, averaged, common_space, joint
from isthmus.associate.null import exact_p
from isthmus.associate.refits import permuted, scored, tied
from isthmus.associating.latent import LatentSettings, _Table, latent_links
from isthmus.errors import DataError, RecipeError


def components(x, k):
    """A linear autoencoder at its optimum: the first k principal components."""
    u, s, vt = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    return Embedded(u[:, :k] * s[:k], vt[:k].T, x.std(axis=0, ddof=1))


def planted(n=40, p=60, q=50, shared=2, strength=1.5, *, seed=0):
    """Two tables; the first features of either share factors, the next have factors of their own; the true links."""
    rng = np.random.default_rng(seed)
    tables, loadings = [rng.normal(size=(n, f)) for f in (p, q)], []
    f = rng.normal(size=(n, shared))
    for table, linked in zip(tables, (15, 12), strict=True):
        own = rng.normal(size=(n, 2)) @ rng.normal(size=(2, table.shape[1]))
        table[:, linked : linked + 15] += strength * own[:, linked : linked + 15]
        weights = strength * rng.normal(size=(shared, table.shape[1]))
        weights[:, linked:] = 0
        table += f @ weights
        loadings.append(weights / np.sqrt(1 + (weights**2).sum(axis=0)))
    return *tables, np.abs(loadings[0].T @ loadings[1]) > 0.3


def frames(x, y):
    ids = [f"s{i:03d}" for i in range(len(x))]
    return (
        pd.DataFrame(x, ids, [f"g{i}" for i in range(x.shape[1])]),
        pd.DataFrame(y, ids, [f"m{i}" for i in range(y.shape[1])]),
    )


def crossed(a, b):
    return Cross(a, b).factors()


def examined(x, y, k=4, *, refits=19, seed=0, **keys):
    cross = Cross(components(x, k), components(y, k), seed=seed)
    orders = permuted(len(x), refits, seed=seed)
    return scored(cross.factors, orders, tied(x, y), threads=1, **keys)


def matrix(factors):
    return factors.left @ factors.right.T


def covariance(a, b):
    return (a - a.mean(axis=0)).T @ (b - b.mean(axis=0)) / (len(a) - 1)


def test_two_linear_autoencoders_score_the_covariance_of_their_reconstructions(monkeypatch):
    monkeypatch.setattr(latent, "GRID", np.array([1e-14]))
    x, y, _ = planted()
    a, b = components(x, 4), components(y, 3)
    wanted = covariance(a.z @ a.loadings.T, b.z @ b.loadings.T) / np.outer(a.sd, b.sd)
    np.testing.assert_allclose(matrix(crossed(a, b)), wanted, atol=1e-10)


def test_one_linear_autoencoder_scores_the_covariance_of_its_reconstruction():
    x, y, _ = planted()
    both = components(np.hstack([x / x.std(axis=0), y / y.std(axis=0)]), 5)
    a, b = (Embedded(both.z, both.loadings[k], both.sd[k]) for k in (slice(0, 60), slice(60, None)))
    written = both.z @ both.loadings.T
    wanted = covariance(written[:, :60], written[:, 60:]) / np.outer(a.sd, b.sd)
    np.testing.assert_allclose(matrix(joint(both.z, a, b)), wanted, atol=1e-10)


def test_a_latent_space_may_be_turned_and_stretched():
    x, y, _ = planted()
    a, b = components(x, 4), components(y, 3)
    turn = np.random.default_rng(1).normal(size=(4, 4))
    turned = Embedded(a.z @ turn + 3.0, a.loadings @ np.linalg.inv(turn).T, a.sd)
    one, other = ([crossed(s, b), crossed(components(x, 2), b)] for s in (a, turned))
    np.testing.assert_allclose(matrix(averaged(other)), matrix(averaged(one)), atol=1e-9)
    np.testing.assert_allclose(matrix(averaged(one)), (matrix(one[0]) + matrix(one[1])) / 2, atol=1e-12)


def test_neither_side_comes_first():
    x, y, _ = planted()
    a, b = components(x, 4), components(y, 3)
    np.testing.assert_allclose(matrix(crossed(a, b)), matrix(crossed(b, a)).T, atol=1e-12)


def test_a_score_is_within_one_even_where_a_network_overshoots():
    x, y, _ = planted()
    a, b = components(x, 4), components(y, 3)
    wild = Embedded(a.z, 50 * a.loadings, a.sd)
    assert np.abs(matrix(crossed(wild, b))).max() <= 1
    assert np.abs(matrix(joint(a.z, wild, Embedded(a.z, b.loadings[:, [0, 1, 2, 0]], b.sd)))).max() <= 1


def test_features_of_both_sides_lie_in_one_space():
    x, y, _ = planted()
    factors = averaged([crossed(components(x, k), components(y, 3)) for k in (2, 4)])
    left, right = common_space(factors)
    np.testing.assert_allclose(left @ right.T, matrix(factors), atol=1e-6)
    np.testing.assert_allclose(left.T @ left, right.T @ right, atol=1e-9)
    assert left.shape[1] <= 6


def test_streamed_p_and_q_are_those_of_all_scores_at_once():
    x, y, _ = planted(p=30, q=20)
    cross, orders = Cross(components(x, 4), components(y, 3)), permuted(len(x), 7)
    found = scored(cross.factors, orders, tied(x, y), top=600, threads=1)
    real = cross.factors()
    observed, null = np.abs(matrix(real)), np.abs([matrix(cross.factors(order)) for order in orders])
    p_refit = (1 + (null[:, :, :, None] >= observed.ravel()).sum(axis=(0, 1, 2))) / (1 + null.size)
    np.testing.assert_allclose(found.p_refit, p_refit.reshape(30, 20)[found.x, found.y], atol=4e-3)
    predicted = real.from_y @ real.into_x.T, real.from_x @ real.into_y.T
    (u, v), wanted = real.spaces[0], np.zeros((30, 20))
    for g, m in np.ndindex(30, 20):
        ranks = [stats.zscore(stats.rankdata(w)) / 40**0.5 for w in (x[:, g], y[:, m])]
        for one, other, guess, own in ((0, m, predicted[1], u), (1, g, predicted[0], v)):
            told = stats.spearmanr((x, y)[1 - one][:, (m, g)[one]], guess[:, other]).statistic ** 2
            within = np.linalg.norm(own.T @ ranks[one]) ** 2
            with_guess = stats.spearmanr((x, y)[one][:, (g, m)[one]], guess[:, other]).statistic
            wanted[g, m] += with_guess * np.sqrt(told / (told + (1 - told) * within)) / 2
    p_tied = exact_p(40).p(wanted)
    np.testing.assert_allclose(found.p_tied, p_tied[found.x, found.y], rtol=1e-6)
    np.testing.assert_array_equal(found.p, np.maximum(found.p_refit, found.p_tied))
    np.testing.assert_allclose(found.q, stats.false_discovery_control(found.p), rtol=1e-9)
    assert (np.diff(found.p) >= 0).all()
    assert found.p_any == (1 + (null.max(axis=(1, 2)) >= observed.max()).sum()) / 8
    assert found.observed.sum() == 600
    assert (found.null.sum(axis=1) == 600).all()


def test_q_values_count_the_pairs_that_are_not_listed(monkeypatch):
    x, y, _ = planted(seed=1)
    whole, part = examined(x, y, top=3000), None
    monkeypatch.setattr(refits, "LISTED", 400)
    part = examined(x, y, top=400)
    assert len(part.x) == 400
    assert (part.q <= 0.05).sum() <= (whole.q <= 0.05).sum() < 400
    np.testing.assert_allclose(part.q[0], part.p[0] * 3000 / (part.p <= part.p[0]).sum(), rtol=0.5)


def test_those_asked_for_are_listed_besides_the_best():
    x, y, _ = planted()
    found = examined(x, y, top=25, asked=(np.array([59, 0]), np.array([49, 0])))
    whole = examined(x, y, top=3000)
    listed = list(zip(found.x.tolist(), found.y.tolist(), strict=True))
    assert set(listed) == {(59, 49), (0, 0), *zip(whole.x[:25].tolist(), whole.y[:25].tolist(), strict=True)}
    assert len(listed) == len(set(listed)) <= 27


@pytest.mark.parametrize("structured", [False, True])
def test_without_links_p_values_are_uniform_and_hits_rare(structured):
    """30 cohorts without links between modalities; with `structured` each has strong factors of its own."""
    shares, hits, largest = [], 0, 0
    for seed in range(30):
        x, y, _ = planted(21, 40, 30, 0, 1.5 if structured else 0.0, seed=seed)
        found = examined(x, y, seed=seed, top=1200)
        shares.append((found.p_refit <= 0.05).mean())
        hits += bool((found.q <= 0.05).any())
        largest += found.p_any <= 0.05
    assert abs(np.mean(shares) - 0.05) <= 2.5 * np.std(shares) / np.sqrt(30)
    assert max(hits, largest) <= stats.binom.ppf(0.99, 30, 0.05)


def test_with_links_the_false_are_few():
    """20 cohorts: the false discovery rate holds, which the permutation of samples alone does not give."""
    false, naive, power = [], [], []
    for seed in range(20):
        x, y, truth = planted(60, 40, 30, 1, 1.0, seed=seed)
        found = examined(x, y, seed=seed, top=1200)
        linked = (truth | (np.outer(np.arange(40) < 15, np.arange(30) < 12)))[found.x, found.y]
        alone = stats.false_discovery_control(found.p_refit) <= 0.05
        hit = found.q <= 0.05
        false.append((hit & ~linked).sum() / max(hit.sum(), 1))
        naive.append((alone & ~linked).sum() / max(alone.sum(), 1))
        power.append((hit & truth[found.x, found.y]).sum() / truth.sum())
    assert np.mean(false) <= 0.05 + 2 * np.std(false) / np.sqrt(20)
    assert np.mean(naive) > 0.1
    assert np.mean(power) > 0.6


def test_planted_links_stand_out_from_the_null():
    x, y, truth = planted(seed=3)
    cross = Cross(components(x, 4), components(y, 4))
    auc = roc_auc_score(truth.ravel(), np.abs(matrix(cross.factors())).ravel())
    null = [
        roc_auc_score(truth.ravel(), np.abs(matrix(cross.factors(order))).ravel()) for order in permuted(40, 10, seed=1)
    ]
    assert auc > 0.9
    assert auc > max(null)


def test_groups_alone_make_no_link_once_they_are_taken_out():
    groups = np.repeat(np.arange(7), 6)
    basis = np.eye(7)[groups] / np.sqrt(6)
    naive, adjusted = [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        x, y = (rng.normal(size=(42, 60)) + 3 * rng.normal(size=(7, 60))[groups] for _ in "ab")
        naive.append((examined(x, y, 3, refits=39, seed=seed).q <= 0.05).any())
        a, b = (components(v - basis @ (basis.T @ v), 3) for v in (x, y))
        cross, orders = Cross(a, b, design=basis, seed=seed), permuted(42, 39, blocks=groups, seed=seed)
        adjusted.append((scored(cross.factors, orders, tied(x, y, design=basis), threads=1).q <= 0.05).any())
    assert sum(naive) >= 6
    assert sum(adjusted) <= 1
    assert all((groups[order] == groups).all() for order in orders)


def test_a_design_is_taken_out_of_what_networks_see():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(4), 6)
    x, y = (rng.normal(size=(24, 40)) + 3 * rng.normal(size=(4, 40))[groups] for _ in "ab")
    a, b = frames(x, y)
    design = pd.Series([f"k{g}" for g in groups], a.index)
    settings = LatentSettings(seeds=1, refits=0, training={"epochs": 30}, top=1600)
    adjusted = latent_links(a, b, settings=settings, design=design, threads=1)
    shifted = latent_links(a + 5 * groups[:, None], b, settings=settings, design=design, threads=1)
    np.testing.assert_allclose(shifted.table["score"], adjusted.table["score"], atol=1e-4)
    assert design_of(design, a.index).basis.shape == (24, 4)


@pytest.mark.parametrize("mode", ["dual", "joint"])
def test_a_linear_network_is_its_weights(mode):
    """Without hidden layers decoding is a matrix; the score is that matrix's algebra."""
    a, b = frames(*planted(n=30, p=12, q=9)[:2])
    model = ist.Autoencoder(latent=3, hidden=[], dropout=0.0)
    loop = {"epochs": 60, "patience": None, "lr": 0.01}
    keys = {"name": "autoencoder", **model.model_dump()}
    links = latent_links(
        a, b, settings=LatentSettings(mode=mode, model=keys, training=loop, seeds=1, refits=0, top=108), threads=1
    )
    scaled = {"x": (a - a.mean()) / a.std(), "y": (b - b.mean()) / b.std()}
    sides = {}
    for only in [["x"], ["y"]] if mode == "dual" else [["x", "y"]]:
        data = {k: scaled[k] for k in only}
        fitted = ist.fit(model, data, prepare={k: [] for k in only}, training=ist.Training(**loop))
        z = np.asarray(fitted.embed(data).X, dtype=np.float64)
        step = np.eye(3, dtype=np.float32)
        slopes = {k: fitted.decode(step)[k].X - fitted.decode(0 * step[:1])[k].X for k in only}
        sides |= {k: Embedded(z, slopes[k].T.astype(np.float64), np.ones(slopes[k].shape[1])) for k in only}
    own = crossed(sides["x"], sides["y"]) if mode == "dual" else joint(sides["x"].z, sides["x"], sides["y"])
    wanted = pd.DataFrame(matrix(own), a.columns, b.columns)
    got = links.table.pivot(index="x", columns="y", values="score").loc[a.columns, b.columns]
    np.testing.assert_allclose(got, wanted, atol=2e-5)
    assert links.table["p"].isna().all()


@pytest.mark.parametrize("mode", ["dual", "joint"])
def test_networks_find_planted_links_and_only_where_there_are_any(mode):
    x, y, truth = planted(n=60, p=90, q=40, seed=2)
    a, b = frames(x, y)
    keys = {
        "mode": mode,
        "seeds": 1,
        "training": {"epochs": 30, "lr": 0.01},
        "model": {"name": "autoencoder", "latent": 6},
    }
    links = latent_links(a, b, settings=LatentSettings(**keys, refits=1, top=3600), threads=1)
    score = links.table.pivot(index="x", columns="y", values="score").loc[a.columns, b.columns].abs().to_numpy()
    apart = b.set_axis(np.roll(b.index, 7))
    broken = latent_links(a, apart, settings=LatentSettings(**keys, refits=0, top=3600), threads=1)
    chance = broken.table.pivot(index="x", columns="y", values="score").loc[a.columns, b.columns].abs().to_numpy()
    auc, none = (roc_auc_score(truth.ravel(), s.ravel()) for s in (score, chance))
    assert auc > 0.75
    assert auc > none + 0.1
    assert links.null["observed"].sum() == links.n_tests == 3600
    assert links.table["p"].min() < 0.01


def test_samples_are_joined_by_id_and_their_order_does_not_matter():
    a, b = frames(*planted(n=24, p=30, q=10)[:2])
    settings = LatentSettings(seeds=1, refits=2, training={"epochs": 5}, top=20)
    mixed = latent_links(a, b.sample(frac=1, random_state=0), settings=settings, threads=1)
    pd.testing.assert_frame_equal(latent_links(a, b, settings=settings, threads=1).table, mixed.table)


def test_the_span_holds_all_that_the_samples_say():
    x, y, _ = planted(n=12, p=60)
    table = _Table.of(frames(x, y)[0], None, LatentSettings())
    assert table.inputs.shape == (12, 11)
    standardised = (x - x.mean(axis=0)) / x.std(axis=0, ddof=1)
    np.testing.assert_allclose(table.inputs @ table.back.T, standardised, atol=1e-9)
    assert (table.inputs**2).mean() == pytest.approx(1)
    whole = _Table.of(frames(x, y)[0], None, LatentSettings(span=False))
    np.testing.assert_allclose(whole.inputs, standardised, atol=1e-12)
    assert whole.back is None


@pytest.mark.parametrize("span", [True, False])
def test_gaps_and_flat_features_are_told(span):
    x, y, _ = planted(n=20, p=30, q=10)
    x[:, 3], y[2, 1] = 1.0, np.nan
    settings = LatentSettings(seeds=1, refits=0, training={"epochs": 3}, span=span, top=300)
    links = latent_links(*frames(x, y), settings=settings, threads=1)
    assert (links.table.loc[links.table["x"] == "g3", "score"] == 0).all()
    assert any("1 missing entries of y" in line for line in links.words)
    assert links.table["score"].notna().all()


def test_what_is_wrong_is_said():
    a, b = frames(*planted(n=20, p=10, q=8)[:2])
    quick = {"seeds": 1, "refits": 0, "training": {"epochs": 1}}
    with pytest.raises(DataError, match="is no feature of y"):
        latent_links(a, b, settings=LatentSettings(**quick), pairs=pd.DataFrame({"x": ["g1"], "y": ["nobody"]}))
    with pytest.raises(RecipeError, match="does not take"):
        latent_links(a, b, settings=LatentSettings(**quick, model={"name": "translator", "source": "x", "target": "y"}))
    with pytest.raises(RecipeError, match="latent"):
        LatentSettings(model={"name": "autoencoder", "latnt": 3})
    with pytest.raises(RecipeError, match="names no architecture"):
        LatentSettings(model={"latent": 3})
    with pytest.raises(DataError, match="no feature varies"):
        latent_links(a * 0, b, settings=LatentSettings(**quick))
