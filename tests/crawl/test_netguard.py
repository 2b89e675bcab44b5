import ipaddress

import pytest

from crawl.netguard import AddressPolicy, is_public
from crawl.policy import Network

NOT_PUBLIC = """127.0.0.1 10.0.0.1 172.31.255.255 192.168.1.1 169.254.169.254 100.64.0.1 100.100.100.200 168.63.129.16
    0.0.0.0 224.0.0.1 240.0.0.1 255.255.255.255 192.0.0.8 192.88.99.1 198.18.0.1 203.0.113.1 ::1 :: ff02::1 fe80::1
    fec0::1 fc00::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:0:10.0.0.1 64:ff9b::169.254.169.254 64:ff9b:1::1
    64:ff9b:1:7f00:0:100:: 2002:a9fe:a9fe::1
    2001:0:7f00:1::1 2001:db8::1 3fff::1 5f00::1 100::1 2a00:1450::5efe:10.0.0.1 2a00:1450::200:5efe:127.0.0.1"""


@pytest.mark.parametrize("address", NOT_PUBLIC.split())
def test_what_is_not_public(address):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_what_is_public(address):
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("url, reason", [
    ("http://127.0.0.1/", "blocked_address"), ("http://[::ffff:10.0.0.1]/", "blocked_address"),
    ("http://localhost/", "blocked_address"), ("http://db/", "blocked_address"),
    ("http://metadata.google.internal/", "blocked_address"), ("http://a.example:22/", "blocked_egress"),
    ("http://a.example:8443/", ""), ("http://8.8.8.8/", "")])
def test_refusals_before_any_dns(url, reason):
    assert AddressPolicy().refusal(url) == reason


def test_an_allowed_host_is_that_host_and_port_only():
    policy = AddressPolicy(("127.0.0.1:18080", "*.test", "[::1]:*"))
    assert policy.refusal("http://127.0.0.1:18080/x") == "" and policy.may_dial("http://127.0.0.1:18080/x", "127.0.0.1")
    assert policy.refusal("http://127.0.0.1:18081/x") == "blocked_address"
    assert policy.refusal("http://h1.test/") == "" and policy.may_dial("http://h1.test/", "127.0.0.1")
    assert policy.refusal("http://h1.test:9999/") == "blocked_egress"
    assert policy.refusal("http://[::1]:9999/") == ""
    # A name that is not allowed may not reach the allowed address by its own DNS.
    assert not policy.may_dial("http://evil.example:18080/", "127.0.0.1")
    assert not policy.may_dial("http://nottest/", "127.0.0.1")


def test_an_allowed_host_may_not_lead_to_the_clouds_credentials():
    policy = AddressPolicy(("*.test", "169.254.169.254"))
    assert not policy.may_dial("http://h1.test/", "169.254.169.254")
    assert policy.may_dial("http://169.254.169.254/", "169.254.169.254")      # named by the operator


def test_a_name_the_operator_maps_to_an_allowed_address_is_allowed():
    network = Network(resolve=("a.example:18080:127.0.0.1",), allow_hosts=("127.0.0.1:18080",))
    policy = network.addresses()
    assert policy.is_allowed("http://a.example:18080/") and policy.may_dial("http://a.example:18080/", "127.0.0.1")
    assert not policy.is_allowed("http://b.example:18080/")


def test_garbage_is_no_address():
    assert not AddressPolicy(("*.test",)).may_dial("http://a.test/", "/tmp/socket")


@pytest.mark.parametrize("entry", ["http://a.test", "a.test:0", "a.test:99999", "*", "a b", ""])
def test_a_bad_entry_is_refused(entry):
    with pytest.raises(ValueError, match="allow_hosts"):
        AddressPolicy((entry,))
