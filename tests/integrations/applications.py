"""The same small application in every framework: it notes what it is given, and fails when told to.

``/hook/...`` is called by its own URL, ``/proxied/...`` is what the world calls ``https://shop.example/api/proxied/...``,
``/fixed`` believes what was made for one URL only, and ``/computed`` asks a function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import django
import flask
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import re_path
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from lateron.integrations import Delivery, DoNotRetry
from lateron.integrations.django import Receiver as DjangoReceiver
from lateron.integrations.fastapi import Receiver as FastReceiver
from lateron.integrations.flask import Receiver as FlaskReceiver
from lateron.integrations.starlette import Receiver as StarletteReceiver

PLACES: dict[str, dict[str, Any]] = {
    "hook": {},
    "proxied": {"base_url": "https://shop.example/api/"},
    "fixed": {"url": "https://shop.example/only?here=1"},
    "computed": {"url": lambda request: f"https://{type(request).__name__}.example/"},
}


@dataclass
class Noted:
    """What the routes were given."""

    deliveries: list[Delivery] = field(default_factory=list)

    def __call__(self, delivery: Delivery) -> str:
        self.deliveries.append(delivery)
        if delivery.body == b"poison":
            raise DoNotRetry("poison")
        return "taken"


NOTED = Noted()  # Django knows one set of routes for ever; the tests empty it.


def fastapi() -> Any:
    app = FastAPI()
    for place, options in PLACES.items():
        receiver = FastReceiver(**options)

        async def hook(delivery: Delivery = Depends(receiver)) -> str:  # noqa: B008 # Known only here.
            return NOTED(delivery)

        app.post(f"/{place}/{{rest:path}}")(hook)
    return app


def starlette(*, blocking: bool = False) -> Any:
    def taken(_: Request, delivery: Delivery) -> PlainTextResponse:
        return PlainTextResponse(NOTED(delivery))

    async def taken_later(request: Request, delivery: Delivery) -> PlainTextResponse:
        return taken(request, delivery)

    def hook(options: dict[str, Any]) -> Any:
        return StarletteReceiver(**options).endpoint(taken if blocking else taken_later)

    return Starlette(
        routes=[Route(f"/{place}/{{rest:path}}", hook(opts), methods=["POST"]) for place, opts in PLACES.items()]
    )


def flask_app(*, asynchronous: bool = False) -> Any:
    app = flask.Flask("shop")

    def hook(delivery: Delivery, rest: str) -> str:
        assert rest is not None
        return NOTED(delivery)

    async def hook_later(delivery: Delivery, rest: str) -> str:
        return hook(delivery, rest)

    for place, options in PLACES.items():
        view = FlaskReceiver(**options)(hook_later if asynchronous else hook)
        app.add_url_rule(f"/{place}/<path:rest>", place, view, methods=["POST"], merge_slashes=False)
    return app


def django_view(options: dict[str, Any]) -> Any:
    @DjangoReceiver(**options)
    def hook(_: HttpRequest, delivery: Delivery, rest: str) -> HttpResponse:
        assert rest is not None
        return HttpResponse(NOTED(delivery))

    return hook


def django_view_later(options: dict[str, Any]) -> Any:
    @DjangoReceiver(**options)
    async def hook(_: HttpRequest, delivery: Delivery, rest: str) -> HttpResponse:
        assert rest is not None
        return HttpResponse(NOTED(delivery))

    return hook


urlpatterns = [re_path(f"^{place}/(?P<rest>.*)$", django_view(options)) for place, options in PLACES.items()]
urlpatterns += [re_path(f"^later/{place}/(?P<rest>.*)$", django_view_later(opts)) for place, opts in PLACES.items()]


def django_app(make: Callable[[], Any]) -> Any:
    if not settings.configured:
        settings.configure(
            SECRET_KEY="for tests only",
            ALLOWED_HOSTS=["*"],
            ROOT_URLCONF=__name__,
            MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
        )
        django.setup()
    return make()


# What to run, and what stands before its paths.
FRAMEWORKS: dict[str, tuple[Callable[[], Any], str]] = {
    "fastapi": (fastapi, ""),
    "starlette": (starlette, ""),
    "starlette, blocking": (lambda: starlette(blocking=True), ""),
    "flask": (flask_app, ""),
    "flask, asynchronous": (lambda: flask_app(asynchronous=True), ""),
    "django": (lambda: django_app(get_wsgi_application), ""),
    "django, asynchronous": (lambda: django_app(get_asgi_application), "/later"),
    "django, asynchronous in WSGI": (lambda: django_app(get_wsgi_application), "/later"),
}
