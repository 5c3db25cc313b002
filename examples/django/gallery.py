"""A gallery in one file: pictures come in crowds, and thumbnails are made one at a time."""

import os
import sys
from typing import Any

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from qstash import QStash
from qstash.message import FlowControl

from lateron.integrations import Delivery
from lateron.integrations.django import Receiver

settings.configure(SECRET_KEY="example", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, DEBUG=False)

verified = Receiver()
pictures: dict[str, dict[str, Any]] = {}  # A real one has models.


@csrf_exempt
def upload(request: HttpRequest, name: str) -> HttpResponse:
    pictures[name] = {"size": len(request.body), "thumbnail": None}
    client = QStash(os.environ["QSTASH_TOKEN"], base_url=os.environ["QSTASH_URL"])
    client.message.publish_json(
        url=os.environ["APP_URL"] + f"/thumbnail/{name}",
        body={"width": 100},
        flow_control=FlowControl(key="thumbnails", parallelism=1),
    )
    client.http._client.close()
    return JsonResponse(pictures[name], status=201)


@verified
def thumbnail(request: HttpRequest, delivery: Delivery, name: str) -> HttpResponse:
    picture = pictures[name]
    if picture["thumbnail"] is None:  # A delivery may come twice; this makes it harmless.
        picture["thumbnail"] = f"{delivery.json()['width']} wide"
    return HttpResponse(status=204)


def show(request: HttpRequest) -> HttpResponse:
    return JsonResponse(pictures)


urlpatterns = [
    path("pictures", show),
    path("pictures/<name>", upload),
    path("thumbnail/<name>", thumbnail),
]
application: WSGIHandler = get_wsgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
