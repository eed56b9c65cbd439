"""Bundles: a model as it is served, a folder with `manifest.json` and its ONNX graphs. Free of torch.

A repository is a folder of bundles with a `repository.json` that names the default: `NAME/` is a bundle, or holds its
versions, `NAME/VERSION/`. A graph that several bundles share is stored once, in a folder of its own beside them, and
named by `bundle` in their manifests.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from synpose.errors import BundleError, NotFound
from synpose.skeleton import SKELETONS, Skeleton

__all__ = ["BUNDLES", "Bundle", "Repository", "placed", "unknown_model", "write_manifest"]

BUNDLES = Path(__file__).parent / "bundles"
"""The repository that comes with the package."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_GRAPHS = {"spatial": True, "relation": True, "detector": False}  # name: required
_KEYS = {
    "name",
    "version",
    "description",
    "licence",
    "provenance",
    "skeleton",
    "crop_size",
    "window",
    "graphs",
    "metrics",
}
_OPTIONAL = {"look_ahead", "min_views", "least_score", "restores_sides"}


@dataclass(frozen=True)
class Bundle:
    """A manifest that has been read and whose graphs are there; `verify` compares their checksums.

    `crop_size` is the side of the spatial graph's square input in pixels, `window` the largest T of the relation graph,
    `look_ahead` how many frame sets of the future the answer of a clip's frame may use, `min_views` the fewest views of
    an instant that the relation graph can answer, `least_score` the mean score of a view's better half of keypoints
    from which it counts as showing the person: networks mean different things by a score. `restores_sides` tells that
    the relation graph itself puts right what the spatial graph exchanged between left and right. `metrics` maps what
    was measured to numbers, with the command that made them.
    """

    name: str
    version: str
    description: str
    licence: str
    skeleton: Skeleton
    crop_size: int
    window: int
    graphs: Mapping[str, Path]
    checksums: Mapping[str, str]
    provenance: Mapping[str, Any]
    metrics: Mapping[str, Any]
    look_ahead: int = 0
    min_views: int = 2
    least_score: float = 0.2
    restores_sides: bool = False

    @classmethod
    def read(cls, folder: Path, repository: Path | None = None) -> Bundle:
        """The bundle in `folder`; raises `BundleError` that says what is wrong with it.

        Shared graphs are looked for in `repository`, the folder around `folder` if it is not given.
        """
        repository = folder.parent if repository is None else repository

        def fail(reason: str) -> BundleError:
            return BundleError(f"bundle {folder.name!r}: {reason}", field="model")

        try:
            manifest = json.loads((folder / "manifest.json").read_bytes())
            if unknown := (set(manifest) - _OPTIONAL) ^ _KEYS:
                raise fail(f"its manifest has unknown or missing keys: {', '.join(sorted(unknown))}")
            graphs, checksums = {}, {}
            for kind, entry in manifest["graphs"].items():
                shared, file = entry.get("bundle"), entry["file"]
                parts = (file,) if shared is None else (shared, file)
                if kind not in _GRAPHS or not all(_NAME.fullmatch(part) for part in parts):
                    raise fail(f"its manifest names an unusable graph {kind!r}")
                graphs[kind] = (folder if shared is None else repository).joinpath(*parts)
                checksums[kind] = str(entry["sha256"])
            if missing := [kind for kind, required in _GRAPHS.items() if required and kind not in graphs]:
                raise fail(f"it has no {' and no '.join(missing)} graph")
            if absent := [path.name for path in graphs.values() if not path.is_file()]:
                raise fail(f"{', '.join(absent)} is missing")
            if manifest["skeleton"] not in SKELETONS:
                raise fail(f"its skeleton {manifest['skeleton']!r} is unknown")
            window, look_ahead = int(manifest["window"]), int(manifest.get("look_ahead", 0))
            if not 0 <= look_ahead < window:
                raise fail(f"its window of {window} cannot hold a frame set and {look_ahead} after it")
            if (min_views := int(manifest.get("min_views", 2))) not in (1, 2):
                raise fail(f"its min_views is {min_views}, not 1 or 2")
            if not 0 <= (least_score := float(manifest.get("least_score", 0.2))) < 1:
                raise fail(f"its least_score is {least_score}, not a score")
            if not isinstance(restores_sides := manifest.get("restores_sides", False), bool):
                raise fail(f"its restores_sides is {restores_sides!r}, not true or false")
            return cls(
                name=str(manifest["name"]),
                version=str(manifest["version"]),
                description=str(manifest["description"]),
                licence=str(manifest["licence"]),
                skeleton=SKELETONS[manifest["skeleton"]],
                crop_size=int(manifest["crop_size"]),
                window=window,
                graphs=graphs,
                checksums=checksums,
                provenance=manifest["provenance"],
                metrics=manifest["metrics"],
                look_ahead=look_ahead,
                min_views=min_views,
                least_score=least_score,
                restores_sides=restores_sides,
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise fail(f"its manifest cannot be read ({error})") from error

    def fields(self) -> dict[str, Any]:
        """The manifest's keys besides its name and its graphs, as `write_manifest` takes them."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        for derived in ("name", "graphs", "checksums"):
            del own[derived]
        return {**own, "skeleton": self.skeleton.name}

    def verify(self) -> None:
        """Raise `BundleError` if a graph cannot be read or is not the file that the manifest describes."""
        for kind, path in self.graphs.items():
            try:
                own = sha256(path)
            except OSError as error:  # it has gone since the manifest was read, or may not be read
                raise BundleError(
                    f"bundle {self.name!r}: {path.name} cannot be read ({error.strerror})", field="model"
                ) from None
            if own != self.checksums[kind]:
                raise BundleError(
                    f"bundle {self.name!r}: {path.name} is not the file its manifest names", field="model"
                )


class Repository:
    """The bundles of a folder, each in its newest version, by name, and which of them is `default`."""

    def __init__(self, folder: Path = BUNDLES) -> None:
        self.folder = folder
        try:
            listing = json.loads((folder / "repository.json").read_bytes())
            self.default = str(listing["default"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BundleError(
                f"{folder} is no folder of bundles: its repository.json cannot be read ({error})"
            ) from error
        self.bundles = {name: self.read(name) for name in self.names()}
        if self.default not in self.bundles:
            raise BundleError(f"{folder}: the default bundle {self.default!r} is not there")

    def __getitem__(self, name: str) -> Bundle:
        """The bundle called `name`, or the default for `"default"`; raises `NotFound` that lists the names."""
        bundle = self.bundles.get(self.default if name == "default" else name)
        if bundle is None:
            raise unknown_model(name, self.bundles)
        return bundle

    def names(self) -> tuple[str, ...]:
        """The names of the bundles that lie in the folder now."""
        manifests = (*self.folder.glob("*/manifest.json"), *self.folder.glob("*/*/manifest.json"))
        return tuple(sorted({path.relative_to(self.folder).parts[0] for path in manifests}))

    def read(self, name: str, version: str | None = None) -> Bundle:
        """The bundle `name` as it lies in the folder now, in its newest version or in `version`.

        Raises `NotFound` where there is none, `BundleError` for one that is broken or does not lie under its own name.
        """
        folder = self._find(name, version)
        bundle = Bundle.read(folder, self.folder)
        if bundle.name != name:
            raise BundleError(f"bundle {name!r}: its manifest calls it {bundle.name!r}", field="model")
        wanted = version or (bundle.version if folder.name == name else folder.name)
        if bundle.version != wanted:
            raise BundleError(
                f"bundle {name!r}: its manifest calls version {wanted!r} {bundle.version!r}", field="model"
            )
        return bundle

    def _find(self, name: str, version: str | None) -> Path:
        """Names from outside become a path only by comparison with those that are there."""
        if name not in self.names():
            raise NotFound(f"no bundle {name!r} in the folder; there are {', '.join(self.names())}", field="model")
        folder = self.folder / name
        if (folder / "manifest.json").is_file():
            return folder
        versions = sorted((path.parent.name for path in folder.glob("*/manifest.json")), key=_ordered)
        if version is not None and version not in versions:
            raise NotFound(
                f"bundle {name!r} has no version {version!r}; there are {', '.join(versions)}", field="model"
            )
        return folder / (version or versions[-1])


def _ordered(version: str) -> tuple[tuple[bool, int, str], ...]:
    """Versions in their order: 2 before 10, 1.9 before 1.10; words come before numbers."""
    parts = re.split(r"[.-]", version)
    return tuple((part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts)


def write_manifest(folder: Path, *, graphs: Mapping[str, Path], **fields: Any) -> Bundle:
    """Write the manifest of the bundle in `folder` over `graphs`, which lie in it or in a sibling; read it back.

    `fields` are the manifest's other keys. Raises `BundleError` for a manifest that could not be read.
    """
    entries = {}
    for kind, path in graphs.items():
        shared = {} if path.parent == folder else {"bundle": path.parent.name}
        entries[kind] = {**shared, "file": path.name, "sha256": sha256(path)}
    text = json.dumps({"name": folder.name, **fields, "graphs": entries}, indent=2, ensure_ascii=False)
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")
    return Bundle.read(folder)


def unknown_model(name: str, known: Iterable[str]) -> NotFound:
    """That no model is called `name`, with the names that there are."""
    names = ", ".join(dict.fromkeys(("default", *known)))  # a model may be called so, too
    return NotFound(f"no model {name!r:.80}; there are {names}", field="options.model")


def placed(graph: Path, folder: Path) -> Path:
    """`graph` where it is, if its bundle lies beside the bundle `folder`; else a copy in `folder`."""
    if graph.parent.parent.resolve() == folder.parent.resolve():
        return folder.parent / graph.parent.name / graph.name
    return Path(shutil.copy(graph, folder / graph.name))


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
