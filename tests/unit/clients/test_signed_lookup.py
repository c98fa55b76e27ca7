"""Where the name of a signed address leads, and through which proxy."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from ci360_twilio.clients.signed import SignedAddresses, is_public, look_up
from ci360_twilio.errors import AddressRefused, Ci360Failed, Trouble

PUBLIC = "52.216.0.1"
"""Of Amazon; nothing is sent there."""
SECRET = "c0ffee5ec2e7c0ffee5ec2e7"
ON_S3 = f"https://bucket.s3.eu-central-1.amazonaws.com/events.csv?X-Amz-Signature={SECRET}"

pytestmark = pytest.mark.usefixtures("no_proxies")


class Names:
    """Looks names up as it is told: each time the next answer, the last one for ever."""

    def __init__(self, *answers: Iterable[str] | Exception) -> None:
        self._answers = [*answers]
        self.asked: list[tuple[str, int]] = []

    def __call__(self, host: str, port: int) -> Iterable[str]:
        """Give the addresses of a name."""
        self.asked.append((host, port))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def refused(names: Names, url: str = ON_S3, *hosts: str) -> str:
    """Give the words with which an address is refused."""
    with pytest.raises(AddressRefused) as caught:
        SignedAddresses(hosts, resolve=names).check(url)
    assert SECRET not in f"{caught.value!r}"
    return caught.value.message


PRIVATE = [
    "0.0.0.0",  # noqa: S104
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.254",
    "192.0.0.192",
    "192.0.2.1",
    "192.168.0.1",
    "198.18.0.1",
    "203.0.113.9",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::a00:1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:7f00:1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::10.0.0.1",
    "64:ff9b:1::808:808",
    "100::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "2002:a00:1::1",
    "2002:808:808::1",
    "4000::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "2600:1f18::1%eth0",
    "",
    "localhost",
    "10.0.0",
    "0x7f000001",
    "52.216.0.1 ",
    "052.216.0.1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_a_name_that_leads_into_a_private_network_is_refused(address: str) -> None:
    """Wherever it hides: mapped, compatible, NAT64, 6to4, Teredo; or what is no address at all."""
    assert not is_public(address)
    refused(Names([address]))


@pytest.mark.parametrize(
    "address",
    [PUBLIC, "8.8.8.8", "172.32.0.1", "192.0.1.1", "2600:1f18::1", "2a05:d014::1", "64:ff9b::808:808"],
)  # fmt: skip
def test_a_name_that_leads_into_the_internet_may_be_called(address: str) -> None:
    """Also by NAT64, where the network has IPv6 alone."""
    assert is_public(address)
    place = SignedAddresses(resolve=Names([address])).check(ON_S3)
    assert place.address == address


@pytest.mark.parametrize("found", [[PUBLIC, "10.0.0.1"], ["10.0.0.1", PUBLIC], [PUBLIC, "::1"]])
def test_one_private_address_among_others_is_enough(found: list[str]) -> None:
    """Which of them a connection would take is chance."""
    assert "private network" in refused(Names(found))


@pytest.mark.parametrize(
    "answer", [[], OSError(f"cannot resolve {SECRET}"), UnicodeError("label empty or too long")]
)
def test_a_name_that_cannot_be_looked_up_is_asked_for_later(
    answer: list[str] | Exception,
) -> None:
    """Nothing has left; the next attempt may find it."""
    with pytest.raises(Ci360Failed) as caught:
        SignedAddresses(resolve=Names(answer)).check(ON_S3)
    assert (caught.value.trouble, caught.value.reason) == (Trouble.AWAY, "dns")
    assert SECRET not in f"{caught.value!r} {caught.value.said}"


def test_what_the_system_cannot_even_write_as_a_name_is_not_found() -> None:
    """Two dots in a row look like a bucket's name and are none."""
    with pytest.raises(Ci360Failed) as caught:
        SignedAddresses(resolve=look_up).check("https://a..b.s3.amazonaws.com/x")
    assert caught.value.reason == "dns"


def test_the_first_address_of_a_name_is_the_one_to_call() -> None:
    """A second look-up could lead elsewhere; so there is none."""
    names = Names([PUBLIC, "52.216.0.2"], ["10.0.0.1"])
    assert SignedAddresses(resolve=names).check(ON_S3).address == PUBLIC
    assert len(names.asked) == 1


def test_the_settings_open_no_private_address_of_other_hosts() -> None:
    """S3 is still the internet's."""
    refused(Names(["10.0.0.1"]), ON_S3, "files.example.com", "10.0.0.1")


# Proxies


def test_where_a_proxy_is_it_looks_names_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind it names of the internet may not be known; which may be called is still checked."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com:3128")
    names = Names(OSError())
    place = SignedAddresses(resolve=names).check(ON_S3)
    assert (place.address, names.asked) == (None, [])
    refused(names, "https://evil.example/x")


def test_a_proxy_that_is_none_is_no_way_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection will say so."""
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:9")
    assert SignedAddresses(resolve=Names([PUBLIC])).check(ON_S3).address is None


def test_plain_http_to_an_allowed_host_goes_past_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTPS_PROXY is for https."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com:3128")
    place = SignedAddresses(("127.0.0.1:9000",), resolve=Names(["127.0.0.1"])).check(
        "http://127.0.0.1:9000/x"
    )
    assert place.address == "127.0.0.1"
