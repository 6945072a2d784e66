import pytest

from hpc_curate.errors import ConfigError
from hpc_curate.models import folders


def test_all_files_of_a_model_count(tmp_path):
    for name in ("model.safetensors", "config.json", "preprocessor_config.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / ".cache").mkdir()
    found = [path.name for path in folders.files(tmp_path, "stage.safety.weights_path")]
    assert found == ["config.json", "model.safetensors", "preprocessor_config.json"]


def test_another_folder_is_refused_by_the_setting_that_named_it(tmp_path):
    with pytest.raises(ConfigError, match=r"stage.safety.weights_path=.*: no folder of a model; it has no config.json"):
        folders.files(tmp_path, "stage.safety.weights_path")
