"""What django-unfold shows without a translation of its own: it ships no catalogue.

Nothing imports this module. It names the texts, so that makemessages keeps them in our catalogue,
where gettext finds them when unfold asks for them. tests/test_catalogue.py compares the names with
the installed version: one that adds a text fails there.
"""

from __future__ import annotations

from django.utils.translation import gettext_noop as _
from django.utils.translation import ngettext_lazy

TEXTS = (
    _("After you've created a user, you’ll be able to edit more user options."),
    _("Add row"),
    _("All applications"),
    _("Apply Filters"),
    _("Cancel"),
    _("Choose file to upload"),
    _("Click to cancel"),
    _("Click to download"),
    _("Dark"),
    _("Dataset not found. No action performed."),
    _("Date from"),
    _("Date to"),
    _("Date"),
    _("Expand row"),
    _("False"),
    _("From"),
    _("General"),
    _("Go back"),
    _("Image preview"),
    _("Light"),
    _("Loading more results..."),
    _("More actions"),
    _("Next"),
    _("No data"),
    _("No recent searches"),
    _("No results found"),
    _("No results matching your query"),
    _("Not enough data."),
    _("Previous"),
    _(
        "Raw passwords are not stored, so there is no way to see this user’s password, but you can "
        "change the password using "
        '<a href="{}" class="text-primary-600 dark:text-primary-500">this form</a>.'
    ),
    _("Recent searches"),
    _("Record picture"),
    _("Reset filters"),
    _("Return to site"),
    _("Run"),
    _("Search apps and models..."),
    _("Select action to run"),
    _("Select action"),
    _("Select all rows"),
    _("Select currency"),
    _("Select record"),
    _("Select value"),
    _("Submit"),
    _("This item will be deleted."),
    _("This page yielded into no results. Create a new item or reset your filters."),
    _("To"),
    _("Toggle password visibility"),
    _("True"),
    _("Type to search"),
    _("Value"),
    _("Welcome back to"),
    _("Welcome"),
    _("You can not create nested object without parent"),
    _("You have been successfully logged out from the administration"),
)
# Django translates these, but not as people say it; ours goes before Django's.
BETTER = (
    _(" By %(filter_title)s "),
    _("Filters"),
    _("Log out"),
)
# The line breaks are those of unfold's template; a text without them would not be found.
COUNTED = ngettext_lazy(
    "\n                Found %(counter)s result in %(time)s seconds\n            ",
    "\n                Found %(counter)s results in %(time)s seconds\n            ",
)
