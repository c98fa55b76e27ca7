"""The audience of a bulk task: columns, options, and a template that is filled row by row."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci360_twilio.core.audience import (
    BAD_ROWS_PERCENT,
    Columns,
    Filling,
    Identified,
    Options,
    foreign,
    foreign_words,
    parse_columns,
    parse_options,
    parse_template,
)
from ci360_twilio.core.creative import MAX_BODY, MAX_MEDIA, MERGE_TAG, Creative, Directive
from ci360_twilio.core.message import AttributeNames, Message, compose
from ci360_twilio.core.tenant import Tenant, TenantId
from ci360_twilio.errors import AudienceBroken, Issue

RECIPIENT, OTHER, SENDER = "+12015550123", "+12015550199", "+12015550100"
LOGO = "https://www.example.com/logo.jpg"
PHOTO = "https://www.example.com/photo.png?a=1,2"
BOM = b"\xef\xbb\xbf"
TENANT = Tenant(id=TenantId("demo"), messages_url="", account="", user="", password="")


def broken(document: bytes) -> AudienceBroken:
    """Give what is said of a metadata file that cannot be used."""
    with pytest.raises(AudienceBroken) as caught:
        parse_columns(document)
    return caught.value


def filling(columns: Sequence[str], identity: str | None = None, /, **parameters: str) -> Filling:
    """Make a filling; parameters as CI360 sends them, ``_from`` for ``from``."""
    named = {name.removeprefix("_"): value for name, value in parameters.items()}
    return Filling(parse_template(named), Columns(columns), identity)


def filled(row: dict[str, str], **parameters: str) -> Creative:
    """Fill a template with one row, by its columns."""
    creative, _ = filling([*row], **parameters).fill([*row.values()])
    return creative


def composed(row: dict[str, str], **parameters: str) -> tuple[Message | None, list[str]]:
    """Fill a template with one row, and compose what comes of it; problems by code."""
    creative, attributes = filling([*row], **parameters).fill([*row.values()])
    message, problems = compose(creative, attributes, TENANT, default_sender=SENDER)
    return message, [problem.code for problem in problems]


def codes(creative: Creative) -> list[str]:
    """Give what is wrong with a creative."""
    return [problem.code for problem in creative.problems]


# Columns


@pytest.mark.parametrize(
    ("document", "names"),
    [
        (b"identity_id,mobile", ("identity_id", "mobile")),
        (b"identity_id,mobile\n", ("identity_id", "mobile")),
        (b"identity_id,mobile\r\n", ("identity_id", "mobile")),
        (b"\n identity_id , mobile \n\n", ("identity_id", "mobile")),
        (BOM + b"identity_id,mobile\r\n", ("identity_id", "mobile")),
        (BOM + b'"identity_id","mobile"', ("identity_id", "mobile")),
        (b'"mobile, private","say ""hi"""', ("mobile, private", 'say "hi"')),
        (b"mobile", ("mobile",)),
        ("Straße,国".encode(), ("Straße", "国")),
        (b"a,b\nc,d\n", ("a", "b")),
    ],
)
def test_columns_are_a_line_of_csv(document: bytes, names: tuple[str, ...]) -> None:
    """With or without a line end and a byte order mark; blanks around a name are none of it."""
    assert parse_columns(document).names == names


@pytest.mark.parametrize("mark", [b"", BOM])
@pytest.mark.parametrize(
    "members",
    [
        [{"columnName": "identity_id"}, {"columnName": "mobile"}],
        [
            {"columnName": "identity_id", "dataType": "STRING"},
            {"columnName": " mobile ", "dataType": "STRING", "length": 20, "other": None},
        ],
    ],
)
def test_columns_are_json(mark: bytes, members: list[dict[str, Any]]) -> None:
    """The types are not needed, since all cells are texts."""
    document = mark + b"\n" + json.dumps(members, indent=2).encode() + b"\n"
    assert parse_columns(document).names == ("identity_id", "mobile")


@pytest.mark.parametrize(
    ("document", "reason", "words"),
    [
        (b"", "metadata_unreadable", "The metadata file names no columns, or one without a name."),
        (b"\r\n \n", "metadata_unreadable", "names no columns"),
        (BOM, "metadata_unreadable", "names no columns"),
        (b"[]", "metadata_unreadable", "names no columns"),
        (b"a,,b", "metadata_unreadable", "one without a name"),
        (b"a,b,", "metadata_unreadable", "one without a name"),
        (b'a," "', "metadata_unreadable", "one without a name"),
        (b'[{"columnName": ""}]', "metadata_unreadable", "one without a name"),
        (b'[{"columnName": "a"}, {"columnName": " "}]', "metadata_unreadable", "without a name"),
        (b"Zo\xeb,b", "metadata_unreadable", "The metadata file is not UTF-8."),
        (b"\xff\xfea\0,\0b\0", "metadata_unreadable", "The metadata file is not UTF-8."),
        (b"[", "metadata_unreadable", 'no list of {"columnName": ...}'),
        (b'[{"columnName": "a"}', "metadata_unreadable", "no list of"),
        (b'[{"columnName": "a"}] x', "metadata_unreadable", "no list of"),
        (b'[{"columnName": null}]', "metadata_unreadable", "no list of"),
        (b'[{"columnName": 5}]', "metadata_unreadable", "no list of"),
        (b'[{"name": "a"}]', "metadata_unreadable", "no list of"),
        (b'["a", "b"]', "metadata_unreadable", "no list of"),
        (b"[" * 100_000, "metadata_unreadable", "no list of"),
        (gzip.compress(b"a,b", mtime=0), "compressed", "The metadata file is compressed."),
        (b"PK\x03\x04" + bytes(26), "compressed", "The metadata file is compressed."),
        (b"<html><body>", "not_csv", "The metadata file is an HTML or XML page, not CSV."),
        (b"<!DOCTYPE html>\n<html>", "not_csv", "an HTML or XML page"),
        (b'<?xml version="1.0"?><Error/>', "not_csv", "an HTML or XML page"),
        (BOM + b"\r\n  <HTML>", "not_csv", "an HTML or XML page"),
    ],
)
def test_what_names_no_columns_is_refused(document: bytes, reason: str, words: str) -> None:
    """The reason is a code; the words hold nothing of the file."""
    error = broken(document)
    assert error.reason == reason
    assert words in error.message
    assert error.code == "audience_broken"


@given(document=st.binary() | st.text().map(str.encode))
@settings(max_examples=200, deadline=None)
def test_no_metadata_file_fails_in_another_way(document: bytes) -> None:
    """It has columns, each with a name, or is refused."""
    try:
        columns = parse_columns(document)
    except AudienceBroken:
        return
    assert columns.names
    assert all(name == name.strip() != "" for name in columns.names)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("mobile", 0),
        ("MOBILE", 0),
        (" Mobile ", 0),
        ("mobile_", 0),
        ("mobile__", 0),
        ("city", 1),
        ("city_", 1),
        ("City__", 1),
        ("_Name", 2),
        ("_name_", 2),
        ("straße", 3),
        ("name", None),
        ("cit", None),
        ("mo bile", None),
        ("", None),
        ("_", None),
    ],
)
def test_a_column_is_found_by_its_name(name: str, place: int | None) -> None:
    """Whatever its case, with or without underscores at its end; those at its start are its own."""
    assert Columns(["Mobile", "city_", "_name", " STRAßE "]).find(name) == place


def test_the_closer_of_two_names_is_meant() -> None:
    """Underscores count where they tell columns apart."""
    columns = Columns(["city", "city_", "CITY__"])
    assert [columns.find(name) for name in ("City", "CITY_", "city__")] == [0, 1, 2]


@pytest.mark.parametrize(
    ("names", "name"),
    [
        (["mobile", "mobile"], "mobile"),
        (["mobile", "MOBILE"], "mobile"),
        (["mobile", "x", " mobile"], "Mobile"),
        (["mobile_", "mobile__"], "mobile"),
        (["mobile", "MOBILE"], "mobile_"),
    ],
)
def test_a_name_of_several_columns_names_none(names: list[str], name: str) -> None:
    """Which is meant nobody can tell."""
    columns = Columns(names)
    with pytest.raises(AudienceBroken, match="Several columns are called") as caught:
        columns.find(name)
    assert caught.value.reason == "ambiguous_column"
    assert columns.find("other") is None


def test_columns_that_share_a_name_are_no_harm_where_nobody_names_them() -> None:
    """The file is read by places."""
    columns = parse_columns(b"mobile,x,x,identity_id")
    made = Filling(parse_template({"to": "{{mobile}}", "body": "Hi"}), columns)
    assert made.identified([RECIPIENT, "1", "2", "dh-1"]).identity == "dh-1"


def test_columns_are_named_in_words() -> None:
    """The first twenty of them; what does not look like names may be a customer."""
    assert str(Columns(["a", "b_"])) == "'a', 'b_'"
    assert str(Columns(["id-1", "Robin", "+12015550101"])) == (
        "3 columns, not all of which look like names"
    )
    many = str(Columns([f"c{number}" for number in range(23)]))
    assert many.startswith("'c0', 'c1', ")
    assert many.endswith("'c19' and 3 more")
    assert str(Columns([f"c{number}" for number in range(20)])).endswith(", 'c19'")
    assert "x" * 65 not in str(Columns(["x" * 500]))


# What a file is that is none


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (b"", None),
        (b"a,b\n", None),
        (BOM + b"a,b\n", None),
        (b"<3,b\n", None),
        (b"<htmlish>,b\n", None),
        (b"a,<html>\n", None),
        (b"PK,b\n", None),
        (b"\x1f\x8b", "compressed"),
        (gzip.compress(b"a,b\n", mtime=0), "compressed"),
        (b"PK\x03\x04rest", "compressed"),
        (b"<html>", "not_csv"),
        (b"<HTML lang='en'>", "not_csv"),
        (b"\r\n\t <!doctype HTML>", "not_csv"),
        (BOM + b"<body>", "not_csv"),
        (b"<head>", "not_csv"),
        (b"<?xml version='1.0'?>", "not_csv"),
        (b"<Error><Code>AccessDenied</Code>", "not_csv"),
    ],
)
def test_a_file_of_another_kind_is_known_by_its_first_bytes(
    start: bytes, reason: str | None
) -> None:
    """An archive, or the page of somebody who did not have the file."""
    assert foreign(start) == reason


def test_a_file_of_another_kind_is_told_in_words() -> None:
    """One sentence for each reason."""
    assert foreign_words("compressed") == "The data file is compressed."
    assert foreign_words("not_csv") == "The data file is an HTML or XML page, not CSV."


# Options


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, Options()),
        ({"body": "x", "to": "y"}, Options()),
        ({"identity": " customer_id "}, Options(identity="customer_id")),
        ({"identity": " "}, Options()),
        ({"duplicates": "all"}, Options(duplicates="all")),
        ({"duplicates": " ALL "}, Options(duplicates="all")),
        ({"duplicates": "One"}, Options()),
        ({"bad_rows_limit": "0"}, Options(bad_rows_limit=0)),
        ({"bad_rows_limit": "100"}, Options(bad_rows_limit=100)),
        ({"bad_rows_limit": " 2.5 "}, Options(bad_rows_limit=2.5)),
        ({"bad_rows_limit": "1e1"}, Options(bad_rows_limit=10)),
    ],
)
def test_options_are_read(parameters: dict[str, str], expected: Options) -> None:
    """What is not said is as it usually is."""
    issues: list[Issue] = []
    assert parse_options(parameters, issues) == expected
    assert issues == []


def test_a_fifth_of_the_rows_may_be_bad_where_the_task_does_not_say() -> None:
    """One message for each number, and no column of one's own."""
    assert BAD_ROWS_PERCENT == 20
    assert Options() == Options(identity=None, duplicates="one", bad_rows_limit=20)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        *(
            ("bad_rows_limit", value, "must be a number from 0 to 100")
            for value in ("-0.1", "100.1", "20%", "many", "", "nan", "inf", "-inf", "1,5", "0x1")
        ),
        *(("duplicates", value, "must be one or all") for value in ("none", "", "1", "one all")),
    ],
)
def test_options_that_are_none_are_told(name: str, value: str, words: str) -> None:
    """By their names, without what stands there."""
    issues: list[Issue] = []
    parse_options({name: value}, issues)
    assert [(issue.field, str(issue)) for issue in issues] == [(f"sendParameters.{name}", words)]


def test_all_options_that_are_wrong_are_told_at_once() -> None:
    """Nobody wants to hear of them one by one."""
    issues: list[Issue] = []
    parse_options({"bad_rows_limit": "x", "duplicates": "x"}, issues)
    assert len(issues) == 2


# The template


def test_a_template_is_made_of_parameters() -> None:
    """Each stands for a directive; merge tags are left as they are."""
    template = parse_template(
        {
            "to": " {{mobile}} ",
            "from": SENDER,
            "media_urls": "{{photo}} " + LOGO,
            "body": "Hi {{name}},\r\nsee you!\rBye \n",
        }
    )
    assert (template.to, template.sender) == ("{{mobile}}", SENDER)
    assert template.media_urls == ("{{photo}} " + LOGO,)
    assert template.body == "Hi {{name}},\nsee you!\nBye"
    assert (template.lines, template.problems) == ({}, ())


def test_a_template_is_a_whole_creative() -> None:
    """With directives, as a single event has it."""
    text = f"TO:{{{{mobile}}}};\nFROM:{SENDER};\nMEDIA_URLS:{{{{photo}}}},{LOGO};\n\nHi {{{{name}}}}; bye"
    template = parse_template({"creative": text})
    assert (template.to, template.sender) == ("{{mobile}}", SENDER)
    assert template.media_urls == (f"{{{{photo}}}},{LOGO}",)
    assert (template.body, template.body_line) == ("Hi {{name}}; bye", 5)
    assert template.lines == {Directive.TO: 1, Directive.FROM: 2, Directive.MEDIA_URLS: 3}
    assert template.problems == ()


def test_what_the_creative_says_wins() -> None:
    """Parameters fill what it leaves open."""
    template = parse_template(
        {"creative": "TO:{{mobile}};\nHi", "to": OTHER, "from": SENDER, "body": "Bye"}
    )
    assert (template.to, template.sender, template.body) == ("{{mobile}}", SENDER, "Hi")
    template = parse_template({"creative": "TO:{{mobile}};FROM:Acme;", "from": "x", "body": "Bye"})
    assert (template.to, template.sender, template.body) == ("{{mobile}}", "Acme", "Bye")


def test_parameters_have_the_names_that_the_settings_give() -> None:
    """In whatever case the settings write them; parameters come in lower case."""
    names = AttributeNames("Phone", "Sender", "Pictures")
    template = parse_template(
        {"phone": "{{m}}", "sender": "Acme", "pictures": LOGO, "to": OTHER, "body": "Hi"}, names
    )
    assert (template.to, template.sender, template.media_urls) == ("{{m}}", "Acme", (LOGO,))


def test_an_empty_template_says_nothing() -> None:
    """Blank parameters are as good as none."""
    assert parse_template({}) == Creative()
    assert parse_template({"to": " ", "from": "", "body": "\n", "creative": " "}) == Creative()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("<html><body>Hi</body></html>", "html_creative"),
        ("TO:{{mobile}};TO:{{phone}};Hi", "duplicate_directive"),
        ("TO:{{mobile}}\nFROM:Acme;\nHi", "directive_not_terminated"),
        ("SENDER:Acme;TO:{{mobile}};Hi", "unknown_directive"),
    ],
)
def test_what_is_wrong_with_a_creative_is_told_before_any_row(text: str, code: str) -> None:
    """It is wrong for all of them, and stands in every row's problems."""
    template = parse_template({"creative": text})
    assert codes(template) == [code]
    creative, _ = Filling(template, Columns(["mobile", "phone"])).fill([RECIPIENT, OTHER])
    assert code in codes(creative)


# Filling it


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("Hi!", "Hi!"),
        ("Hi {{name}}!", "Hi Zoë!"),
        ("{{ name }}", "Zoë"),
        ("{{\tNAME }}", "Zoë"),
        ("{{Name}}{{name}} {{NAME_}}", "ZoëZoë Zoë"),
        ("{{city}}, {{name}}; {{city}}", "Rome, Zoë; Rome"),
        ("{{{name}}}", "{Zoë}"),
        ("{{na\nme}}", "{{na\nme}}"),
        ("{name} {{name} }}", "{name} {{name} }}"),
        ("{{empty}}", ""),
        ("a {{empty}} b", "a  b"),
        ("{{empty}}\n{{name}} ", "Zoë"),
        ("TO:{{name}};", "TO:Zoë;"),
    ],
)
def test_cells_stand_where_their_tags_are(text: str, body: str) -> None:
    """A text as a parameter holds no directives."""
    row = {"name": "Zoë", "city_": "Rome", "empty": ""}
    assert filled(row, to=RECIPIENT, body=text).body == body


def test_a_row_becomes_a_message() -> None:
    """With each part from its own cells."""
    row = {"mobile": RECIPIENT, "name": "Zoë", "shop": SENDER, "photo": PHOTO}
    message, problems = composed(
        row, to="{{Mobile}}", _from="{{shop}}", media_urls=f"{LOGO} {{{{photo}}}}", body="{{name}}"
    )
    assert problems == []
    assert message == Message(to=RECIPIENT, sender=SENDER, body="Zoë", media_urls=(LOGO, PHOTO))


def test_a_row_becomes_a_message_by_a_whole_creative() -> None:
    """The directives are in the one parameter."""
    row = {"mobile": "1 (201) 555-0123", "name": "Zoë", "photo": PHOTO}
    text = f"TO: +{{{{mobile}}}} ;\nFROM:{SENDER};\nMEDIA_URLS:{{{{photo}}}};\nHi {{{{name}}}}!"
    message, problems = composed(row, creative=text)
    assert problems == []
    assert message == Message(to=RECIPIENT, sender=SENDER, body="Hi Zoë!", media_urls=(PHOTO,))


def test_who_is_named_outside_the_creative_is_an_attribute() -> None:
    """A tenant may take recipients from attributes alone; by the name that the settings give."""
    columns = Columns(["mobile"])
    creative, attributes = Filling(parse_template({"to": "{{mobile}}"}), columns).fill([RECIPIENT])
    assert (creative.to, attributes) == (None, {"to": RECIPIENT})
    template = parse_template({"creative": "TO:{{mobile}};Hi"})
    creative, attributes = Filling(template, columns).fill([f" {RECIPIENT} "])
    assert (creative.to, attributes) == (RECIPIENT, {})
    names = AttributeNames(to="Phone")
    template = parse_template({"phone": "{{mobile}}"}, names)
    _, attributes = Filling(template, columns, names=names).fill([RECIPIENT])
    assert attributes == {"phone": RECIPIENT}


@pytest.mark.parametrize("creative", ["TO:{{mobile}};Hi", None])
def test_a_row_without_a_number_has_no_recipient(creative: str | None) -> None:
    """Its cell is empty or blank."""
    parameters = {"creative": creative} if creative else {"to": "{{mobile}}", "body": "Hi"}
    for cell in ("", "  "):
        _, problems = composed({"mobile": cell}, **parameters)
        assert problems == ["no_recipient"]


def test_a_row_without_a_text_has_nothing_to_send() -> None:
    """Unless it has media."""
    row = {"mobile": RECIPIENT, "text": " ", "photo": ""}
    parameters = {"to": "{{mobile}}", "body": "{{text}}", "media_urls": "{{photo}}"}
    assert composed(row, **parameters)[1] == ["empty_message"]
    assert composed(row | {"photo": LOGO}, **parameters)[1] == []


@pytest.mark.parametrize(
    "parameters",
    [
        {"to": "{{mobil}}", "body": "Hi"},
        {"to": RECIPIENT, "_from": "{{ mobil }}", "body": "Hi"},
        {"to": RECIPIENT, "media_urls": "{{mobil}}"},
        {"to": RECIPIENT, "body": "Hi {{mobil}}{{mobil}}"},
        {"creative": f"TO:{RECIPIENT};Hi {{{{mobil}}}}"},
    ],
)
def test_a_tag_without_a_column_is_told(parameters: dict[str, str]) -> None:
    """With the columns that there are; before any row is read."""
    with pytest.raises(AudienceBroken) as caught:
        filling(["mobile", "name"], **parameters)
    assert caught.value.reason == "unknown_column"
    words = "No column is called 'mobil'. There are: 'mobile', 'name'."
    assert caught.value.message == words


def test_all_tags_without_a_column_are_told_at_once() -> None:
    """In the order in which they stand, each once."""
    with pytest.raises(AudienceBroken) as caught:
        filling(["mobile"], "loyalty", to="{{a}}", body="{{b}} {{ a }} {{}}")
    assert caught.value.message.startswith("No column is called 'a', 'b', '', 'loyalty'. There are")


def test_a_tag_with_two_columns_is_told() -> None:
    """As wherever a column is named."""
    with pytest.raises(AudienceBroken) as caught:
        filling(["mobile", "Mobile"], to="{{mobile}}", body="Hi")
    assert caught.value.reason == "ambiguous_column"


# Cells are cells


@pytest.mark.parametrize(
    "cell",
    [
        f"TO:{OTHER};",
        f"FROM:{OTHER};\nHi",
        f"TO:{OTHER};FROM:{OTHER};MEDIA_URLS:{LOGO};\nHi",
        "{{mobile}}",
        "{{ name }}",
        "{{nobody}}",
        "{{",
        "}} {{mobile",
        "<html><body>",
        "&#123;&#123;mobile}}",
        "&amp;&lt;",
        ";",
        "\\1 \\g<0> %s {0} $1",
    ],
)
@pytest.mark.parametrize("is_creative", [True, False])
def test_a_cell_is_never_a_directive_or_a_tag(cell: str, *, is_creative: bool) -> None:
    """It stands in the text as it stands in the file, and moves nothing."""
    parameters = (
        {"creative": "TO:{{mobile}};{{name}}"}
        if is_creative
        else {"to": "{{mobile}}", "body": "{{name}}"}
    )
    message, problems = composed({"name": cell, "mobile": RECIPIENT}, **parameters)
    assert problems == []
    assert message == Message(to=RECIPIENT, sender=SENDER, body=cell)


def test_two_cells_make_no_tag_together() -> None:
    """Nor with what stands between them."""
    row = {"a": "{{", "b": "}}", "mobile": RECIPIENT}
    message, problems = composed(row, to="{{mobile}}", body="{{a}}mobile{{b}}")
    assert problems == []
    assert message is not None
    assert message.body == "{{mobile}}"


@pytest.mark.parametrize(
    ("parameters", "cell"),
    [
        ({"creative": "TO:{{mobile}};Hi"}, "{{mobile}}"),
        ({"creative": "TO:{{mobile}};Hi"}, f"{RECIPIENT}{{{{x}}}}"),
        ({"creative": "TO:{{mobile}};Hi"}, f"{OTHER};{OTHER}"),
        ({"creative": "TO:{{mobile}};Hi"}, "Zoë"),
        ({"to": "{{mobile}}", "body": "Hi"}, f"{OTHER};{OTHER}"),
        ({"to": "{{mobile}}", "body": "Hi"}, "Zoë"),
        pytest.param({"to": "{{mobile}}", "body": "Hi"}, "{{mobile}}"),
        pytest.param({"to": "{{mobile}}", "body": "Hi"}, f"{RECIPIENT}{{{{x}}}}"),
    ],
)
def test_a_cell_that_is_no_number_is_no_recipient(parameters: dict[str, str], cell: str) -> None:
    """Whatever it looks like, and wherever its tag stands."""
    _, problems = composed({"mobile": cell}, **parameters)
    assert problems[0] == "invalid_recipient"


@pytest.mark.parametrize("parameters", [{"creative": "TO:{{mobile}};Hi"}, {"to": "{{mobile}}"}])
def test_a_cell_with_a_merge_tag_is_never_sent_to(parameters: dict[str, str]) -> None:
    """It would be filled with nothing."""
    made = filling(["mobile"], **parameters)
    for cell in ("{{mobile}}", f"{{{{x}}}}{RECIPIENT}"):
        creative, attributes = made.fill([cell])
        _, problems = compose(creative, attributes, TENANT, default_sender=SENDER)
        assert any(problem.error for problem in problems)


@pytest.mark.parametrize("is_creative", [True, False])
def test_a_cell_that_is_no_sender_is_none(*, is_creative: bool) -> None:
    """A merge tag least of all."""
    parameters = (
        {"creative": "TO:{{mobile}};FROM:{{shop}};Hi"}
        if is_creative
        else {"to": "{{mobile}}", "_from": "{{shop}}", "body": "Hi"}
    )
    for cell in ("{{mobile}}", "???"):
        _, problems = composed({"mobile": RECIPIENT, "shop": cell}, **parameters)
        assert problems[0] == "invalid_sender"
    message, problems = composed({"mobile": RECIPIENT, "shop": ""}, **parameters)
    assert (message and message.sender, problems) == (SENDER, [])


@pytest.mark.parametrize(
    ("cell", "body"),
    [
        ("a\r\nb", "a\nb"),
        ("a\rb", "a\nb"),
        ("a\n\r\n\rb", "a\n\n\nb"),
        ("\r\na\r\n", "a"),
        ("a\tb", "a\tb"),
        ("a\u2028b\u00a0c", "a\u2028b\u00a0c"),
    ],
)
def test_line_breaks_of_a_cell_are_those_of_a_creative(cell: str, body: str) -> None:
    """A file may bring others; at the ends they are cut off."""
    creative = filled({"text": cell}, to=RECIPIENT, body="{{text}}")
    assert (creative.body, codes(creative)) == (body, [])


@pytest.mark.parametrize(
    "parameters",
    [
        {"to": RECIPIENT, "body": "a{{cell}}b"},
        {"to": "a{{cell}}b", "body": "Hi"},
        {"to": RECIPIENT, "_from": "a{{cell}}b", "body": "Hi"},
        {"to": RECIPIENT, "media_urls": LOGO + "?a{{cell}}b"},
        {"creative": f"TO:{RECIPIENT};a{{{{cell}}}}b"},
    ],
)
@pytest.mark.parametrize("cell", ["\x00", "\x07", "\x1b", "\x7f", "\x9f"])
def test_control_characters_of_a_cell_are_found(parameters: dict[str, str], cell: str) -> None:
    """Wherever they would get to; a cell has no line in the creative."""
    creative, attributes = filling(["cell"], **parameters).fill([cell])
    _, problems = compose(creative, attributes, TENANT, default_sender=SENDER)
    found = [one for one in problems if one.code == "control_character"]
    assert [(one.line, one.error) for one in found] == [(None, True)]
    assert f"U+{ord(cell):04X}" in found[0].message


@pytest.mark.parametrize(
    ("cell", "media"),
    [
        ("", (LOGO,)),
        (PHOTO, (LOGO, PHOTO)),
        (f"{PHOTO} {LOGO}", (LOGO, PHOTO, LOGO)),
        (f"{PHOTO},{LOGO}", (LOGO, PHOTO, LOGO)),
        (f"\n{PHOTO}\r\n{LOGO}\n", (LOGO, PHOTO, LOGO)),
    ],
)
@pytest.mark.parametrize("is_creative", [True, False])
def test_a_cell_may_hold_media(cell: str, media: tuple[str, ...], *, is_creative: bool) -> None:
    """None, one, or several, as a directive would hold them."""
    listed = f"{LOGO} {{{{photo}}}}"
    parameters = (
        {"creative": f"TO:{RECIPIENT};MEDIA_URLS:{listed};Hi"}
        if is_creative
        else {"to": RECIPIENT, "media_urls": listed, "body": "Hi"}
    )
    creative = filled({"photo": cell}, **parameters)
    assert (creative.media_urls, codes(creative)) == (media, [])


def test_media_that_are_none_are_found_row_by_row() -> None:
    """With the line of their directive."""
    text = f"TO:{RECIPIENT};\nMEDIA_URLS:{{{{photo}}}};\nHi"
    for cell, code in (
        ("ftp://example.com/a", "invalid_media_url"),
        ("logo.jpg", "invalid_media_url"),
        (" ".join([LOGO] * (MAX_MEDIA + 1)), "too_many_media"),
    ):
        creative = filled({"photo": cell}, creative=text)
        assert [(one.code, one.line) for one in creative.problems] == [(code, 2)]
    assert codes(filled({"photo": " ".join([LOGO] * MAX_MEDIA)}, creative=text)) == []


def test_addresses_of_media_may_be_put_together() -> None:
    """A cell within an address."""
    listed = "https://{{host}}/{{id}}.jpg"
    row = {"host": "www.example.com", "id": "7"}
    creative = filled(row, to=RECIPIENT, media_urls=listed)
    assert creative.media_urls == ("https://www.example.com/7.jpg",)


def test_a_text_that_gets_too_long_is_found() -> None:
    """With its cells, in characters; at the limit it is sent."""
    for length, expected in ((MAX_BODY - 3, []), (MAX_BODY - 2, ["body_too_long"])):
        creative = filled({"name": "é" * length}, to=RECIPIENT, body="Hi {{name}}")
        assert codes(creative) == expected
    assert "1,601 characters" in creative.problems[0].message


def test_a_filling_is_the_same_for_every_row() -> None:
    """What one row has does not stay for the next."""
    made = filling(
        ["mobile", "name", "photo"], to="{{mobile}}", body="{{name}}", media_urls="{{photo}}"
    )
    first, _ = made.fill([RECIPIENT, "Ann\x00", "nowhere"])
    second, attributes = made.fill([OTHER, "Ben", LOGO])
    assert codes(first) == ["invalid_media_url", "control_character"]
    assert (second.body, second.media_urls, codes(second)) == ("Ben", (LOGO,), [])
    assert attributes == {"to": OTHER}


cells = st.text(max_size=20) | st.sampled_from(
    ["{{a}}", "{{b}}", "TO:x;", "\r", "\n", "{{", "}}", "&#123;", "<html>"]
)


@given(row=st.lists(cells, min_size=2, max_size=2), text=st.lists(cells, max_size=6).map("".join))
@settings(max_examples=200, deadline=None)
def test_any_cell_is_put_where_its_tag_stands(row: list[str], text: str) -> None:
    """As one looks for tags from left to right, once; nothing fails."""
    columns = Columns(["a", "b"])
    template = parse_template({"body": text})
    if any(columns.find(name) is None for name in MERGE_TAG.findall(template.body)):
        with pytest.raises(AudienceBroken, match="No column is called"):
            Filling(template, columns)
        return
    creative, _ = Filling(template, columns).fill(row)
    whole, expected, at = template.body, "", 0
    while at < len(whole):
        tag = next((n for n in (0, 1) if whole.startswith(f"{{{{{'ab'[n]}}}}}", at)), None)
        expected += whole[at] if tag is None else row[tag]
        at += 1 if tag is None else len("{{a}}")
    assert creative.body == expected.replace("\r\n", "\n").replace("\r", "\n").strip()


# Who it is


@pytest.mark.parametrize(
    ("columns", "identity", "expected"),
    [
        (["identity_id", "mobile"], None, Identified("0", {"datahub_id": "0"})),
        (["mobile", "identity_id"], None, Identified("1", {"datahub_id": "1"})),
        (["mobile", "Identity_ID_"], None, Identified("1", {"datahub_id": "1"})),
        (["mobile", "datahub_id"], None, Identified("1", {"datahub_id": "1"})),
        (["datahub_id", "identity_id"], None, Identified("1", {"datahub_id": "1"})),
        (["mobile", "name"], None, Identified("0", {"datahub_id": "0"})),
        (["mobile", "subject_id"], None, Identified("1", {"subject_id": "1"})),
        (["mobile", "SUBJECT_ID"], None, Identified("1", {"subject_id": "1"})),
        (
            ["login_id", "customer_id", "subject_id", "identity_id"],
            None,
            Identified(
                "3", {"datahub_id": "3", "subject_id": "2", "customer_id": "1", "login_id": "0"}
            ),
        ),
        (
            ["login_id", "customer_id", "subject_id"],
            None,
            Identified("2", {"subject_id": "2", "customer_id": "1", "login_id": "0"}),
        ),
        (
            ["identity_id", "customer_id"],
            "customer_id",
            Identified("1", {"customer_id": "1", "datahub_id": "0"}),
        ),
        (
            ["identity_id", "customer_id"],
            "CUSTOMER_ID",
            Identified("1", {"customer_id": "1", "datahub_id": "0"}),
        ),
        (["a", "identity_id"], "Identity_Id", Identified("1", {"datahub_id": "1"})),
        (
            ["identity_id", "Loyalty"],
            "loyalty",
            Identified("1", {"loyalty": "1", "datahub_id": "0"}),
        ),
        (["mobile", "loyalty"], "loyalty", Identified("1", {"loyalty": "1"})),
    ],
)
def test_a_row_tells_who_it_is_about(
    columns: list[str], identity: str | None, expected: Identified
) -> None:
    """CI360's own id, or the column that the task names; failing all, the first one."""
    made = filling(columns, identity, to=RECIPIENT, body="Hi")
    found = made.identified([f" {place} " for place in range(len(columns))])
    assert found == expected
    assert [*found.identities] == [*expected.identities]


def test_empty_cells_identify_nobody() -> None:
    """Another column of the same kind does where there is one."""
    made = filling(["identity_id", "datahub_id", "login_id"], to=RECIPIENT, body="Hi")
    assert made.identified(["", "D", " "]) == Identified("", {"datahub_id": "D"})
    assert made.identified(["I", "D", "L"]).identities == {"datahub_id": "I", "login_id": "L"}
    assert made.identified(["", "", ""]) == Identified("", {})


def test_a_chosen_column_that_there_is_not_is_told() -> None:
    """As a merge tag would be."""
    with pytest.raises(AudienceBroken) as caught:
        filling(["mobile"], "customer_id", to=RECIPIENT, body="Hi")
    assert caught.value.reason == "unknown_column"
    assert "'customer_id'" in caught.value.message


@pytest.mark.parametrize(
    ("column", "identity", "kind"),
    [
        ("customer_id_", "customer_id", "customer_id"),
        pytest.param("customer_id", "customer_id_", "customer_id"),
        pytest.param("identity_id", "IDENTITY_ID_", "datahub_id"),
    ],
)
def test_the_kind_of_a_chosen_column_does_not_hang_on_underscores(
    column: str, identity: str, kind: str
) -> None:
    """It is found with them or without; CI360 knows the kind without."""
    made = filling(["mobile", column], identity, to=RECIPIENT, body="Hi")
    assert made.identified([RECIPIENT, "C-1"]).identities == {kind: "C-1"}
