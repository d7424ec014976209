"""Rules for what clients may say. Each function returns the normal form or raises ValueError with what is wanted."""

import datetime as dt
import re
import unicodedata

import msgspec

MAX_TAGS = 20
MAX_TAG_LENGTH = 64
MAX_TAGS_LENGTH = 64 * 1024  # of the text that they are split from
MAX_DESCRIPTION_LENGTH = 2_000
MAX_FILENAME_LENGTH = 255
MAX_USER_ID_LENGTH = 128
LAST_CHARACTER = "\U0010ffff"  # Unicode's last, which is none: it bounds ranges of texts, so texts must not hold it

# How many characters NFC may make one of (Unicode, Standard Annex 15). What has more than that of what is allowed need
# not be composed, which for combining marks takes time by the square of how many there are.
_MOST_COMPOSED = 4
_TEXT_DIRECTION = re.compile("[\u202a-\u202e\u2066-\u2069]")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_USER_ID = re.compile(r"[A-Za-z0-9._@:|+-]{1,128}")


def normal_tags(values: list[str]) -> tuple[str, ...]:
    """Split at commas, trim, NFC, case-fold; drop empty ones and repeats, keep the order.

    Raises ValueError for more than 20 tags, or one that is over 64 characters or holds a control character.
    """
    if sum(map(len, values)) > MAX_TAGS_LENGTH:
        raise ValueError(f"wants at most {MAX_TAGS_LENGTH} characters of tags")
    tags: dict[str, None] = {}
    for value in values:
        for part in value.split(","):
            if tag := _normal_tag(part):
                tags[tag] = None
    if len(tags) > MAX_TAGS:
        raise ValueError(f"wants at most {MAX_TAGS} tags, got {len(tags)}")
    return tuple(tags)


def normal_prefix(text: str) -> str:
    """Bring how a tag begins to its normal form: a space may be where it goes on."""
    if "," in text:
        raise ValueError("wants how one tag begins, without a comma")
    if len(text) > _MOST_COMPOSED * MAX_TAG_LENGTH:
        raise ValueError(f"wants at most {MAX_TAG_LENGTH} characters, got {len(text)}")
    ended = text.rstrip()
    tag = _normal_tag(ended)
    return tag + text[len(ended) :] if tag else ""


def is_tag(text: str) -> bool:
    """Tell whether a text is a tag in its normal form."""
    try:
        return text != "" and "," not in text and _normal_tag(text) == text
    except ValueError:
        return False


def _normal_tag(text: str) -> str:
    tag = text.strip()
    if len(tag) <= _MOST_COMPOSED * MAX_TAG_LENGTH:
        # Case folding can undo NFC (U+0345, for one), hence NFC on both sides of it.
        tag = unicodedata.normalize("NFC", unicodedata.normalize("NFC", tag).casefold())
    if len(tag) > MAX_TAG_LENGTH:
        raise ValueError(f"wants tags of at most {MAX_TAG_LENGTH} characters, got one of {len(tag)}")
    _refuse_control_characters(tag)
    return tag


def is_user_id(text: object) -> bool:
    return isinstance(text, str) and _USER_ID.fullmatch(text) is not None


def normal_user_id(text: str) -> str:
    if not is_user_id(text):
        raise ValueError(f"wants 1 to {MAX_USER_ID_LENGTH} characters of A-Z a-z 0-9 . _ @ : | + -")
    return text


def normal_description(text: str) -> str:
    # NFC can lengthen a text, too.
    description = text if len(text) > MAX_DESCRIPTION_LENGTH else unicodedata.normalize("NFC", text)
    if len(description) > MAX_DESCRIPTION_LENGTH:
        raise ValueError(f"wants at most {MAX_DESCRIPTION_LENGTH} characters, got {len(description)}")
    _refuse_control_characters(description, allowed="\t\n\r")
    return description


def normal_filename(text: str) -> str:
    """Keep the last path component: browsers and scripts disagree on whether to send directories."""
    path = text.strip()
    name = path[max(path.rfind("/"), path.rfind("\\")) + 1 :].strip()
    if len(name) <= _MOST_COMPOSED * MAX_FILENAME_LENGTH:
        name = unicodedata.normalize("NFC", name)
    if len(name) > MAX_FILENAME_LENGTH:
        raise ValueError(f"wants at most {MAX_FILENAME_LENGTH} characters, got {len(name)}")
    _refuse_control_characters(name)
    if _TEXT_DIRECTION.search(name):
        raise ValueError("wants no character that turns the direction of text, which can hide the name's ending")
    if name in ("", ".", ".."):
        raise ValueError("wants the name of a file")
    return name


def normal_sha256(text: str) -> str:
    digest = text.lower()
    if not _SHA256.fullmatch(digest):
        raise ValueError("wants a SHA-256 in 64 hex digits")
    return digest


def normal_moment(text: str) -> dt.datetime:
    try:
        moment = msgspec.convert(text, dt.datetime)
    except msgspec.ValidationError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError("wants an RFC 3339 time such as 2026-01-31T09:30:00Z (a + is written %2B in a URL)")
    return moment


def _refuse_control_characters(text: str, *, allowed: str = "") -> None:
    if LAST_CHARACTER in text:
        raise ValueError("wants no noncharacter, got U+10FFFF")
    for character in text:
        # Cs: a lone surrogate, which no UTF-8 store can hold.
        if unicodedata.category(character) in ("Cc", "Cs") and character not in allowed:
            raise ValueError(f"wants no control character, got U+{ord(character):04X}")
