"""Completion of a command line: the verbs are ours, what stands behind `run` is Hydra's."""

from __future__ import annotations

from hpc_curate import cli, config, overrides


def candidates(line: str) -> list[str]:
    """What may stand at the end of `line`, which begins with the program's name."""
    words = line.split(" ")
    if len(words) < 3:
        return [verb for verb in cli.verbs() if verb.startswith(words[-1])]
    if words[1] not in ("run", "fetch", "doctor"):
        return []
    return _overrides(" ".join(words[2:]))


def _overrides(text: str) -> list[str]:
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.utils import create_config_search_path
    from hydra.core.plugins import Plugins
    from hydra.plugins.completion_plugin import CompletionPlugin

    Plugins.instance()
    config.register()
    places = create_config_search_path(str(config.conf_dir()))
    for where, folder in overrides.site_folders():
        places.append(where, f"file://{folder}")
    loader = ConfigLoaderImpl(places)

    class Completion(CompletionPlugin):
        """Hydra gives its answers to the shell's plugin; this one hands them back."""

        def install(self) -> None: ...

        def uninstall(self) -> None: ...

        @staticmethod
        def provides() -> str:
            return "hpc-curate"

        def query(self, config_name: str | None) -> None: ...

        @staticmethod
        def help(command: str) -> str:
            return command

    return list(Completion(loader)._query(config_name="config", line=text))
