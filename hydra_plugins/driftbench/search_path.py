"""Where Hydra finds the configuration groups of this package."""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from harness.store.files import config_folder


class BenchSearchPath(SearchPathPlugin):
    """Puts the groups of this package behind those of the application: `@hydra.main` of your own may compose them."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        own = str(config_folder())
        if all(element.path not in (own, f"file://{own}") for element in search_path.get_path()):
            search_path.append("driftbench", f"file://{own}")
