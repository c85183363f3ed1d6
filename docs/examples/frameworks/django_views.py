"""
Django views that show and await results, one synchronous and one asynchronous.

The setting COATCHECK_URL names the store.
"""

from functools import cache

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.urls import path

import coatcheck
from coatcheck import aio


@cache
def results() -> coatcheck.Results:
    """
    Return the results of this process, for synchronous views.
    """
    return coatcheck.by_url(settings.COATCHECK_URL)


@cache
def aio_results() -> aio.Results:
    """
    Return the results of this process, for asynchronous views.
    """
    return aio.by_url(settings.COATCHECK_URL)


def show(_request: HttpRequest, task_id: str) -> JsonResponse:
    """
    Return the state of a task, without waiting.
    """
    meta = results().get_task_meta(task_id)
    if not meta.known:
        return JsonResponse({"error": "there is no such task"}, status=404)
    return JsonResponse({"status": meta.status, "ready": meta.ready})


async def outcome(request: HttpRequest, task_id: str) -> JsonResponse:
    """
    Return the outcome. Wait for it, but no longer than `?wait=` seconds.
    """
    wait = min(float(request.GET.get("wait", 0)), 30)
    try:
        value = await aio_results().AsyncResult(task_id).get(timeout=wait, missing="raise")
    except coatcheck.UnknownTaskError as error:
        return JsonResponse({"error": str(error)}, status=404)
    except coatcheck.WaitTimeoutError:
        return JsonResponse({"status": "running"}, status=202)
    except coatcheck.TaskError as error:
        return JsonResponse({"status": "failed", "error": str(error)}, status=422)
    return JsonResponse({"status": "done", "value": value})


urlpatterns = [
    path("tasks/<str:task_id>/state", show),
    path("tasks/<str:task_id>", outcome),
]
