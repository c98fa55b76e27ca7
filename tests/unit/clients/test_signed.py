"""Which signed addresses may be called: S3's, and those of hosts that the settings name."""

from __future__ import annotations

import traceback

import pytest

from ci360_twilio.clients.signed import SignedAddresses
from ci360_twilio.errors import AddressRefused

PUBLIC = "52.216.0.1"
"""Of Amazon; nothing is sent there."""
SECRET = "c0ffee5ec2e7c0ffee5ec2e7"
QUERY = f"X-Amz-Expires=900&X-Amz-Signature={SECRET}"
ON_S3 = f"https://bucket.s3.eu-central-1.amazonaws.com/events.csv?{QUERY}"

pytestmark = pytest.mark.usefixtures("no_proxies")


class Names:
    """Looks names up: every one leads to the same address."""

    def __init__(self, address: str = PUBLIC) -> None:
        self._address = address
        self.asked: list[tuple[str, int]] = []

    def __call__(self, host: str, port: int) -> list[str]:
        """Give the addresses of a name."""
        self.asked.append((host, port))
        return [self._address]


def refused(url: object, *hosts: str) -> str:
    """Give the words with which an address is refused: they hold nothing of it, nor is it looked up."""
    names = Names()
    with pytest.raises(AddressRefused) as caught:
        SignedAddresses(hosts, resolve=names).check(url)
    told = "".join(traceback.format_exception(caught.value))
    assert SECRET not in told + repr(caught.value.issues)
    assert names.asked == []
    return caught.value.message


# On Amazon S3


@pytest.mark.parametrize(
    "host",
    [
        "bucket.s3.amazonaws.com",
        "s3.amazonaws.com",
        "bucket.s3.us-east-1.amazonaws.com",
        "s3.us-east-1.amazonaws.com",
        "bucket.s3-us-west-2.amazonaws.com",
        "s3-us-west-2.amazonaws.com",
        "bucket.s3.dualstack.eu-central-1.amazonaws.com",
        "s3.dualstack.ap-southeast-2.amazonaws.com",
        "bucket.s3-fips.us-gov-west-1.amazonaws.com",
        "s3-fips.dualstack.us-east-1.amazonaws.com",
        "bucket.s3-accelerate.amazonaws.com",
        "bucket.s3-accelerate.dualstack.amazonaws.com",
        "bucket.s3.cn-north-1.amazonaws.com.cn",
        "s3.cn-northwest-1.amazonaws.com.cn",
        "ci360.files-01.example.com.s3.amazonaws.com",
        f"{'b' * 63}.s3.amazonaws.com",
        "abc.s3.amazonaws.com",
        "0-0.s3.il-central-1.amazonaws.com",
    ],
)
def test_every_usual_address_of_s3_may_be_called(host: str) -> None:
    """Virtual-hosted, path style, regional, dual-stack, FIPS, accelerated, and in China."""
    names = Names()
    place = SignedAddresses(resolve=names).check(f"https://{host}/a/b%20c.csv?{QUERY}")
    assert (place.secure, place.host, place.port) == (True, host, 443)
    assert place.target == f"/a/b%20c.csv?{QUERY}"
    assert (place.address, place.authority) == (PUBLIC, host)
    assert names.asked == [(host, 443)]


@pytest.mark.parametrize(
    ("url", "target"),
    [
        (ON_S3, f"/events.csv?{QUERY}"),
        ("https://bucket.s3.eu-central-1.amazonaws.com", "/"),
        ("https://bucket.s3.eu-central-1.amazonaws.com?a=1", "/?a=1"),
        ("https://bucket.s3.eu-central-1.amazonaws.com:443/x", "/x"),
        ("https://bucket.s3.eu-central-1.amazonaws.com:/x", "/x"),
        ("https://bucket.s3.eu-central-1.amazonaws.com/x#", "/x"),
        ("HTTPS://Bucket.S3.EU-Central-1.AmazonAWS.com/X?Y=Z", "/X?Y=Z"),
        ("https://bucket.s3.eu-central-1.amazonaws.com//a/../b?c=%2F..%5C", "//a/../b?c=%2F..%5C"),
        ("https://bucket.s3.eu-central-1.amazonaws.com/@evil.example/?u=a:b@c", None),
    ],
)
def test_path_and_query_are_taken_as_they_are(url: str, target: str | None) -> None:
    """They are part of what was signed; how the host is written is not."""
    place = SignedAddresses(resolve=Names()).check(url)
    assert place.host == "bucket.s3.eu-central-1.amazonaws.com"
    assert place.target == (target or "/@evil.example/?u=a:b@c")


OTHER_HOSTS = [
    "evil.example",
    "evilamazonaws.com",
    "s3.evilamazonaws.com",
    "bucket.s3amazonaws.com",
    "evil-s3.amazonaws.com",
    "bucket.evils3.us-east-1.amazonaws.com",
    "amazonaws.com",
    "bucket.amazonaws.com",
    "s3.amazonaws.com.evil.example",
    "bucket.s3.us-east-1.amazonaws.com.evil.example",
    "s3.amazonaws.com.cn.evil.example",
    "s3.amazonaws.comevil.example",
    "s3.amazonaws.com.us",
    "s3.us-east-1.amazonaws.eu",
    "s3.us-east-1.evil.amazonaws.com",
    "s3.us-east-1.us-west-2.amazonaws.com",
    "bucket.s3.aws",
    "sts.amazonaws.com",
    "sqs.us-east-1.amazonaws.com",
    "ec2-203-0-113-9.compute-1.amazonaws.com",
    "a1b2c3d4e5.execute-api.us-east-1.amazonaws.com",
    "d111111abcdef8.cloudfront.net",
    "bucket.s3-website-us-east-1.amazonaws.com",
    "bucket.s3-website.eu-central-1.amazonaws.com",
    "bucket.vpce-0a1b2c3d-4e5f6a7b.s3.us-east-1.vpce.amazonaws.com",
    "vpce-0a1b2c3d-4e5f6a7b.s3.us-east-1.vpce.amazonaws.com",
    "shop-123456789012.s3-accesspoint.us-east-1.amazonaws.com",
    "shop-123456789012.s3-object-lambda.us-east-1.amazonaws.com",
    "shop-123456789012.op-01ac5d28a6a232904.s3-outposts.us-east-1.amazonaws.com",
    "123456789012.s3-control.us-east-1.amazonaws.com",
    "bucket--use1-az4--x-s3.s3express-use1-az4.us-east-1.amazonaws.com",
    "a.b.s3-accelerate.amazonaws.com",
    "s3-accelerate.amazonaws.com",
    "bucket.s3.amazonaws.com.",
    "bucket.s3.amazonaws.com..",
    "s3.amazonaws.com.cn.",
    ".s3.amazonaws.com",
    "-a.s3.amazonaws.com",
    "a_b.s3.amazonaws.com",
    "*.s3.amazonaws.com",
    "bucket,evil.s3.amazonaws.com",
    "bucket.s3.amazonaws.com,evil.example",
    "bucket.s3.amazonaws.com;evil.example",
    "bucket.s3.amazonaws.com%2eevil.example",
    "bucket.s3.amazonaws.com%00.evil.example",
    "%62ucket.s3.amazonaws.com",
    "bucket.s3.amazonaws%2ecom",
    f"{'b' * 64}.s3.amazonaws.com",
    "xn--bucket-.s3.xn--amazonaws-.com",
    "s3.xn--amazonas-zna.com",
]
NUMBERS = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "017700000001",
    "0",
    "169.254.169.254",
    "2852039166",
    PUBLIC,
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:a9fe:a9fe]",
    "[fd00:ec2::254]",
    "[fe80::1%25eth0]",
    "[2600:1f18::1]",
    "localhost",
    "metadata.google.internal",
]


@pytest.mark.parametrize("host", OTHER_HOSTS + NUMBERS)
def test_no_other_host_may_be_called(host: str) -> None:
    """However much it looks like S3, or whatever a parser makes of a number."""
    refused(f"https://{host}/events.csv?{QUERY}")


HOST = "bucket.s3.amazonaws.com"


@pytest.mark.parametrize(
    "url",
    [
        f"http://{HOST}/x",
        f"ftp://{HOST}/x",
        f"file://{HOST}/etc/passwd",
        f"gopher://{HOST}/x",
        f"s3://{HOST}/x",
        f"httpss://{HOST}/x",
        f"https+unix://{HOST}/x",
        f"javascript:https://{HOST}/x",
        f"//{HOST}/x",
        f"{HOST}/x",
        f"https:{HOST}/x",
        f"https:/{HOST}/x",
        f"https:///{HOST}/x",
        f"https://?{HOST}",
        f"https://#{HOST}",
        "https://",
        "https",
        "",
        f"https://user:{SECRET}@{HOST}/x",
        f"https://user@{HOST}/x",
        f"https://@{HOST}/x",
        f"https://:@{HOST}/x",
        f"https://{HOST}@evil.example/x",
        f"https://{HOST}:443@evil.example/x",
        f"https://evil.example@{HOST}@{HOST}/x",
        f"https://evil.example#@{HOST}/x",
        f"https://{HOST}#@evil.example/x",
        f"https://{HOST}/x#y",
        f"https://evil.example\\@{HOST}/x",
        f"https://{HOST}\\.evil.example/x",
        f"https://{HOST}/x\\y",
        f"https:\\\\{HOST}\\x",
        f"https://{HOST}:80/x",
        f"https://{HOST}:8443/x",
        f"https://{HOST}:0/x",
        f"https://{HOST}:-443/x",
        f"https://{HOST}:+443/x",
        f"https://{HOST}:65536/x",
        f"https://{HOST}:{SECRET}/x",
        f"https://{HOST}:4_43/x",
        f"https://{HOST}:443:443/x",
        f"https://[{HOST}]/x",
        f"https://[{HOST}/x",
        f"https://{HOST}]/x",
        "https://[v1.fe]/x",
        f"https://{HOST}/x y",
        f"https://{HOST} /x",
        f" https://{HOST}/x",
        f"https://{HOST}/x ",
        f"https://{HOST}/x\n",
        f"https://{HOST}/x\r\nHost: evil.example",
        f"https://{HOST}/x\ty",
        f"ht\ttps://{HOST}/x",
        f"https://buc\nket.s3.amazonaws.com/{SECRET}",
        f"https://{HOST}/x\x00",
        f"\x00https://{HOST}/x",
        f"https://{HOST}/x\x1b[2J",
        f"https://{HOST}/x\x7f",
        f"https://{HOST}/\u00e4",
        f"https://{HOST}:\u0664\u0664\u0663/x",
        "https://bucket\u3002s3.amazonaws.com/x",
        "https://bucket.s3.amazonaws\uff0ecom/x",
        "https://bucket.\u24e23.amazonaws.com/x",
        "https://bucket.s3.am\u0430zonaws.com/x",
        "https://bucket.s3.amazonaws.com\u200b/x",
        "https://bucket.s3.amazonaws.com\u2044evil.example/x",
        f"https://{HOST}/{'x' * 8192}",
    ],
    ids=lambda url: ascii(url)[:60],
)
def test_what_is_no_plain_address_of_s3_is_refused(url: str) -> None:
    """Other schemes, users, ports, fragments, white space, and characters that mean two things."""
    refused(url)


@pytest.mark.parametrize("url", [None, 7, True, ON_S3.encode(), [ON_S3], {"href": ON_S3}])
def test_what_is_no_text_is_refused(url: object) -> None:
    """CI360's answer may hold anything."""
    refused(url)


def test_each_rule_has_its_words() -> None:
    """Somebody must find out what to set, without the address."""
    assert "CI360_TWILIO_BULK_HOSTS" in refused("https://files.example.com/x")
    assert "user or a fragment" in refused(f"https://user@{HOST}/x")
    assert "none" in refused("https://[/x")
    assert "web" in refused("ftp://files.example.com/x", "files.example.com")


# Hosts of the settings


HOSTS = ("files.example.com:9000", "Storage.example.com", "127.0.0.1:9000", "[::1]:9000")


@pytest.mark.parametrize(
    ("url", "secure", "port", "authority"),
    [
        ("http://files.example.com:9000/x", False, 9000, "files.example.com:9000"),
        ("https://files.example.com:9000/x", True, 9000, "files.example.com:9000"),
        ("http://FILES.example.com:9000/x", False, 9000, "files.example.com:9000"),
        ("http://storage.example.com/x", False, 80, "storage.example.com"),
        ("https://storage.example.com/x", True, 443, "storage.example.com"),
        ("http://127.0.0.1:9000/x", False, 9000, "127.0.0.1:9000"),
        ("http://[::1]:9000/x", False, 9000, "[::1]:9000"),
    ],
)
def test_a_host_of_the_settings_may_be_called(
    url: str, secure: bool, port: int, authority: str
) -> None:
    """Also by plain http, and at a private address."""
    place = SignedAddresses(HOSTS, resolve=Names("10.0.0.1")).check(url)
    assert (place.secure, place.port, place.authority) == (secure, port, authority)
    assert place.address == "10.0.0.1"


@pytest.mark.parametrize(
    "url",
    [
        "http://files.example.com/x",
        "http://files.example.com:9001/x",
        "http://storage.example.com:9000/x",
        "http://a.storage.example.com/x",
        "http://storage.example.com.evil.example/x",
        "http://evilstorage.example.com/x",
        "http://storage.example.com./x",
        "http://user@storage.example.com/x",
        "ftp://storage.example.com/x",
        "file://storage.example.com/x",
        "http://storage.example.com/x#y",
        "http://127.0.0.1/x",
        "http://127.1:9000/x",
        "http://localhost:9000/x",
        f"http://{HOST}/x",
    ],
)
def test_a_host_is_allowed_with_its_port_and_nothing_around_it(url: str) -> None:
    """And for the rest S3's rules stay as they are."""
    refused(url, *HOSTS)
