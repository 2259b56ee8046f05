"""All files below a folder: what may be an image, and what is left out."""

import collections
import dataclasses
import functools
import os
import pathlib
import stat
from collections.abc import Iterable, Iterator

from efficientnet_tf.data.folders import folder_names
from efficientnet_tf.data.images import formats
from efficientnet_tf.utils import bars

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
_READ = "links to what is read already"
_LINK, _FOLDER, _FILE, _OTHER = range(4)
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
    names: list[str] = dataclasses.field(default_factory=list)  # Of images.
    folders: list["Folder"] = dataclasses.field(default_factory=list)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def full(self) -> list["Folder"]:
        """The sub-folders with images somewhere below."""
        return [folder for folder in self.folders if folder.has_images]

    @property
    def has_images(self) -> bool:
        """Whether there is an image somewhere below."""
        return bool(self.names) or any(f.has_images for f in self.folders)

    @property
    def files(self) -> Iterator[pathlib.Path]:
        """The images in it, not those of its sub-folders."""
        return (self.path / name for name in self.names)

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
    with bars.show(f"Listing {path}", "file") as bar:
        scanner = _Scanner(path, bar)
        folder = scanner.scan(path, os.path.realpath(path), "")
        while scanner.links:
            scanner.follow(*scanner.links.popleft())
    _sort(folder)  # What links led to comes last.
    return folder, scanner.left_out


def split_name(name: str) -> tuple[str, str]:
    """Returns stem and suffix as a path's, which takes longer to make."""
    place = name.rfind(".")
    if 0 < place < len(name) - 1:
        return name[:place], name[place:]
    return name, ""


class _Scanner:
    """Reads folders by strings: a path each would take most of the time."""

    def __init__(self, root, bar):
        self.left_out = LeftOut(root)
        # (folder, its path below the root, name of a link), to be followed.
        self.links = collections.deque()
        self._bar = bar
        self._root = os.path.realpath(root)
        self._seen = set()  # Real paths of folders, and of linked files.
        self._real = functools.cache(os.path.realpath)

    def scan(self, path, real, below):
        """Returns a folder with all below it that is no link.

        Args:
          path: of the folder.
          real: the same without links.
          below: its path below the root with a slash after it; "": the root.
        """
        self._seen.add(real)
        folder = Folder(path)
        if below.count("/") > _MOST_DEPTH:
            self._leave(f"folders more than {_MOST_DEPTH} deep", below)
            return folder
        try:
            entries = _list_entries(path)
        except OSError:
            self._leave("folders that may not be read", below)
            return folder
        if not entries:
            self._leave("empty folders", below)
        for name, kind in entries:
            self._bar.update()
            if folder_names.is_system(name):
                self._leave(_SYSTEM, below + name)
            elif kind == _LINK:
                self.links.append((folder, below, name))
            elif kind == _FOLDER:
                self._add_folder(folder, below, name, os.path.join(real, name))
            else:
                self._add_file(folder, below, name, kind == _FILE)
        return folder

    def follow(self, folder, below, name):
        """Adds what a symbolic link points to, unless it is read already."""
        try:
            target, mode = self._find_target(os.path.join(folder.path, name))
        except OSError:
            self._leave("broken links", below + name)
            return
        if stat.S_ISDIR(mode):
            if self._root.startswith(os.path.join(target, "")):
                self._leave(_READ, below + name)
            else:
                self._add_folder(folder, below, name, target)
        # A file below the root, or below a folder that a link led to.
        elif target in self._seen or os.path.dirname(target) in self._seen:
            self._leave(_READ, below + name)
        else:
            self._seen.add(target)
            self._add_file(folder, below, name, stat.S_ISREG(mode))

    def _find_target(self, link):
        """Returns the real path that a link leads to, and its mode.

        Folders are resolved once, not for each of their files.
        """
        parent, name = os.path.split(
            os.path.join(os.path.dirname(link), os.readlink(link))
        )
        target = os.path.join(self._real(parent), name)
        mode = os.lstat(target).st_mode
        if stat.S_ISLNK(mode) or name in ("", os.curdir, os.pardir):
            target = os.path.realpath(link)
            mode = os.stat(target).st_mode
        return target, mode

    def _add_folder(self, folder, below, name, real):
        if real in self._seen:
            self._leave(_READ, below + name)
            return
        child = self.scan(folder.path / name, real, f"{below}{name}/")
        folder.folders.append(child)

    def _add_file(self, folder, below, name, is_file):
        suffix = split_name(name)[1].lower()
        if not is_file:
            self._leave("pipes or devices", below + name)
        elif folder_names.is_unfinished(name):
            self._leave(_SYSTEM, below + name)
        elif _is_image(folder.path, name, suffix):
            folder.names.append(name)
        else:
            self._leave(f"{suffix or 'suffixless'} files", below + name)

    def _leave(self, reason, name):
        self.left_out.add_names(reason, [name.rstrip("/") or os.curdir])


def _list_entries(path):
    """Returns (name, kind) of what a folder holds, sorted by name."""
    with os.scandir(path) as entries:
        # The entries know their kind; a path would ask the disk.
        return sorted((entry.name, _find_kind(entry)) for entry in entries)


def _find_kind(entry):
    if entry.is_symlink():
        return _LINK
    if entry.is_dir():
        return _FOLDER
    return _FILE if entry.is_file() else _OTHER


def _is_image(folder, name, suffix):
    """Whether a file is an image by its name or by its first bytes."""
    if suffix in SUFFIXES or suffix in _PREVIEWS:
        return suffix in SUFFIXES
    try:
        with (folder / name).open("rb") as stream:
            head = stream.read(formats.MAGIC_BYTES)
    except OSError:
        return False
    return formats.identify(head) in _FORMATS


def _sort(folder):
    folder.names.sort()
    folder.folders.sort(key=lambda child: child.name)
    for child in folder.folders:
        _sort(child)
