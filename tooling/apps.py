from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ToolingConfig(AppConfig):
    name = "tooling"
    verbose_name = _("Tools")

    def ready(self) -> None:
        from tooling.autotest.testers import register_all

        register_all()
