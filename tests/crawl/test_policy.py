import pytest

from crawl.errors import UsageError
from crawl.policy import FetchPolicy, Network, require_contact


@pytest.mark.parametrize("change, words", [
    ({"product_token": "other"}, "not in user_agent"), ({"product_token": "a/b"}, "letters"),
    ({"contact": "me"}, "neither a URL nor a mail"), ({"robots_forbidden": "maybe"}, "allow"),
    ({"robots_bytes": 1000}, "512000"), ({"page_timeout_s": 0.0}, "page_timeout_s"), ({"retries": -1}, "retries"),
    ({"user_agent": "imagebert-lait\r\nX: y"}, "printable"), ({"page_delay_s": float("nan")}, "page_delay_s"),
    ({"umbrella_agents": ("a b",)}, "umbrella_agents")])
def test_an_impossible_policy_is_refused_with_its_field(change, words):
    with pytest.raises(ValueError, match=words):
        FetchPolicy(**change)


@pytest.mark.parametrize("change", [
    {"connect_to": ("a:b",)}, {"resolve": ("a.test:80:b.test",)}, {"resolve": ("a.test:127.0.0.1",)},
    {"ca_file": "/nowhere/ca.pem"}, {"min_delay_s": -1.0}, {"max_in_flight": 0}, {"allow_hosts": ("*",)}])
def test_an_impossible_network_is_refused_with_its_field(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        Network(**change)


def test_resolve_and_connect_to_map_as_curl_does():
    network = Network(connect_to=("a.test:80:b.test:8080", "::c.test:"),
                      resolve=("b.test:8080:127.0.0.1", "*:443:[::1]"))
    assert network.mapped("a.test", 80) == ("127.0.0.1", 8080)
    assert network.mapped("x.test", 443) == ("::1", 443)
    assert network.mapped("x.test", 80) == ("c.test", 80)
    assert Network().mapped("a.test", 80) is None


def test_the_open_web_is_not_touched_by_an_agent_without_a_contact():
    network = Network(allow_hosts=("127.0.0.1:18080",))
    require_contact(FetchPolicy(), network, ["http://127.0.0.1:18080/"])
    with pytest.raises(UsageError, match="--contact"):
        require_contact(FetchPolicy(), network, ["http://a.example/"])
    require_contact(FetchPolicy(contact="https://lab.example/bot"), network, ["http://a.example/"])
    require_contact(FetchPolicy(contact="bot@lab.example"), network, ["http://a.example/"])
    assert FetchPolicy(contact="bot@lab.example").header == "imagebert-lait/0.1 (+bot@lab.example)"


@pytest.mark.parametrize("url, opened", [("http://127.0.0.1:9/", "--allow-host 127.0.0.1:9"),
                                         ("http://[::1]:8080/", "--allow-host [::1]:8080"),
                                         ("http://localhost/", "--allow-host localhost:80")])
def test_a_private_seed_is_refused_with_the_option_that_opens_it(url, opened):
    with pytest.raises(UsageError) as caught:
        require_contact(FetchPolicy(), Network(), [url])
    assert str(caught.value).endswith(opened)
    require_contact(FetchPolicy(), Network(allow_hosts=(opened.split()[1],)), [url])
