"""What the invented company sells, to whom and how: the words behind the orders."""

from __future__ import annotations

# In the order in which `orders` numbers them.
CHANNELS = ("Web", "Mobile", "Store", "Partner")
SEGMENTS = ("Consumer", "Small business", "Enterprise")
STATUSES = ("Delivered", "In transit", "Returned", "Cancelled")

# The product lines: the share whose price theirs follow, and (product, base price, popularity).
LINES: dict[str, tuple[str, tuple[tuple[str, float, int], ...]]] = {
    "Devices": (
        "AAPL",
        (
            ("Halo phone", 689, 9),
            ("Halo phone mini", 479, 7),
            ("Slate tablet", 549, 5),
            ("Slate tablet pro", 899, 3),
            ("Arc laptop 14", 1349, 4),
            ("Arc laptop 16", 1849, 2),
            ("Pulse watch", 299, 6),
            ("Pulse earbuds", 149, 9),
        ),
    ),
    "Software": (
        "MSFT",
        (
            ("Ledger suite", 240, 7),
            ("Ledger suite plus", 420, 4),
            ("Atlas CRM seat", 360, 5),
            ("Draft studio", 180, 6),
            ("Vault backup", 96, 8),
            ("Sentinel security", 132, 7),
            ("Query desk", 290, 3),
            ("Flow automation", 510, 2),
        ),
    ),
    "Home": (
        "AMZN",
        (
            ("Ember kettle", 59, 9),
            ("Ember oven", 429, 3),
            ("Breeze purifier", 219, 5),
            ("Lumen lamp", 49, 10),
            ("Lumen light kit", 129, 6),
            ("Nest chair", 189, 5),
            ("Nest desk", 399, 3),
            ("Robo vacuum", 329, 5),
        ),
    ),
    "Services": (
        "GOOG",
        (
            ("Care plan", 89, 10),
            ("Care plan plus", 159, 6),
            ("Installation visit", 120, 6),
            ("Data migration", 640, 2),
            ("Training day", 480, 3),
            ("Priority support", 260, 5),
            ("Site survey", 210, 3),
            ("Device lease", 340, 4),
        ),
    ),
    "Media": (
        "NFLX",
        (
            ("Stream month", 12, 12),
            ("Stream year", 119, 8),
            ("Stream family", 169, 6),
            ("Cinema box", 79, 4),
            ("Audio year", 99, 7),
            ("Documentary pack", 39, 4),
            ("Kids pack", 45, 5),
            ("Sports season", 149, 6),
        ),
    ),
    "Games": (
        "FB",
        (
            ("Orbit console", 399, 6),
            ("Orbit controller", 59, 9),
            ("Orbit headset", 249, 4),
            ("Starfall", 59, 10),
            ("Tides of Ash", 54, 8),
            ("Little Rally", 29, 9),
            ("City Sprawl", 39, 7),
            ("Arcade pass", 99, 6),
        ),
    ),
}
# How much of all orders each line has, in the order of LINES.
LINE_SHARES = (0.17, 0.13, 0.22, 0.12, 0.19, 0.17)

# A customer's name: a place made of two halves, and beside it a word that fits the segment.
PLACES = ("North", "South", "Blue", "Red", "Silver", "Green", "Bright", "Clear", "River", "Oak")
ENDINGS = ("field", "gate", "bridge", "light", "water", "wood", "ridge", "brook", "haven", "dale")
NAMES = (
    ("Ana", "Luca", "Mei", "Omar", "Priya", "Jonas", "Sofia", "Amara", "Kenji", "Noah", "Zara"),
    ("Studio", "Workshop", "Bakery", "Clinic", "Books", "Garden", "Optics", "Cycles", "Kitchen"),
    ("Group", "Holdings", "Industries", "Logistics", "Energy", "Partners", "Systems", "Bank"),
)
