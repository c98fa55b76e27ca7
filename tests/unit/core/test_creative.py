"""Creatives: directives, the body, and what is refused with the line it stands on."""

from __future__ import annotations

import pytest

from ci360_twilio.core.creative import (
    MAX_BODY,
    MAX_MEDIA,
    Directive,
    parse_creative,
    split_media,
)

TO = "TO:+12015550123;"
FROM = "FROM:+12015550100;"
LOGO = "https://www.example.com/images/logo.jpg"
OTHER = "https://www.example.com/b.png"


def found(text: str) -> list[tuple[str, int | None]]:
    """Give the problems of a creative, by code and line."""
    return [(problem.code, problem.line) for problem in parse_creative(text).problems]


def test_the_documented_creative_is_read_whole() -> None:
    """Directives, then all the rest with its semicolon."""
    creative = parse_creative(f"{TO}\n{FROM}\nMEDIA_URLS:{LOGO};\nAnn, thank you; see you there!")
    assert (creative.to, creative.sender) == ("+12015550123", "+12015550100")
    assert creative.media_urls == (LOGO,)
    assert (creative.body, creative.body_line) == ("Ann, thank you; see you there!", 4)
    assert creative.lines == {Directive.TO: 1, Directive.FROM: 2, Directive.MEDIA_URLS: 3}
    assert creative.problems == ()


def test_an_empty_text_is_an_empty_creative() -> None:
    """Whether that can be sent depends on the task's attributes."""
    for text in ("", " \r\n\ufeff\n ", "TO:;", "\x85"):
        creative = parse_creative(text)
        assert (creative.to, creative.body, creative.problems) == (None, "", ())


# Before parsing


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
def test_every_kind_of_line_end_becomes_a_line_feed(end: str) -> None:
    """In the block of directives and in the body, and lines are counted alike."""
    creative = parse_creative(end.join([TO, FROM, "one", "", "two {{x}}"]))
    assert (creative.sender, creative.body) == ("+12015550100", "one\n\ntwo {{x}}")
    assert [problem.line for problem in creative.problems] == [5]


@pytest.mark.parametrize(
    "leading",
    ["\ufeff", "\n", "\r\n\r\n", " \t\n \n  ", "\ufeff\n\n", "\n\ufeff", "  "],
    ids=["bom", "line", "crlf lines", "blank lines", "bom and lines", "line and bom", "spaces"],
)
def test_a_byte_order_mark_and_leading_blank_lines_go(leading: str) -> None:
    """Also before a creative that has no directive."""
    assert parse_creative(f"{leading}{TO}\nHi").to == "+12015550123"
    assert parse_creative(f"{leading}Hi").body == "Hi"


def test_lines_are_counted_from_the_top_of_the_text() -> None:
    """Leading blank lines go, and the marketer still sees them."""
    creative = parse_creative(f"\n\n{TO}\nHi")
    assert (creative.lines[Directive.TO], creative.body_line) == (3, 4)


@pytest.mark.parametrize(
    ("written", "body"),
    [
        ("Tom &amp; Jerry&#39;s", "Tom & Jerry's"),
        ("&#x20AC;5 or &euro;5", "€5 or €5"),
        ("&#128512;", "😀"),
        ("&amp;amp; &amp;#39;", "&amp; &#39;"),
        ("a &amp b &#39 c", "a &amp b &#39 c"),
        ("AT&T; Q&A; a&b", "AT&T; Q&A; a&b"),
        ("&nosuchname;", "&nosuchname;"),
        ("a&nbsp;b", "a\u00a0b"),
    ],
)
def test_entities_that_end_in_a_semicolon_are_unescaped_once(written: str, body: str) -> None:
    """What only looks like one stays as it is written."""
    creative = parse_creative(f"{TO}\n{written}")
    assert (creative.body, creative.problems) == (body, ())


@pytest.mark.parametrize("written", ["see &parameter; 4", "&notit;", "&copyright; Acme", "&amps;"])
def test_a_name_that_only_begins_like_an_entity_is_none(written: str) -> None:
    """Browsers would read ``&para`` out of ``&parameter;``; no entity of that name ends in ``;``."""
    assert parse_creative(written).body == written


def test_entities_are_unescaped_before_directives_are_read() -> None:
    """The semicolon of an entity ends no value, and one that is written as an entity does."""
    assert parse_creative("TO:+1201555012&#51;;Hi").to == "+12015550123"
    assert parse_creative("TO&#58;+12015550123&#59;Hi").body == "Hi"


# Directives


@pytest.mark.parametrize("name", ["TO", "to", "To", "tO"])
def test_a_directives_name_may_be_in_any_case(name: str) -> None:
    """As the published parser upper-cases it."""
    assert parse_creative(f"{name}:+12015550123;Hi").to == "+12015550123"


@pytest.mark.parametrize("name", ["MEDIA_URLS", "MEDIAL_URLS", "MEDIA_URL", "Medial_Urls"])
def test_media_may_be_named_as_the_code_or_as_the_page_does(name: str) -> None:
    """The sample's page prints ``MEDIAL_URLS``; its code reads ``MEDIA_URLS``."""
    creative = parse_creative(f"{TO}\n{name}:{LOGO};\nHi")
    assert (creative.media_urls, creative.body) == ((LOGO,), "Hi")


@pytest.mark.parametrize("name", ["MED\u0130A_URLS", "med\u0130al_urls", "MED\u0130A_URL"])
def test_a_name_with_a_foreign_letter_is_no_directive(name: str) -> None:
    """Case folding makes letters alike that no one calls the same; the text is kept and sent."""
    creative = parse_creative(f"{TO}{name}:{LOGO};Hi")
    assert (creative.media_urls, creative.body) == ((), f"{name}:{LOGO};Hi")


def test_spaces_may_stand_around_a_name_and_a_value() -> None:
    """Values are trimmed; the published parser would keep the space in front of the number."""
    creative = parse_creative("  TO \t:  +12015550123  ;\n\tFROM : Acme ;\nHi")
    assert (creative.to, creative.sender, creative.body) == ("+12015550123", "Acme", "Hi")


def test_several_directives_may_share_a_line_with_the_text() -> None:
    """In any order."""
    creative = parse_creative(f"{FROM} MEDIA_URLS:{LOGO};{TO}\tHi there")
    assert creative.lines == dict.fromkeys(Directive, 1)
    assert (creative.body, creative.body_line) == ("Hi there", 1)


@pytest.mark.parametrize("empty", ["FROM:;", "FROM: \t ;", "from:;FROM:;", "MEDIA_URLS:\n;FROM:;"])
def test_an_empty_value_is_as_if_the_directive_were_absent(empty: str) -> None:
    """A merge tag without a value leaves one behind."""
    creative = parse_creative(f"{TO}\n{empty}\nHi")
    assert (creative.sender, creative.media_urls, creative.body) == (None, (), "Hi")
    assert creative.problems == ()


@pytest.mark.parametrize("text", [f"{TO};\nHi", f"{TO};;Hi", f";{TO}Hi", f";;{TO};\nHi"])
def test_semicolons_that_end_nothing_are_empty_directives(text: str) -> None:
    """The published parser steps over them too."""
    creative = parse_creative(text)
    assert (creative.to, creative.body) == ("+12015550123", "Hi")


# Where the body starts


@pytest.mark.parametrize(
    ("rest", "body"),
    [
        ("\n\nFROM:me;\nHi", "FROM:me;\nHi"),
        ("\n \t \nTO:you; TO:me; Hi", "TO:you; TO:me; Hi"),
        ("\n\n\n\n  Hi  \n\n", "Hi"),
        ("\n\nSENDER:x;\nFROM:me;\nHi", "SENDER:x;\nFROM:me;\nHi"),
    ],
    ids=["a directive", "blanks in the line", "many lines", "an unknown one"],
)
def test_a_blank_line_ends_the_directives(rest: str, body: str) -> None:
    """Whatever stands behind it is text."""
    creative = parse_creative(TO + rest)
    assert (creative.body, creative.sender, creative.problems) == (body, None, ())


@pytest.mark.parametrize(
    "body",
    [
        "Hi; reply STOP; bye",
        "Hi\nFROM:me;\nthere",
        "one\n\ntwo;\n\n;three",
        "Hello;",
        "TOTAL: 5; FROMAGE: 3;",
        "TO be or not; FROM: me;",
        "Offer: 10%; ends at 5",
        "OFFER:10%;\nends at 5",
        "12:30; be there",
        ":; -) see you",
    ],
)
def test_the_first_thing_that_is_no_directive_starts_the_body(body: str) -> None:
    """All the rest is text, its semicolons and line breaks included."""
    creative = parse_creative(f"{TO}\n{body}")
    assert (creative.body, creative.sender, creative.problems) == (body, None, ())


@pytest.mark.parametrize(
    "gap", ["\n", " ", "\t \n", "\n\n"], ids=["line", "space", "both", "blank"]
)
def test_a_semicolon_set_apart_from_the_directive_belongs_to_the_body(gap: str) -> None:
    """A text may begin with a wink; only ``;;`` is an empty directive."""
    assert parse_creative(f"{TO}{gap};-) Hi").body == ";-) Hi"


@pytest.mark.parametrize(
    "last",
    ["To: whom it may concern", "FROM:me", "MEDIA_URLS: soon", "to:", "SENDER:x"],
)
@pytest.mark.parametrize("before", [TO, f"{TO}\n", ""], ids=["same line", "next line", "alone"])
def test_what_follows_the_last_semicolon_is_body(before: str, last: str) -> None:
    """As the published parser reads it, even where it looks like a directive."""
    creative = parse_creative(before + last)
    assert (creative.body, creative.sender, creative.problems) == (last, None, ())


def test_white_space_goes_from_both_ends_of_the_body_only() -> None:
    """What stands inside is the marketer's."""
    creative = parse_creative(f"{TO}\n\n\n \t Hi  \n\n  there \n\t \n")
    assert (creative.body, creative.body_line) == ("Hi  \n\n  there", 4)


# Refused


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"{TO}{TO}Hi", 1),
        (f"{TO}\n{FROM}\nto: +12015550124;\nHi", 3),
        (f"MEDIA_URLS:{LOGO};\nMEDIAL_URLS:{OTHER};\nHi", 2),
        (f"TO:;\n{TO}\nTO:;\n{TO}\n{TO}\nHi", 4),
    ],
    ids=["same line", "later line", "two spellings", "told once"],
)
def test_a_directive_twice_is_refused(text: str, line: int) -> None:
    """On the line of the second one; empty ones do not count."""
    assert found(text) == [("duplicate_directive", line)]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"{TO}\nFROM:+12015550100\nHi; there", 2),
        (f"{TO}\n{FROM}\nMEDIA_URLS:{LOGO}\nHi; there", 3),
        ("TO:+12015550123\nHi", 1),
        (f"{TO}\nFrom:\nme", 2),
        (f"TO:+12015550123\n;{FROM}Hi", 1),
    ],
    ids=[
        "a text with ;",
        "media",
        "the last part",
        "a word",
        "; on the next line",
    ],
)
def test_a_known_name_whose_value_runs_over_a_line_break_is_refused(text: str, line: int) -> None:
    """The semicolon was forgotten; sending would swallow the text or show the number."""
    assert found(text) == [("directive_not_terminated", line)]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"SENDER:me;\n{TO}\nHi", 1),
        (f"{TO}\nSENDER : me ;\n{FROM}\nHi", 2),
        (f"{TO}\nA:1; B_2:;\nC:3;\n{FROM}\nHi", 2),
        (f"{TO} SMS:x;FROM:;Hi", 1),
        (f"MEDIAURLS:{LOGO};{TO}Hi", 1),
    ],
)
def test_an_unknown_name_directly_before_a_known_directive_is_refused(text: str, line: int) -> None:
    """Otherwise a mistyped name would make the text start there, and the rest be sent as text."""
    assert found(text) == [("unknown_directive", line)]


@pytest.mark.parametrize(
    "body",
    [
        "OFFER:10%;\nfor you",
        "Offer:10%;\nFROM:me;\nHi",
        "OFFER:10%; now\nFROM:me;",
        "OFFER:10%;\nFROM:me",
        "OFFER:10%\n;FROM:me;",
    ],
    ids=["before text", "not upper case", "text between", "no directive behind", "over two lines"],
)
def test_an_unknown_name_anywhere_else_is_text(body: str) -> None:
    """Marketers write ``OFFER: ...;`` too."""
    assert parse_creative(f"{TO}\n{body}").body == body
    assert found(f"{TO}\n{body}") == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("TO:{{phone}};\nHi", 1),
        (f"{TO}\nFROM:{{{{sender}}}};\nHi", 2),
        (f"{TO}\nMEDIA_URLS:https://www.example.com/{{{{logo}}}};\nHi", 2),
        (f"{TO}\nMEDIA_URLS:{LOGO}\n{OTHER}?{{{{x}}}};\nHi", 3),
        (f"{TO}\nMEDIA_URLS:\n{LOGO}?{{{{x}}}};\nHi", 3),
        (f"{TO}\n\nHi\n{{{{ first name }}}}!", 4),
        (f"{TO}\n{{{{{{x}}}}}}", 2),
        (f"{TO}\n{{{{}}}}", 2),
    ],
    ids=["to", "from", "media", "media, 2nd line", "media below", "body", "three braces", "empty"],
)
def test_a_merge_tag_that_is_left_over_is_refused(text: str, line: int) -> None:
    """In every part, on its own line."""
    assert found(text) == [("merge_tag", line)]


@pytest.mark.parametrize("body", ["{x}", "{{", "}} {{", "{ {x} }", "if (a) {{ b"])
def test_braces_that_are_no_merge_tag_are_text(body: str) -> None:
    """They are somebody's text."""
    assert parse_creative(TO + body).body == body
    assert found(TO + body) == []


@pytest.mark.parametrize(
    "character", ["\x00", "\x07", "\x0b", "\x0c", "\x1b", "\x7f", "\x85", "\x9f"]
)
def test_a_control_character_is_refused_in_every_part(character: str) -> None:
    """Others than LF and tab; on the line on which it stands."""
    assert found(f"{TO}\nHi\nthere{character}!") == [("control_character", 3)]
    assert found(f"TO:+1201{character}5550123;\nHi") == [("control_character", 1)]
    assert found(f"{TO}\nFROM:A{character}B;\nHi") == [("control_character", 2)]
    assert ("control_character", 2) in found(f"{TO}\nMEDIA_URLS:{LOGO}{character}x;\nHi")


@pytest.mark.parametrize("entity", ["&#1;", "&#x7;", "&#11;", "&#127;", "&#x1b;"])
def test_a_control_character_written_as_an_entity_is_refused_too(entity: str) -> None:
    """It is not left out of the text without a word."""
    assert found(f"{TO}\na{entity}b") == [("control_character", 2)]


@pytest.mark.parametrize(
    "character", ["\t", "\n", "\u200b", "\u2028", "\u00ad", "\ufeff", "😀", "ی"]
)
def test_other_characters_are_text(character: str) -> None:
    """Line feed, tab, and whatever is no control character."""
    assert parse_creative(f"{TO}a{character}b").body == f"a{character}b"
    assert found(f"{TO}a{character}b") == []


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0">\n<html xmlns="x">\n<body>Hi</body>\n</html>',
        '<?xml version="1.0"?>\n<HTML\n  lang="en">Hi',
        f"<html>\n    <head>\n    </head>\n    <body>{TO}Hi</body>\n</html>",
        f"{TO}Hi</body></html>",
        "<body\tclass='a'>Hi",
    ],
    ids=["xhtml", "upper case", "with directives", "the end of one", "body"],
)
def test_an_html_page_is_refused(text: str) -> None:
    """It would be sent with its tags."""
    assert found(text) == [("html_creative", 1)]


@pytest.mark.parametrize("body", ["I <3 you", "a < b > c", "<b>Sale</b>", "<header>", "html; body"])
def test_a_text_with_angle_brackets_is_no_html_page(body: str) -> None:
    """Tags of a page are html, head and body."""
    assert parse_creative(f"{TO}\n{body}").body == body
    assert found(f"{TO}\n{body}") == []


@pytest.mark.parametrize("character", ["x", "é", "😀", "中"])
def test_a_body_of_1600_code_points_is_the_longest(character: str) -> None:
    """White space around it does not count."""
    assert found(f"{TO}\n{character * MAX_BODY}\n\n") == []
    assert found(f"{TO}\n\n{character * MAX_BODY}.") == [("body_too_long", 3)]
    assert MAX_BODY == 1600


# Media


@pytest.mark.parametrize(
    "listed",
    [
        f"{LOGO} {OTHER}",
        f"{LOGO}\n  {OTHER}\n",
        f"\n{LOGO}\n\n{OTHER}",
        f"{LOGO},{OTHER}",
        f"{LOGO} ,\t{OTHER}",
        f"{LOGO},\n{OTHER}",
    ],
)
def test_media_are_separated_by_white_space_or_by_a_comma_before_an_address(listed: str) -> None:
    """A line break too: of all directives, this one may hold some."""
    creative = parse_creative(f"{TO}\nMEDIA_URLS:{listed};\nHi")
    assert creative.media_urls == (LOGO, OTHER)
    assert (creative.body, creative.problems) == ("Hi", ())


@pytest.mark.parametrize(
    "url",
    [
        "https://cdn.example.com/w_300,h_200/a.jpg",
        "https://cdn.example.com/a,b,c?x=1,2",
        "HTTP://WWW.EXAMPLE.COM/A.JPG",
        "http://192.0.2.1:8080/a?b=https://www.example.com/",
        "https://www.example.com/a:b",
    ],
)
def test_commas_inside_an_address_stay(url: str) -> None:
    """Image servers use them."""
    assert split_media(f"{url},{LOGO} {url}") == (url, LOGO, url)
    assert found(f"{TO}MEDIA_URLS:{url};Hi") == []


@pytest.mark.parametrize(
    "url",
    [
        "www.example.com/a.jpg",
        "ftp://www.example.com/a.jpg",
        "https://",
        "https:///a.jpg",
        "http:a",
        "https://[",
        "https://example.com:0/",
        "https://example.com:99999/",
        "javascript:alert(1)",
    ],
)
def test_media_that_are_no_web_addresses_are_refused(url: str) -> None:
    """Alone and among good ones, on the line of the directive."""
    assert found(f"{TO}\nMEDIA_URLS:{url};\nHi") == [("invalid_media_url", 2)]
    assert found(f"{TO}\nMEDIA_URLS:{LOGO} {url};\nHi") == [("invalid_media_url", 2)]


def test_ten_media_are_the_most() -> None:
    """Twilio refuses the eleventh."""
    assert found(f"{TO}\nMEDIA_URLS:{' '.join([LOGO] * MAX_MEDIA)};\nHi") == []
    assert found(f"{TO}\nMEDIA_URLS:{','.join([LOGO] * 11)};\nHi") == [("too_many_media", 2)]
    assert MAX_MEDIA == 10


# Hostile texts


@pytest.mark.parametrize(
    "text",
    [
        "TO:;", "TO:x;", "TO:x;\n", "FROM:", "MEDIA_URLS:https://a.example/\n", "A:b;", "A:b;\n",
        "A", " ", "\t", "\n", "\r", " \n", "\ufeff", "\ufeff\n", ";", "; ", ";\n", ",", " ,", "{{",
        "{{a", "}}", "{{a}}", "<", "<html ", "<!doctype ", "&", "&#", "&amp;", "&nbsp;", "\x00",
    ],
    ids=ascii,
)  # fmt: skip
@pytest.mark.parametrize("before", ["", TO, "MEDIA_URLS:"], ids=["alone", "body", "media"])
def test_a_hostile_text_is_read_in_no_time(before: str, text: str) -> None:
    """A hundred thousand characters: a pattern that went back over them would take minutes."""
    hostile = before + text * (100_000 // len(text))
    parse_creative(hostile)
    parse_creative(f"{hostile};x")
