"""All files below a folder: what may be an image, and what is left out."""

import collections
import dataclasses
import os
import pathlib
from collections.abc import Iterable, Iterator

from efficientnet_tf.data.folders import folder_names
from efficientnet_tf.data.images import formats

# Of files that are images by their name; their content is looked at later.
SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp"),
    *(".tif", ".tiff", ".avif", ".heic", ".heif", ".jp2"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
}
# Of these, a reader would find the small preview that they begin with.
_PREVIEWS = {
    *(".cr2", ".nef", ".arw", ".dng", ".orf", ".rw2", ".pef", ".srw", ".thm"),
}
# Files of any other name are images if they begin like one of these.
_FORMATS = {
    *("JPEG", "PNG", "GIF", "BMP", "WebP", "TIFF", "BigTIFF", "AVIF", "HEIC"),
    "JPEG 2000",
}

_SYSTEM = "hidden, system or unfinished files"
_SHOWN = 3

# Deeper folders are nobody's, and would exhaust Python's stack.
_MOST_DEPTH = 100


class LeftOut:
    """Counts what is not read, by reason, with the first names of each."""

    def __init__(self, root: pathlib.Path):
        self._root = root
        self._names: dict[str, list[str]] = collections.defaultdict(list)

    def add(self, reason: str, paths: Iterable[pathlib.Path]) -> None:
        """Counts paths below the root."""
        names = (path.relative_to(self._root).as_posix() for path in paths)
        self.add_names(reason, names)

    def add_names(self, reason: str, names: Iterable[str]) -> None:
        """Counts what has no path, by its names."""
        for name in names:
            self._names[reason].append(name)

    def __bool__(self) -> bool:
        return bool(self._names)

    def __str__(self) -> str:
        return "; ".join(
            f"{reason}: {len(names):,} ({list_names(names)})"
            for reason, names in sorted(self._names.items())
        )


@dataclasses.dataclass
class Folder:
    """A folder with its images and its sub-folders, both sorted by name."""

    path: pathlib.Path
    files: list[pathlib.Path] = dataclasses.field(default_factory=list)
    folders: list["Folder"] = dataclasses.field(default_factory=list)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def full(self) -> list["Folder"]:
        """The sub-folders with images somewhere below."""
        return [folder for folder in self.folders if any(folder.walk())]

    def walk(self) -> Iterator[pathlib.Path]:
        """Yields all images below."""
        yield from self.files
        for folder in self.folders:
            yield from folder.walk()


def list_names(names: Iterable[str]) -> str:
    """Returns the first few names, for a message."""
    # Names of old archives may be in no encoding.
    shown = [os.fsencode(name).decode(errors="replace") for name in names]
    more = ", ..." if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more


def scan(root: str | os.PathLike) -> tuple[Folder, LeftOut]:
    """Reads a folder and all folders below it.

    Symbolic links are followed once, after all else: a link to what is read
    already, or to a folder around it, is left out.

    Raises:
      FileNotFoundError: there is no such folder.
    """
    path = pathlib.Path(root).expanduser()
    if not path.is_dir():
        what = "is a file, not a folder" if path.is_file() else None
        raise FileNotFoundError(
            f"{path} {what}." if what else f"There is no folder {path}."
        )
    scanner = _Scanner(path)
    folder = scanner.scan(path)
    while scanner.links:
        scanner.follow(*scanner.links.popleft())
    _sort(folder)
    return folder, scanner.left_out


class _Scanner:
    def __init__(self, root):
        self.left_out = LeftOut(root)
        self.links = collections.deque()  # (folder, link), to be followed.
        self._root = os.path.realpath(root)
        self._depth = len(root.parts)
        self._seen = set()  # Real paths of folders, and of linked files.

    def scan(self, path):
        """Returns a folder with all below it that is no link."""
        self._seen.add(os.path.realpath(path))
        folder = Folder(path)
        if len(path.parts) - self._depth > _MOST_DEPTH:
            self._leave(f"folders more than {_MOST_DEPTH} deep", path)
            return folder
        try:
            entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        except OSError:
            self._leave("folders that may not be read", path)
            return folder
        if not entries:
            self._leave("empty folders", path)
        for entry in entries:
            child = path / entry.name
            if folder_names.is_system(entry.name):
                self._leave(_SYSTEM, child)
            elif entry.is_symlink():
                self.links.append((folder, child))
            elif entry.is_dir():
                if os.path.realpath(child) in self._seen:
                    self._leave("links to what is read already", child)
                else:
                    folder.folders.append(self.scan(child))
            else:
                # The entry knows it; `child.is_file` would ask the disk.
                self._add_file(folder, child, entry.is_file())
        return folder

    def follow(self, folder, link):
        """Adds what a symbolic link points to, unless it is read already."""
        target = os.path.realpath(link)
        if not os.path.exists(target):
            self._leave("broken links", link)
        elif os.path.isdir(target):
            around = self._root.startswith(os.path.join(target, ""))
            if around or target in self._seen:
                self._leave("links to what is read already", link)
            else:
                folder.folders.append(self.scan(link))
        # A file below the root, or below a folder that a link led to.
        elif target in self._seen or os.path.dirname(target) in self._seen:
            self._leave("links to what is read already", link)
        else:
            self._seen.add(target)
            self._add_file(folder, link, link.is_file())

    def _add_file(self, folder, path, is_file):
        if not is_file:
            self._leave("pipes or devices", path)
        elif folder_names.is_unfinished(path.name):
            self._leave(_SYSTEM, path)
        elif _is_image(path):
            folder.files.append(path)
        else:
            self._leave(f"{path.suffix.lower() or 'suffixless'} files", path)

    def _leave(self, reason, path):
        self.left_out.add(reason, [path])


def _is_image(path):
    """Whether a file is an image by its name or by its first bytes."""
    suffix = path.suffix.lower()
    if suffix in SUFFIXES or suffix in _PREVIEWS:
        return suffix in SUFFIXES
    try:
        with path.open("rb") as stream:
            head = stream.read(formats.MAGIC_BYTES)
    except OSError:
        return False
    return formats.identify(head) in _FORMATS


def _sort(folder):
    folder.files.sort()
    folder.folders.sort(key=lambda child: child.name)
    for child in folder.folders:
        _sort(child)
