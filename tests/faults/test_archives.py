"""Archives of strangers: nothing outside the folder, nothing left half-done."""

import bz2
import gzip
import io
import lzma
import os
import struct
import tarfile
import time
import zipfile

import pytest

from efficientnet_tf.utils import unpacking

PACKERS = {"tar": bytes, "gz": gzip.compress, "bz2": bz2.compress}
PACKERS["xz"] = lzma.compress


def make_tar(*members, format=tarfile.GNU_FORMAT):
    """Returns a tar of (name, content) and `TarInfo`s."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            name, content = member
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def make_zip(*members, **options):
    """Returns a zip of (name or `ZipInfo`, content)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def patched(data, place, new):
    return data[:place] + new + data[place + len(new) :]


def header_of(tar, place, **fields):
    """Returns a tar whose header at `place` has other fields, and their sum."""
    at = {"size": (124, 12), "type": (156, 1)}
    head = bytearray(tar[place : place + 512])
    for name, value in fields.items():
        begin, length = at[name]
        head[begin : begin + length] = value.ljust(length, b"\0")
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return patched(tar, place, bytes(head))


TWO = make_tar(("a.txt", b"one" * 999), ("b.txt", b"two" * 999))
SECOND = 512 + 3072  # Where the header of b.txt is.
ZEROS = bytes(2**23)


def make_refused():
    """Yields (name of the file, content, what is said)."""
    yield "up.tar", make_tar(("../victim", b"x")), "outside the folder"
    yield "deep.tar", make_tar(("a/../../victim", b"x")), "outside the folder"
    yield "up.zip", make_zip(("../victim", b"x")), "outside the folder"
    yield "twice.tar", make_tar(("a", b"1"), ("a", b"2")), "there twice"
    yield "twice.zip", make_zip(("a/b", b"1"), ("a//b", b"2")), "there twice"
    yield "inside.tar", make_tar(("a", b"1"), ("a/b", b"2")), "unpacked"
    yield "empty.tar", b"", "empty"
    yield "noise.tgz", os.urandom(2000), "unpacked"
    yield "noise.zip", os.urandom(2000), "unpacked"
    yield "cut.tar", TWO[: SECOND + 800], "unexpected end"
    yield "no_end.tar", TWO[: SECOND + 512 + 3072], "cut short or damaged"
    yield "more.tar", TWO + TWO, "something follows"
    # tarfile alone takes this header for the end.
    broken = patched(TWO, SECOND + 130, b"\xff")
    yield "header.tar", broken, f"damaged at byte {SECOND + 512}"
    negative = header_of(TWO, SECOND, size=struct.pack(">Iq", 2**32 - 1, -4096))
    yield "negative.tar", negative, "unpacked"
    claim = header_of(TWO, SECOND, size=b"\x80" + (2**60).to_bytes(11, "big"))
    yield "claim.tar", claim, "unexpected end"
    long_name = make_tar(("n" * 2**21, b"x"))
    yield "name.tar", long_name, "a header says that it has 2,097"
    pax = make_tar(("é" * 2**20, b"x"), format=tarfile.PAX_FORMAT)
    yield "pax.tar", pax, "a header says"
    yield "bomb.tar.xz", lzma.compress(make_tar(("z", ZEROS))), "more than"
    yield "bomb.tar.bz2", bz2.compress(make_tar(("z", ZEROS))), "more than"
    bomb = make_zip(("z", ZEROS), compression=zipfile.ZIP_DEFLATED)
    yield "bomb.zip", bomb, "more than"
    locked = bytearray(make_zip(("a", b"1")))
    locked[6] |= 1
    locked[locked.index(b"PK\1\2") + 8] |= 1
    yield "locked.zip", bytes(locked), "encrypted"
    method = bytearray(make_zip(("a", b"1")))
    method[locked.index(b"PK\1\2") + 10] = method[8] = 77
    yield "method.zip", bytes(method), "not supported"
    wrong = make_zip(("a", b"content")).replace(b"content", b"contend")
    yield "crc.zip", wrong, "CRC"
    for kind in ("gz", "bz2", "xz"):
        packed = PACKERS[kind](make_tar(("a", os.urandom(3000))))
        middle = patched(packed, len(packed) // 2, b"\0\1\2\3")
        yield f"middle.tar.{kind}", middle, "unpacked"
        yield f"cut.tar.{kind}", packed[: len(packed) // 2], "unpacked"
        yield f"end.tar.{kind}", packed[:-3], "unpacked"


def test_a_hostile_archive_ends_in_one_line_and_leaves_nothing(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(unpacking, "LITTLE_BYTES", 2**20)
    for name, content, said in make_refused():
        path, out = tmp_path / name, tmp_path / "a" / "out"
        path.write_bytes(content)
        begin = time.monotonic()
        with pytest.raises(ValueError, match=said) as caught:
            unpacking.unpack(path, out)
        assert time.monotonic() - begin < 10, name
        line = str(caught.value)
        assert "\n" not in line and str(path) in line, name
        assert not out.exists() and not (tmp_path / "victim").exists(), name
        assert list((tmp_path / "a").iterdir()) == [], name
        path.unlink()


@pytest.mark.parametrize("kind", PACKERS)
def test_no_flipped_bit_gives_other_content(kind, tmp_path):
    content = {"a": os.urandom(700), "b/c": b"word " * 300}
    packed = PACKERS[kind](make_tar(*content.items()))
    path, out = tmp_path / "x.tgz", tmp_path / "out"
    path.write_bytes(packed)
    unpacking.unpack(path, out)
    assert {n: (out / n).read_bytes() for n in content} == content
    if kind == "tar":
        return  # Has no checksum of its content.
    refused = 0
    for place in range(0, len(packed), max(1, len(packed) // 60)):
        path.write_bytes(patched(packed, place, bytes([packed[place] ^ 4])))
        try:
            unpacking.unpack(path, tmp_path / f"{place}")
        except ValueError:
            refused += 1
            continue
        for name, wanted in content.items():
            assert (tmp_path / f"{place}" / name).read_bytes() == wanted
    assert refused > 50


def test_links_and_devices_are_left_out_and_counted(tmp_path, caplog):
    tar = make_tar(
        special("link", tarfile.SYMTYPE, "/etc"),
        ("link/passwd", b"in a folder of our own"),
        special("hard", tarfile.LNKTYPE, "../victim"),
        special("pipe", tarfile.FIFOTYPE),
        special("device", tarfile.CHRTYPE),
        ("good", b"good"),
    )
    linked = zipfile.ZipInfo("link")
    linked.external_attr = 0o120777 << 16
    archives = {"x.tar": (tar, 4), "x.zip": (make_zip((linked, "/etc")), 1)}
    for name, (content, count) in archives.items():
        (tmp_path / name).write_bytes(content)
        caplog.clear()
        unpacking.unpack(tmp_path / name, tmp_path / f"of {name}")
        assert f"left out {count} links and devices (link" in caplog.text
    files = [p for p in (tmp_path / "of x.tar").rglob("*") if p.is_file()]
    assert sorted(p.name for p in files) == ["good", "passwd"]
    assert not any(p.is_symlink() for p in files)


def test_an_absolute_name_is_below_the_folder(tmp_path):
    (tmp_path / "x.tar").write_bytes(make_tar(("/tmp/victim/x", b"1")))
    unpacking.unpack(tmp_path / "x.tar", tmp_path / "out")
    assert (tmp_path / "out/tmp/victim/x").read_bytes() == b"1"
