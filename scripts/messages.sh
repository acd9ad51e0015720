#!/usr/bin/env bash
# Brings the zh-hans catalogue up to date with the marked texts of our code and templates, and
# compiles it. Needs GNU gettext; the compiled file is committed so that nobody else does.
set -eu
cd "$(dirname "$0")/.."
catalogue=locale/zh_Hans/LC_MESSAGES/django.po
.venv/bin/python manage.py makemessages --locale zh_Hans --extension py,html --no-obsolete \
  --add-location file \
  --ignore '.venv/*' --ignore 'var/*' --ignore 'build/*' --ignore 'tests/*' --ignore 'bench/*' \
  --ignore 'sdks/*'
# The time of the run would change the file when nothing else does.
sed -i '/^"POT-Creation-Date:/d' "$catalogue"
.venv/bin/python manage.py compilemessages --locale zh_Hans \
  --ignore '.venv/*' --ignore 'var/*' --ignore 'build/*'
