"""What a PNG file says of itself, read from its chunks (PNG specification, sections 5.3 and 11)."""

import struct
import zlib
from typing import BinaryIO, NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER_BYTES = 26  # from the signature to the colour type
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6  # colour types, section 11.2.1

# Keywords of text chunks in which programs keep EXIF, or XMP, where an orientation may stand.
_ORIENTING_TEXTS = (b"Raw profile type exif", b"Raw profile type APP1", b"XML:com.adobe.xmp")
_LONGEST_KEYWORD = 79  # section 11.3.3.1


class Header(NamedTuple):
    """Sizes in pixels; bits of a sample (of a palette: of an index)."""

    width: int
    height: int
    bits: int
    color_type: int


def read_header(head: bytes) -> Header | None:
    """Of a file's first HEADER_BYTES or more; None when they are no PNG's."""
    if len(head) < HEADER_BYTES or head[:8] != SIGNATURE or head[12:16] != b"IHDR":
        return None
    return Header(*struct.unpack(">IIBB", head[16:HEADER_BYTES]))


_CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}


def lacks_rows(data: bytes) -> bool:
    """Whether the pixels of a PNG file that is not interlaced, unpacked, are fewer than its header
    says.

    PIL leaves such rows at zero without a word. Takes as long as unpacking does, some milliseconds
    a megabyte of pixels.
    """
    header = read_header(data)
    if data[HEADER_BYTES + 2]:  # interlace method: Adam7 has rows of other lengths
        return False
    # a byte for the filter
    row = 1 + -(-header.width * header.bits * _CHANNELS.get(header.color_type, 1) // 8)
    unpacker, num_bytes, position = zlib.decompressobj(), 0, len(SIGNATURE)
    try:
        while position + 8 <= len(data):
            length, name = struct.unpack(">I4s", data[position : position + 8])
            if name == b"IDAT":
                num_bytes += len(unpacker.decompress(data[position + 8 : position + 8 + length]))
            position += length + 12
    except zlib.error:
        return False  # which PIL has seen too
    return num_bytes < row * header.height


class Extras(NamedTuple):
    """What a PNG file has beyond its pixels: facts that change how they are to be seen."""

    transparency: bool  # a tRNS chunk: a colour, or entries of the palette, that are not opaque
    orientation: bool  # EXIF or XMP, which may hold one
    animation: bool  # further frames (APNG)


def read_extras(file: BinaryIO) -> Extras:
    """From the names of all chunks, wherever they stand; jumps over what is in them. The file's
    position changes.

    A file that ends too soon has what was found until there.
    """
    names, is_oriented = set(), False
    file.seek(len(SIGNATURE))
    while len(start := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", start)
        if name == b"IEND":
            break
        names.add(name)
        begun = 0
        if name in (b"tEXt", b"zTXt", b"iTXt"):
            text = file.read(min(length, _LONGEST_KEYWORD + 1))
            begun, is_oriented = len(text), is_oriented or text.split(b"\0")[0] in _ORIENTING_TEXTS
        file.seek(length - begun + 4, 1)  # and its checksum
    return Extras(b"tRNS" in names, is_oriented or b"eXIf" in names, b"acTL" in names)
