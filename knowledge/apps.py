from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class KnowledgeConfig(AppConfig):
    name = "knowledge"
    verbose_name = _("Knowledge")

    def ready(self) -> None:
        from accounts.actions import DELETED_FIRST
        from knowledge.actions import delete_all_of

        DELETED_FIRST.append(delete_all_of)
