"""What a web is made of: the kinds of image and of page in each profile, with their shares and right outcomes."""
from __future__ import annotations

from demo.census import Kind

# Kinds whose images are kept, whatever it takes to get them.
_FETCHABLE = (
    Kind("redirect", "keep", 0.012),                   # 302 on the same host
    Kind("redirect_far", "keep", 0.006),               # 302 to another host
    Kind("rate_limited", "keep", 0.0, 3),              # 429 with Retry-After, then the image
    Kind("error_once", "keep", 0.0, 3),                # 500 the first time, then the image
    Kind("mislabelled", "keep", 0.008),                # a PNG that says image/jpeg: browsers show it
    Kind("other_agent", "keep", 0.008),                # X-Robots-Tag that addresses another robot
    Kind("tdm_open", "keep", 0.004),                   # tdm-reservation: 0
)

# What servers do wrong.
_BROKEN = (
    Kind("dead", "dead_link", 0.012),                  # 404 or 410
    Kind("gone_host", "dead_link", 0.001, 6),          # a name where nothing answers
    Kind("server_error", "server_error", 0.003, 20),   # 500 every time
    Kind("redirect_loop", "redirect_loop", 0.002, 12),
    Kind("slow", "too_slow", 0.0, 2),                  # first byte after 9 seconds
    Kind("drip", "too_slow", 0.0, 2),                  # a few bytes every fifth of a second
    Kind("truncated", "truncated_image", 0.008),       # a JPEG that stops half-way
    Kind("short_body", "truncated_image", 0.001, 6),   # less than Content-Length, then the connection closes
    Kind("pixel_bomb", "pixel_bomb", 0.0, 3),          # a PNG of 100 bytes that claims 30,000 x 30,000
    Kind("gzip_bomb", "decompression_bomb", 0.0, 2),   # 300 KB that unpack to 300 MB
    Kind("soft_404", "wrong_content_type", 0.004),     # 200 with an HTML page
    Kind("html_as_jpeg", "wrong_content_type", 0.003), # HTML that says image/jpeg
)

# What owners forbid.
_FORBIDDEN = (
    Kind("robots_path", "robots_disallowed", 0.012),
    Kind("optout_header", "opted_out", 0.012),         # X-Robots-Tag: noai and its kin
    Kind("tdm_header", "tdm_reserved", 0.005),
)

IMAGE_KINDS = {
    "first": (
        Kind("keep", "keep", 1.0), *_FETCHABLE,
        Kind("duplicate", "duplicate", 0.045),         # another URL, size or format of a kept scene, with a worse text
        Kind("shared_caption", "shared_caption", 0.03),
        Kind("alt_file_name", "alt_file_name", 0.022),
        Kind("alt_spam", "alt_spam", 0.02),
        Kind("alt_foreign", "alt_foreign", 0.018),
        Kind("no_caption", "no_caption", 0.01),
        Kind("text_screenshot", "text_screenshot", 0.014),
        Kind("placeholder", "placeholder", 0.014),     # the same bytes under many URLs
        Kind("banner", "banner", 0.01),
        Kind("flat_logo", "logo", 0.008),              # big and flat
        Kind("too_small", "too_small", 0.014),
        *_BROKEN, *_FORBIDDEN),
    "second": (
        Kind("keep", "keep", 1.0), *_FETCHABLE,
        Kind("duplicate", "duplicate", 0.058),
        Kind("shared_caption", "shared_caption", 0.025),
        Kind("alt_file_name", "alt_file_name", 0.028),
        Kind("alt_spam", "alt_spam", 0.024),
        Kind("alt_foreign", "alt_foreign", 0.012),
        Kind("no_caption", "no_caption", 0.014),
        Kind("alt_date", "alt_date", 0.01),            # "12 March 2019, 14:05"
        Kind("mismatched", "mismatched_caption", 0.006),  # fluent, and about another scene
        Kind("chart", "chart", 0.012),
        Kind("meme", "text_screenshot", 0.008),        # big words over a flat ground
        Kind("placeholder", "placeholder", 0.01),
        Kind("too_small", "too_small", 0.014),
        *_BROKEN, *_FORBIDDEN),
}

# Kinds of article page; the first takes the rest.  A page that is not "open" decides for all images on it.
PAGE_KINDS = (
    Kind("open", "keep", 1.0),
    Kind("german", "foreign_page", 0.012),
    Kind("french", "foreign_page", 0.012),
    Kind("russian", "foreign_page", 0.006),
    Kind("japanese", "foreign_page", 0.006),
    Kind("meta_noindex", "page_opted_out", 0.004),
    Kind("meta_noai", "page_opted_out", 0.005),
    Kind("meta_noimageai", "page_opted_out", 0.004),
    Kind("header_noai", "page_opted_out", 0.004),
    Kind("tdm_meta", "tdm_reserved", 0.004),
    Kind("tdm_page_header", "tdm_reserved", 0.003),
    Kind("robots_page", "robots_disallowed", 0.006),   # under a directory that robots.txt disallows
)
FOREIGN = ("german", "french", "russian", "japanese")

# Hosts with a role of their own: number -> role.  The small ones carry few images whatever the size of the web.
HOST_ROLES = {7: "robots_503", 11: "crawl_delay", 13: "tdm_host", 17: "calendar", 19: "hazards", 23: "robots_moved",
              29: "calendar", 31: "robots_404", 37: "robots_html"}
# A robots.txt that is missing, or is a web page, forbids nothing (RFC 9309, section 2.3.1.3).
NO_RULES = ("robots_404", "robots_html")
SMALL_HOSTS = {"robots_503": 24, "crawl_delay": 8, "tdm_host": 24}
HOST_REASONS = {"robots_503": "robots_unreachable", "tdm_host": "tdm_reserved"}
