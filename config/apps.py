from django.apps import AppConfig


class ConfigConfig(AppConfig):
    """The composition root is an app only for its management commands and templates."""

    name = "config"
