"""A folder of class folders: which are its splits, classes and images."""

import collections
import os

from efficientnet_tf.data.folders import (
    class_checks,
    folder_names,
    folder_walk,
    layouts,
)
from efficientnet_tf.utils import words

_LOOSE = "images outside any class folder"
_UNLABELLED = "images of an unlabelled folder"

# Between the given folder and its split or class folders.
_MAX_WRAPPERS = 4


def read(path: str | os.PathLike) -> layouts.Layout:
    """Finds the splits, classes and images of a folder; reads no image.

    Split folders may have any usual name in any case, with a word that they
    share before or after it. Hidden files, masks and all files that are not
    images are left out and counted.

    Raises:
      FileNotFoundError: there is no such folder.
      RuntimeError: no images, or folders that cannot be told apart; the
        message says what was seen.
    """
    top, left_out = folder_walk.scan(path)
    if not top.has_images:
        raise RuntimeError(
            f"{top.path} holds no images: expected {top.path}/CLASS/IMAGE.jpg, "
            "one folder per class."
            + (f" Seen: {left_out}." if left_out else "")
        )
    reader = _Reader(top.path, left_out)
    folder = reader.unwrap(top)
    splits = reader.find_splits(folder)
    if splits:
        reader.leave_loose(folder)
    else:
        splits = {None: folder}
    listed = {s: reader.list_classes(f) for s, f in splits.items()}
    reader.drop_unlabelled(listed, splits)
    folders = {
        split: splits[split].path.relative_to(top.path).as_posix()
        for split in listed
    }
    return layouts.Layout(
        str(top.path),
        top.path,
        listed,
        folders,
        left_out,
        {split: splits[split].path for split in listed},
        how_to_split="folders named",
        one_class=_explain_one_class(top.path, listed),
    )


class _Reader:
    """Understands one folder, counting what it leaves out."""

    def __init__(self, root, left_out):
        self.root = root
        self.left_out = left_out
        self._unlabelled = set()  # Paths of folders beside class folders.

    def unwrap(self, folder):
        """Returns the folder that holds the splits or the classes."""
        for _ in range(_MAX_WRAPPERS):
            inner = self._leave_beside(folder)
            if inner is None:
                inner = _find_wrapped(folder)
            if inner is None:
                return folder
            self.leave_loose(folder)
            folder = inner
        return folder

    def _leave_beside(self, folder):
        """Returns "images" if "masks", "thumbs" or the like are beside it."""
        kinds = {child.name.lower(): child for child in folder.folders}
        images = [kinds[n] for n in kinds if n in folder_names.IMAGES]
        beside = [kinds[n] for n in kinds if n in folder_names.BESIDE]
        if len(images) != 1 or not beside:
            return None
        if len(images) + len(beside) < len(folder.full):
            return None
        for child in beside:
            self._leave(child)
        return images[0]

    def _leave(self, folder):
        """Counts a folder of masks or thumbnails."""
        what = folder_names.BESIDE[folder.name.lower()]
        self.left_out.add(what, folder.walk())

    def leave_loose(self, folder):
        """Counts images that are directly in a folder of folders."""
        self.left_out.add(_LOOSE, folder.files)

    def find_splits(self, folder):
        """Returns {split: its folder}; empty if the folders are classes."""
        children = {child.name: child for child in folder.full}
        named = folder_names.find_splits(children)
        labelled = {n: s for n, s in named.items() if _is_labelled(children[n])}
        flat = [name for name in named if name not in labelled]
        rest = [name for name in children if name not in named]
        if not labelled:
            self._check_flat(children, {n: named[n] for n in flat}, rest)
            return {}
        for name in rest:
            if _is_labelled(children[name]) or not (
                folder_names.UNLABELLED.fullmatch(name)
            ):
                raise RuntimeError(
                    f"{self.root} holds the split folders "
                    f"{', '.join(named)} and also "
                    f"{folder_walk.list_names(rest)}; move the latter away, "
                    "or name it as a split."
                )
            self.left_out.add(_UNLABELLED, children[name].walk())
        for name in flat:
            self._leave_flat(children[name], named[name])
        found = collections.defaultdict(list)
        for name, split in labelled.items():
            found[split].append(name)
        for split, names in found.items():
            if len(names) > 1:
                raise RuntimeError(
                    f"{self.root} holds {' and '.join(names)}, both of which "
                    f"mean {split!r}; rename one, or give its path alone."
                )
        return {
            split: self._enter(children[found[split][0]])
            for split in folder_names.SPLITS
            if split in found
        }

    def _check_flat(self, children, flat, rest):
        """Refuses or leaves out split folders that hold no class folders."""
        if not flat:
            return
        if not rest or len(flat) > 1:
            also = f", beside {folder_walk.list_names(rest)}" if rest else ""
            raise RuntimeError(
                f"{self.root} holds {' and '.join(flat)}{also}, which hold "
                "images but no class folders: expected "
                f"{self.root}/{next(iter(flat))}/CLASS/IMAGE.jpg."
            )
        ((name, split),) = flat.items()
        if name.lower() == "train":  # Which is a class beside "bus".
            return
        if split != "test":  # "valid" beside "invalid", "dev" beside "sales".
            raise RuntimeError(
                f"{children[name].path} may be a class like "
                f"{folder_walk.list_names(rest)} beside it, or unlabelled "
                f"images for {split}: rename it, or move it away."
            )
        self.left_out.add(_UNLABELLED, children[name].walk())
        self._unlabelled.add(children[name].path)

    def _leave_flat(self, folder, split):
        if split == "train":
            raise RuntimeError(
                f"{folder.path} holds images but no class folders: expected "
                f"{folder.path}/CLASS/IMAGE.jpg."
            )
        self.left_out.add(_UNLABELLED, folder.walk())

    def _enter(self, folder):
        """Returns the folder of a split's class folders: itself, or inside."""
        inner = self.unwrap(folder)
        nested = folder_names.find_splits([f.name for f in inner.full])
        labelled = [
            f.name for f in inner.full if f.name in nested and _is_labelled(f)
        ]
        if labelled:
            raise RuntimeError(
                f"{folder.path} holds split folders itself: "
                f"{', '.join(labelled)}."
            )
        return inner

    def list_classes(self, folder):
        """Returns {class name: its image files}."""
        self.leave_loose(folder)
        left = _find_beside(folder)
        for child in left:
            self._leave(child)
        children = [
            child
            for child in folder.full
            if child not in left and child.path not in self._unlabelled
        ]
        if not children:
            raise RuntimeError(
                f"{folder.path} holds "
                f"{words.count(len(folder.names), 'image')} but no class "
                f"folders: expected {folder.path}/CLASS/IMAGE.jpg."
            )
        class_checks.check_not_turned(self.root, children)
        class_checks.check_not_repeated(self.root, children)
        names = class_checks.unify_spelling(
            folder.path, [child.name for child in children]
        )
        return {names[c.name]: self._list_files(c) for c in children}

    def _list_files(self, folder):
        """Returns the images of a class, at any depth, without copies."""
        stems = [folder_walk.split_name(name)[0] for name in folder.names]
        others = folder_names.bare_stems(stems)
        files = []
        for file, stem in zip(folder.files, stems, strict=True):
            what = folder_names.describe_copy(stem, others)
            if what is None:
                files.append(file)
            else:
                self.left_out.add(what, [file])
        left = [f for f in folder.full if f.name.lower() in folder_names.BESIDE]
        if len(left) == len(folder.full) and not files:
            left = []  # They are all there is.
        for child in folder.full:
            if child in left:
                self._leave(child)
            else:
                files += self._list_files(child)
        return files

    def drop_unlabelled(self, listed, splits):
        """Removes a split of one folder that is no class, as "test/all"."""
        for split in [s for s in listed if s not in (None, "train")]:
            classes, train = listed[split], listed.get("train", {})
            if len(classes) == 1 and train and not classes.keys() & train:
                for files in listed.pop(split).values():
                    self.left_out.add(_UNLABELLED, files)


def _explain_one_class(root, listed):
    """Returns what to do if there is one class only; "" if there are more."""
    names = set().union(*listed.values())
    if len(names) > 1:
        return ""
    return f" If its sub-folders are the classes, give {root / min(names)}."


def _find_wrapped(folder):
    """Returns the one folder that everything is in, as archives unpack."""
    if len(folder.full) != 1 or folder.names:
        return None
    (child,) = folder.full
    if folder_names.find_splits([child.name]) and _is_labelled(child):
        inner = folder_names.find_splits([folder.name])
        # "seg_train/seg_train/CLASS"; "photos/train/CLASS" is a split.
        return child if inner else None
    if folder_names.find_splits(
        [f.name for f in child.full if _is_labelled(f)]
    ):
        return child
    like = child.name.lower() in folder_names.IMAGES | {"data", "dataset"}
    same = child.name.lower() == folder.name.lower()
    return child if (like or same) and _is_labelled(child) else None


def _is_labelled(folder):
    """Whether a folder holds class folders, perhaps in folders of its own."""
    names = {child.name.lower() for child in folder.full}
    other = names - folder_names.IMAGES - folder_names.BESIDE.keys()
    if other or not names:
        return bool(other)
    return any(
        _is_labelled(child)
        for child in folder.full
        if child.name.lower() in folder_names.IMAGES
    )


def _find_beside(folder):
    """Returns the folders of masks or thumbnails beside class folders.

    They hold the classes' names, or images of the names that the classes hold.
    """
    found = []
    for child in folder.full:
        if child.name.lower() not in folder_names.BESIDE:
            continue
        others = [f for f in folder.full if f is not child]
        inner = {f.name for f in child.full}
        if inner and inner <= {f.name for f in others}:
            found.append(child)
        elif child.name.lower() in folder_names.PLAIN:
            stems = folder_names.bare_stems(
                file.stem for other in others for file in other.walk()
            )
            own = [file.stem for file in child.walk()]
            same = sum(
                stem.casefold() in stems
                or folder_names.describe_copy(stem, stems) is not None
                for stem in own
            )
            if 2 * same > len(own):
                found.append(child)
    return found
