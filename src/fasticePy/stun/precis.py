"""The OpaqueString profile: how usernames, realms and passwords are prepared (RFC 8265 4.2, RFC 8264)."""

from __future__ import annotations

import unicodedata

__all__ = ["opaque_string"]

_ROUNDS = 4
"""RFC 8264 7: the rules are applied until nothing changes, at most three times more."""

# RFC 8264 9.6 (RFC 5892 2.6)
_VALID = frozenset("\u00df\u03c2\u06fd\u06fe\u0f0b\u3007")
_NEVER = frozenset("\u0640\u07fa\u302e\u302f\u3031\u3032\u3033\u3034\u3035\u303b")
_ARABIC_DIGITS = range(0x0660, 0x066A)
_EXTENDED_ARABIC_DIGITS = range(0x06F0, 0x06FA)

# Unicode properties that unicodedata does not have: Default_Ignorable_Code_Point, and Hangul_Syllable_Type L, V, T
_IGNORABLE = (
    range(0x00AD, 0x00AE), range(0x034F, 0x0350), range(0x061C, 0x061D), range(0x115F, 0x1161),
    range(0x17B4, 0x17B6), range(0x180B, 0x1810), range(0x200B, 0x2010), range(0x202A, 0x202F),
    range(0x2060, 0x2070), range(0x3164, 0x3165), range(0xFE00, 0xFE10), range(0xFEFF, 0xFF00),
    range(0xFFA0, 0xFFA1), range(0xFFF0, 0xFFF9), range(0x1BCA0, 0x1BCA4), range(0x1D173, 0x1D17B),
    range(0xE0000, 0xE1000),
)  # fmt: skip
_OLD_HANGUL = (range(0x1100, 0x1200), range(0xA960, 0xA97D), range(0xD7B0, 0xD7FC))

_DISALLOWED = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")
"""General categories that the FreeformClass leaves out (RFC 8264 4.3, 9): controls, unassigned, private, separators."""


def opaque_string(text: str) -> str:
    """Prepare a username, realm or password: spaces become U+0020, the rest NFC, case stays (RFC 8265 4.2.2).

    Raises ValueError for an empty string and for characters that passwords cannot have, such as controls.
    """
    if text and text.isascii() and text.isprintable():
        return text
    for _ in range(_ROUNDS):
        prepared = _prepare(text)
        if prepared == text:
            return prepared
        text = prepared
    raise ValueError("the string does not come to rest under the OpaqueString rules (RFC 8264 7)")


def _prepare(text: str) -> str:
    if not text:
        raise ValueError("an OpaqueString is not empty (RFC 8265 4.2.2)")
    for index, character in enumerate(text):
        if not _allowed(text, index):
            raise ValueError(f"U+{ord(character):04X} is not allowed in an OpaqueString (RFC 8265 4.2.1)")
    spaced = "".join(" " if unicodedata.category(character) == "Zs" else character for character in text)
    return unicodedata.normalize("NFC", spaced)


def _allowed(text: str, index: int) -> bool:
    """Whether the FreeformClass has this character where it stands; the order of the tests is RFC 8264 8's."""
    character = text[index]
    code = ord(character)
    if character in _VALID:
        return True
    if character in _NEVER:
        return False
    contextual = _in_context(text, index)
    if contextual is not None:
        return contextual
    if any(code in ignorable for ignorable in _IGNORABLE) or any(code in jamo for jamo in _OLD_HANGUL):
        return False
    if 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE:  # noncharacters
        return False
    return unicodedata.category(character) not in _DISALLOWED


def _in_context(text: str, index: int) -> bool | None:
    """The contextual rules of RFC 5892 appendix A; None for a character that has none."""
    code = ord(text[index])
    before = text[index - 1] if index else ""
    after = text[index + 1] if index + 1 < len(text) else ""
    if code in (0x200C, 0x200D):
        virama = before != "" and unicodedata.combining(before) == 9
        # A.1 also wants the joining types of the neighbours, which unicodedata lacks: letters of joining scripts do
        return virama or (code == 0x200C and _joining(before) and _joining(after))
    if code == 0x00B7:
        return before == after == "l"
    if code == 0x0375:
        return unicodedata.name(after, "").startswith("GREEK ") if after else False
    if code in (0x05F3, 0x05F4):
        return unicodedata.name(before, "").startswith("HEBREW ") if before else False
    if code == 0x30FB:
        scripts = ("HIRAGANA ", "KATAKANA LETTER", "CJK ")
        return any(unicodedata.name(other, "").startswith(scripts) for other in text)
    if code in _ARABIC_DIGITS:
        return not any(ord(other) in _EXTENDED_ARABIC_DIGITS for other in text)
    if code in _EXTENDED_ARABIC_DIGITS:
        return not any(ord(other) in _ARABIC_DIGITS for other in text)
    return None


def _joining(character: str) -> bool:
    scripts = ("ARABIC LETTER", "SYRIAC LETTER", "MANDAIC LETTER", "NKO LETTER", "MONGOLIAN LETTER")
    return character != "" and unicodedata.name(character, "").startswith(scripts)
