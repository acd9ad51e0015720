from django.apps import AppConfig


class ConfigConfig(AppConfig):
    """The composition root is an app only for its commands, templates and system checks."""

    name = "config"

    def ready(self) -> None:
        from config import checks  # noqa: F401 - registers them
