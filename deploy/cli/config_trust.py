"""Configuration folders that somebody else may have written: they set values, and run nothing.

Code is named on the command line, where the user types it; Hydra's own settings too, since they
name code that Hydra calls by itself. What a folder does is judged on what Hydra makes of it, before
Hydra starts anything: its configuration is composed, and every file that came from the folder is
looked at as Hydra has read and placed it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.defaults_list import create_defaults_list
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.grammar.gen.OmegaConfGrammarParser import OmegaConfGrammarParser
from omegaconf.grammar_parser import parse as parse_interpolations

from deploy.cli.catalog import CONFIG
from deploy.cli.code_names import allowed_modules
from deploy.cli.device_trust import check_device_values
from deploy.cli.override_values import leaves, override_leaves
from deploy.recipe.schema import RecipeError
from deploy.recipe.shipped import conf_folder

_MOST_BYTES = 1 << 20  # of a file
_MOST_JOBS = 10_000  # of a sweep
_RESOLVERS = {"stem"}  # that a file of a folder may use
_WRITTEN = {"bundle", "bundle.folder", "bundle.sign", "cache"}  # keys of paths that a run writes or
_READ = {"model.weights", "model.file", "model.samples", "model.eval"}  # reads
_READ_FILES = "model.files."
_SWEEP = "MULTIRUN"  # of hydra.mode, in the place of -m
_UNREADABLE = (OSError, ValueError, TypeError, AttributeError, AssertionError, yaml.YAMLError)
_OWN_KEY = re.compile(r"_.+_")  # such as _target_, which Hydra calls
_PER_RUN = (  # what Hydra notes of a run beside its settings
    "searchpath",
    "overrides",
    "runtime",
    "job.override_dirname",
    "job.name",
    "job.id",
    "job.num",
    "mode",
)


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuse configuration folders that do more than set values of a recipe.

    Args:
        arguments: of the main job's command line.

    Raises:
        RecipeError: naming the file and the key; or an option that replaces the shipped
            configuration or reads a pickled one.
    """
    parsed = get_args_parser().parse_known_args(list(arguments))[0]
    for option in ("config_path", "config_name", "experimental_rerun"):
        if getattr(parsed, option):
            raise RecipeError(
                f"--{option.replace('_', '-')}",
                expected="the configuration of this project, and --config-dir beside it",
                got="an option that replaces it",
            )
    words = list(parsed.overrides)
    folders = [*([parsed.config_dir] if parsed.config_dir else []), *_searched(words)]
    swept = parsed.multirun or any(word.endswith(f"hydra.mode={_SWEEP}") for word in words)
    mode = RunMode.MULTIRUN if swept else RunMode.RUN
    try:
        check_folders([Path(name) for name in folders], words, mode)
    except (HydraException, OmegaConfBaseException) as error:
        raise composition_error(error) from error


def composition_error(error: Exception) -> RecipeError:
    """What Hydra says of words or files that do not compose, without its search path."""
    return RecipeError(str(error).partition("\nConfig search path")[0].rstrip())


def check_folders(
    folders: Sequence[Path], words: Sequence[str], mode: RunMode = RunMode.RUN
) -> None:
    """Refuse configuration folders that do more than set values of a recipe.

    Args:
        folders: with configuration, beside the shipped one.
        words: Hydra's overrides.
        mode: of the run; of a sweep, each of its jobs is looked at.

    Raises:
        RecipeError: as of ``check_arguments``.
        HydraException: the words do not compose.
    """
    if not folders:
        return
    for folder in folders:
        _check_files(folder)
    others = [word for word in words if not _is_searchpath(word)]
    search = ", ".join(f"'file://{folder.absolute()}'" for folder in folders)
    composed = [*others, f"hydra.searchpath=[{search}]"]
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        assert isinstance(loader, ConfigLoaderImpl)
        try:
            _judge(loader, composed, others, mode, folders)
            if mode == RunMode.MULTIRUN:
                for job in _jobs(loader, composed):
                    _judge(loader, job, others, RunMode.RUN, folders)
        except RecursionError as error:
            raise RecipeError(
                f"configuration of '{folders[0]}': its lists of defaults include each other"
            ) from error
        except (HydraException, OmegaConfBaseException):
            raise  # it is told as any other mistake in words and files
        except _UNREADABLE as error:
            raise RecipeError(
                f"configuration of '{folders[0]}' is not readable: {_first_line(error)}"
            ) from error


def _judge(
    loader: ConfigLoaderImpl,
    words: Sequence[str],
    typed: Sequence[str],
    mode: RunMode,
    folders: Sequence[Path],
) -> None:
    """Look at every file of the folders in one composition, and at Hydra's own part of it."""
    parsed, repository = loader._parse_overrides_and_create_caching_repo(CONFIG, list(words))
    multirun = mode == RunMode.MULTIRUN
    defaults = create_defaults_list(
        repo=repository,
        config_name=CONFIG,
        overrides_list=parsed,
        prepend_hydra=True,
        skip_missing=multirun,
    )
    own = {f"file://{folder.absolute()}": folder.absolute() for folder in folders}
    for default in defaults.defaults:
        loaded = loader._load_single_config(default, repository)
        folder = own.get(loaded.path)
        if folder is not None:
            _check_inside(folder, str(default.config_path))
            values = OmegaConf.to_container(loaded.config, resolve=False)
            path = folder / str(default.config_path)
            _Content(path, folder, words).check(values)
            check_device_values(path, str(default.config_path), values, words)
    settings = [word for word in typed if _is_of_hydra(word)]
    with_folders = _hydra_settings(loader, words, mode)
    if with_folders != _hydra_settings(loader, settings, mode):
        raise _of_hydra(folders[0])


class _Content:
    """What a file of a folder may hold, in the place where Hydra puts it."""

    def __init__(self, path: Path, folder: Path, words: Sequence[str]) -> None:
        self._path, self._folder, self._words = path, folder, words
        self._vouched = bool(allowed_modules(words))

    def check(self, values: Any) -> None:
        """Raises ``RecipeError`` naming the file and the key."""
        for key, value in leaves(values, ""):
            parts = key.split(".")
            if parts[0] == "hydra" or any(map(_OWN_KEY.fullmatch, parts)):
                raise _of_hydra(self._path)
            if isinstance(value, str):
                self._check_resolvers(key, value)
                self._check_path(key, value)

    def _check_resolvers(self, key: str, value: str) -> None:
        others = [name for name in _resolvers(value) if name not in _RESOLVERS]
        if others:
            raise RecipeError(
                f"configuration '{self._path}': {key} calls the resolver '{others[0]}'",
                expected="values, and interpolations of other keys",
                do="Remove it there, and give it on the command line.",
            )

    def _check_path(self, key: str, value: str) -> None:
        if key in _WRITTEN:
            raise RecipeError(
                f"configuration '{self._path}' sets {key}, which says where files are written",
                do="Remove it there, and give it on the command line.",
            )
        is_read = key in _READ or key.startswith(_READ_FILES)
        outside = is_read and "${" not in value and not self._is_inside(value)
        if outside and not self._vouched and not self._is_typed(key):
            raise RecipeError(
                f"configuration '{self._path}' sets {key} to a file outside its folder",
                expected="a path in its folder or in the working folder",
                do=f"Give it on the command line, where it replaces this one: {key}=PATH, or add "
                "code=MODULE if you know the folder.",
            )

    def _is_typed(self, key: str) -> bool:
        """Whether a word gives this very key a value, which then replaces that of a file."""
        return bool(override_leaves(self._words, lambda typed: typed == key))

    def _is_inside(self, value: str) -> bool:
        if value.startswith("https://"):
            return True
        path = Path(value).expanduser().resolve()
        return any(path.is_relative_to(root.resolve()) for root in (self._folder, Path.cwd()))


def _hydra_settings(loader: ConfigLoaderImpl, words: Sequence[str], mode: RunMode) -> Any:
    """Hydra's own settings of a composition, as they are written."""
    config = loader.load_configuration(CONFIG, list(words), mode, validate_sweep_overrides=False)
    node = config.hydra
    assert isinstance(node, DictConfig)
    choices = dict(node.runtime.choices)
    settings = OmegaConf.to_container(node, resolve=False)
    for key in _PER_RUN:
        *parents, last = key.split(".")
        inner: Any = settings
        for parent in parents:
            inner = inner[parent]
        inner.pop(last, None)
    return settings, {key: name for key, name in choices.items() if key.startswith("hydra/")}


def _jobs(loader: ConfigLoaderImpl, words: Sequence[str]) -> Iterator[list[str]]:
    """The words of each job of a sweep.

    Raises:
        RecipeError: a sweeper whose jobs are not known in advance, or too many jobs.
    """
    config = loader.load_configuration(CONFIG, list(words), RunMode.MULTIRUN)
    sweeper = config.hydra.sweeper
    if not str(sweeper.get("_target_")).endswith(f".{BasicSweeper.__name__}"):
        raise RecipeError(
            "hydra/sweeper",
            expected="basic, where configuration comes from a folder of your own",
            got=str(sweeper.get("_target_")),
        )
    swept = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
    settings = [word for word in words if _is_of_hydra(word)]
    tasks = [word for word in words if not _is_of_hydra(word)]
    parsed = OverridesParser.create(config_loader=loader).parse_overrides([*swept, *tasks])
    (jobs,) = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    if len(jobs) > _MOST_JOBS:
        raise RecipeError("a sweep", expected=f"at most {_MOST_JOBS:,} jobs", got=str(len(jobs)))
    yield from ([*settings, *job] for job in jobs)


def _check_files(folder: Path) -> None:
    """Refuse files that are dangerous to read at all, wherever Hydra could find them."""
    for path in _yaml_files(folder):
        try:
            if not path.is_file() or path.stat().st_size > _MOST_BYTES:
                raise RecipeError(f"configuration '{path}'", expected="a file of at most 1 MiB")
            for _ in leaves(yaml.safe_load(path.read_text()), ""):
                pass  # counts them
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            raise RecipeError(
                f"configuration '{path}' is not readable: {_first_line(error)}"
            ) from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _yaml_files(folder: Path) -> Iterator[Path]:
    """Those that Hydra could load.

    Raises:
        RecipeError: one of them, or a folder, is a link: Hydra would follow it.
    """
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            is_yaml = path.name.lower().endswith((".yaml", ".yml"))
            if path.is_symlink() and (is_yaml or path.is_dir()):
                raise RecipeError(
                    f"configuration '{path}'", expected="a file of its folder", got="a link"
                )
            if is_yaml:
                yield path
            elif path.is_dir():
                yield from _yaml_files(path)


def _check_inside(folder: Path, config_path: str) -> None:
    """Refuse a name that leads out of the folder, where no file was looked at."""
    if ".." in config_path.split("/"):
        raise RecipeError(
            f"configuration '{config_path}' of '{folder}'",
            expected="a file of its folder",
            got="a path out of it",
        )


def _resolvers(value: str) -> list[str]:
    """The names of the resolvers that a text calls."""
    if "${" not in value:
        return []
    try:
        pending: list[Any] = [parse_interpolations(value)]
    except OmegaConfBaseException:
        return ["?"]
    names = []
    while pending:
        node = pending.pop()
        if isinstance(node, OmegaConfGrammarParser.InterpolationResolverContext):
            names.append(node.resolverName().getText())  # type: ignore[no-untyped-call]
        pending += getattr(node, "children", None) or []
    return names


def _searched(words: Sequence[str]) -> list[str]:
    """The folders that ``hydra.searchpath`` names; packages are installed code.

    Raises:
        RecipeError: the key is given twice. Hydra takes the last, and which file is found first
            decides what is composed.
    """
    if (count := sum(map(_is_searchpath, words))) > 1:
        raise RecipeError("hydra.searchpath", expected="one list of folders", got=f"{count} lists")
    names = [name for _, name in override_leaves(words, lambda key: key == "hydra.searchpath")]
    return [name.removeprefix("file://") for name in names if not name.startswith("pkg://")]


def _is_of_hydra(word: str) -> bool:
    key = word.lstrip("+~").partition("=")[0].partition("@")[0]
    return key.startswith(("hydra.", "hydra/")) or key == "hydra"


def _is_searchpath(word: str) -> bool:
    return word.lstrip("+~").startswith("hydra.searchpath")


def _of_hydra(path: Path) -> RecipeError:
    return RecipeError(
        f"configuration '{path}' sets what Hydra itself does",
        expected="values of a recipe alone",
        do="Give settings of Hydra on the command line.",
    )
