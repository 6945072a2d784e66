"""Heads with random weights in the published formats: this shows that they are read and applied, not that taste is."""

import numpy as np
import pytest

from hpc_curate.errors import ConfigError
from hpc_curate.models import laion_aesthetic

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")


class RandomMlp(torch.nn.Module):
    """The layers of improved-aesthetic-predictor, in its order and with its names."""

    def __init__(self, size):
        super().__init__()
        nn = torch.nn
        self.layers = nn.Sequential(
            *(nn.Linear(size, 1024), nn.Dropout(0.2), nn.Linear(1024, 128), nn.Dropout(0.2), nn.Linear(128, 64)),
            *(nn.Dropout(0.1), nn.Linear(64, 16), nn.Linear(16, 1)),
        )

    def forward(self, features):
        return self.layers(features)


FEATURES = np.random.default_rng(0).normal(0, 9, (5, 12)).astype(np.float32)


@pytest.mark.parametrize("kind", ["mlp.pth", "mlp.safetensors", "linear.pth"])
def test_a_head_scores_features_of_length_one_as_torch_does(kind, tmp_path):
    torch.manual_seed(0)
    head = (RandomMlp(12) if kind.startswith("mlp") else torch.nn.Linear(12, 1)).eval()
    save = safetensors_torch.save_file if kind.endswith("safetensors") else torch.save
    save(head.state_dict(), tmp_path / kind)
    with torch.inference_mode():
        expected = head(torch.nn.functional.normalize(torch.from_numpy(FEATURES), dim=1))[:, 0].numpy()
    assert laion_aesthetic.load(tmp_path / kind)(FEATURES) == pytest.approx(expected, abs=1e-5)


def test_features_without_a_direction_have_no_score(tmp_path):
    torch.save(torch.nn.Linear(12, 1).state_dict(), tmp_path / "head.pth")
    scores = laion_aesthetic.load(tmp_path / "head.pth")(np.stack([np.zeros(12, np.float32), FEATURES[0]]))
    assert np.isnan(scores).tolist() == [True, False]


def test_a_head_of_another_model_is_refused(tmp_path):
    torch.save(torch.nn.Linear(7, 1).state_dict(), tmp_path / "head.pth")
    with pytest.raises(ConfigError, match="takes 7 features, the model gives 12"):
        laion_aesthetic.load(tmp_path / "head.pth")(FEATURES)


@pytest.mark.parametrize(
    "state, said",
    [
        ({"rating.kernel": torch.zeros(1, 4)}, "neither LAION's MLP nor its linear head; it holds rating.kernel"),
        ({"weight": torch.zeros(3, 4), "bias": torch.zeros(3)}, "do not lead to one number"),
    ],
)
def test_another_checkpoint_is_refused(state, said, tmp_path):
    torch.save(state, tmp_path / "head.pth")
    with pytest.raises(ConfigError, match=said):
        laion_aesthetic.load(tmp_path / "head.pth")


@pytest.mark.parametrize("name", ["head.pth", "head.safetensors"])
def test_a_file_that_would_run_code_or_is_none_is_refused(name, tmp_path):
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(ConfigError, match="not a checkpoint of plain tensors"):
        laion_aesthetic.load(tmp_path / name)
