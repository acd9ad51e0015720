"""How answers cite their sources, as the voice and the page's script have to read it alike."""

from __future__ import annotations

# The sources of an answer in these cases have the numbers 1 to 5, and 999.
INDICES = (1, 2, 3, 4, 5, 999)

# What an answer says, what is read out of it, and the sources that it cites.
MARKS: tuple[tuple[str, str, tuple[int, ...]], ...] = (
    ("At nine [1].", "At nine.", (1,)),
    ("At nine. [2][1]", "At nine.", (1, 2)),
    ("九点开门【1】，六点关门［2］。", "九点开门，六点关门。", (1, 2)),
    ("Both [1, 3] say so.", "Both say so.", (1, 3)),
    ("都这么说 [1、3]。", "都这么说。", (1, 3)),
    ("都这么说[1，3；5]。", "都这么说。", (1, 3, 5)),
    ("All three [1-3].", "All three.", (1, 2, 3)),
    ("All three [ 1 – 3 ].", "All three.", (1, 2, 3)),
    ("三处都有【2—4】。", "三处都有。", (2, 3, 4)),
    ("三处都有[2～4]。", "三处都有。", (2, 3, 4)),
    ("三处都有[2~4]。", "三处都有。", (2, 3, 4)),
    ("Some [1, 3-5].", "Some.", (1, 3, 4, 5)),
    ("Turned around [3-1].", "Turned around.", (1, 2, 3)),
    ("Further than there are [4-900].", "Further than there are.", (4, 5)),
    ("The last [999].", "The last.", (999,)),
    ("Made in [2024].", "Made in [2024].", ()),
    ("Take item [x] and [1b].", "Take item [x] and [1b].", ()),
    ("Not closed [1 at all.", "Not closed [1 at all.", ()),
    ("Arabic [١] digits.", "Arabic [١] digits.", ()),
    ("Nothing [] [-].", "Nothing [] [-].", ()),
)
