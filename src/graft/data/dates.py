"""Chat templates that write the date: they are told one day, so that training, scoring and serving write the same."""

from __future__ import annotations

import json
from datetime import datetime
from functools import lru_cache

DIRECTIVES = "aAbBcdeFGHIjklmMpSTuUVwWxXyYZ"
"""What `strftime` knows."""

TODAY = "{{ strftime_now('%Y-%m-%d') }}"
"""A template that asks for the day in the way in which others do."""


@lru_cache(maxsize=8)
def told_date(template: str, date: str) -> str:
    """A template that is told a day, instead of the time it is.

    Args:
        template: a chat template.
        date: as ``2026-11-27``; its midnight is the time.
    """
    day = datetime.fromisoformat(date)
    values = {f"%{letter}": day.strftime(f"%{letter}") for letter in DIRECTIVES}
    values |= {f"%-{name[1]}": value.lstrip("0") or "0" for name, value in values.items() if value.isdigit()}
    values["%%"] = "%"
    replaced = "".join(f"|replace({json.dumps(name)}, {json.dumps(value)})" for name, value in values.items())
    # the empty expression keeps Jinja from trimming what the template begins with
    return f"{{% macro strftime_now(format) %}}{{{{ format{replaced} }}}}{{% endmacro %}}{{{{ '' }}}}{template}"
