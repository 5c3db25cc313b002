"""The webhook that the tasks are called through, and two views of the site."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt
from django_qstash.results.models import TaskResult

from mailer.tasks import welcome


@csrf_exempt
def join(request: HttpRequest, name: str) -> HttpResponse:
    task = welcome.delay(name)
    return JsonResponse({"task": task.task_id}, status=202)


def results(request: HttpRequest) -> HttpResponse:
    done = TaskResult.objects.order_by("date_created")
    return JsonResponse(
        [{"task": one.task_name, "status": one.status, "result": one.result} for one in done], safe=False
    )


urlpatterns = [
    path("qstash/webhook/", include("django_qstash.urls")),
    path("members/<name>", join),
    path("results", results),
]
