from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ConversationsConfig(AppConfig):
    name = "conversations"
    verbose_name = _("Conversations")

    def ready(self) -> None:
        from accounts.actions import DELETED_FIRST
        from assistants.actions import DELETED_WITH
        from conversations.chats.dialogs import delete_dialogs_with
        from conversations.deletion import hold_conversations_of
        from conversations.files.folder import delete_folder_of
        from conversations.scenario import TESTER
        from tooling.autotest.engine import register
        from tooling.models import Subject

        register(Subject.ASSISTANT, TESTER)
        DELETED_FIRST.extend((hold_conversations_of, delete_folder_of))
        DELETED_WITH.append(delete_dialogs_with)
