"""Rate limits for what a page sends, as links and endpoints use them."""

from __future__ import annotations

from flash.access.limits import RateLimit as RateLimit
from flash.access.limits import TokenBucket as TokenBucket
