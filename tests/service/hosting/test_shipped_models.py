"""The models that come with the product load on this machine."""

from pathlib import Path

import pytest

from service.hosting import Repository

MODELS = Path(__file__).parents[3] / "models"


@pytest.fixture(scope="module")
def shipped() -> Repository:
    return Repository.load(MODELS, max_batch=8)


def test_every_shipped_bundle_is_sound(shipped: Repository):
    """Hashes, graphs, probes: nothing is broken, and something is there."""
    assert shipped.broken == {}
    assert shipped.models()


def test_every_shipped_model_steps_in_batches(shipped: Repository):
    """Whatever this machine's kernels do to a lone row, padding cures it."""
    for model in shipped.models():
        assert model.batch_invariant, model.batch_reason
