"""Settings; what differs between machines comes from the environment."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).parent.parent
SECRET_KEY = "example"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "mailer.urls"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.contenttypes", "django_qstash", "django_qstash.results", "django_qstash.schedules"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("MAILER_DATABASE", BASE_DIR / "mailer.sqlite3"),
    }
}

# QSTASH_URL is read from the environment by the package itself.
QSTASH_TOKEN = os.environ["QSTASH_TOKEN"]
QSTASH_CURRENT_SIGNING_KEY = os.environ["QSTASH_CURRENT_SIGNING_KEY"]
QSTASH_NEXT_SIGNING_KEY = os.environ["QSTASH_NEXT_SIGNING_KEY"]
DJANGO_QSTASH_DOMAIN = os.environ["APP_URL"]
DJANGO_QSTASH_WEBHOOK_PATH = "/qstash/webhook/"
DJANGO_QSTASH_FORCE_HTTPS = DJANGO_QSTASH_DOMAIN.startswith("https:")
